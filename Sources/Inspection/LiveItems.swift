// SPDX-License-Identifier: BSD-2-Clause
//
// The walk over all live items: what is neither free in a slab's bitmap nor in a CPU's cell or a zone's depot, and all large blocks.
// For those who want the items themselves, where a snapshot has their numbers: RedZoneCheck, and whatever asks what leads to what.
//
// It is a picture of one moment only if the target stands still: a core, or a process that is held (ProcessHold). Even then a thread
// may have been stopped with items in hand, a bucketful at most, that it was about to free or to give out: they count as live.

import CPlatform
import Heap
import Pages
import Primitives
import Zones

/// Live items of one slab; or one large block.
public struct ItemRun: Sendable {
  /// The zone's name, unique among zones of one name; "large" for a large block.
  public var zone: String
  /// The number of the malloc type that they count for; 0 for none.
  public var type: UInt32
  /// Whether malloc gave them, with a type or without.
  public var isMalloc: Bool
  public var isLarge: Bool
  /// Bytes of each.
  public var bytes: Int
  /// In order.
  public var addresses: [UInt]
}

extension SnapshotReader {
  /// Calls `body` with the live items of each slab and with each large block, in no order. Costs a read of each slab's header and
  /// bitmap, of the caches, and of the arena's map: some 20 ns an item. Zones that only Stave itself uses are left out.
  public func walkItems(_ body: (ItemRun) throws(InspectionError) -> Void) throws(InspectionError) {
    let copies = Copies(target)
    defer { copies.discard() }
    let root = try readRoot(copies)
    let places = try findZones(root, try readRegions(root), copies)
    var slabs = try readSlabs(root)
    var kegs: [UInt: UnsafePointer<Keg>] = [:]
    var idle: [UInt: [UInt]] = [:]
    for place in places {
      let keg: UnsafePointer<Keg>
      if let known = kegs[place.identity.keg] { keg = known } else { keg = try copies.structure(Keg.self, at: place.identity.keg) }
      kegs[place.identity.keg] = keg
      let items = try cachedItems(of: place, keg, copies)
      for one in try copies.structure(Zone.self, at: place.zone).pointee.kegPlaces { idle[one, default: []] += items }
    }
    for place in places {
      let zone = try copies.structure(Zone.self, at: place.zone)
      guard let keg = kegs[place.identity.keg], !zone.pointee.flags.contains(.internal), zone.pointee.ownsKeg,
        let headers = slabs.removeValue(forKey: keg.pointee.index)
      else { continue }
      let name = withUnsafeBytes(of: zone.pointee.name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }.printable
      let run = ItemRun(
        zone: zone.pointee.instance > 0 ? "\(name)_\(zone.pointee.instance)" : name, type: zone.pointee.type,
        isMalloc: keg.pointee.flags.contains(.malloc), isLarge: false, bytes: keg.pointee.layout.size, addresses: [])
      try walk(headers, of: keg, idle: (idle[place.identity.keg] ?? []).sorted(), run, body)
    }
    for entry in try mapEntries(root) where entry.kind == RangeKind.large && entry.words.0 > 0 && entry.words.0 <= entry.end &- entry.start {
      try body(
        ItemRun(zone: "large", type: UInt32(entry.owner), isMalloc: true, isLarge: true, bytes: Int(clamping: entry.words.0), addresses: [entry.start]))
    }
  }

  // MARK: - Slabs

  private func walk(
    _ headers: [UInt], of keg: UnsafePointer<Keg>, idle: [UInt], _ empty: ItemRun, _ body: (ItemRun) throws(InspectionError) -> Void
  ) throws(InspectionError) {
    let layout = keg.pointee.layout
    guard layout.isPossible else { throw .damaged("a keg whose slabs have no possible layout") }
    let prefix = layout.isOffPage ? MemoryLayout<OffPagePrefix>.size : 0
    let words = (layout.items + 63) / 64
    let bytes = prefix + MemoryLayout<Slab>.size + 8 * words
    var position = 0
    while position < headers.count {
      let some = headers[position..<min(headers.count, position + 512)]
      position += some.count
      let space = UnsafeMutableRawBufferPointer.allocate(byteCount: some.count * bytes, alignment: 16)
      defer { space.deallocate() }
      let requests = some.enumerated().map { index, header in
        ReadRequest(address: header &- UInt(prefix), destination: UnsafeMutableRawBufferPointer(rebasing: space[(index * bytes)..<((index + 1) * bytes)]))
      }
      for ((index, header), isFilled) in zip(some.enumerated(), try target.read(batch: requests)) where isFilled {
        let copy = UnsafeRawPointer(space.baseAddress!) + index * bytes
        let slab = (copy + prefix).load(as: SlabHeaderCopy.self)
        guard slab.kegIndex == keg.pointee.index else { continue }
        let colour = UInt(slab.colour) &* UInt(truncatingIfNeeded: keg.pointee.alignMask &+ 1)
        let base = (layout.isOffPage ? copy.load(as: UInt.self) : header &- UInt(layout.headerOffset)) &+ colour
        var run = empty
        run.addresses = liveItems(of: layout, base: base, bitmap: copy + prefix + MemoryLayout<Slab>.size, idle: idle)
        if !run.addresses.isEmpty { try body(run) }
      }
    }
  }

  private func liveItems(of layout: SlabLayout, base: UInt, bitmap: UnsafeRawPointer, idle: [UInt]) -> [UInt] {
    let first = base &+ UInt(layout.firstItem)
    // The first idle item of this slab and those behind it.
    var low = 0, high = idle.count
    while low < high {
      let middle = (low + high) / 2
      if idle[middle] < first { low = middle + 1 } else { high = middle }
    }
    var live: [UInt] = []
    live.reserveCapacity(layout.items)
    for index in 0..<layout.items {
      let item = first &+ UInt(index * layout.itemBytes)
      if bitmap.load(fromByteOffset: (index >> 6) * 8, as: UInt64.self) >> UInt64(index & 63) & 1 == 1 { continue }
      while low < idle.count && idle[low] < item { low += 1 }
      if low == idle.count || idle[low] != item { live.append(item) }
    }
    return live
  }

  // MARK: - Caches

  /// Items in the zone's cells and in its depot.
  func cachedItems(of place: Place, _ keg: UnsafePointer<Keg>, _ copies: Copies) throws(InspectionError) -> [UInt] {
    var items: [UInt] = []
    for case let cell? in try target.read(CellCopy.self, at: place.cells) {
      items += try target.readArray(UInt.self, at: cell.slots, count: Int(cell.word & 0xffff), limit: 1 << 16)
    }
    let zone = try copies.structure(Zone.self, at: place.zone)
    let limit = max(0, min(1 << 32, zone.pointee.depotItems)) + 1 << 16
    var taken = 0, steps = 0
    var starts = [UInt(bitPattern: zone.pointee.full)]
    if let deferral = zone.pointee.deferral {
      // What waits for readers.
      let waiting = try copies.structure(Deferral.self, at: UInt(bitPattern: deferral))
      starts += [UInt(bitPattern: waiting.pointee.first), UInt(bitPattern: waiting.pointee.filling)]
    }
    for start in starts {
      var next = start
      while next != 0 {
        let bucket = try target.read(BucketCopy.self, at: next)
        items += try target.readArray(UInt.self, at: next &+ UInt(MemoryLayout<Bucket>.size), count: Int(bucket.count), limit: 1 << 16)
        taken += Int(bucket.count)
        steps += 1
        guard taken <= limit, steps <= limit else { throw .damaged("a depot without end") }
        next = bucket.next
      }
    }
    return items
  }

  /// As they lie in the target.
  private struct CellCopy: BitwiseCopyable {
    var word: UInt64
    var moved: Int64
    var capacity: UInt32
    var reciprocal: UInt32
    var slots: UInt
  }

  private struct BucketCopy: BitwiseCopyable {
    var next: UInt
    var count: UInt16
    var capacity: UInt16
    var reserved: UInt32
  }
}
