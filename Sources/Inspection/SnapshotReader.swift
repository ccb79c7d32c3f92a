// SPDX-License-Identifier: BSD-2-Clause
//
// From a target's memory to a snapshot: the root, and all slabs through the owner map; the zones are in SnapshotReader+Zones, the
// types in SnapshotReader+Types, the arena in SnapshotReader+Arena. Nothing in the target is locked or stopped. Every count and list
// from the target is bounded before it is believed.
//
// The structures are the core's own (same source, same layout in both builds); the digest in the root says whether the
// target's are the same.

import AddressMap
import CPlatform
import Diagnostics
import Glibc
import Heap
import Pages
import Primitives
import Zones

public struct SnapshotReader {
  let target: any TargetMemory
  public let location: RootLocation
  /// As the tables name it: the file of the program or library that it lies in.
  public internal(set) var name = ""

  /// Of several roots the one of that name; without a name, the malloc's.
  public init(_ target: any TargetMemory, root name: String? = nil) throws(InspectionError) {
    self = try ProcessReader(target, root: name).readers[0]
  }

  /// For one of the roots that `findRoot` gives.
  public init(_ target: any TargetMemory, _ location: RootLocation) {
    self.target = target
    self.location = location
    name = RootLocation.fileName(location.modulePath)
  }

  /// One look. Costs two reads of the zones, of 16 bytes per 64 KiB of the arena, and two of 24 bytes per slab; up to three
  /// times that, but hardly more than 50 ms, for zones that change meanwhile.
  public func snapshot() throws(InspectionError) -> Snapshot {
    let copies = Copies(target)
    defer { copies.discard() }
    let root = try readRoot(copies)
    let header = root.part(RootHeader.self, 0)
    var snapshot = Snapshot()
    snapshot.target = target.name.printable
    snapshot.process = target.process
    snapshot.taken = Int64(clock_gettime_nsec())
    snapshot.started = header.pointee.started
    snapshot.pageBytes = Int(header.pointee.pageBytes)
    snapshot.mode = header.pointee.mode == CacheMode.restartable ? .restartable : .locked
    snapshot.cpuLimit = Int(header.pointee.cpuCount)
    let release = header.pointee.release
    snapshot.version = "\(release >> 16).\(release >> 8 & 255).\(release & 255)"
    let heap = root.part(HeapState.self, RootLayout.heapOffset)
    snapshot.containerLimit = Int(clamping: heap.pointee.containerLimit)
    snapshot.options = (0..<Option.count).map { heap.pointee.options.values[$0] }
    let stacks = root.part(StacksState.self, RootLayout.stacksOffset), reports = root.part(stave_reports.self, RootLayout.reportsOffset)
    (snapshot.stacks, snapshot.stacksLeftOut) = (Int(max(0, stacks.pointee.count)), Int(max(0, stacks.pointee.leftOut)))
    snapshot.reports = Int(max(0, reports.pointee.count))
    snapshot.failures = max(0, heap.pointee.failures)
    snapshot.injectedFailures = max(0, heap.pointee.injectedFailures)
    let checks = root.part(ItemChecks.self, RootLayout.checksOffset)
    snapshot.trashed = max(0, checks.pointee.trashed)
    snapshot.trashSkipped = max(0, checks.pointee.skipped)
    snapshot.trashChecked = max(0, checks.pointee.checked)
    snapshot.trashDamaged = max(0, checks.pointee.damaged)
    snapshot.zones = try readZones(root, copies)
    ZoneSnapshot.gatherParts(&snapshot.zones)
    guard snapshot.zones.allSatisfy(\.isPlausible) else { throw .damaged("a zone's figures are beyond any address space") }
    ZoneFamilies.settle(&snapshot.zones)
    // The arena's figures last, all of them from one copy.
    let last = try readRoot(copies)
    try describe(last, into: &snapshot)
    snapshot.redZone = RedZoneFigures(last)
    guard snapshot.isPlausible else { throw .damaged("figures beyond any address space") }
    snapshot.guards = try readGuards(last, copies)
    try readTypes(last, into: &snapshot, copies)
    readLists(last, into: &snapshot)
    if let packets = readPackets(last, snapshot, copies) { snapshot.packets = [packets] }
    if let live = target as? LiveProcess { snapshot.kernel = try? live.memoryTotals() }
    snapshot.roots = [RootSnapshot(snapshot, name: name, path: location.modulePath.printable, servesMalloc: root.servesMalloc)]
    return snapshot
  }

  /// As `snapshot`, of a process that may be in the middle of changing its lists: a few tries before giving up.
  public func look() throws(InspectionError) -> Snapshot {
    var tries = 0
    while true {
      do throws(InspectionError) {
        return try snapshot()
      } catch {
        tries += 1
        switch error {
        case .damaged, .shortRead:
          if tries >= 3 { throw error }
          usleep(20_000)
        default: throw error
        }
      }
    }
  }

  /// When the target's allocator started, as in a snapshot. One small read; throws what concerns the root.
  public func started() throws(InspectionError) -> Int64 {
    let copies = Copies(target)
    defer { copies.discard() }
    return try readRoot(copies).part(RootHeader.self, 0).pointee.started
  }

  /// A copy of the root, checked to be one that this reader understands.
  func readRoot(_ copies: Copies) throws(InspectionError) -> RootCopy {
    let root = RootCopy(start: try copies.bytes(RootLayout.bytes, at: location.address))
    let header = root.part(RootHeader.self, 0)
    if header.pointee.magic == 0 { throw .noStave(target: target.name + " (its allocator has not started)") }
    guard header.pointee.magic == RootLayout.magic else { throw .damaged("the root does not begin with its mark") }
    guard header.pointee.version == RootLayout.version else {
      throw .versionMismatch(found: header.pointee.version, expected: RootLayout.version)
    }
    guard header.pointee.layoutDigest == layoutDigest() else {
      throw .layoutMismatch(found: header.pointee.layoutDigest, expected: layoutDigest())
    }
    return root
  }

  // MARK: - Slabs

  /// The addresses of all slabs' headers that the owner map knows, by the index of their keg.
  func readSlabs(_ root: RootCopy) throws(InspectionError) -> [UInt32: [UInt]] {
    let owners = root.part(OwnerMap.self, RootLayout.ownersOffset)
    let units = try arenaBytes(root) >> Int(unitShift - 1)  // the owner map has a word per half unit
    let limit = try slabLimit(words: units)
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
      guard slabs.count <= limit else { throw .damaged("more slabs than there is memory for") }
      position += count
    }
    var byKeg: [UInt32: [UInt]] = [:]
    for (slab, header) in zip(slabs, try target.read(SlabHeaderCopy.self, at: slabs)) {
      if let header { byKeg[header.kegIndex, default: []].append(slab) }
    }
    return byKeg
  }

  /// As many slabs as the target has memory for. In a core, segments may overlap, but what is to be read must be in the file:
  /// the owner map itself, and each slab's header.
  private func slabLimit(words: Int) throws(InspectionError) -> Int {
    if let core = target as? CoreFile {
      let bytes = Int(clamping: core.file.size)
      guard words <= bytes / 8 else { throw .damaged("an owner map larger than the core") }
      return bytes / MemoryLayout<SlabHeaderCopy>.size
    }
    // Twice: a process may grow between two readings.
    guard let live = target as? LiveProcess else { return .max }
    return Int(clamping: try live.status().size / UInt64(unitBytes)) * 2 + 1024
  }
}

/// A copy of the root, looked at as the structures in it.
struct RootCopy {
  let start: UnsafeRawPointer

  func part<Part: ~Copyable>(_ type: Part.Type, _ offset: Int) -> UnsafePointer<Part> {
    (start + offset).assumingMemoryBound(to: type)
  }
}

/// A slab's header as it lies in the target: its links are addresses there.
struct SlabHeaderCopy: BitwiseCopyable {
  var next: UInt
  var previous: UInt
  var freeCount: UInt16
  var flags: UInt8
  var colour: UInt8
  private var kegNumber: UInt16
  var mark: UInt8
  private var reserved: UInt8

  var kegIndex: UInt32 { UInt32(kegNumber) }
}

/// Bytes of the target, to be looked at as the structures they are. Structures with locks in them cannot be copied as values,
/// so they are viewed in place, until `discard`.
final class Copies {
  private let target: any TargetMemory
  private var blocks: [UnsafeMutableRawPointer] = []

  init(_ target: any TargetMemory) { self.target = target }

  /// Uninitialised, to be filled by a read.
  func space(_ count: Int) -> UnsafeMutableRawBufferPointer {
    let block = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 64)
    blocks.append(block)
    return UnsafeMutableRawBufferPointer(start: block, count: count)
  }

  func bytes(_ count: Int, at address: UInt) throws(InspectionError) -> UnsafeRawPointer {
    let block = space(count)
    try target.read(into: block, at: address)
    return UnsafeRawPointer(block.baseAddress!)
  }

  func structure<Structure: ~Copyable>(_ type: Structure.Type, at address: UInt) throws(InspectionError) -> UnsafePointer<Structure> {
    try bytes(MemoryLayout<Structure>.size, at: address).assumingMemoryBound(to: type)
  }

  func discard() {
    for block in blocks { block.deallocate() }
    blocks = []
  }
}

func clock_gettime_nsec() -> UInt64 {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}
