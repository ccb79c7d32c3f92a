// SPDX-License-Identifier: BSD-2-Clause
//
// What the tests of this target share: a map with a supply whose page provider can count, fail and be watched; a model
// of the map that is too plain to be wrong (an array of cells).

@testable import AddressMap

let page: UInt = 4096

/// What the page provider sees: the context pointer of the supply.
final class Provider {
  var calls = 0
  var failing = false
  var failAtCall = -1
  var depth = 0
  var pagesOut = 0
  var onCall: (() -> Void)?
}

private func provide(_ context: UnsafeMutableRawPointer?, _ bytes: Int) -> UnsafeMutableRawPointer? {
  let provider = Unmanaged<Provider>.fromOpaque(context!).takeUnretainedValue()
  provider.depth += 1
  defer { provider.depth -= 1 }
  provider.calls += 1
  provider.onCall?()
  if provider.failing || provider.calls == provider.failAtCall { return nil }
  provider.pagesOut += 1
  let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
  memory.initializeMemory(as: UInt8.self, repeating: 0xA5, count: bytes)
  return memory
}

private func takeBack(_ context: UnsafeMutableRawPointer?, _ memory: UnsafeMutableRawPointer, _ bytes: Int) {
  Unmanaged<Provider>.fromOpaque(context!).takeUnretainedValue().pagesOut -= 1
  memory.deallocate()
}

/// A map in place, with all that it needs. `oneByOne` makes every page hold a single entry, so that each new entry is a
/// call of the provider.
final class Rig {
  let provider = Provider()
  let supply: UnsafeMutablePointer<EntrySupply>
  let map: UnsafeMutablePointer<AddressMap>
  private let block: UnsafeMutableRawPointer?

  init(_ minimum: UInt, _ maximum: UInt, bootstrapEntries: Int = 0, oneByOne: Bool = false) {
    let bytes = bootstrapEntries * MemoryLayout<MapEntry>.stride
    block = bytes > 0 ? .allocate(byteCount: bytes, alignment: 64) : nil
    supply = .allocate(capacity: 1)
    supply.initialize(
      to: EntrySupply(
        bootstrap: block, bytes: bytes, provider: provide, context: Unmanaged.passUnretained(provider).toOpaque(),
        pageBytes: oneByOne ? EntrySupply.headerBytes + MemoryLayout<MapEntry>.stride : 4096))
    map = .allocate(capacity: 1)
    map.initialize(to: AddressMap(minimum: minimum, maximum: maximum, supply: supply))
  }

  deinit {
    map.pointee.removeAll()
    supply.pointee.releasePages(to: takeBack)
    precondition(provider.pagesOut == 0)
    map.deinitialize(count: 1)
    map.deallocate()
    supply.deallocate()
    block?.deallocate()
  }

  var violation: String? { (map.pointee.invariantViolation() ?? supply.pointee.invariantViolation())?.description }

  var entries: [EntryImage] {
    var entries: [EntryImage] = []
    var at = map.pointee.first
    while let entry = at {
      entries.append(EntryImage(start: entry.pointee.start, end: entry.pointee.end, attributes: entry.pointee.attributes))
      at = entry.pointee.next
    }
    return entries
  }

  /// All that a failed call must leave alone.
  var state: MapImage {
    MapImage(
      entries: entries, count: map.pointee.count, size: map.pointee.size, version: map.pointee.version,
      firstFree: map.pointee.firstFree, inUse: supply.pointee.inUse)
  }

  /// Inserts pages [from, to) of a map that counts in pages; true if done.
  @discardableResult
  func insert(_ from: UInt, _ to: UInt, _ attributes: EntryAttributes = EntryAttributes()) -> Bool {
    map.pointee.insert(start: from * page, length: (to - from) * page, attributes).value != nil
  }

  @discardableResult
  func remove(_ from: UInt, _ to: UInt) -> UInt? {
    map.pointee.remove(start: from * page, length: (to - from) * page).value
  }

  // The map's own calls, one by one: a macro such as #expect cannot call a mutating method of a noncopyable value.

  func insert(start: UInt, length: UInt, _ attributes: EntryAttributes) -> MapOutcome<EntryPointer> {
    map.pointee.insert(start: start, length: length, attributes)
  }
  func remove(start: UInt, length: UInt) -> MapOutcome<UInt> { map.pointee.remove(start: start, length: length) }
  func allocate(_ request: SpaceRequest, _ attributes: EntryAttributes) -> MapOutcome<UInt> {
    map.pointee.allocate(request, attributes)
  }
  func lookup(_ address: UInt) -> EntryLookup { map.pointee.lookup(address) }
  func entry(containing address: UInt) -> EntryPointer? { map.pointee.entry(containing: address) }
  func findSpace(_ request: SpaceRequest) -> FoundSpace? { map.pointee.findSpace(request) }
  func grow(_ entry: EntryPointer, by length: UInt) -> Bool { map.pointee.grow(entry, by: length) }
  func shrink(_ entry: EntryPointer, by length: UInt) -> Bool { map.pointee.shrink(entry, by: length) }
  func clip(_ entry: EntryPointer, at address: UInt) -> EntryPointer? { map.pointee.clip(entry, at: address) }
  func reserveEntries(_ count: Int) -> Bool { map.pointee.reserveEntries(count) }
  @discardableResult
  func change(_ entry: EntryPointer, to attributes: EntryAttributes) -> EntryPointer {
    map.pointee.change(entry, to: attributes)
  }

  func find(_ request: SpaceRequest) -> UInt? { map.pointee.findSpace(request)?.address }
}

struct EntryImage: Equatable {
  var start: UInt
  var end: UInt
  var attributes: EntryAttributes
}

struct MapImage: Equatable {
  var entries: [EntryImage]
  var count: Int
  var size: UInt
  var version: UInt
  var firstFree: EntryPointer?
  var inUse: Int
}

/// The map as an array with one cell per page: who is there, and whether an entry begins here.
struct Model {
  var cells: [EntryAttributes?]
  var begins: [Bool]

  init(cells count: Int) {
    cells = Array(repeating: nil, count: count)
    begins = Array(repeating: false, count: count + 1)
  }

  func isFree(_ range: Range<Int>) -> Bool { cells[range].allSatisfy { $0 == nil } }

  private func joins(_ lower: Int, _ upper: Int) -> Bool {
    guard lower >= 0, upper < cells.count, let a = cells[lower], let b = cells[upper] else { return false }
    return !a.noMerge && !b.noMerge && a.kind == b.kind && a.wordA == b.wordA && a.wordB == b.wordB
  }

  private mutating func mergeEdges(_ range: Range<Int>) {
    if joins(range.lowerBound - 1, range.lowerBound) { begins[range.lowerBound] = false }
    if joins(range.upperBound - 1, range.upperBound) { begins[range.upperBound] = false }
  }

  mutating func insert(_ range: Range<Int>, _ attributes: EntryAttributes) {
    for cell in range { cells[cell] = attributes }
    begins[range.lowerBound] = true
    mergeEdges(range)
  }

  mutating func remove(_ range: Range<Int>) -> Int {
    var removed = 0
    for cell in range where cells[cell] != nil {
      cells[cell] = nil
      removed += 1
    }
    for cell in range { begins[cell] = false }
    if range.upperBound < cells.count, cells[range.upperBound] != nil { begins[range.upperBound] = true }
    return removed
  }

  mutating func change(_ range: Range<Int>, _ attributes: EntryAttributes) {
    for cell in range { cells[cell] = attributes }
    mergeEdges(range)
  }

  mutating func grow(_ range: Range<Int>, by length: Int) {
    let attributes = cells[range.lowerBound]
    for cell in range.upperBound..<range.upperBound + length { cells[cell] = attributes }
    let end = range.upperBound + length
    if joins(end - 1, end) { begins[end] = false }
  }

  /// The ranges of the entries.
  var ranges: [Range<Int>] {
    var ranges: [Range<Int>] = []
    var at = 0
    while at < cells.count {
      guard cells[at] != nil else {
        at += 1
        continue
      }
      var end = at + 1
      while end < cells.count, cells[end] != nil, !begins[end] { end += 1 }
      ranges.append(at..<end)
      at = end
    }
    return ranges
  }

  func images(base: UInt) -> [EntryImage] {
    ranges.map {
      EntryImage(
        start: base + UInt($0.lowerBound) * page, end: base + UInt($0.upperBound) * page, attributes: cells[$0.lowerBound]!)
    }
  }

  /// The answer to a request, by trying every address in turn. `base` is the address of cell 0.
  func find(_ request: SpaceRequest, base: UInt) -> UInt? {
    let length = Int(request.length / page)
    guard length > 0, length <= cells.count else { return nil }
    func suits(_ cell: Int) -> Bool {
      let address = base + UInt(cell) * page
      let wish = request.direction == .bottomUp ? address >= request.address : address <= request.address
      return wish && address % request.alignment == 0 && address % request.colourSize == request.colour % request.colourSize
        && isFree(cell..<cell + length)
    }
    let candidates = 0...cells.count - length
    let cell = request.direction == .bottomUp ? candidates.first(where: suits) : candidates.last(where: suits)
    return cell.map { base + UInt($0) * page }
  }
}
