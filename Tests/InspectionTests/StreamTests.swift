// SPDX-License-Identifier: BSD-2-Clause
//
// The binary streams and the list of statistics: bit for bit, from all three sources, and from garbage.

import Glibc
import Testing

@testable import Exporters
@testable import Inspection
@testable import TestSupport

@Suite struct StreamTests {
  static func zone(_ name: String, cpus: Int = 2) -> ZoneEntry {
    var record = ZoneRecord(name: name)
    (record.align, record.size, record.itemBytes, record.maxPages, record.limit) = (15, 48, 64, 3, 4)
    (record.pages, record.kegFree, record.zoneFree, record.bucketSize, record.flags) = (16, 5, 6, 62, 0)
    (record.allocations, record.frees, record.failures, record.sleeps, record.crossDomain) = (100, 90, 7, 8, 9)
    let entries = (0..<cpus).map { cpu in
      var one = ZoneCPURecord()
      (one.allocations, one.frees, one.cached) = (UInt64(1000 * (cpu + 1)), UInt64(900 * (cpu + 1)), UInt64(cpu + 1))
      return one
    }
    return ZoneEntry(record, cpus: entries)
  }

  static func type(_ name: String) -> TypeEntry {
    var cpus = [TypeCPURecord(), TypeCPURecord()]
    (cpus[0].allocatedBytes, cpus[0].freedBytes, cpus[0].allocations, cpus[0].frees, cpus[0].sizes) = (640, 0, 10, 0, 4)
    (cpus[1].allocatedBytes, cpus[1].freedBytes, cpus[1].allocations, cpus[1].frees, cpus[1].sizes) = (0, 576, 0, 9, 8)
    return TypeEntry(TypeRecord(name: name), cpus: cpus)
  }

  @Test func `L56 the records of streams have their sizes, and each field its place`() {
    #expect(MemoryLayout<StreamHeader>.size == 16)
    #expect(MemoryLayout<ZoneRecord>.size == 120 && MemoryLayout<ZoneCPURecord>.size == 64)
    #expect(MemoryLayout<TypeRecord>.size == 32 && MemoryLayout<TypeCPURecord>.size == 64)
    // Written by hand, as another program would read it.
    func words(_ values: UInt32...) -> [UInt8] { values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } } }
    func longs(_ values: UInt64...) -> [UInt8] { values.flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } } }
    func name(_ text: String) -> [UInt8] { Array(text.utf8) + [UInt8](repeating: 0, count: 32 - text.utf8.count) }
    let zones = words(1, 2, 1, 0) + name("malloc-48") + words(15, 48, 64, 3, 4, 16, 5, 6, 62, 0) + longs(100, 90, 7, 8, 9, 0)
      + longs(1000, 900, 1, 0, 0, 0, 0, 0) + longs(2000, 1800, 2, 0, 0, 0, 0, 0)
    #expect(StatisticsStream.zones([Self.zone("malloc-48")]).bytes(maxCPUs: 2) == zones)
    let types = words(1, 2, 1, 0) + name("temp") + longs(640, 0, 10, 0, 4, 0, 0, 0) + longs(0, 576, 0, 9, 8, 0, 0, 0)
    #expect(StatisticsStream.types([Self.type("temp")]).bytes(maxCPUs: 2) == types)
  }

  @Test func `L47 L62 a stream is as long as its header says, and the header counts what follows`() throws {
    for cpus in [0, 1, 3, 64] {
      for count in [0, 1, 5] {
        let bytes = StatisticsStream.zones((0..<count).map { Self.zone("z\($0)", cpus: 2) }).bytes(maxCPUs: cpus)
        #expect(bytes.count == 16 + count * (120 + 64 * cpus))
        guard case .zones(let entries) = try StatisticsStream(bytes) else {
          Issue.record("not taken for zones")
          return
        }
        #expect(entries.count == count && entries.allSatisfy { $0.cpus.count == cpus })
        for bad in [Array(bytes.dropLast()), bytes + [0], Array(bytes.dropLast(8))] {
          let list = StatisticsList()
          do throws(StatisticsError) {
            try list.fill(fromStream: bad)
            Issue.record("\(bad.count) bytes are taken for \(bytes.count)")
          } catch { #expect(error.code == .data) }
        }
      }
    }
  }

  @Test func `L61 an unknown version is said to be one, and leaves no old figures`() throws {
    let list = StatisticsList()
    try list.fill(fromStream: StatisticsStream.zones([Self.zone("a")]).bytes(maxCPUs: 2))
    #expect(list.entries.count == 1)
    var bytes = StatisticsStream.zones([Self.zone("a")]).bytes(maxCPUs: 2)
    bytes[0] = 2
    #expect(StatisticsStream.mayBegin(bytes), "so that it is told what it is")
    do throws(StatisticsError) {
      try list.fill(fromStream: bytes)
      Issue.record("version 2 is understood")
    } catch {
      #expect(error.code == .version && error.message.contains("version 2"))
    }
    #expect(list.entries.isEmpty && list.error?.code == .version)
    try list.fill(fromStream: StatisticsStream.zones([]).bytes(maxCPUs: 2))
    #expect(list.error == nil)
  }

  @Test func `T5 counts of CPUs are added first, then no more was freed than allocated`() throws {
    var entry = Self.zone("malloc-48")
    let list = StatisticsList()
    func filled() throws -> StatisticsEntry {
      try list.fill(fromStream: StatisticsStream.zones([entry]).bytes(maxCPUs: 2))
      return try #require(list.find(.zone, "malloc-48"))
    }
    let one = try filled()
    #expect(one.figures.allocations == 3100 && one.figures.frees == 2790 && one.count == 310 && one.bytes == 310 * 48)
    #expect(one.free == 5 + 6 + 1 + 2)
    #expect(one.cpu(1).allocations == 2000 && one.cpu(1).free == 2 && one.cpu(7).allocations == 0)
    // By itself the record of the zone says that more was freed.
    (entry.record.allocations, entry.record.frees) = (0, 90)
    #expect(try filled().count == 210)
    entry.record.frees = 9999
    #expect(try filled().count == 0)
    entry.record.flags = ZoneRecord.secondary
    #expect(try filled().free == 6 + 1 + 2, "the keg's items are counted by its first zone")
    try list.fill(fromStream: StatisticsStream.types([Self.type("temp")]).bytes(maxCPUs: 2))
    let type = try #require(list.find(.malloc, "temp"))
    #expect(type.count == 1 && type.bytes == 64 && type.figures.sizes == 12 && type.cpu(0).allocatedBytes == 640)
    #expect(list.find(.any, "malloc-48") != nil, "the other kind stays")
  }

  @Test func `T6 T14 equal names stay apart, are the same objects when filled again, and are reported`() throws {
    let long = "a name that is longer than what a stream can hold"
    var first = Self.zone(long + " one"), second = Self.zone(long + " two")
    let list = StatisticsList()
    try list.fill(fromStream: StatisticsStream.zones([first, Self.zone("other"), second]).bytes(maxCPUs: 2))
    let cut = String(long.prefix(31))
    let one = try #require(list.find(.zone, cut)), two = try #require(list.find(.zone, cut, instance: 1)), other = try #require(list.find(.zone, "other"))
    #expect(one.sharesName && two.sharesName && !other.sharesName && one.label == cut && two.label == cut + "_1")
    #expect(StatisticsTable.warnings(list) == ["2 entries are named \(cut), which was cut at 31 bytes; they are told apart by their order only"])
    one.numbers[3] = 42
    one.objects[0] = two
    one.numbersPerCPU[1] = [7]
    (first.record.failures, second.record.failures) = (111, 222)
    try list.fill(fromStream: StatisticsStream.zones([first, second]).bytes(maxCPUs: 2))
    #expect(list.find(.zone, cut) === one && list.find(.zone, cut, instance: 1) === two && list.find(.zone, "other") == nil)
    #expect(one.figures.failures == 111 && two.figures.failures == 222 && one.numbers[3] == 42 && one.objects[0] === two && one.numbersPerCPU[1] == [7])
  }

  @Test func `L3 the number of CPUs comes from the header alone, whatever numbers have caches`() throws {
    var snapshot = Snapshot()
    snapshot.cpuLimit = 7
    var zone = ZoneSnapshot()
    zone.name = "sparse"
    zone.size = 16
    for cpu in [1, 6, 9] {
      var counts = CPUCounts()
      (counts.cpu, counts.allocations, counts.frees, counts.cached) = (cpu, 10, 4, 3)
      zone.perCPU.append(counts)
    }
    snapshot.zones = [zone]
    let bytes = snapshot.zoneStream
    #expect(bytes.count == 16 + 120 + 7 * 64)
    let list = StatisticsList()
    try list.fill(fromStream: bytes)
    let entry = list.entries[0]
    #expect(entry.figures.cpus.map(\.allocations) == [0, 10, 0, 0, 0, 0, 10] && entry.figures.cpus[6].free == 3)
  }

  @Test func `L78 T6 a process, its core and its stream give one list`() throws {
    guard let holder = Holder() else { return }
    let target = try LiveProcess(process: holder.child.id)
    let snapshot = try SnapshotReader(target).snapshot()
    func text(_ list: StatisticsList) -> [String] {
      list.entries.map { "\($0.label) \($0.count) \($0.free) \($0.bytes) \($0.figures.allocations) \($0.figures.frees) \($0.figures.cpus.map(\.free))" }
    }
    let live = StatisticsList(), stream = StatisticsList()
    try live.fill(from: target)
    try stream.fill(fromStream: snapshot.typeStream)
    try stream.fill(fromStream: snapshot.zoneStream)
    #expect(text(live) == text(stream) && !live.entries.isEmpty)
    #expect(StatisticsTable.zones(stream).lines() == ZoneTable().table(snapshot).lines(), "and the same table")
    for (entry, zone) in zip(stream.entries, snapshot.zones) { #expect(entry.count == UInt64(zone.used) && entry.free == UInt64(zone.free)) }
    guard let path = writeCore(of: holder.child, in: holder.folder) else { return }
    let core = StatisticsList()
    try core.fill(from: CoreFile(path: path))
    #expect(text(core) == text(live))
    let kept = live.entries[0]
    kept.numbers[0] = 9
    try live.fill(from: target)
    #expect(live.entries[0] === kept && kept.numbers[0] == 9)
    kill(holder.child.id, SIGKILL)
    wait(for: "it does not end") { !target.isAlive }
    do throws(StatisticsError) {
      try live.fill(from: target)
      Issue.record("a process that has gone is read")
    } catch { #expect(error.code == .process) }
    #expect(live.entries.isEmpty && live.error?.code == .process)
  }

  /// Ten thousand inputs in an ordinary run, a million in a soak: good streams with bytes changed, cut, doubled; and plain noise.
  @Test func `T13 whatever bytes come, a stream is read or refused, and a list of it can be shown`() {
    var generator = Generator(61)
    var good = 0
    var bases = [StatisticsStream.zones([Self.zone("a"), Self.zone("a"), Self.zone("b")]).bytes(maxCPUs: 2)]
    bases.append(StatisticsStream.types([Self.type("x"), Self.type("y")]).bytes(maxCPUs: 2))
    bases.append(StatisticsStream.zones([]).bytes(maxCPUs: 0))
    for _ in 0..<Stage.steps(10_000, soak: 1_000_000) {
      var bytes = bases[generator.below(bases.count)]
      switch generator.below(4) {
      case 0: break
      case 1: bytes = Array(bytes.prefix(generator.below(bytes.count + 1)))
      case 2: bytes += bytes.prefix(generator.below(bytes.count + 1))
      default: bytes = (0..<generator.below(300)).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
      }
      for _ in 0..<generator.below(6) where !bytes.isEmpty {
        // Half of them in the header, where it hurts most.
        let place = generator.below(2) == 0 ? generator.below(min(16, bytes.count)) : generator.below(bytes.count)
        bytes[place] = [0, 1, 2, 255, 127, UInt8(truncatingIfNeeded: generator.next())][generator.below(6)]
      }
      _ = StatisticsStream.mayBegin(bytes)
      let list = StatisticsList()
      do throws(StatisticsError) {
        try list.fill(fromStream: bytes)
        good += 1
      } catch {
        if list.error == nil || !list.entries.isEmpty { Issue.record("an error, and entries all the same") }
        continue
      }
      for order in ZoneOrder.allCases { _ = StatisticsTable.zones(list, order, all: true).lines() }
      _ = StatisticsTable.json(list, all: true).description
      for order in TypeOrder.allCases { _ = StatisticsTable.types(list, order, all: true, cpus: order == .name).lines() }
      _ = StatisticsTable.typesJSON(list, all: true, cpus: true).description
      _ = StatisticsTable.warnings(list)
      for entry in list.entries where entry.figures.frees > entry.figures.allocations || entry.count > entry.figures.allocations {
        Issue.record("a negative count")
      }
    }
    #expect(good > 100, "some were still streams")
  }
}
