// SPDX-License-Identifier: BSD-2-Clause
//
// Malloc types whose figures and memory are anything: an error or figures that agree, never a trap, and an end.

import Accounting
import AddressMap
import CPlatform
import Glibc
import Testing

@testable import Exporters
@testable import Inspection
@testable import Pages
@testable import TestSupport
@testable import Zones

/// A target whose memory is asked for once and then known, and can be changed here.
private final class Remembered: TargetMemory, @unchecked Sendable {
  let inner: any TargetMemory
  private var pages: [UInt: [UInt8]] = [:]
  private var changes: [(place: UInt, old: UInt64)] = []

  init(_ inner: any TargetMemory) { self.inner = inner }

  var name: String { inner.name }
  var process: Int32 { inner.process }
  var executablePath: String? { inner.executablePath }
  func mappings() throws(InspectionError) -> [Mapping] { try inner.mappings() }
  func modules(among mappings: [Mapping]) -> [Module] { inner.modules(among: mappings) }
  func file(of module: Module) -> FileBytes? { inner.file(of: module) }

  private func load(_ page: UInt) throws(InspectionError) {
    if pages[page] == nil { pages[page] = try inner.readArray(UInt8.self, at: page << 12, count: 4096, limit: 4096) }
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at address: UInt) throws(InspectionError) {
    var done = 0
    while done < buffer.count {
      let place = address &+ UInt(done), offset = Int(place & 4095), count = min(4096 - offset, buffer.count - done)
      try load(place >> 12)
      pages[place >> 12]!.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: buffer[done..<(done + count)]).copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<(offset + count)])) }
      done += count
    }
  }

  /// Words of one page; `restore` takes all back.
  func change(_ place: UInt, to word: UInt64) {
    let place = place & ~7
    guard (try? load(place >> 12)) != nil else { return }
    changes.append((place, pages[place >> 12]!.withUnsafeBytes { $0.load(fromByteOffset: Int(place & 4095), as: UInt64.self) }))
    store(place, word)
  }

  func restore() {
    for change in changes.reversed() { store(change.place, change.old) }
    changes = []
  }

  private func store(_ place: UInt, _ word: UInt64) {
    pages[place >> 12]!.withUnsafeMutableBytes { $0.storeBytes(of: word, toByteOffset: Int(place & 4095), as: UInt64.self) }
  }
}

@Suite struct TypeFuzzTests {
  /// All that a command makes of it.
  private func show(_ snapshot: Snapshot) {
    var table = TypeTable()
    for order in [TypeOrder.made, .memory] {
      table.order = order
      table.showsCPUs = order == .memory
      _ = table.table(snapshot, since: snapshot).lines()
      _ = table.json(snapshot).description
    }
    let list = StatisticsList()
    list.fill(from: snapshot, .malloc)
    _ = StatisticsTable.types(list, .name, all: true).lines()
    // As no process can be: larger streams are tried elsewhere.
    if snapshot.types.count * snapshot.cpuLimit < 10_000 {
      if (try? list.fill(fromStream: snapshot.typeStream)) == nil { Issue.record("a stream of ours is not read back") }
    }
  }

  /// Some hundred inputs in an ordinary run, a million in a soak.
  @Test func `T13 L58 whatever zones and large blocks say, the records of a type's CPUs add up to it`() {
    var generator = Generator(58)
    for step in 0..<Stage.steps(2000, soak: 1_000_000) {
      func number() -> Int64 { [0, 1, -1, Int64(generator.below(1000)), 1 << 40, .max, .min, Int64(bitPattern: generator.next())][generator.below(8)] }
      let isMad = generator.below(2) == 0
      func count() -> Int64 { isMad ? number() : Int64(generator.below(1000)) }
      var snapshot = Snapshot()
      snapshot.cpuLimit = generator.below(4)
      snapshot.largeBlocks = generator.below(10)
      snapshot.largeBytes = snapshot.largeBlocks << 16
      snapshot.zones = (0..<generator.below(6)).map { _ in
        var zone = ZoneSnapshot()
        (zone.isMalloc, zone.size, zone.type, zone.itemsPerSlab) = (true, 16 << generator.below(12), UInt32(generator.below(4)), 10)
        (zone.walkedSlabs, zone.walkedFreeItems) = (generator.below(10), generator.below(50))
        (zone.directAllocations, zone.directFrees) = (count(), count())
        zone.perCPU = (0..<generator.below(4)).map { cpu in
          var counts = CPUCounts()
          (counts.cpu, counts.allocations, counts.frees, counts.cached) = (cpu, count(), count(), generator.below(4))
          return counts
        }
        // As the reader makes them of these.
        zone.frees = zone.perCPU.reduce(zone.directFrees) { $0 &+ $1.frees }
        zone.allocations = max(zone.frees, zone.perCPU.reduce(zone.directAllocations) { $0 &+ $1.allocations })
        return zone
      }
      guard snapshot.isPlausible else { continue }
      let listed = (1..<3).map { number in
        var type = TypeSnapshot()
        (type.name, type.number) = ("t\(number)", UInt32(number))
        return type
      }
      func large() -> LargeCounts { (Int64(generator.below(9)), Int64(generator.below(9)), Int64(generator.below(1 << 20)), Int64(generator.below(1 << 20))) }
      snapshot.fillTypes(listed, largeTotals: [1: large(), 2: large()], largeAllocations: Int64(generator.below(40)))
      guard snapshot.types.allSatisfy(\.isPlausible) else { continue }
      // What is shown of it hangs on few figures: in a soak not each time.
      if Stage.scale == 1 || step % 32 == 0 { show(snapshot) }
      let isSane = isMad || TypeStreamTests.agree(snapshot)
      #expect(isSane, "\(snapshot.types)")
      if !isSane { return }
    }
  }

  /// A few hundred inputs in an ordinary run, a million in a soak; of each hundredth the whole look, of others the part with types.
  @Test func `T13 any word of a process's types may be anything`() throws {
    guard let holder = TypeHolder() else { return }
    let target = Remembered(try LiveProcess(process: holder.child.id))
    let reader = try SnapshotReader(target)
    let whole = try reader.snapshot()
    let root = reader.location.address, types = root + UInt(RootLayout.typesOffset)
    var records: [UInt] = []
    var next = try target.read(UInt.self, at: types)
    while next != 0 {
      records.append(next)
      next = try target.read(UInt.self, at: next)
    }
    var zone = try target.read(UInt.self, at: root + UInt(RootLayout.zonesOffset)), zones: [UInt] = []
    while zone != 0 {
      zones.append(zone)
      zone = try target.read(UInt.self, at: zone)
    }
    let copies = Copies(target)
    let large = UInt(bitPattern: try reader.readRoot(copies).part(Arena.self, RootLayout.arenaOffset).pointee.largeTotals)
    copies.discard()
    #expect(records.count >= 3 && large != 0)
    var generator = Generator(13)
    var good = 0, disagreeing = 0
    for step in 0..<Stage.steps(3000, soak: 1_000_000) {
      let isWhole = step % 100 == 0
      for _ in 0...generator.below(3) {
        let record = records[generator.below(records.count)]
        let places = [
          types + UInt(generator.below(4)) * 8, record + UInt(generator.below(8)) * 8, record + UInt(generator.below(100)) * 8,
          large + UInt(generator.below(4 * (records.count + 1))) * 8, zones[generator.below(zones.count)] + UInt(generator.below(26)) * 8,
          root + UInt(generator.below(RootLayout.bytes / 8)) * 8,
        ]
        let words: [UInt64] = [
          0, 1, .max, .max >> 1, 1 << 47, 1 << 62, generator.next(), UInt64(record), UInt64(records[generator.below(records.count)]), UInt64(generator.below(5000)),
        ]
        target.change(places[generator.below(isWhole ? 6 : 4)], to: words[generator.below(words.count)])
      }
      let copies = Copies(target)
      do throws(InspectionError) {
        var snapshot: Snapshot
        if isWhole {
          snapshot = try reader.snapshot()
        } else {
          snapshot = whole
          snapshot.types = []
          try reader.readTypes(try reader.readRoot(copies), into: &snapshot, copies)
        }
        if Stage.scale == 1 || isWhole || step % 32 == 0 { show(snapshot) }
        good += 1
        if !isWhole && !TypeStreamTests.agree(snapshot) { disagreeing += 1 }
      } catch {}
      copies.discard()
      target.restore()
    }
    #expect(good > 100 && disagreeing == 0, "some could be shown")
  }

  /// Three hundred inputs in an ordinary run, ten thousand in a soak.
  @Test func `T13 L78 any word of a core of a process with types may be anything`() throws {
    guard let holder = TypeHolder(), let path = writeCore(of: holder.child, in: holder.folder) else { return }
    let whole = try CoreFile(path: path)
    let reader = try SnapshotReader(whole)
    let root = reader.location.address
    let types = try whole.read(UInt.self, at: root + UInt(RootLayout.typesOffset)), zones = try whole.read(UInt.self, at: root + UInt(RootLayout.zonesOffset))
    let before = try reader.snapshot().typeStream
    /// Where in the file what is at the address lies.
    func place(_ address: UInt) -> UInt64? {
      whole.segments.first { $0.start <= address && address < $0.dumpedEnd }.map { UInt64($0.offset) + UInt64(address - $0.start) }
    }
    let inFile = [root, types, zones].compactMap(place)
    try #require(inFile.count == 3)
    let file = open(path, O_RDWR)
    defer { close(file) }
    var generator = Generator(78)
    var good = 0
    for _ in 0..<Stage.steps(300, soak: 10_000) {
      var old: [(offset: UInt64, word: UInt64)] = []
      for _ in 0...generator.below(2) {
        let offset = [
          inFile[0] + UInt64(generator.below(RootLayout.bytes / 8)) * 8, inFile[1] + UInt64(generator.below(120)) * 8, inFile[2] + UInt64(generator.below(30)) * 8,
          UInt64(generator.below(1024)) * 8,
        ][generator.below(4)]
        var word: UInt64 = 0
        guard pread(file, &word, 8, off_t(offset)) == 8 else { continue }
        old.append((offset, word))
        word = [0, 1, .max, .max >> 1, 1 << 47, UInt64(types), generator.next(), word ^ 1 << UInt64(generator.below(64))][generator.below(8)]
        _ = pwrite(file, &word, 8, off_t(offset))
      }
      do throws(InspectionError) {
        show(try SnapshotReader(CoreFile(path: path)).snapshot())
        good += 1
      } catch {}
      for (offset, word) in old.reversed() {
        var word = word
        _ = pwrite(file, &word, 8, off_t(offset))
      }
    }
    #expect(good > 30, "some could be shown")
    #expect(try SnapshotReader(CoreFile(path: path)).snapshot().typeStream == before, "all has been put back")
  }
}
