// SPDX-License-Identifier: BSD-2-Clause
//
// The best table of classes: against all tables tried one by one, and what is said of it.

import Testing

@testable import Exporters
@testable import Inspection
@testable import TestSupport

@Suite struct ClassTableTests {
  static func histogram(_ counts: [(size: Int, requests: Int)]) -> [SizeCounts] {
    counts.map { SizeCounts(least: max(0, $0.size - 15), most: $0.size, requests: $0.requests, asked: $0.requests * max(0, $0.size - 3), given: 0) }
  }

  /// The least waste of any table of at most `count` classes out of all multiples of 16 up to `largest`.
  static func least(_ histogram: [SizeCounts], _ count: Int, largest: Int) -> Int {
    var best = Int.max
    func extend(_ sizes: [Int], from size: Int) {
      if sizes.count < count { best = min(best, ClassTable.waste(of: histogram, in: sizes + [largest])) }
      guard sizes.count + 1 < count, size < largest else { return }
      for next in stride(from: size, to: largest, by: 16) { extend(sizes + [next], from: next + 16) }
    }
    extend([], from: 16)
    return best
  }

  @Test func `no table of as many classes wastes less, by trying all of them`() {
    var generator = Generator()
    for _ in 0..<40 {
      let largest = 16 * Int.random(in: 1...12, using: &generator)
      let sizes = (0...largest / 16).filter { _ in Bool.random(using: &generator) }
      let histogram = Self.histogram(sizes.map { ($0 * 16, Int.random(in: 1...50, using: &generator)) })
      for count in 1...5 {
        let table = ClassTable(for: histogram, count: count, largest: largest)
        #expect(table.wasted == Self.least(histogram, count, largest: largest), "\(histogram), \(count) of \(largest): \(table)")
        #expect(table.wasted == ClassTable.waste(of: histogram, in: table.sizes))
        #expect(table.sizes.count <= count && table.sizes.last == largest && table.sizes == Set(table.sizes).sorted() && table.sizes.allSatisfy { $0 % 16 == 0 })
      }
    }
  }

  @Test func `as many classes as sizes lose nothing but what multiples of 16 cost, and more are not asked for`() {
    let histogram = Self.histogram([(48, 10), (1008, 5), (20_000, 1)])
    let table = ClassTable(for: histogram, count: 72, largest: 32768)
    #expect(table == ClassTable(sizes: [48, 1008, 20_000, 32768], wasted: 16 * 3))
    #expect(ClassTable(for: [], count: 72, largest: 32768) == ClassTable(sizes: [32768], wasted: 0))
    #expect(ClassTable(for: Self.histogram([(0, 4)]), count: 2, largest: 32768) == ClassTable(sizes: [16, 32768], wasted: 64))
  }

  @Test func `L49 figures as large as a reader believes do not overflow`() {
    let histogram = stride(from: 16, through: 32768, by: 16).map { SizeCounts(least: $0 - 15, most: $0, requests: 1 << 35, asked: $0 << 35, given: $0 << 35) }
    let table = ClassTable(for: histogram, count: 72, largest: 32768)
    #expect(table.wasted > 0 && table.sizes.count == 72)
  }

  @Test func `the table says what is wasted, and what would be saved`() {
    var snapshot = SizeSnapshot()
    (snapshot.target, snapshot.isCounting, snapshot.seconds, snapshot.classes) = ("process 1 (program)", true, 12, [16, 32, 64, 128, 32768])
    snapshot.small = [
      SizeCounts(least: 17, most: 32, requests: 10, asked: 300, given: 320), SizeCounts(least: 33, most: 48, requests: 1000, asked: 48000, given: 64000),
      SizeCounts(least: 49, most: 64, requests: 1, asked: 60, given: 64),
    ]
    snapshot.large = [SizeCounts(least: 32769, most: 65536, requests: 2, asked: 70_000, given: 73_728)]
    let table = SizeTable(snapshot)
    #expect(table.rows.map(\.title) == ["17–32", "33–64", "large 32769–65536"] && table.rows[1].counts.requests == 1001 && table.rows[1].counts.given == 64064)
    #expect(table.best.sizes == [32, 48, 64, 32768] && table.best.wasted == 24 && table.present.wasted == 16024 && table.least == 24)
    #expect(SizeTable(snapshot, order: .waste).rows.map(\.counts.wasted) == [16004, 3728, 20])
    #expect(SizeTable(snapshot, classes: 2).best.sizes == [48, 32768] || SizeTable(snapshot, classes: 2).best.sizes == [64, 32768])
    #expect(table.summary.first == "The 5 classes waste 15.6K (24.9%) of 62.9K." && table.summary.contains { $0.hasSuffix("15.6K less.") }, "\(table.summary)")
    #expect(table.headline == "process 1 (program): sizes asked for in 12 s")
    snapshot.small = []
    #expect(SizeTable(snapshot).summary == ["No request that a class serves has been counted yet."])
  }
}
