// SPDX-License-Identifier: BSD-2-Clause
//
// What is always true of a map between two calls, as code: tests run it after every step, and a debugging owner may. It
// walks list and tree, bounded by the count, so that a damaged map gets a message and not an endless loop. O(n log n).

import Primitives

extension AddressMap {
  /// The first rule that the map breaks, or nil.
  public func invariantViolation() -> StaticString? {
    if count < 0 { return "map: negative count" }
    if let message = listViolation() { return message }
    if let message = tree.invariantViolation(count: count) { return message }
    // Same number on both sides: the same entries in the same order means that the tree holds exactly the listed ones.
    var inTree = tree.outermost(.left)
    var inList = first
    while let entry = inList {
      if inTree != entry { return "map: tree and list disagree" }
      inTree = RedBlackTree.neighbour(of: entry, on: .right)
      inList = entry.pointee.next
    }
    return nil
  }

  /// Traps with a message on the first rule that the map breaks.
  public func checkInvariants() {
    guard let message = invariantViolation() else { return }
    #if hasFeature(Embedded)
      fatalError(message)
    #else
      fatalError(message.description)
    #endif
  }

  private func listViolation() -> StaticString? {
    var listed = 0
    var bytes: UInt = 0
    var hintSeen = hint == nil
    var before: EntryPointer?
    var unbroken: EntryPointer?  // the last entry of the run from minimum
    var inRun = true
    var at = first
    while let entry = at {
      listed += 1
      if listed > count { return "map: the list is longer than the count, or a cycle" }
      let end = entry.pointee.end
      if entry.pointee.flags & MapEntry.live == 0 { return "map: a free entry is on the list" }
      if entry.pointee.previous != before { return "map: an entry does not point back at the one before it" }
      if entry.pointee.start >= end { return "map: an entry is empty or reversed" }
      if entry.pointee.start < minimum || end > maximum { return "map: an entry leaves the map" }
      if let before, before.pointee.end > entry.pointee.start { return "map: entries overlap or are out of order" }
      let limit = entry.pointee.next?.pointee.start ?? maximum
      if limit < end || entry.pointee.gap != limit - end { return "map: an entry's gap is wrong" }
      if entry.pointee.start != (before?.pointee.end ?? minimum) { inRun = false }
      if inRun { unbroken = entry }
      if entry == hint { hintSeen = true }
      bytes += end - entry.pointee.start
      before = entry
      at = entry.pointee.next
    }
    if listed != count { return "map: the list is shorter than the count" }
    if last != before { return "map: last is not the end of the list" }
    if bytes != size { return "map: size is not the sum of the entries" }
    if !hintSeen { return "map: the lookup hint names an entry that is gone" }
    if firstFree != unbroken { return "map: firstFree is not the end of the run from minimum" }
    return nil
  }
}
