// SPDX-License-Identifier: BSD-2-Clause
//
// Snapshots of a real process on libstave.so: stopped, then from a core file of it, then with its memory made absurd. Needs
// `make` first.

import AddressMap
import Glibc
import Heap
import Testing

@testable import Exporters
@testable import Inspection
@testable import Pages
@testable import TestSupport
@testable import Zones

/// A target whose memory reads otherwise at some words.
struct Patched: TargetMemory {
  var inner: any TargetMemory
  var words: [UInt: UInt64] = [:]

  var name: String { inner.name }
  var process: Int32 { inner.process }
  var executablePath: String? { inner.executablePath }
  func mappings() throws(InspectionError) -> [Mapping] { try inner.mappings() }
  func modules(among mappings: [Mapping]) -> [Module] { inner.modules(among: mappings) }
  func file(of module: Module) -> FileBytes? { inner.file(of: module) }
  func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) {
    try inner.read(into: buffer, at: address)
    for (place, word) in words where place >= address && place + 8 <= address + UInt(buffer.count) {
      buffer.storeBytes(of: word, toByteOffset: Int(place - address), as: UInt64.self)
    }
  }
}

/// A target in which no CPU has caches yet when that is first asked.
private final class Late: TargetMemory, @unchecked Sendable {
  let inner: any TargetMemory
  let regions: UInt
  private(set) var looks = 0

  init(_ inner: any TargetMemory, regions: UInt) {
    self.inner = inner
    self.regions = regions
  }

  var name: String { inner.name }
  var process: Int32 { inner.process }
  var executablePath: String? { inner.executablePath }
  func mappings() throws(InspectionError) -> [Mapping] { try inner.mappings() }
  func modules(among mappings: [Mapping]) -> [Module] { inner.modules(among: mappings) }
  func file(of module: Module) -> FileBytes? { inner.file(of: module) }
  func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) {
    try inner.read(into: buffer, at: address)
    guard address == regions else { return }
    looks += 1
    if looks == 1 { buffer.initializeMemory(as: UInt8.self, repeating: 0) }
  }
}

@Suite struct SnapshotTests {
  @Test func `L72 a stopped process is read without its help, and its sums are right`() throws {
    guard let holder = Holder() else { return }
    let snapshot = try SnapshotReader(LiveProcess(process: holder.child.id)).snapshot()
    #expect(holder.isStopped, "nothing has let it run")
    #expect(snapshot.version == "\(Heap.version)" && snapshot.options[Option.background.rawValue] == 0)
    #expect(snapshot.zones.reduce(0) { $0 + $1.used } >= Holder.blocks)
    #expect(snapshot.zones.reduce(0) { $0 + $1.used } < Holder.blocks + 500, "its own start-up takes few")
    #expect(snapshot.largeBlocks >= Holder.large)
    for zone in snapshot.zones {
      #expect(zone.counted == zone.usedBySlabs && zone.used == zone.counted, "\(zone.name): allocations − frees against a walk over the slabs")
      #expect(zone.slabs == zone.walkedSlabs && zone.freeItems == zone.walkedFreeItems)
      #expect(zone.free == zone.freeItems + zone.cached)
    }
    let sum = snapshot.used + snapshot.cached + snapshot.holes + snapshot.inTransit + snapshot.metadata + snapshot.purgeable
    #expect(sum + snapshot.returned == snapshot.mapped && snapshot.inTransit == 0)
    #expect(snapshot.mapped == snapshot.arenaBytes - snapshot.foreign + snapshot.metadata && !snapshot.isChanging && snapshot.changing == 0)
  }

  @Test func `L78 T5 a core of the same build says what the live process says`() throws {
    guard let holder = Holder() else { return }
    let live = try SnapshotReader(LiveProcess(process: holder.child.id)).snapshot()
    guard let path = writeCore(of: holder.child, in: holder.folder) else { return }
    let core = try SnapshotReader(CoreFile(path: path)).snapshot()
    func lines(_ snapshot: Snapshot) -> [String] {
      snapshot.zones.map {
        "\($0.name)_\($0.instance) \($0.size) \($0.allocations) \($0.frees) \($0.slabs) \($0.freeItems) \($0.walkedSlabs) "
          + "\($0.walkedFreeItems) \($0.cachedPerCPU) \($0.cachedInDepot) used \($0.used) free \($0.free)"
      }
    }
    #expect(lines(core) == lines(live))
    #expect(core.zones.contains { $0.freeItems > 0 }, "free items of the kegs count as free")
    for zone in core.zones { #expect(zone.free == zone.freeItems + zone.cached) }
    #expect(core.used == live.used && core.mapped == live.mapped && core.purgeable == live.purgeable)
  }

  @Test func `T13 counts and lists of a target are bounded before they are believed`() throws {
    guard let holder = Holder() else { return }
    let target = try LiveProcess(process: holder.child.id)
    let root = try SnapshotReader(target).location.address
    let first = try target.read(UInt.self, at: root + UInt(RootLayout.zonesOffset))
    func look(_ words: [UInt: UInt64]) -> InspectionError? {
      errorOf { () throws(InspectionError) in
        let snapshot = try SnapshotReader(Patched(inner: target, words: words)).snapshot()
        var table = ZoneTable()
        table.isWide = true
        _ = table.table(snapshot).lines()
        _ = table.json(snapshot).description
        _ = SumReport.lines(snapshot)
        _ = OpenMetrics.text(snapshot)
        _ = ControlTree.json(ControlTree(ControlSource(snapshot, largestFree: try? SnapshotReader(Patched(inner: target, words: words)).largestFreeRange())).controls)
        let list = StatisticsList()
        list.fill(from: snapshot)
        _ = StatisticsTable.zones(list).lines()
        _ = snapshot.zoneStream
        _ = snapshot.typeStream
      }
    }
    #expect(look([:]) == nil)
    // A list without an end, an arena that ends before it begins, and one that has no end.
    guard case .damaged = look([first: UInt64(first)]) else {
      Issue.record("a zone that is its own successor")
      return
    }
    let arena = root + UInt(RootLayout.arenaOffset)
    let frontier = arena + 16  // behind the start and end of the window
    for word in [0, UInt64.max] {
      guard case .damaged = look([frontier: word]) else {
        Issue.record("a frontier at \(word)")
        return
      }
    }
    // Any word of the root, of a zone and of its keg may be anything: an error or figures, never a trap, and an end.
    var generator = Generator(14)
    // What follows the name, the instance and the flags of a zone is the address of its keg.
    let keg = try target.read(UInt.self, at: first + 48)
    for _ in 0..<600 {
      let place =
        generator.below(2) == 0
        ? root + 128 + UInt(generator.below((RootLayout.bytes - 136) / 8)) * 8
        : [first, keg][generator.below(2)] + UInt(generator.below(30)) * 8
      _ = look([place: [0, 1, .max, .max >> 1, 1 << 47, generator.next()][generator.below(6)]])
    }
  }

  @Test func `T13 no slab and no cell is read for two zones, so that a look ends`() throws {
    guard let holder = Holder() else { return }
    let target = try LiveProcess(process: holder.child.id)
    let reader = try SnapshotReader(target)
    let before = try reader.snapshot()
    let slabs = before.zones.reduce(0) { $0 + $1.walkedSlabs }
    var zones: [UInt] = []
    var next = try target.read(UInt.self, at: reader.location.address + UInt(RootLayout.zonesOffset))
    while next != 0 {
      zones.append(next)
      next = try target.read(UInt.self, at: next)
    }
    // The offsets of `keg` and `cell` in a zone, and of `index` in a keg: see LayoutTests.
    let kegs = try zones.map { try target.read(UInt.self, at: $0 + 48) }
    let indices = try kegs.map { try target.read(UInt64.self, at: $0 + 32) }
    for index in indices {
      let patched = Patched(inner: target, words: Dictionary(uniqueKeysWithValues: kegs.map { ($0 + 32, index) }))
      let walked = try SnapshotReader(patched).snapshot().zones.reduce(0) { $0 + $1.walkedSlabs }
      #expect(walked <= slabs)
    }
    let cells = try zones.map { try target.read(UInt64.self, at: $0 + 64) }.filter { $0 != 0 }
    let patched = Patched(inner: target, words: Dictionary(uniqueKeysWithValues: zones.map { ($0 + 64, cells[0]) }))
    #expect(errorOf { () throws(InspectionError) in _ = try SnapshotReader(patched).snapshot() } == .damaged("two zones with one cell"))
  }

  @Test func `L40 L41 figures of a busy process are never negative, say how far they may be off, and converge when it rests`() throws {
    guard let holder = Holder(busy: 2) else { return }
    let target = try LiveProcess(process: holder.child.id)
    let reader = try SnapshotReader(target)
    func check(_ snapshot: Snapshot) -> Bool {
      let parts = SumReport.parts(snapshot).map(\.bytes)
      return parts.allSatisfy { $0 >= 0 } && parts.reduce(0, +) == snapshot.mapped
        && snapshot.zones.allSatisfy { zone in
          zone.inTransit >= 0 && zone.used >= 0 && zone.free >= 0 && zone.cached >= 0 && zone.holes >= 0
        }
    }
    func isBounded(_ snapshot: Snapshot) -> Bool {
      let threads = 4  // the first, two that work, and Stave's own
      return snapshot.zones.allSatisfy { $0.inTransit <= threads * max(1, $0.bucketSize) }
    }
    var changed = 0
    // Hundreds of looks where the reader is optimised; it is slow where it is not.
    let end = clock_gettime_nsec() + 15_000_000_000
    for _ in 0..<300 where clock_gettime_nsec() < end {
      let snapshot = try reader.snapshot()
      guard check(snapshot) else {
        Issue.record("\(SumReport.lines(snapshot).joined(separator: "\n"))")
        break
      }
      #expect(isBounded(snapshot))
      if snapshot.isChanging {
        changed += 1
        #expect(SumReport.lines(snapshot).contains { $0.hasPrefix("changing while being read") })
      }
    }
    #expect(changed > 0, "it was not busy")
    kill(holder.child.id, SIGSTOP)
    for _ in 0..<60_000 where !holder.isStopped { usleep(1000) }
    let rest = try reader.snapshot()
    #expect(check(rest) && isBounded(rest) && !rest.isChanging && rest.changing == 0)
    for zone in rest.zones { #expect(zone.slabs == zone.walkedSlabs || zone.slabs + 3 >= zone.walkedSlabs) }
    #expect(rest.mapped == rest.arenaBytes - rest.foreign + rest.metadata, "the sum is the arena's again")
  }

  @Test func `L58 what a CPU counts that gets its caches during a look is not missing from it`() throws {
    guard let holder = Holder() else { return }
    let target = try LiveProcess(process: holder.child.id)
    let root = try SnapshotReader(target).location.address
    let regions = try target.read(UInt.self, at: root + UInt(MemoryLayout<RootHeader>.offset(of: \.regions)!))
    let late = Late(target, regions: regions)
    let snapshot = try SnapshotReader(late).snapshot()
    #expect(late.looks > 2, "before and after a look, and again")
    #expect(snapshot.inTransit == 0)
    for zone in snapshot.zones { #expect(zone.counted == zone.usedBySlabs, "\(zone.name)") }
  }

  @Test func `T13 nothing is written into a process that is another by now, or into what is no root any more`() throws {
    guard let holder = Holder() else { return }
    let target = try LiveProcess(process: holder.child.id)
    let location = try SnapshotReader(target).location
    let mailbox = location.address + UInt(MemoryLayout<RootHeader>.offset(of: \.mailbox)!)
    let before = try target.read(UInt64.self, at: mailbox)
    var entry = target.entry
    entry.startTicks += 1
    let other = try LiveProcess(process: target.process, wish: .any, entry: entry)
    #expect(errorOf { () throws(InspectionError) in _ = try Mail(other, location).trim(waiting: 0) } == .noSuchProcess(target.process))
    try target.write(value: UInt64(7), at: location.address)
    #expect(errorOf { () throws(InspectionError) in _ = try Mail(target, location).trim(waiting: 0) } == .noStave(target: target.name))
    #expect(try target.read(UInt64.self, at: mailbox) == before)
    try target.write(value: RootLayout.magic, at: location.address)
    #expect(try Mail(target, location).trim(waiting: 0) == .pending, "it is stopped and cannot answer")
    #expect(try target.read(UInt64.self, at: mailbox) != before)
  }

  @Test func `T13 a core's owner map and slabs are not more than its bytes`() throws {
    guard let holder = Holder() else { return }
    guard let path = writeCore(of: holder.child, in: holder.folder) else { return }
    let root = try SnapshotReader(CoreFile(path: path)).location.address
    let core = try CoreFile(path: path)
    let frontier = root + UInt(RootLayout.arenaOffset) + 16
    let start = try core.read(UInt64.self, at: root + UInt(RootLayout.arenaOffset))
    // In the file: a frontier that promises 2^30 units.
    guard let segment = core.segments.last(where: { $0.start <= frontier && frontier < $0.dumpedEnd }) else {
      Issue.record("the root is not in the core")
      return
    }
    let file = open(path, O_WRONLY)
    var word = start + 1 << 46
    #expect(pwrite(file, &word, 8, off_t(segment.offset + (frontier - segment.start))) == 8)
    close(file)
    #expect(errorOf { () throws(InspectionError) in _ = try SnapshotReader(CoreFile(path: path)).snapshot() } == .damaged("an owner map larger than the core"))
  }

  @Test func `T13 what many zones say together is bounded, too, and rates are`() {
    var snapshot = Snapshot()
    var zone = ZoneSnapshot()
    zone.size = 1 << 20
    zone.itemBytes = zone.size
    zone.slabBytes = zone.size
    zone.itemsPerSlab = 1
    zone.allocations = 1 << 30
    snapshot.zones = [zone]
    #expect(snapshot.isPlausible)
    snapshot.zones = Array(repeating: zone, count: 9000)
    #expect(!snapshot.isPlausible)
    // A counter that was raised by 2^62, within a nanosecond.
    var before = Snapshot()
    zone.allocations = 0
    before.zones = [zone]
    zone.allocations = 1 << 62
    snapshot.zones = [zone]
    snapshot.taken = before.taken + 1
    #expect(ZoneTable.rate(snapshot, before) > 0)
    #expect(ZoneTable.rate(zone, snapshot, before) == 1_000_000_000_000_000_000)
  }

  @Test func `T6 zones of one name keep their own figures from one look to the next`() {
    func snapshot(_ seconds: Int64, _ requests: [Int64]) -> Snapshot {
      var snapshot = Snapshot()
      snapshot.taken = seconds * 1_000_000_000
      snapshot.zones = requests.enumerated().map { instance, requests in
        var zone = ZoneSnapshot()
        zone.name = "twin"
        zone.instance = instance
        zone.allocations = requests
        return zone
      }
      return snapshot
    }
    let lines = ZoneTable().table(snapshot(2, [150, 1000]), since: snapshot(1, [100, 400])).lines()
    func row(_ name: String) -> Substring? {
      lines.map { $0.split(separator: " ") }.first { $0.first == Substring(name) }?.last
    }
    #expect(row("twin:") == "50")
    #expect(row("twin_1:") == "600")
  }
}
