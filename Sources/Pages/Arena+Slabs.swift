// SPDX-License-Identifier: BSD-2-Clause
//
// Slabs: whole units of the arena, neighbours in one entry of the map. A release that would cut such an entry when no other can be
// had waits, linked through its own memory, and is made good by the next request or purge that finds entries.

import AddressMap
import Primitives

extension PageSource {
  /// Slabs of whole units from the arena; each slab begins at a unit.
  public static var arena: PageSource {
    var source = PageSource(
      allocate: { _, bytes, _, _ in Pages.arena.takeSlab(bytes: UInt(bytes)) },
      free: { _, start, bytes, _ in Pages.arena.releaseSlab(start.address, bytes: UInt(bytes)) },
      context: nil, isZeroed: false)
    source.isOurs = true
    source.isArena = true
    return source
  }
}

extension UnsafeMutablePointer where Pointee == Arena {
  func takeSlab(bytes: UInt) -> UnsafeMutableRawPointer? {
    guard let bytes = bytes.roundedUp(to: unitBytes) else { return nil }
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    guard let range = takeRange(bytes: bytes, alignment: unitBytes, kind: RangeKind.slab) else { return nil }
    pointee.slabBytes += bytes
    return UnsafeMutableRawPointer(bitPattern: range.start)
  }

  func releaseSlab(_ start: UInt, bytes: UInt) {
    let bytes = (bytes + unitBytes - 1).roundedDown(to: unitBytes)
    pointee.lock.lock()
    if !cacheSlabs(start: start, bytes: bytes) {
      let words = UnsafeMutablePointer<UInt>(bitPattern: start)!
      words[0] = pointee.unplaced
      words[1] = bytes
      pointee.unplaced = start
    }
    pointee.lock.unlock()
  }

  /// Makes slabs, part of one entry, a cached run. False if that wants an entry and there is none: they are slabs still.
  private func cacheSlabs(start: UInt, bytes: UInt) -> Bool {
    guard var entry = pointee.map.entry(containing: start) else { return false }
    if entry.pointee.start < start {
      guard let upper = pointee.map.clip(entry, at: start) else { return false }
      entry = upper
    }
    if entry.pointee.end > start + bytes && pointee.map.clip(entry, at: start + bytes) == nil { return false }
    pointee.slabBytes -= bytes
    cacheEntry(entry)
    return true
  }

  /// Tries again to cache the slabs that found no entry when they were released.
  func placeUnplaced() {
    while let words = UnsafeMutablePointer<UInt>(bitPattern: pointee.unplaced), pointee.map.reserveEntries(2) {
      let start = pointee.unplaced
      pointee.unplaced = words[0]
      _ = cacheSlabs(start: start, bytes: words[1])
    }
  }
}
