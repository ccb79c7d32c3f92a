// SPDX-License-Identifier: BSD-2-Clause
//
// The zones of a process that may be working: counts, slabs, counts again. What the slabs say belongs to some moment between
// the two, so it is judged against all that the counts allow meanwhile; a zone whose counts have changed is read again, and
// the reading with the fewest changes kept. At rest, and in a core, both counts are the same.
//
// Zones come and go meanwhile, with their types. One that is going says so before it gives its cell away, and its place may be
// another's soon: what is read of a zone is believed only if it was the same and not going, after all else was read. A place
// leads on to older zones whatever has become of it, so that no zone is missed that was there all the time.

import Accounting
import CPlatform
import Heap
import Pages
import Zones

extension SnapshotReader {
  /// Readings of a zone that changes, and how long a look may take for another one to begin.
  private static var mostReadings: Int { 3 }
  private static var patience: UInt64 { 50_000_000 }

  typealias Place = (zone: UInt, identity: ZoneIdentity, cells: [UInt], cpus: [Int])

  func readZones(_ root: RootCopy, _ copies: Copies) throws(InspectionError) -> [ZoneSnapshot] {
    // A CPU that gets its caches meanwhile has counts that were not looked at; it keeps them, so few tries do.
    for _ in 0..<3 {
      let regions = try readRegions(root)
      let zones = try readZones(root, regions, copies)
      if try readRegions(root) == regions { return zones }
    }
    return try readZones(root, try readRegions(root), copies)
  }

  func readRegions(_ root: RootCopy) throws(InspectionError) -> [UInt] {
    let header = root.part(RootHeader.self, 0)
    return try target.readArray(
      UInt.self, at: header.pointee.regions, count: Int(header.pointee.cpuCount), limit: Int(STAVE_MAX_CPUS))
  }

  private func readZones(_ root: RootCopy, _ regions: [UInt], _ copies: Copies) throws(InspectionError) -> [ZoneSnapshot] {
    let places = try findZones(root, regions, copies)
    var result = [ZoneSnapshot?](repeating: nil, count: places.count)
    let threads = threadCount()
    let start = clock_gettime_nsec()
    var root = root
    for reading in 1...Self.mostReadings {
      var pending: [(index: Int, made: KegCounts)] = []
      for index in places.indices where result[index]?.isChanging ?? true {
        pending.append((index, try readKegCounts(places[index])))
      }
      if pending.isEmpty || reading > 1 && clock_gettime_nsec() - start > Self.patience { break }
      if reading > 1 { root = try readRoot(copies) }
      var slabs = try readSlabs(root)
      for (index, made) in pending {
        guard var zone = try readZone(places[index], &slabs, since: made, root) else {
          result[index] = nil
          continue
        }
        zone.mostInTransit = threads.multipliedReportingOverflow(by: max(1, zone.bucketSize)).partialValue
        if zone.changing <= result[index]?.changing ?? .max { result[index] = zone }
      }
    }
    return result.compactMap { $0 }
  }

  /// Oldest first.
  func findZones(_ root: RootCopy, _ regions: [UInt], _ copies: Copies) throws(InspectionError) -> [Place] {
    let state = root.part(ZonesState.self, RootLayout.zonesOffset)
    let cells = state.pointee.nextCell
    guard 0...Int(STAVE_MAX_CELLS) ~= cells else { throw .damaged("\(cells) cells, where at most \(STAVE_MAX_CELLS) make sense") }
    let cpus = regions.indices.filter { regions[$0] != 0 }
    if let core = target as? CoreFile, cpus.count * cells * MemoryLayout<stave_cell>.stride > Int(clamping: core.file.size) {
      throw .damaged("more cells than the core has bytes for")
    }
    var places: [Place] = []
    var seen: Set<UInt> = []
    var next = UInt(bitPattern: state.pointee.first)
    var steps = 0
    while next != 0 {
      guard steps < 65536 else { throw .damaged("the list of zones has no end") }
      steps += 1
      let zone = try copies.structure(Zone.self, at: next)
      let identity = ZoneIdentity(zone)
      // A place that is another zone's by now leads to those seen before.
      if !identity.isDying, seen.insert(next).inserted {
        var place: Place = (next, identity, [], [])
        for cell in identity.cells where cell > 0 && cell < cells {
          place.cells += cpus.map { regions[$0] &+ UInt(cell * MemoryLayout<stave_cell>.stride) }
          place.cpus += cpus
        }
        places.append(place)
      }
      next = UInt(bitPattern: zone.pointee.next)
    }
    try drop(&places, copies)
    return places.reversed()
  }

  /// Leaves those out that have gone while the list was read; of the others no two may have one cell. A cell may go from one to the
  /// other between the readings of the two: then they are read once more.
  private func drop(_ places: inout [Place], _ copies: Copies) throws(InspectionError) {
    for _ in 0..<16 {
      places = try stillThere(places, copies)
      let cells = places.filter { !$0.cells.isEmpty }.flatMap(\.identity.cells).filter { $0 != 0 }
      if Set(cells).count == cells.count { return }
    }
    throw .damaged("two zones with one cell")
  }

  private func stillThere(_ places: [Place], _ copies: Copies) throws(InspectionError) -> [Place] {
    let size = MemoryLayout<Zone>.size, space = copies.space(max(1, places.count) * size)
    let requests = places.indices.map { index in
      ReadRequest(address: places[index].zone, destination: UnsafeMutableRawBufferPointer(rebasing: space[(index * size)..<((index + 1) * size)]))
    }
    let isFilled = try target.read(batch: requests)
    return places.indices.filter { index in
      isFilled[index] && ZoneIdentity(UnsafeRawPointer(space.baseAddress! + index * size).assumingMemoryBound(to: Zone.self)) == places[index].identity
    }.map { places[$0] }
  }

  private func threadCount() -> Int {
    guard let live = target as? LiveProcess, let status = try? live.status() else { return 1 << 20 }
    return min(1 << 20, max(1, Int(clamping: status.threads)))
  }

  // MARK: - One zone

  /// A zone's structures, copied in one call.
  private struct Counts {
    var zone: UnsafePointer<Zone>
    var keg: UnsafePointer<Keg>
    var cells: UnsafePointer<stave_cell>
    /// The CPUs whose cells they are.
    var cpus: [Int]
  }

  /// What changes when a keg's slabs do.
  private struct KegCounts: Equatable {
    var slabs: Int
    var slabsMade: Int
    var freeItems: Int

    init(_ keg: UnsafePointer<Keg>) {
      slabs = keg.pointee.slabCount
      slabsMade = keg.pointee.slabsMade
      freeItems = keg.pointee.freeItems
    }
  }

  private func readKegCounts(_ place: Place) throws(InspectionError) -> KegCounts {
    let copies = Copies(target)
    defer { copies.discard() }
    return KegCounts(try copies.structure(Keg.self, at: place.identity.keg))
  }

  private func readCounts(_ place: Place, _ copies: Copies) throws(InspectionError) -> Counts {
    let zone = copies.space(MemoryLayout<Zone>.size)
    let keg = copies.space(MemoryLayout<Keg>.size)
    let cells = copies.space(max(1, place.cells.count) * MemoryLayout<stave_cell>.stride)
    var requests: [ReadRequest] = []
    for (index, address) in place.cells.enumerated() {
      let size = MemoryLayout<stave_cell>.size
      requests.append(
        ReadRequest(address: address, destination: UnsafeMutableRawBufferPointer(rebasing: cells[(index * size)..<((index + 1) * size)])))
    }
    // In this order: a zone that is not going has had its keg and its cells until now.
    requests.append(ReadRequest(address: place.identity.keg, destination: keg))
    requests.append(ReadRequest(address: place.zone, destination: zone))
    for (request, isFilled) in zip(requests, try target.read(batch: requests)) where !isFilled {
      try target.read(into: request.destination, at: request.address)  // says what is the matter
    }
    return Counts(
      zone: UnsafeRawPointer(zone.baseAddress!).assumingMemoryBound(to: Zone.self),
      keg: UnsafeRawPointer(keg.baseAddress!).assumingMemoryBound(to: Keg.self),
      cells: UnsafeRawPointer(cells.baseAddress!).assumingMemoryBound(to: stave_cell.self), cpus: place.cpus)
  }

  /// Takes the zone's slabs out of `slabs`: each is read for one zone only, whatever the zones say. Nil if the zone has gone.
  private func readZone(
    _ place: Place, _ slabs: inout [UInt32: [UInt]], since made: KegCounts, _ root: RootCopy
  ) throws(InspectionError) -> ZoneSnapshot? {
    let copies = Copies(target)
    defer { copies.discard() }
    let first = try readCounts(place, copies)
    guard ZoneIdentity(first.zone) == place.identity else { return nil }
    let ownsKeg = first.zone.pointee.ownsKeg
    let headers = ownsKeg ? try target.read(SlabHeaderCopy.self, at: slabs.removeValue(forKey: first.keg.pointee.index) ?? []) : []
    let last = try readCounts(place, copies)
    guard ZoneIdentity(last.zone) == place.identity else { return nil }
    let before = describe(first)
    var result = describe(last)
    for case let header? in headers where header.kegIndex == first.keg.pointee.index {
      let free = min(Int(header.freeCount), max(0, result.itemsPerSlab))
      result.walkedSlabs += 1
      result.walkedFreeItems += free
      result.walkedFreeSlabs += free == result.itemsPerSlab ? 1 : 0
    }
    try describeKind(of: place.zone, last.zone, last.keg, into: &result, root)
    if !ownsKeg {
      (result.slabs, result.freeItems, result.freeSlabs) = (0, 0, 0)
    } else if first.keg.pointee.layout.lookup != .metadata || !result.isInArena {
      // Found by their addresses or in the keg's tree, or outside what the owner map knows: the keg's word must do.
      result.walkedSlabs = result.slabs
      result.walkedFreeItems = result.freeItems
      result.walkedFreeSlabs = min(result.slabs, max(0, last.keg.pointee.freeSlabCount))
    }
    result.allocationsMeanwhile = max(0, result.allocations &- before.allocations)
    result.freesMeanwhile = max(0, result.frees &- before.frees)
    result.isChanging =
      made != KegCounts(first.keg) || made != KegCounts(last.keg) || result.allocations != before.allocations || result.frees != before.frees
      || result.cachedPerCPU != before.cachedPerCPU || result.cachedInDepot != before.cachedInDepot
    return result
  }

  private func describe(_ counts: Counts) -> ZoneSnapshot {
    let (zone, keg) = (counts.zone, counts.keg)
    var result = ZoneSnapshot()
    result.name = withUnsafeBytes(of: zone.pointee.name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }.printable
    result.instance = Int(zone.pointee.instance)
    result.size = zone.pointee.size
    result.itemBytes = keg.pointee.layout.itemBytes
    result.slabBytes = keg.pointee.layout.slabBytes
    result.itemsPerSlab = keg.pointee.layout.items
    result.isOffPage = keg.pointee.layout.isOffPage
    result.flags = zone.pointee.flags.rawValue
    result.type = zone.pointee.type
    result.isMalloc = zone.pointee.flags.contains(.malloc)
    result.leastRequest = result.size
    if zone.pointee.flags.contains(.malloc), 1...SizeClass.largest ~= result.size {
      let index = SizeClass.index(for: result.size)
      result.leastRequest = index == 0 ? 0 : SizeClass.size(index - 1) + 1
    }
    result.bucketSize = zone.pointee.bucketSize
    result.failures = max(0, zone.pointee.failures)
    result.sleeps = max(0, zone.pointee.sleeps)
    result.slabs = keg.pointee.slabCount
    result.freeItems = keg.pointee.freeItems
    result.cachedInDepot = zone.pointee.depotItems
    result.depotLimit = max(0, zone.pointee.depotLimit)
    result.workingSet = max(0, zone.pointee.workingSet.size)
    result.depotMost = max(0, zone.pointee.workingSet.highest)
    result.depotLeast = max(0, zone.pointee.workingSet.lowest)
    result.depotBottom = max(0, zone.pointee.workingSet.bottom)
    result.alignMask = max(0, keg.pointee.alignMask)
    result.reserve = max(0, keg.pointee.reserve)
    result.freeSlabs = max(0, keg.pointee.freeSlabCount)
    result.directFrees = zone.pointee.directFrees
    result.directAllocations = zone.pointee.directAllocations
    result.frees = result.directFrees
    var pops: Int64 = 0
    for (index, cpu) in counts.cpus.enumerated() {
      let cell = counts.cells[index]
      var here = CPUCounts()
      here.cpu = cpu
      here.cached = Int(cell.word & 0xffff)
      here.allocations = Int64(cell.word >> 16)
      here.frees = Int64(here.cached) &+ here.allocations &+ cell.moved
      if let known = result.perCPU.firstIndex(where: { $0.cpu == cpu }) {
        result.perCPU[known].cached += here.cached
        result.perCPU[known].allocations &+= here.allocations
        result.perCPU[known].frees &+= here.frees
      } else {
        result.perCPU.append(here)
      }
      pops &+= here.allocations
      result.frees &+= here.frees
    }
    // A flush that is between a cell and what it has moved would show as frees taken back.
    result.frees = max(0, result.frees)
    result.taken = result.directAllocations &+ pops
    result.allocations = max(result.frees, result.taken)
    return result
  }
}

/// What a zone keeps as long as it lives, and whether it is about to go.
struct ZoneIdentity: Equatable {
  var keg: UInt
  /// Its cell; or those that take and give, of a zone with deferred reuse.
  var cells: [Int]
  var instance: UInt32
  var name: [UInt8]
  var isDying: Bool

  init(_ zone: UnsafePointer<Zone>) {
    keg = UInt(bitPattern: zone.pointee.keg)
    cells = [zone.pointee.cell, zone.pointee.freeCell, zone.pointee.allocationCell]
    instance = UInt32(truncatingIfNeeded: zone.pointee.instance)
    name = withUnsafeBytes(of: zone.pointee.name) { [UInt8]($0) }
    isDying = zone.pointee.flags.contains(.dying)
  }
}
