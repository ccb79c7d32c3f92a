// SPDX-License-Identifier: BSD-2-Clause
//
// Giving up addresses where address space is limited (RLIMIT_AS), so that thread stacks, libraries and the program's own
// mappings find room: the frontier goes down, and free ranges below it become holes. Everything here runs with the arena's lock held.

import AddressMap
import CPlatform
import Primitives

extension UnsafeMutablePointer where Pointee == Arena {
  func askForLimit() { pointee.isTight = stave_address_space_limit() < 1 << 46 }

  /// A hole costs the process a mapping: it must be so long that there cannot be many more than 8192 of them, unless it only
  /// makes another one larger.
  private func isWorthHole(_ run: EntryPointer) -> Bool {
    if run.pointee.length >= Swift.max(Self.frontierGrain, (pointee.windowEnd - pointee.windowStart) >> 13) { return true }
    guard run.pointee.length >= Self.frontierGrain else { return false }
    if let before = run.pointee.previous, before.pointee.kind == RangeKind.unmapped, before.pointee.end == run.pointee.start { return true }
    guard let after = run.pointee.next else { return false }
    return after.pointee.kind == RangeKind.unmapped && after.pointee.start == run.pointee.end
  }

  /// Unmaps what is worth it of a cached run.
  func unmap(_ run: EntryPointer) {
    if run.pointee.end == pointee.frontier { lowerFrontier(run) } else { _ = makeHole(run) }
  }

  /// From a cached run to a hole. False if it is too short for that, or the system refuses. Needs no memory.
  func makeHole(_ run: EntryPointer) -> Bool {
    let bytes = run.pointee.length
    guard run.pointee.end < pointee.frontier, isWorthHole(run), stave_munmap(run.pointee.start, Int(bytes)) == 0 else {
      return false
    }
    unlinkCached(run)
    pointee.unmappedBytes += bytes
    pointee.map.change(run, to: EntryAttributes(kind: RangeKind.unmapped))
    return true
  }

  /// Makes the first hole that `bytes` fit into a gap again, as far as they need it. False if there is none, or the system
  /// refuses. O(n) in ranges.
  func mapHole(bytes: UInt, alignment: UInt) -> Bool {
    var entry = pointee.map.entry(after: nil)
    while let hole = entry {
      entry = hole.pointee.next
      guard hole.pointee.kind == RangeKind.unmapped, let start = hole.pointee.start.roundedUp(to: alignment),
        start <= hole.pointee.end, hole.pointee.end - start >= bytes
      else { continue }
      // From its start, if that costs little, so that no slivers remain which would be mappings of their own.
      let bottom = alignment <= unitBytes ? hole.pointee.start : start
      let length = start + bytes - bottom
      let result = mapFresh(bottom, bytes: length, mapFixedNoReplace)
      if result == Int(bitPattern: bottom) {
        guard pointee.map.remove(start: bottom, length: length).value != nil else {
          _ = stave_munmap(bottom, Int(length))
          return false
        }
        pointee.unmappedBytes -= length
        return true
      }
      if result > 0 { _ = stave_munmap(UInt(bitPattern: result), Int(length)) }  // a kernel that takes the address for a hint
      guard result > 0 || result == -17 /* EEXIST */ else { return false }
      // Somebody has moved in.
      pointee.unmappedBytes -= hole.pointee.length
      pointee.foreignBytes += hole.pointee.length
      entry = pointee.map.change(hole, to: EntryAttributes(kind: RangeKind.foreign)).pointee.next
    }
    return false
  }

  /// Unmaps the whole huge pages of the cached run that ends at the frontier, so that others may have the address space.
  private func lowerFrontier(_ run: EntryPointer) {
    guard let bottom = run.pointee.start.roundedUp(to: Self.frontierGrain), bottom < pointee.frontier,
      stave_munmap(bottom, Int(pointee.frontier - bottom)) == 0
    else { return }
    unlinkCached(run)
    let start = run.pointee.start
    _ = pointee.map.remove(start: bottom, length: pointee.frontier - bottom)
    pointee.frontier = bottom
    if start < bottom { linkCached(run) }
  }

  /// The same for a gap that reaches the frontier.
  func lowerFrontierToGap() {
    guard let bottom = (pointee.map.last?.pointee.end ?? pointee.windowStart).roundedUp(to: Self.frontierGrain),
      bottom < pointee.frontier, stave_munmap(bottom, Int(pointee.frontier - bottom)) == 0
    else { return }
    pointee.frontier = bottom
  }
}
