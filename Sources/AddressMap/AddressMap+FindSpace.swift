// SPDX-License-Identifier: BSD-2-Clause
//
// Finding free addresses: bottom-up (the lowest address at or above the wish), top-down (the highest at or below it), or
// exactly there. Alignment and colour are one condition, address = residue (mod a power of two), so a candidate is
// adjusted in one step and in the direction of search. What comes out is judged against both ends of its gap: that it
// touches the entry on one side says nothing about the other once it has been rounded.

import Primitives

@frozen public enum SearchDirection: UInt8, Sendable {
  case bottomUp, topDown
}

/// What kind of place is wanted.
@frozen public struct SpaceRequest: Sendable {
  public var length: UInt
  /// The wish. Bottom-up: no result lies below it. Top-down: none above it. Without one: the whole map.
  public var address: UInt
  public var direction: SearchDirection
  /// Exactly `address`, or nothing. Goes with neither alignment nor colour.
  public var fixed: Bool = false
  /// A power of two; 1 for none.
  public var alignment: UInt = 1
  /// With a colour size (a power of two; 1 for none) the result is equal to `colour` modulo that size.
  public var colourSize: UInt = 1
  public var colour: UInt = 0
  /// How many gaps that were long enough may be spoilt by alignment before the search gives up finding the nearest
  /// address and takes a gap in which alignment cannot fail, if there is one in its direction.
  public var patience: Int = .max

  public init(length: UInt, direction: SearchDirection = .bottomUp) {
    self.length = length
    self.direction = direction
    address = direction == .bottomUp ? 0 : .max
  }

  public init(length: UInt, direction: SearchDirection = .bottomUp, from address: UInt) {
    self.length = length
    self.direction = direction
    self.address = address
  }

  public init(length: UInt, at address: UInt) {
    self.length = length
    self.address = address
    direction = .bottomUp
    fixed = true
  }
}

/// Free addresses from `address` on, in the gap behind `previous` (nil: in the head gap).
@frozen public struct FoundSpace {
  public var address: UInt
  public var previous: EntryPointer?
}

/// The addresses that alignment and colour allow: residue, residue + step, ... where step = mask + 1.
struct AddressGrid {
  var mask: UInt
  var residue: UInt

  /// Nil if alignment and colour contradict each other. Of two powers of two the larger decides; the smaller must agree.
  init?(_ request: SpaceRequest) {
    let alignment = max(request.alignment, 1)
    let colourSize = max(request.colourSize, 1)
    precondition(alignment & (alignment - 1) == 0, "address map: an alignment must be a power of two")
    precondition(colourSize & (colourSize - 1) == 0, "address map: a colour size must be a power of two")
    let colour = request.colour & (colourSize - 1)
    guard colour & (alignment - 1) == 0 else { return nil }
    mask = max(alignment, colourSize) - 1
    residue = colour
  }

  /// The lowest place for `length` bytes within [low, high).
  func lowest(_ length: UInt, from low: UInt, to high: UInt) -> UInt? {
    guard low <= high, high - low >= length else { return nil }
    let (address, wraps) = low.addingReportingOverflow((residue &- low) & mask)
    guard !wraps, address <= high - length else { return nil }
    return address
  }

  /// The highest place for `length` bytes within [low, high) that begins at or below `ceiling`.
  func highest(_ length: UInt, from low: UInt, to high: UInt, ceiling: UInt) -> UInt? {
    guard high - low >= length else { return nil }
    let top = min(ceiling, high - length)
    let surplus = (top &- residue) & mask
    guard top >= low, surplus <= top - low else { return nil }
    return top - surplus
  }
}

extension AddressMap {
  /// Finds free space; changes nothing but hint and counters. Nil: there is none, or the request contradicts itself.
  /// O(log n) unless alignment spoils gaps (see the essay in AddressMap.swift). Traps on an alignment or colour size
  /// that is not a power of two, and on a fixed request with either.
  public mutating func findSpace(_ request: SpaceRequest) -> FoundSpace? {
    precondition(
      !request.fixed || (request.alignment <= 1 && request.colourSize <= 1),
      "address map: a fixed address goes with neither alignment nor colour")
    if request.fixed { return findFixed(request) }
    guard let grid = AddressGrid(request), request.length > 0, request.length <= largestGap else { return nil }
    return request.direction == .bottomUp ? findUpwards(request, grid) : findDownwards(request, grid)
  }

  private mutating func findFixed(_ request: SpaceRequest) -> FoundSpace? {
    guard let end = checkedEnd(request.address, request.length) else { return nil }
    let place = lookup(request.address)
    guard !place.found, end <= gapBounds(place.entry).end else { return nil }
    return FoundSpace(address: request.address, previous: place.entry)
  }

  // MARK: - Bottom-up

  private mutating func findUpwards(_ request: SpaceRequest, _ grid: AddressGrid) -> FoundSpace? {
    let floor = max(request.address, minimum)
    guard floor <= maximum - request.length else { return nil }
    // Everything below the frontier is taken, so a search from the bottom starts there, without a lookup.
    let before = floor <= runEnd ? firstFree : lookup(floor).entry
    if let space = fitUpwards(behind: before, floor, request, grid) { return space }
    guard var at = entry(after: before) else { return nil }
    counters.listSteps &+= 1
    if let space = fitUpwards(behind: at, floor, request, grid) { return space }

    var patience = request.patience
    while let node = nextEntry(after: at, withGap: request.length) {
      if let space = fitUpwards(behind: node, floor, request, grid) { return space }
      at = node
      patience -= 1
      if patience == 0, let sure = sureLength(request, grid), let roomy = nextEntry(after: at, withGap: sure) {
        return fitUpwards(behind: roomy, floor, request, grid)
      }
    }
    return nil
  }

  private mutating func fitUpwards(
    behind entry: EntryPointer?, _ floor: UInt, _ request: SpaceRequest, _ grid: AddressGrid
  ) -> FoundSpace? {
    counters.spaceTries &+= 1
    let gap = gapBounds(entry)
    guard let address = grid.lowest(request.length, from: max(gap.start, floor), to: gap.end) else { return nil }
    return FoundSpace(address: address, previous: entry)
  }

  /// The nearest entry after `entry` whose own gap is at least `gap`; nil as argument: the first such entry. O(log n).
  mutating func nextEntry(after entry: EntryPointer?, withGap gap: UInt) -> EntryPointer? {
    guard var node = entry else { return firstEntry(below: tree.root, withGap: gap) }
    if let found = firstEntry(below: node.pointee.right, withGap: gap) { return found }
    while let above = node.pointee.parent {
      counters.treeSteps &+= 1
      if above.pointee.left == node {
        if above.pointee.gap >= gap { return above }
        if let found = firstEntry(below: above.pointee.right, withGap: gap) { return found }
      }
      node = above
    }
    return nil
  }

  private mutating func firstEntry(below top: EntryPointer?, withGap gap: UInt) -> EntryPointer? {
    guard var node = top, node.pointee.subtreeGap >= gap else { return nil }
    while true {
      counters.treeSteps &+= 1
      if let left = node.pointee.left, left.pointee.subtreeGap >= gap {
        node = left
      } else if node.pointee.gap >= gap {
        return node
      } else if let right = node.pointee.right {
        node = right
      } else {
        return nil  // not reached while the summaries are right
      }
    }
  }

  // MARK: - Top-down

  private mutating func findDownwards(_ request: SpaceRequest, _ grid: AddressGrid) -> FoundSpace? {
    guard request.address >= minimum else { return nil }
    let ceiling = min(request.address, maximum - request.length)
    let place = lookup(ceiling)
    // A wish inside an entry is the same as a wish for the last address before it.
    if !place.found, let space = fitDownwards(behind: place.entry, ceiling, request, grid) { return space }
    guard var at = place.entry else { return nil }
    counters.listSteps &+= 1
    if let space = fitDownwards(behind: at.pointee.previous, ceiling, request, grid) { return space }
    guard let below = at.pointee.previous else { return nil }
    at = below

    var patience = request.patience
    while let node = previousEntry(before: at, withGap: request.length) {
      if let space = fitDownwards(behind: node, ceiling, request, grid) { return space }
      at = node
      patience -= 1
      if patience == 0, let sure = sureLength(request, grid), let roomy = previousEntry(before: at, withGap: sure) {
        return fitDownwards(behind: roomy, ceiling, request, grid)
      }
    }
    return fitDownwards(behind: nil, ceiling, request, grid)
  }

  private mutating func fitDownwards(
    behind entry: EntryPointer?, _ ceiling: UInt, _ request: SpaceRequest, _ grid: AddressGrid
  ) -> FoundSpace? {
    counters.spaceTries &+= 1
    let gap = gapBounds(entry)
    guard let address = grid.highest(request.length, from: gap.start, to: gap.end, ceiling: ceiling) else { return nil }
    return FoundSpace(address: address, previous: entry)
  }

  /// The nearest entry before `entry` whose own gap is at least `gap`. O(log n).
  private mutating func previousEntry(before entry: EntryPointer, withGap gap: UInt) -> EntryPointer? {
    var node = entry
    if let found = lastEntry(below: node.pointee.left, withGap: gap) { return found }
    while let above = node.pointee.parent {
      counters.treeSteps &+= 1
      if above.pointee.right == node {
        if above.pointee.gap >= gap { return above }
        if let found = lastEntry(below: above.pointee.left, withGap: gap) { return found }
      }
      node = above
    }
    return nil
  }

  private mutating func lastEntry(below top: EntryPointer?, withGap gap: UInt) -> EntryPointer? {
    guard var node = top, node.pointee.subtreeGap >= gap else { return nil }
    while true {
      counters.treeSteps &+= 1
      if let right = node.pointee.right, right.pointee.subtreeGap >= gap {
        node = right
      } else if node.pointee.gap >= gap {
        return node
      } else if let left = node.pointee.left {
        node = left
      } else {
        return nil  // not reached while the summaries are right
      }
    }
  }

  /// A gap of this length has room wherever it lies: the grid wastes at most `mask` bytes. Nil: no such length.
  private func sureLength(_ request: SpaceRequest, _ grid: AddressGrid) -> UInt? {
    let (sum, wraps) = request.length.addingReportingOverflow(grid.mask)
    return wraps ? nil : sum
  }
}
