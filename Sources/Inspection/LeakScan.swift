// SPDX-License-Identifier: BSD-2-Clause
//
// From memory to a graph: each range that is a root, and each item, is read once, in order of addresses, and of its words those kept
// that lead to an item. So a process need stand still no longer than a copy of its memory takes, and what is kept of it is four bytes
// for each such word.
//
// A word is looked at where it is aligned. What a program keeps as an address with some bits changed is found if these are the
// uppermost seventeen (of which no address makes use; a tag may) or the lowest, with which it still leads into the item.

final class LeakScan {
  private let target: any TargetMemory
  private let index: ItemIndex
  private let pages: PresentPages?
  private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: LeakScan.piece, alignment: 4096)
  private var first: [Int] = []
  private var edges: [ItemGraph.Edge] = []
  private var roots: [ItemGraph.Edge] = []
  /// Of ranges that were given, bytes that were read, and that could not be.
  private(set) var rootBytes = 0
  private(set) var unreadRootBytes = 0
  private(set) var unreadItemBytes = 0

  private static let piece = 1 << 20
  private static let page = 4096

  init(_ target: any TargetMemory, _ index: ItemIndex) {
    self.target = target
    self.index = index
    pages = PresentPages(target)
  }

  deinit { buffer.deallocate() }

  /// What has been found so far. Empties the scan.
  func takeGraph() -> ItemGraph {
    defer { (first, edges, roots) = ([], [], []) }
    return ItemGraph(first: first, edges: edges, roots: roots)
  }

  // MARK: - Roots

  /// Registers often have an address that is not an item's first: each is taken for one.
  func addRoots(_ words: [UInt]) {
    for word in words {
      let item = index.find(word)
      if item >= 0 { roots.append(ItemGraph.Edge(item)) }
    }
  }

  /// A range of the target, of which pages that it has never touched need not be read.
  func addRoots(_ start: UInt, _ end: UInt, isPrivate: Bool) throws(InspectionError) {
    for (start, end) in written(start, end, isPrivate) {
      try read(start, end, unread: &unreadRootBytes) { bytes, address in
        rootBytes += bytes.count
        collect(bytes, at: address, of: -1, into: &roots)
      }
    }
  }

  private func written(_ start: UInt, _ end: UInt, _ isPrivate: Bool) -> [(start: UInt, end: UInt)] {
    // Of shared memory a read would make the pages that are not there, in the target's name.
    guard !isPrivate || end - start > UInt(Self.piece), let pages else { return [(start, end)] }
    return pages.ranges(start, end)
  }

  // MARK: - Items

  /// The words of all items.
  func addItems() throws(InspectionError) {
    let items = index.items
    first.reserveCapacity(items.count + 1)
    var position = 0
    while position < items.count {
      if items[position].bytes > UInt(Self.piece) {
        try addLarge(position)
        position += 1
        continue
      }
      // Items near each other, such as those of a slab, by one read.
      var last = position
      while last + 1 < items.count, items[last + 1].start - items[last].end <= UInt(Self.page), items[last + 1].end - items[position].start <= UInt(Self.piece) {
        last += 1
      }
      try addNeighbours(position...last)
      position = last + 1
    }
    first.append(edges.count)
  }

  private func addLarge(_ item: Int) throws(InspectionError) {
    first.append(edges.count)
    for (start, end) in written(index.items[item].start, index.items[item].end, true) {
      try read(start, end, unread: &unreadItemBytes) { bytes, address in collect(bytes, at: address, of: item, into: &edges) }
    }
  }

  private func addNeighbours(_ range: ClosedRange<Int>) throws(InspectionError) {
    let start = index.items[range.lowerBound].start, end = index.items[range.upperBound].end
    let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<Int(end - start)])
    if try target.fill(bytes, at: start) {
      for item in range {
        first.append(edges.count)
        let place = Int(index.items[item].start - start)
        collect(UnsafeRawBufferPointer(rebasing: bytes[place..<(place + Int(index.items[item].bytes))]), at: index.items[item].start, of: item, into: &edges)
      }
      return
    }
    for item in range {
      first.append(edges.count)
      try read(index.items[item].start, index.items[item].end, unread: &unreadItemBytes) { bytes, address in
        collect(bytes, at: address, of: item, into: &edges)
      }
    }
  }

  // MARK: - Words

  /// Calls `body` with [start, end) in pieces; where a piece cannot be read, with those of its pages that can.
  private func read(
    _ start: UInt, _ end: UInt, unread: inout Int, _ body: (UnsafeRawBufferPointer, UInt) -> Void
  ) throws(InspectionError) {
    var position = start
    while position < end {
      let count = Int(min(end - position, UInt(Self.piece)))
      let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
      if try target.fill(bytes, at: position) {
        body(UnsafeRawBufferPointer(bytes), position)
      } else {
        var requests: [ReadRequest] = []
        var from = position
        while from < position + UInt(count) {
          let to = min(position + UInt(count), (from / UInt(Self.page) + 1) * UInt(Self.page))
          requests.append(ReadRequest(address: from, destination: UnsafeMutableRawBufferPointer(rebasing: bytes[Int(from - position)..<Int(to - position)])))
          from = to
        }
        for (request, isFilled) in zip(requests, try target.read(batch: requests)) {
          if isFilled { body(UnsafeRawBufferPointer(request.destination), request.address) } else { unread += request.destination.count }
        }
      }
      position += UInt(count)
    }
  }

  /// `item`: whose the words are; what leads to itself is left out.
  private func collect(_ bytes: UnsafeRawBufferPointer, at address: UInt, of item: Int, into edges: inout [ItemGraph.Edge]) {
    let skipped = Int((8 - address & 7) & 7)
    guard bytes.count >= skipped + 8, let base = bytes.baseAddress else { return }
    let words = (bytes.count - skipped) / 8, start = base + skipped
    let (low, span, mask) = (index.low, index.span, ItemIndex.mask)
    var last = ItemGraph.Edge.max
    for place in 0..<words {
      let word = start.loadUnaligned(fromByteOffset: place * 8, as: UInt.self)
      guard word & mask &- low < span else { continue }
      let found = index.find(word)
      guard found >= 0, found != item else { continue }
      let edge = ItemGraph.Edge(found) | (index.offset(of: word, in: found) >= ItemGraph.innerFrom ? ItemGraph.inner : 0)
      if edge != last { edges.append(edge) }
      last = edge
    }
  }
}

extension TargetMemory {
  /// As `read`; false if some of it is not there.
  fileprivate func fill(_ buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) -> Bool {
    do throws(InspectionError) {
      try read(into: buffer, at: address)
      return true
    } catch {
      if case .noSuchProcess = error { throw error }
      if case .permissionDenied = error { throw error }
      return false
    }
  }
}
