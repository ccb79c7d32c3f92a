// SPDX-License-Identifier: BSD-2-Clause
//
// How much memory zones manage: what the queries of UMA answer that kegs know.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Zone {
  /// Bytes of its keg's slabs, whether items are used, cached or free; without off-page headers. Of a cache-only zone, which has no
  /// slabs, those of the items that it caches. No lock; linear in CPUs for cache-only zones.
  public var memory: Int {
    guard pointee.flags.contains(.cacheOnly) else {
      if pointee.domains == nil || pointee.flags.contains(.part) { return pointee.keg.memory }
      var sum = 0
      forEachPart { sum += $0.pointee.keg.memory }
      return sum
    }
    return (Int(ZoneCounts(self).cached) + Swift.max(0, pointee.depotItems)) * pointee.size
  }
}

extension UnsafeMutablePointer where Pointee == Keg {
  /// Bytes of its slabs.
  public var memory: Int { pointee.slabCount * pointee.layout.slabBytes }
}

extension UnsafeMutablePointer where Pointee == ZonesState {
  /// Bytes of the slabs of all kegs, those of the zone system too. Takes the list's lock; linear in kegs.
  public var memory: Int {
    pointee.listLock.lock()
    defer { pointee.listLock.unlock() }
    var sum = 0
    for index in 1..<Swift.max(1, pointee.kegCount) { sum += stave_kegs()[index]?.assumingMemoryBound(to: Keg.self).memory ?? 0 }
    return sum
  }
}
