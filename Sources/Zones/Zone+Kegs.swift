// SPDX-License-Identifier: BSD-2-Clause
//
// Zones over several kegs: items of one size from different page sources, or laid out differently, behind one set of caches.
// An item goes back to the keg that it came from, which its slab tells; the zone's first keg is not asked (L63).
//
// A request goes to the keg that served the last one, then to the others in turn, none of which waits; only when all have refused may
// the last keg tried wait, as the request allows.

import CPlatform
import Pages
import Primitives

public enum KegRefusal {
  case done
  /// The zone is no secondary one; or a keg's items cannot be told from others by their addresses; or only one has reference counts,
  /// or copies for each CPU.
  case invalid
  /// Items of another size.
  case size
  /// It has all the kegs that a zone can have: four.
  case full
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// Lets a secondary zone take items from the keg of `primary` too, which outlives it. Before the zone's first request.
  public func addKeg(of primary: ZonePointer) -> KegRefusal {
    let keg = primary.pointee.keg
    let layouts = (keg.pointee.layout, pointee.keg.pointee.layout), kinds = (keg.pointee.flags, pointee.keg.pointee.flags)
    let isAlike = layouts.0.lookup == .metadata && layouts.1.lookup == .metadata && layouts.0.hasCounts == layouts.1.hasCounts
      && kinds.0.contains(.perCPU) == kinds.1.contains(.perCPU)
    guard pointee.flags.contains(.secondary), isAlike, !primary.pointee.flags.contains(.cacheOnly), pointee.domains == nil,
      primary.pointee.domains == nil
    else { return .invalid }
    guard keg.pointee.layout.size == pointee.size else { return .size }
    zones.pointee.listLock.lock()
    defer { zones.pointee.listLock.unlock() }
    guard pointee.moreKegCount < 3 else { return .full }
    keg.pointee.secondaries += 1
    pointee.moreKegs[Int(pointee.moreKegCount)] = keg
    pointee.moreKegCount += 1
    return .done
  }

  /// The list lock is held.
  func leaveMoreKegs() {
    for index in 0..<Int(Swift.max(0, pointee.moreKegCount)) { pointee.moreKegs[index]!.pointee.secondaries -= 1 }
  }

  func keg(number index: Int) -> KegPointer { index == 0 ? pointee.keg : pointee.moreKegs[index - 1]! }

  func takeFromKegs(_ items: UnsafeMutablePointer<UInt>, count: Int, _ flags: WaitFlags) -> Int {
    if let domains = pointee.domains { return domains.pointee.fetch(UnsafeMutableRawPointer(self), items, count, flags.rawValue) }
    let all = Int(pointee.moreKegCount) + 1
    var isRefused = false
    let patient = flags, impatient = flags.subtracting(.wait).subtracting(.canFail).union(.noWait)
    for turn in 0..<(flags.contains(.wait) ? all + 1 : all) {
      let index = (Int(pointee.latestKeg) + turn) % all
      let taken = keg(number: index).take(into: items, count: count, flags: turn < all ? impatient : patient)
      guard taken <= 0 else {
        pointee.latestKeg = Int32(index)
        return taken
      }
      // Of who waits the last try counts, for a hook may say something else to those who do not.
      isRefused = taken == KegPointer.refused || isRefused && !flags.contains(.wait)
    }
    return isRefused ? KegPointer.refused : 0
  }

  func giveToKegs(_ items: UnsafeMutablePointer<UInt>, count: Int, stack: UInt32) -> Int {
    var given = 0, position = 0
    while position < count {
      // Those of one keg that come together go together.
      let keg = ownerKeg(of: items[position])
      var end = position + 1
      while end < count && ownerKeg(of: items[end]) == keg { end += 1 }
      given += keg.give(items + position, count: end - position, stack: stack)
      position = end
    }
    return given
  }

  /// The one of its kegs that an item came from; the first, which will refuse it, if it is none's.
  func ownerKeg(of item: UInt) -> KegPointer {
    guard case .slab(let header) = ownerMap.pointee.owner(of: item) else { return pointee.keg }
    let number = header.assumingMemoryBound(to: Slab.self).pointee.kegIndex
    if let domains = pointee.domains { return domains.keg(number: number) ?? pointee.keg }
    for index in 0..<Int(Swift.max(0, pointee.moreKegCount)) where pointee.moreKegs[index]!.pointee.index == number { return pointee.moreKegs[index]! }
    return pointee.keg
  }
}
