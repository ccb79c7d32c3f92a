// SPDX-License-Identifier: BSD-2-Clause
//
// Taking ranges away and splitting entries. Only two calls can want an entry: a removal from the middle of one, and clip.
// Both get it before they change anything, so neither can stop half-way. The owner who must not meet that failure at an
// awkward moment calls `reserveEntries` at a better one.

import Primitives

extension AddressMap {
  /// Makes sure that the next `count` entries the map needs are there. A removal needs at most one, a clip one, an insert
  /// at most one. False: there is no memory; nothing has changed.
  public mutating func reserveEntries(_ count: Int) -> Bool {
    supply.pointee.reserve(count)
  }

  /// Removes whatever is in [start, start + length), holes allowed; entries that stick out are cut. Returns the number of
  /// bytes that were in entries. Ends with `.badRange`, or `.noEntry` if the range lies strictly inside one entry and
  /// there is no memory for the second piece. O((k + 1) log n) for k entries that go away.
  public mutating func remove(start: UInt, length: UInt) -> MapOutcome<UInt> {
    guard let end = checkedEnd(start, length) else { return .badRange }
    let place = lookup(start)
    var at = place.found ? place.entry : entry(after: place.entry)
    let oldRunEnd = runEnd
    let oldSize = size

    if let entry = at, entry.pointee.start < start {
      if entry.pointee.end > end {
        guard clip(entry, at: end) != nil else { return .noEntry }
      }
      let cut = entry.pointee.end - start
      entry.pointee.end = start
      setGap(entry, entry.pointee.gap + cut)
      size -= cut
      at = entry.pointee.next
    }
    while let entry = at, entry.pointee.end <= end {
      at = entry.pointee.next
      size -= entry.pointee.length
      if let before = entry.pointee.previous {
        setGap(before, before.pointee.gap + entry.pointee.length + entry.pointee.gap)
      }
      unlink(entry)
    }
    if let entry = at, entry.pointee.start < end {
      let cut = end - entry.pointee.start
      size -= cut
      entry.pointee.start = end
      if let before = entry.pointee.previous { setGap(before, before.pointee.gap + cut) }
    }

    if size != oldSize {
      // A hole in the run from minimum ends the run there; the clip above may also have moved its last entry.
      if start < oldRunEnd { findFirstFree() }
      version &+= 1
    }
    return .done(oldSize - size)
  }

  /// Splits `entry` so that a new entry begins at `address`, which must lie strictly inside. `entry` keeps the lower
  /// part. Nil: no memory, nothing has changed. Traps on an address outside. O(log n).
  public mutating func clip(_ entry: EntryPointer, at address: UInt) -> EntryPointer? {
    precondition(
      address > entry.pointee.start && address < entry.pointee.end, "address map: clip at an address outside the entry")
    guard let upper = supply.pointee.take() else { return nil }
    let end = entry.pointee.end
    upper.pointee.set(entry.pointee.attributes)
    // The upper part inherits the gap. `link` computes that, and the lower part's own gap, which is now none.
    entry.pointee.end = address
    link(upper, start: address, end: end, after: entry)
    if firstFree == entry { firstFree = upper }
    version &+= 1
    return upper
  }

  /// Gives back the last `length` bytes of `entry`; false unless that is more than nothing and less than all. Needs no
  /// memory. O(log n).
  public mutating func shrink(_ entry: EntryPointer, by length: UInt) -> Bool {
    guard length > 0, length < entry.pointee.length else { return false }
    let inRun = entry.pointee.start < runEnd
    entry.pointee.end -= length
    setGap(entry, entry.pointee.gap + length)
    size -= length
    if inRun { firstFree = entry }
    version &+= 1
    return true
  }

  /// Empties the map and gives every entry back. O(n).
  public mutating func removeAll() {
    var at = first
    while let entry = at {
      at = entry.pointee.next
      supply.pointee.put(entry)
    }
    tree = RedBlackTree()
    first = nil
    last = nil
    hint = nil
    firstFree = nil
    count = 0
    size = 0
    version &+= 1
  }
}
