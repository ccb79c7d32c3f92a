// SPDX-License-Identifier: BSD-2-Clause
//
// From a target's memory to a snapshot: the root, the list of zones, the cells of each CPU, and all slabs through the owner
// map. Nothing in the target is locked or stopped; counts are read in an order in which a race shows as items in transit,
// not as a negative number. Every count and list from the target is bounded before it is believed.
//
// The structures are the core's own (same source, same layout in both builds); the digest in the root says whether the
// target's are the same.

import AddressMap
import CPlatform
import Glibc
import Heap
import Pages
import Primitives
import Zones

public struct SnapshotReader {
  let target: any TargetMemory
  public let location: RootLocation

  /// Finds the root. With several in one process (libstave.so, and a program that links Stave in) the one that is the malloc.
  public init(_ target: any TargetMemory) throws(InspectionError) {
    self.target = target
    let roots: [RootLocation]
    do throws(InspectionError) {
      roots = try findRoot(in: target)
    } catch {
      // What would name the root may be in the part that is missing.
      if case .noStave = error, let core = target as? CoreFile, core.isTruncated {
        throw .truncatedCore(path: core.path, address: nil)
      }
      throw error
    }
    // A program's own malloc comes before any library's. Where the program has a root that never started, the library's is it.
    let own = roots.first { $0.modulePath == target.executablePath }
    let isOwnStarted = own.map { (try? target.read(UInt64.self, at: $0.address)) == RootLayout.magic } ?? false
    guard let location = (isOwnStarted ? own : roots.first { $0 != own }) ?? own else { throw .noStave(target: target.name) }
    self.location = location
  }

  /// One look. Costs a read of the zones, of 16 bytes per 64 KiB of the arena, and of 24 bytes per slab.
  public func snapshot() throws(InspectionError) -> Snapshot {
    let copies = Copies(target)
    defer { copies.discard() }
    let root = try copies.bytes(RootLayout.bytes, at: location.address)
    func part<Part: ~Copyable>(_ type: Part.Type, _ offset: Int) -> UnsafePointer<Part> {
      (root + offset).assumingMemoryBound(to: type)
    }
    let header = part(RootHeader.self, 0)
    if header.pointee.magic == 0 { throw .noStave(target: target.name + " (its allocator has not started)") }
    guard header.pointee.magic == RootLayout.magic else { throw .damaged("the root does not begin with its mark") }
    guard header.pointee.version == RootLayout.version else {
      throw .versionMismatch(found: header.pointee.version, expected: RootLayout.version)
    }
    guard header.pointee.layoutDigest == layoutDigest() else {
      throw .layoutMismatch(found: header.pointee.layoutDigest, expected: layoutDigest())
    }
    var snapshot = Snapshot()
    snapshot.target = target.name.printable
    snapshot.process = target.process
    snapshot.taken = Int64(clock_gettime_nsec())
    snapshot.pageBytes = Int(header.pointee.pageBytes)
    snapshot.mode = header.pointee.mode == CacheMode.restartable ? .restartable : .locked
    let zonesState = part(ZonesState.self, RootLayout.zonesOffset)
    // The order matters: what is in callers' hands by the counts is read before the slabs it lies in.
    let regions = try readRegions(header, zonesState)
    snapshot.zones = try readZones(zonesState, regions, copies)
    try readArena(part(Arena.self, RootLayout.arenaOffset), part(OwnerMap.self, RootLayout.ownersOffset), into: &snapshot)
    let metadata = part(MetadataPages.self, RootLayout.metadataOffset)
    snapshot.metadata = metadata.pointee.mappedBytes
    guard snapshot.isPlausible else { throw .damaged("figures beyond any address space") }
    if let live = target as? LiveProcess { snapshot.kernel = try? live.memoryTotals() }
    return snapshot
  }

  // MARK: - Zones

  private typealias Region = (cpu: Int, cells: [stave_cell])

  private func readRegions(
    _ header: UnsafePointer<RootHeader>, _ state: UnsafePointer<ZonesState>
  ) throws(InspectionError) -> [Region] {
    let cpus = Int(header.pointee.cpuCount)
    let table = try target.readArray(UInt.self, at: header.pointee.regions, count: cpus, limit: Int(STAVE_MAX_CPUS))
    var regions: [Region] = []
    for (cpu, address) in table.enumerated() where address != 0 {
      let cells = try target.readArray(
        stave_cell.self, at: address, count: state.pointee.nextCell, limit: Int(STAVE_MAX_CELLS))
      regions.append((cpu, cells))
    }
    return regions
  }

  private func readZones(
    _ state: UnsafePointer<ZonesState>, _ regions: [Region], _ copies: Copies
  ) throws(InspectionError) -> [ZoneSnapshot] {
    var result: [ZoneSnapshot] = []
    var next = UInt(bitPattern: state.pointee.first)
    while next != 0 {
      guard result.count < 65536 else { throw .damaged("the list of zones has no end") }
      let zone = try copies.structure(Zone.self, at: next)
      let keg = try copies.structure(Keg.self, at: UInt(bitPattern: zone.pointee.keg))
      result.append(describe(zone, keg, regions))
      next = UInt(bitPattern: zone.pointee.next)
    }
    return result.reversed()
  }

  private func describe(
    _ zone: UnsafePointer<Zone>, _ keg: UnsafePointer<Keg>, _ regions: [Region]
  ) -> ZoneSnapshot {
    var result = ZoneSnapshot()
    result.name = withUnsafeBytes(of: zone.pointee.name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }.printable
    result.instance = Int(zone.pointee.instance)
    result.size = zone.pointee.size
    result.itemBytes = keg.pointee.layout.itemBytes
    result.slabBytes = keg.pointee.layout.slabBytes
    result.itemsPerSlab = keg.pointee.layout.items
    result.isOffPage = keg.pointee.layout.isOffPage
    result.flags = zone.pointee.flags.rawValue
    result.bucketSize = zone.pointee.bucketSize
    result.failures = max(0, zone.pointee.failures)
    result.sleeps = max(0, zone.pointee.sleeps)
    result.slabs = keg.pointee.slabCount
    result.freeItems = keg.pointee.freeItems
    result.cachedInDepot = zone.pointee.depotItems
    result.frees = zone.pointee.directFrees
    var pops: Int64 = 0
    for region in regions {
      guard zone.pointee.cell > 0, zone.pointee.cell < region.cells.count else { continue }
      let cell = region.cells[zone.pointee.cell]
      let fill = Int64(cell.word & 0xffff)
      let popped = Int64(cell.word >> 16)
      result.cachedPerCPU.append(Int(fill))
      pops &+= popped
      result.frees &+= fill &+ popped &+ cell.moved
    }
    result.allocations = max(result.frees, zone.pointee.directAllocations &+ pops)
    result.kegIndex = Int(keg.pointee.index)
    return result
  }

  // MARK: - The arena

  private func readArena(
    _ arena: UnsafePointer<Arena>, _ owners: UnsafePointer<OwnerMap>, into snapshot: inout Snapshot
  ) throws(InspectionError) {
    let start = arena.pointee.windowStart
    guard arena.pointee.frontier >= start, arena.pointee.frontier - start <= 1 << 46 else {
      throw .damaged("the arena ends before it begins")
    }
    snapshot.arenaBytes = Int(arena.pointee.frontier - start)
    snapshot.slabBytes = Int(clamping: arena.pointee.slabBytes)
    snapshot.largeBytes = Int(clamping: arena.pointee.largeBytes)
    snapshot.largeBlocks = Int(clamping: arena.pointee.largeCount)
    snapshot.purgeable = Int(clamping: arena.pointee.cachedBytes &+ arena.pointee.recentBytes)
    snapshot.foreign = Int(clamping: arena.pointee.foreignBytes)
    snapshot.purgedTotal = Int(clamping: arena.pointee.purgedBytes)
    let units = snapshot.arenaBytes >> Int(unitShift - 1)  // the owner map has a word per half unit
    var slabs: [UInt] = []
    var position = 0
    var last: UInt = 0
    while position < units {
      let count = min(units - position, 1 << 16)
      let words = try target.readArray(
        UInt.self, at: UInt(bitPattern: owners.pointee.owners) &+ UInt(position * 8), count: count, limit: 1 << 16)
      for word in words where word != 0 && word & 1 == 0 && word != last {
        slabs.append(word)
        last = word
      }
      position += count
    }
    let headers = try target.read(SlabHeaderCopy.self, at: slabs)
    var byKeg: [Int: (slabs: Int, free: Int)] = [:]
    for case let header? in headers {
      byKeg[Int(header.kegIndex), default: (0, 0)].slabs += 1
      byKeg[Int(header.kegIndex), default: (0, 0)].free += Int(header.freeCount)
    }
    for index in snapshot.zones.indices {
      let found = byKeg[snapshot.zones[index].kegIndex] ?? (0, 0)
      snapshot.zones[index].walkedSlabs = found.slabs
      snapshot.zones[index].walkedFreeItems = found.free
    }
  }
}

/// A slab's header as it lies in the target: its links are addresses there.
struct SlabHeaderCopy: BitwiseCopyable {
  var next: UInt
  var previous: UInt
  var freeCount: UInt16
  var flags: UInt8
  var domain: UInt8
  var kegIndex: UInt32
}

/// Bytes of the target, to be looked at as the structures they are. Structures with locks in them cannot be copied as values,
/// so they are viewed in place, until `discard`.
final class Copies {
  private let target: any TargetMemory
  private var blocks: [UnsafeMutableRawPointer] = []

  init(_ target: any TargetMemory) { self.target = target }

  func bytes(_ count: Int, at address: UInt) throws(InspectionError) -> UnsafeRawPointer {
    let block = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 64)
    blocks.append(block)
    try target.read(into: UnsafeMutableRawBufferPointer(start: block, count: count), at: address)
    return UnsafeRawPointer(block)
  }

  func structure<Structure: ~Copyable>(_ type: Structure.Type, at address: UInt) throws(InspectionError) -> UnsafePointer<Structure> {
    try bytes(MemoryLayout<Structure>.size, at: address).assumingMemoryBound(to: type)
  }

  func discard() {
    for block in blocks { block.deallocate() }
    blocks = []
  }
}

private func clock_gettime_nsec() -> UInt64 {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}
