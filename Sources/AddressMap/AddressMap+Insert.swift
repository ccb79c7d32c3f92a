// SPDX-License-Identifier: BSD-2-Clause
//
// Adding ranges and changing what they are: insert at an address, allocate wherever there is room, grow in place, change
// attributes. Each of them joins neighbours that touch and are equal, so that a map in which ranges come and go keeps as
// few entries as it can: a hole filled between two equal entries leaves one.

import Primitives

extension AddressMap {
  /// Adds [start, start + length), which must be free. The entry returned covers the range, and more if it was merged.
  /// Ends with `.badRange`, `.noSpace` (something is there) or `.noEntry`. O(log n).
  public mutating func insert(start: UInt, length: UInt, _ attributes: EntryAttributes) -> MapOutcome<EntryPointer> {
    guard let end = checkedEnd(start, length) else { return .badRange }
    let place = lookup(start)
    guard !place.found, end <= gapBounds(place.entry).end else { return .noSpace }
    guard let entry = fill(start, end, behind: place.entry, attributes) else { return .noEntry }
    return .done(entry)
  }

  /// Finds space and adds it; returns its address. (The entry may begin before it, by merging.) Ends with `.noSpace` or
  /// `.noEntry`. Cost as `findSpace`.
  public mutating func allocate(_ request: SpaceRequest, _ attributes: EntryAttributes) -> MapOutcome<UInt> {
    guard let space = findSpace(request) else { return .noSpace }
    let end = space.address + request.length
    guard fill(space.address, end, behind: space.previous, attributes) != nil else { return .noEntry }
    return .done(space.address)
  }

  /// Lengthens `entry` into the gap behind it; false if that is too short or the length is zero. If the gap is used up
  /// and the next entry is equal, both are merged; `entry` is the one that stays. Needs no memory. O(log n).
  public mutating func grow(_ entry: EntryPointer, by length: UInt) -> Bool {
    guard length > 0, length <= entry.pointee.gap else { return false }
    let wasFrontier = firstFree == entry
    entry.pointee.end += length
    setGap(entry, entry.pointee.gap - length)
    size += length
    if mergeWithNext(entry) { counters.mergesForward &+= 1 }
    if wasFrontier { findFirstFree() }
    version &+= 1
    return true
  }

  /// Gives `entry` other attributes and merges it with its neighbours if they now allow it. Returns the entry that
  /// covers the range afterwards. Needs no memory. To change part of an entry, `clip` it first. O(log n).
  @discardableResult
  public mutating func change(_ entry: EntryPointer, to attributes: EntryAttributes) -> EntryPointer {
    entry.pointee.set(attributes)
    var survivor = entry
    let forward = mergeWithNext(entry)
    var back = false
    if let before = entry.pointee.previous, mergeWithNext(before) {
      survivor = before
      back = true
    }
    countMerge(back: back, forward: forward)
    version &+= 1
    return survivor
  }

  // MARK: - Inside

  /// Adds a range known to be free and to lie in the gap behind `before`. Nil: an entry was needed and there is none.
  private mutating func fill(
    _ start: UInt, _ end: UInt, behind before: EntryPointer?, _ attributes: EntryAttributes
  ) -> EntryPointer? {
    let following = entry(after: before)
    let movesFrontier = start == runEnd
    var back = false
    var forward = false
    if let before { back = before.pointee.end == start && before.pointee.attributes.canMerge(with: attributes) }
    if let following { forward = following.pointee.start == end && following.pointee.attributes.canMerge(with: attributes) }

    let result: EntryPointer
    if back, let before {
      if forward {
        absorbNext(of: before)
      } else {
        before.pointee.end = end
        setGap(before, before.pointee.gap - (end - start))
      }
      result = before
    } else if forward, let following {
      following.pointee.start = start
      if let before { setGap(before, start - before.pointee.end) }
      result = following
    } else {
      guard let fresh = supply.pointee.take() else { return nil }
      fresh.pointee.set(attributes)
      link(fresh, start: start, end: end, after: before)
      result = fresh
      counters.mergesNone &+= 1
    }
    countMerge(back: back, forward: forward)
    size += end - start
    if movesFrontier { findFirstFree() }
    version &+= 1
    return result
  }

  /// Joins `entry` with the next one if they touch and are equal; `entry` stays.
  private mutating func mergeWithNext(_ entry: EntryPointer) -> Bool {
    guard entry.pointee.gap == 0, let following = entry.pointee.next,
      entry.pointee.attributes.canMerge(with: following.pointee.attributes)
    else { return false }
    absorbNext(of: entry)
    return true
  }

  private mutating func countMerge(back: Bool, forward: Bool) {
    switch (back, forward) {
    case (true, true): counters.mergesBoth &+= 1
    case (true, false): counters.mergesBack &+= 1
    case (false, true): counters.mergesForward &+= 1
    case (false, false): break
    }
  }
}
