// SPDX-License-Identifier: BSD-2-Clause
//
// Malloc types by CPU, in a look, in a stream and in a list: from a process, its core and a saved stream. Needs `make` first.

import Glibc
import Testing

@testable import Exporters
@testable import Inspection
@testable import TestSupport

@Suite struct TypeStreamTests {
  /// Whether the CPUs' records of each type make its row of the table, and nothing is negative.
  static func agree(_ snapshot: Snapshot) -> Bool {
    let list = StatisticsList()
    list.fill(from: snapshot, .malloc)
    return list.entries.count == snapshot.types.count
      && zip(list.entries, snapshot.types).allSatisfy { entry, type in
        let figures = entry.figures, most = UInt64(1) << 62
        return entry.count == UInt64(type.used) && entry.bytes == UInt64(type.usedBytes) && figures.allocations == UInt64(type.allocations)
          && figures.frees <= figures.allocations && figures.freedBytes <= figures.allocatedBytes
          && figures.cpus.allSatisfy { $0.allocations < most && $0.frees < most && $0.allocatedBytes < most && $0.freedBytes < most }
      }
  }

  @Test func `a mask's bit stands for a power of two from 16 on and for all sizes down to the one before`() {
    let bits = [(1, 0), (16, 0), (17, 1), (32, 1), (48, 2), (64, 2), (80, 3), (128, 3), (144, 4), (32768, 11)]
    for (size, bit) in bits { #expect(TypeSnapshot.maskBit(ofSize: size) == bit, "\(size)") }
    #expect(TypeSnapshot.sizes(ofMask: 0b1000_0000_0101) == [16, 64, 32768])
    #expect(TypeSnapshot.sizes(ofMask: .max).last == 16 << 58, "what no class can be does not trap")
  }

  @Test func `T13 a process that claims CPUs and zones without measure does not take its reader's memory`() throws {
    var snapshot = Snapshot()
    snapshot.zones = Array(repeating: ZoneSnapshot(), count: 8000)
    snapshot.cpuLimit = 1000
    try snapshot.checkRecords()
    for (zones, cpus) in [(8000, 8192), (1100, 8192), (1, Int.max - 1)] {
      snapshot.zones = Array(repeating: ZoneSnapshot(), count: zones)
      snapshot.cpuLimit = cpus
      guard case .damaged = errorOf({ () throws(InspectionError) in try snapshot.checkRecords() }) else {
        Issue.record("\(zones) zones with \(cpus) CPUs")
        continue
      }
    }
  }

  @Test func `L58 each CPU has what its caches counted, the last record what none did, and their sums are the type's`() throws {
    guard let holder = TypeHolder() else { return }
    let snapshot = try SnapshotReader(LiveProcess(process: holder.child.id)).snapshot()
    #expect(Self.agree(snapshot) && snapshot.types.count >= 4, "malloc, two twins, the program")
    let twin = try #require(snapshot.types.first { $0.name == TypeHolder.name && $0.instance == 0 })
    #expect(twin.used == TypeHolder.blocks - TypeHolder.freed + TypeHolder.large)
    let list = StatisticsList()
    try list.fill(fromStream: snapshot.typeStream)
    let entry = try #require(list.find(.malloc, TypeHolder.name)), elsewhere = try #require(entry.figures.cpus.last)
    #expect(entry.figures.cpus.count == snapshot.cpuLimit + 1)
    let asker = entry.cpu(holder.asker), freer = entry.cpu(holder.freer)
    // A request that finds its cell empty goes round it, and fills it for those that follow.
    try #require(elsewhere.allocations >= UInt64(TypeHolder.large))
    let round = elsewhere.allocations - UInt64(TypeHolder.large)
    #expect(1...UInt64(TypeHolder.blocks / 4) ~= round && asker.allocations + round == UInt64(TypeHolder.blocks) && asker.sizes == 1 << 2)
    #expect(freer.frees + elsewhere.frees == UInt64(TypeHolder.freed))
    if holder.asker != holder.freer { #expect(asker.frees == 0 && freer.allocations == 0 && freer.sizes == 0) }
    #expect(elsewhere.allocatedBytes == 2 * 102_400 + round * 48 && asker.allocatedBytes == asker.allocations * 48)
    #expect(entry.bytes == UInt64(twin.usedBytes) && entry.figures.sizes == 1 << 2, "large blocks have no bit")
    for other in entry.figures.cpus.indices.dropLast() where other != holder.asker && other != holder.freer {
      #expect(entry.cpu(other).allocations == 0, "others are zeros")
    }
    #expect(twin.classes == [TypeClass(size: 48, allocations: Int64(TypeHolder.blocks), used: TypeHolder.blocks - TypeHolder.freed)])
  }

  @Test func `L78 T6 L61 types of a process, its core and its stream give one list and one table`() throws {
    guard let holder = TypeHolder() else { return }
    let target = try LiveProcess(process: holder.child.id)
    let snapshot = try SnapshotReader(target).snapshot()
    func text(_ list: StatisticsList) -> [String] {
      list.entries.map { entry in
        "\(entry.label) \(entry.count) \(entry.bytes) \(entry.figures.allocations) \(entry.figures.frees) \(entry.figures.sizes) "
          + entry.figures.cpus.map { "\($0.allocations)-\($0.frees)-\($0.allocatedBytes)-\($0.freedBytes)-\($0.sizes)" }.joined(separator: " ")
      }
    }
    let live = StatisticsList(), stream = StatisticsList(), core = StatisticsList()
    try live.fill(from: target, .malloc)
    try stream.fill(fromStream: snapshot.typeStream)
    #expect(text(live) == text(stream))
    #expect(stream.entries.filter { $0.name == TypeHolder.name }.map(\.instance) == [0, 1] && stream.find(.malloc, TypeHolder.name, instance: 1)?.count == 7)
    var table = TypeTable()
    func columns(_ lines: [String]) -> [[Substring]] { lines.map { $0.split(separator: " ").prefix(4).map { $0 } } }
    #expect(columns(table.table(snapshot).lines()) == columns(StatisticsTable.types(stream).lines()), "sizes are coarser in a stream")
    table.showsCPUs = true
    #expect(table.table(snapshot).lines() == StatisticsTable.types(stream, cpus: true).lines())
    if let path = writeCore(of: holder.child, in: holder.folder) {
      let dead = try SnapshotReader(CoreFile(path: path)).snapshot()
      try core.fill(from: path)
      #expect(text(live) == text(core).suffix(live.entries.count) && core.entries.count == snapshot.zones.count + snapshot.types.count)
      #expect(dead.typeStream == snapshot.typeStream && dead.zoneStream == snapshot.zoneStream)
      #expect(table.table(dead).lines() == table.table(snapshot).lines())
    }
    // Filled again, it keeps its entries and what is noted in them; of the other kind it says nothing.
    let kept = try #require(live.find(.malloc, TypeHolder.name, instance: 1))
    kept.numbers[5] = 55
    try live.fill(from: "\(holder.child.id)")
    #expect(live.find(.malloc, TypeHolder.name, instance: 1) === kept && kept.numbers[5] == 55 && live.entries.contains { $0.allocator == .zone })
    #expect(live.entries.first?.allocator == .zone && live.entries.last?.allocator == .malloc)
    try live.fill(fromStream: snapshot.typeStream)
    #expect(live.find(.malloc, TypeHolder.name, instance: 1) === kept && live.entries.contains { $0.allocator == .zone })
    var other = snapshot.typeStream
    other[0] = 9
    do throws(StatisticsError) {
      try live.fill(from: holder.folder.write(other, "stream"))
      Issue.record("version 9 is understood")
    } catch { #expect(error.code == .version && live.entries.isEmpty) }
  }

  @Test func `L58 T6 a busy process's types add up in each look`() throws {
    guard let holder = Holder(busy: 3) else { return }
    let reader = try SnapshotReader(LiveProcess(process: holder.child.id))
    let end = clock_gettime_nsec() + 5_000_000_000
    var changed = 0
    for _ in 0..<100 where clock_gettime_nsec() < end {
      let snapshot = try reader.look()
      if snapshot.isChanging { changed += 1 }
      guard Self.agree(snapshot) else {
        Issue.record("\(snapshot.types)")
        break
      }
    }
    #expect(changed > 0, "it was not busy")
  }
}
