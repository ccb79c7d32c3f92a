// SPDX-License-Identifier: BSD-2-Clause
//
// AddressMap: an ordered map of address ranges over [minimum, maximum).
//
// Words
//   entry     a range [start, end) with equal attributes (kind, two words, no-merge); the owner says what they mean.
//   gap       the free addresses between an entry's end and the next entry's start (or maximum). An entry owns the gap
//             behind it. The gap before the first entry belongs to the map itself: the *head gap*.
//   hint      the entry that the last lookup ended at.
//   frontier  `firstFree`: the last entry of the unbroken run of entries that begins at minimum.
// A nil entry pointer stands for the header: the place before the first entry.
//
//   minimum                                                             maximum
//      |~~head gap~~[ A )~gap of A~[ B )[ C )~~~gap of C~~~[ D )~gap of D~|
//
//                        [ C ) gap 9, below 9            each node: its own gap,
//                       /      \                         and the largest one in
//            [ B ) 0, below 4   [ D ) 5, below 5         its subtree
//              /
//      [ A ) gap 4, below 4
//
// The entries are held twice: in a red-black tree by start (lookup, gap search) and in a list (neighbours in O(1)). A
// new entry hangs itself below one of its two list neighbours, whichever has the empty side, so inserting at a known
// place takes no descent.
//
// Order of tries
//   lookup    the hint's entry or the gap behind it; in a map of up to 30 entries a walk of up to 4 entries from there;
//             else the tree.
//   space     the gap at the wished address; the gap next to it in the direction of search; then a descent by
//             `subtreeGap` to the nearest gap that is long enough, and from each such gap that alignment spoils straight
//             to the next long enough one. Gaps shorter than the request are never looked at in that phase.
//   insert    grow the previous entry, the next one, or join both over the hole; else a new entry.
//
// Costs, n entries; the counters show them: treeSteps (nodes visited or refreshed), listSteps, spaceTries (gaps tested).
//   lookup, insert, grow, shrink, clip, change    O(log n)
//   remove                                        O((k + 1) log n) for k entries that go away
//   find space, no alignment                      O(log n): at most three gaps tested
//   find space, alignment M                       O((t + 1) log n), t = gaps between the wished address and the result
//             that are at least `length` long, but shorter than length + M - 1 and unluckily placed. A gap of that sum
//             always fits. t can be large when the map is full of such gaps. That is the price of the promise to
//             find the *nearest* address; an owner who does not need it sets `patience`, and after that many spoilt
//             gaps the search descends once for a gap that cannot be spoilt.
//
// Who locks: not the map. Every method, lookup included (it moves the hint and counts), needs the owner's lock held
// exclusively, except those that are not `mutating`, for which a shared one does. The map is used in place, through a
// pointer. It never calls its owner; the entry supply calls the page provider, with the lock held and the map unchanged.
//
// A change that needs an entry gets it before it touches anything: on `.noEntry` the map is as it was. All arithmetic on
// lengths that come from outside is checked. Lengths need not be multiples of a page: that is the owner's rule to keep.
//
// Known weakness: the pages of entries go back only all at once, when the map is empty (EntrySupply.releasePages).

import Primitives

@frozen public struct AddressMapCounters: Sendable {
  public var lookups: UInt = 0
  public var hintHits: UInt = 0  // answered from the hint itself, without a step
  public var mergesBack: UInt = 0  // a range joined the entry before it
  public var mergesForward: UInt = 0
  public var mergesBoth: UInt = 0  // counted here only, not under back and forward
  public var mergesNone: UInt = 0  // an insert that took an entry of its own
  public var treeSteps: UInt = 0
  public var listSteps: UInt = 0
  public var spaceTries: UInt = 0

  @inlinable public init() {}
}

/// How a request ended.
@frozen public enum MapOutcome<Value> {
  case done(Value)
  case noSpace  // nothing free fits, or the range asked for is not free
  case badRange  // empty, wraps around, or leaves the map
  case noEntry  // no memory for an entry; the map is unchanged

  @inlinable public var value: Value? {
    if case .done(let value) = self { return value }
    return nil
  }
}

/// Where an address is: in `entry`, or in the gap behind it (nil: in the head gap).
@frozen public struct EntryLookup {
  public var found: Bool
  public var entry: EntryPointer?
}

@frozen public struct AddressMap: ~Copyable {
  // A reader in another process copies these in this order.
  public internal(set) var tree: RedBlackTree<MapEntry>
  public internal(set) var first: EntryPointer?
  public internal(set) var last: EntryPointer?
  public internal(set) var hint: EntryPointer?
  public internal(set) var firstFree: EntryPointer?
  public internal(set) var minimum: UInt
  public internal(set) var maximum: UInt
  public internal(set) var count: Int
  public internal(set) var size: UInt  // bytes in entries
  public internal(set) var version: UInt  // differs after every change
  public internal(set) var supply: UnsafeMutablePointer<EntrySupply>
  public var counters: AddressMapCounters

  /// An empty map. The supply must outlive it. The map has no deinit: `removeAll` gives its entries back.
  public init(minimum: UInt, maximum: UInt, supply: UnsafeMutablePointer<EntrySupply>) {
    precondition(minimum < maximum, "address map: minimum must lie below maximum")
    tree = RedBlackTree()
    first = nil
    last = nil
    hint = nil
    firstFree = nil
    self.minimum = minimum
    self.maximum = maximum
    count = 0
    size = 0
    version = 0
    self.supply = supply
    counters = AddressMapCounters()
  }

  // MARK: - Looking

  /// The entry that contains `address`, or the last one that ends at or before it. O(1) near the hint, else O(log n).
  public mutating func lookup(_ address: UInt) -> EntryLookup {
    counters.lookups &+= 1
    var at = hint
    if at == nil || at!.pointee.start <= address {
      // Beyond about thirty entries a few steps along the list no longer beat a descent.
      var stepsLeft = count <= 30 ? 4 : 0
      while true {
        guard let following = entry(after: at), following.pointee.start <= address else {
          if at == hint { counters.hintHits &+= 1 }
          hint = at
          return Self.answer(at, address)
        }
        if stepsLeft == 0 { break }
        stepsLeft -= 1
        counters.listSteps &+= 1
        at = following
      }
    }
    var steps: UInt = 0
    at = lastEntry(startingUpTo: address, steps: &steps)
    counters.treeSteps &+= steps
    hint = at
    return Self.answer(at, address)
  }

  /// The entry that contains `address`. Neither uses nor moves the hint, so it can be called under a shared lock. O(log n).
  public func entry(containing address: UInt) -> EntryPointer? {
    var steps: UInt = 0
    guard let entry = lastEntry(startingUpTo: address, steps: &steps), address < entry.pointee.end else { return nil }
    return entry
  }

  /// The next entry in order of address; after nil comes the first. O(1). To visit all entries, start with nil.
  @inlinable public func entry(after entry: EntryPointer?) -> EntryPointer? {
    if let entry { return entry.pointee.next }
    return first
  }

  /// The length of the longest free range. O(1).
  public var largestGap: UInt {
    let head = headGap
    guard let root = tree.root, root.pointee.subtreeGap > head else { return head }
    return root.pointee.subtreeGap
  }

  /// The free bytes before the first entry. O(1).
  public var headGap: UInt { (first?.pointee.start ?? maximum) - minimum }

  func lastEntry(startingUpTo address: UInt, steps: inout UInt) -> EntryPointer? {
    var best: EntryPointer?
    var at = tree.root
    while let node = at {
      steps &+= 1
      if node.pointee.start <= address {
        best = node
        at = node.pointee.right
      } else {
        at = node.pointee.left
      }
    }
    return best
  }

  private static func answer(_ entry: EntryPointer?, _ address: UInt) -> EntryLookup {
    guard let entry else { return EntryLookup(found: false, entry: nil) }
    return EntryLookup(found: address < entry.pointee.end, entry: entry)
  }

  // MARK: - Shared by the changes

  /// The end of [start, start + length) if that is a range inside the map.
  func checkedEnd(_ start: UInt, _ length: UInt) -> UInt? {
    let (end, wraps) = start.addingReportingOverflow(length)
    guard length > 0, !wraps, start >= minimum, end <= maximum else { return nil }
    return end
  }

  /// The first free address of the gap behind `entry`, and its end.
  func gapBounds(_ entry: EntryPointer?) -> (start: UInt, end: UInt) {
    guard let entry else { return (minimum, first?.pointee.start ?? maximum) }
    return (entry.pointee.end, entry.pointee.end &+ entry.pointee.gap)
  }

  /// Where the unbroken run from minimum ends.
  var runEnd: UInt { firstFree?.pointee.end ?? minimum }

  /// Sets the gap that `entry` owns and repairs the path above it. The head gap is not stored anywhere.
  mutating func setGap(_ entry: EntryPointer?, _ gap: UInt) {
    guard let entry else { return }
    entry.pointee.gap = gap
    counters.treeSteps &+= UInt(bitPattern: tree.climb(from: entry))
  }

  /// The run from minimum ends at the first entry with a gap; the tree finds it without walking the run. O(log n).
  mutating func findFirstFree() {
    guard headGap == 0 else {
      firstFree = nil
      return
    }
    firstFree = nextEntry(after: nil, withGap: 1) ?? last
  }

  /// Puts a new entry for [start, end) behind `before`. The range is free; count, size and version are the caller's.
  mutating func link(_ entry: EntryPointer, start: UInt, end: UInt, after before: EntryPointer?) {
    let following = self.entry(after: before)
    entry.pointee.start = start
    entry.pointee.end = end
    entry.pointee.gap = (following?.pointee.start ?? maximum) - end
    entry.pointee.previous = before
    entry.pointee.next = following
    // First the old neighbour's gap with the path above it, then the new node: each climb meets a tree that is right.
    setGap(before, start - (before?.pointee.end ?? start))
    if let before { before.pointee.next = entry } else { first = entry }
    if let following { following.pointee.previous = entry } else { last = entry }
    // Of two neighbours in order one is above the other, so exactly one of them has its side towards the other empty.
    let steps: Int
    if let before, before.pointee.right == nil {
      steps = tree.insert(entry, below: before, on: .right)
    } else {
      steps = tree.insert(entry, below: following, on: .left)
    }
    counters.treeSteps &+= UInt(bitPattern: steps)
    count += 1
  }

  /// Takes an entry out and gives it back. Whose gap grows by it is the caller's affair; hints to it move to the previous.
  mutating func unlink(_ entry: EntryPointer) {
    let before = entry.pointee.previous
    let following = entry.pointee.next
    if hint == entry { hint = before }
    if firstFree == entry { firstFree = before }
    counters.treeSteps &+= UInt(bitPattern: tree.remove(entry))
    if let before { before.pointee.next = following } else { first = following }
    if let following { following.pointee.previous = before } else { last = before }
    count -= 1
    supply.pointee.put(entry)
  }

  /// Makes `entry` cover the next one too, which it touches.
  mutating func absorbNext(of entry: EntryPointer) {
    let victim = entry.pointee.next!
    entry.pointee.end = victim.pointee.end
    setGap(entry, victim.pointee.gap)
    unlink(victim)
  }
}
