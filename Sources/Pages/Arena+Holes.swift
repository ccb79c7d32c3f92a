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
    if let before = run.pointee.previous, isHole(before, endingAt: run.pointee.start) { return true }
    guard let after = run.pointee.next else { return false }
    return after.pointee.kind == RangeKind.unmapped && after.pointee.start == run.pointee.end
  }

  /// Unmaps what is worth it of a cached run.
  func unmap(_ run: EntryPointer) {
    if isLast(run) { lowerFrontier(run) } else { _ = makeHole(run) }
  }

  /// Nothing is behind it, but for what was mapped ahead: that stays for a short run, which may soon be wanted again.
  private func isLast(_ run: EntryPointer) -> Bool {
    run.pointee.end == pointee.frontier || run.pointee.next == nil && run.pointee.length >= Self.frontierGrain
  }

  /// From a cached run to a hole. False if it is too short for that, or the system refuses. Needs no memory.
  func makeHole(_ run: EntryPointer) -> Bool {
    let bytes = run.pointee.length
    guard !isLast(run), isWorthHole(run), stave_munmap(run.pointee.start, Int(bytes)) == 0 else {
      return false
    }
    unlinkCached(run)
    if let before = run.pointee.previous, isHole(before, endingAt: run.pointee.start) { unlinkHole(before) }
    if let after = run.pointee.next, after.pointee.kind == RangeKind.unmapped, after.pointee.start == run.pointee.end { unlinkHole(after) }
    // Holes that are in no list are equal, so the map joins them.
    linkHole(pointee.map.change(run, to: EntryAttributes(kind: RangeKind.unmapped)))
    return true
  }

  /// Makes a hole that `bytes` fit into a gap again, as far as they need it: where in it they are to lie. Nil if there is none,
  /// or the system refuses. O(n) in holes.
  func mapHole(bytes: UInt, alignment: UInt) -> UInt? {
    guard bytes <= pointee.unmappedBytes else { return nil }
    var candidate = pointee.holes
    while let hole = candidate {
      candidate = Self.following(hole)
      guard let start = hole.pointee.start.roundedUp(to: alignment), start <= hole.pointee.end, hole.pointee.end - start >= bytes
      else { continue }
      // From its start, if that costs little, so that no slivers remain which would be mappings of their own.
      let bottom = alignment <= unitBytes ? hole.pointee.start : start
      let length = start + bytes - bottom
      let result = mapFresh(bottom, bytes: length, mapFixedNoReplace)
      if result == Int(bitPattern: bottom) {
        let low = hole.pointee.start, high = hole.pointee.end
        unlinkHole(hole)
        guard pointee.map.remove(start: bottom, length: length).value != nil else {
          _ = stave_munmap(bottom, Int(length))
          linkHole(hole)
          return nil
        }
        if low < bottom { linkHole(hole) }
        if bottom + length < high, let rest = pointee.map.entry(containing: bottom + length) { linkHole(rest) }
        return start
      }
      if result > 0 { _ = stave_munmap(UInt(bitPattern: result), Int(length)) }  // a kernel that takes the address for a hint
      guard result > 0 || result == -17 /* EEXIST */ else { return nil }
      // Somebody has moved in.
      unlinkHole(hole)
      pointee.foreignBytes += hole.pointee.length
      pointee.map.change(hole, to: EntryAttributes(kind: RangeKind.foreign))
    }
    return nil
  }

  // MARK: - The frontier

  /// The cached run is the last range: it goes, with the gap behind it.
  private func lowerFrontier(_ run: EntryPointer) {
    let start = run.pointee.start
    unlinkCached(run)
    lowerFrontier(to: start, behind: run.pointee.previous)
    // What is left of it below the frontier, if not all.
    if start < pointee.frontier { linkCached(run) }
  }

  /// The same for a gap that reaches the frontier.
  func lowerFrontierToGap() {
    lowerFrontier(to: pointee.map.last?.pointee.end ?? pointee.windowStart, behind: pointee.map.last)
  }

  /// Gives up what is mapped from `start` on, where nothing is in use, by whole huge pages; and if it lies behind a hole, the
  /// hole too, since together with what is beyond the frontier it has room for more.
  private func lowerFrontier(to start: UInt, behind range: EntryPointer?) {
    var hole: EntryPointer? = nil
    if let range, isHole(range, endingAt: start) { hole = range }
    guard let bottom = (hole?.pointee.start ?? start).roundedUp(to: Self.frontierGrain), bottom < pointee.frontier else { return }
    // Somebody may have moved into the hole, so that is not unmapped again.
    let mapped = Swift.max(bottom, start)
    guard mapped == pointee.frontier || stave_munmap(mapped, Int(pointee.frontier - mapped)) == 0 else { return }
    if let hole { unlinkHole(hole) }
    let isHoleLeft = hole.map { $0.pointee.start < bottom } ?? false
    _ = pointee.map.remove(start: bottom, length: pointee.frontier - bottom)
    pointee.frontier = bottom
    if let hole, isHoleLeft { linkHole(hole) }
  }

  // MARK: - The list of holes, through the entries' words

  private func isHole(_ range: EntryPointer, endingAt address: UInt) -> Bool {
    range.pointee.kind == RangeKind.unmapped && range.pointee.end == address
  }

  private func linkHole(_ hole: EntryPointer) {
    hole.pointee.wordA = UInt(bitPattern: pointee.holes)
    hole.pointee.wordB = 0
    pointee.holes?.pointee.wordB = UInt(bitPattern: hole)
    pointee.holes = hole
    pointee.unmappedBytes += hole.pointee.length
  }

  private func unlinkHole(_ hole: EntryPointer) {
    let next = Self.following(hole)
    if let previous = EntryPointer(bitPattern: hole.pointee.wordB) {
      previous.pointee.wordA = hole.pointee.wordA
    } else {
      pointee.holes = next
    }
    next?.pointee.wordB = hole.pointee.wordB
    hole.pointee.wordA = 0
    hole.pointee.wordB = 0
    pointee.unmappedBytes -= hole.pointee.length
  }
}
