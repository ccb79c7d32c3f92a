// SPDX-License-Identifier: BSD-2-Clause
//
// Inserting, merging, growing, clipping, changing (spec items I and U1, lesson V11).

import Testing

@testable import AddressMap
@testable import TestSupport

private let plain = EntryAttributes(kind: 1, wordA: 7, wordB: 9)

@Suite struct InsertTests {
  @Test func I1_badRangesFailCleanly() {
    let rig = Rig(page, 100 * page)
    let absurd: [(UInt, UInt)] = [
      (page, 0), (0, page), (100 * page, page), (99 * page, 2 * page), (50 * page, .max), (.max, .max), (.max, 1), (0, .max),
      (page, UInt.max - page + 1),
    ]
    for (start, length) in absurd {
      guard case .badRange = rig.insert(start: start, length: length, plain) else {
        Issue.record("insert \(start) \(length)")
        continue
      }
      guard case .badRange = rig.remove(start: start, length: length) else {
        Issue.record("remove \(start) \(length)")
        continue
      }
    }
    #expect(rig.map.pointee.version == 0 && rig.violation == nil)
    rig.insert(1, 5)
    let entry = rig.map.pointee.first!
    #expect(!rig.grow(entry, by: .max))
    #expect(!rig.grow(entry, by: 96 * page))
    #expect(!rig.grow(entry, by: 0))
    #expect(!rig.shrink(entry, by: .max))
    #expect(!rig.shrink(entry, by: 4 * page))
    #expect(!rig.shrink(entry, by: 0))
    #expect(rig.grow(entry, by: 95 * page))
    #expect(rig.violation == nil && rig.map.pointee.largestGap == 0)
  }

  @Test func takenRangesAreRefused() {
    let rig = Rig(0, 100 * page)
    rig.insert(10, 20)
    let state = rig.state
    for (from, to) in [(10, 20), (5, 11), (19, 25), (12, 13), (0, 100), (19, 20)] as [(UInt, UInt)] {
      guard case .noSpace = rig.insert(start: from * page, length: (to - from) * page, plain) else {
        Issue.record("insert \(from) \(to)")
        continue
      }
    }
    #expect(rig.state == state)
  }

  @Test func I5_mergeOnlyWhenAllIsEqualAndNobodyMinds() {
    var others = [plain, plain, plain, plain]
    others[0].kind = 2
    others[1].wordA = 0
    others[2].wordB = 0
    others[3].noMerge = true
    for other in others {
      for (first, second) in [(plain, other), (other, plain), (other, other)] where first != second || other.noMerge {
        let rig = Rig(0, 100 * page)
        rig.insert(10, 20, first)
        rig.insert(20, 30, second)
        #expect(rig.map.pointee.count == 2 && rig.violation == nil)
        let down = Rig(0, 100 * page)
        down.insert(20, 30, second)
        down.insert(10, 20, first)
        #expect(down.map.pointee.count == 2 && down.violation == nil)
      }
    }
    let apart = Rig(0, 100 * page)
    apart.insert(10, 20, plain)
    apart.insert(21, 30, plain)
    #expect(apart.map.pointee.count == 2)
  }

  @Test func I6_I7_I8_I10_backForwardBothAreCounted() {
    let rig = Rig(0, 100 * page)
    rig.insert(10, 20, plain)
    rig.insert(20, 25, plain)
    #expect(rig.entries == [EntryImage(start: 10 * page, end: 25 * page, attributes: plain)] && rig.violation == nil)
    rig.insert(40, 50, plain)
    rig.insert(35, 40, plain)
    #expect(rig.entries.last == EntryImage(start: 35 * page, end: 50 * page, attributes: plain) && rig.violation == nil)
    rig.insert(25, 35, plain)
    #expect(rig.entries == [EntryImage(start: 10 * page, end: 50 * page, attributes: plain)] && rig.violation == nil)
    let counters = rig.map.pointee.counters
    #expect(counters.mergesNone == 2 && counters.mergesBack == 1 && counters.mergesForward == 1 && counters.mergesBoth == 1)
    #expect(rig.supply.pointee.inUse == 1)
    #expect(rig.map.pointee.size == 40 * page)
  }

  @Test func I14_sizeAndFrontier() {
    let rig = Rig(0, 100 * page)
    rig.insert(5, 10)
    rig.insert(0, 5)
    #expect(rig.map.pointee.size == 10 * page && rig.map.pointee.firstFree?.pointee.end == 10 * page)
  }

  @Test func allocateReturnsTheAddressNotTheMergedEntry() {
    let rig = Rig(page, 100 * page)
    #expect(rig.allocate(SpaceRequest(length: 4 * page), plain).value == page)
    #expect(rig.allocate(SpaceRequest(length: 4 * page), plain).value == 5 * page)
    #expect(rig.map.pointee.count == 1)
    guard case .noSpace = rig.allocate(SpaceRequest(length: .max), plain) else {
      Issue.record("absurd length")
      return
    }
  }

  @Test func I15_changeMergesAgain() {
    let rig = Rig(0, 100 * page)
    rig.insert(10, 20, plain)
    rig.insert(20, 30)
    rig.insert(30, 40, plain)
    let middle = rig.lookup(25 * page).entry!
    let survivor = rig.change(middle, to: plain)
    #expect(rig.entries == [EntryImage(start: 10 * page, end: 40 * page, attributes: plain)])
    #expect(survivor == rig.map.pointee.first && rig.violation == nil)
    #expect(rig.map.pointee.counters.mergesBoth == 1)
    // Part of an entry: clip, then change; changing it back undoes it all.
    let upper = rig.clip(survivor, at: 20 * page)!
    _ = rig.clip(upper, at: 25 * page)!
    rig.change(upper, to: EntryAttributes())
    #expect(rig.map.pointee.count == 3 && rig.violation == nil)
    rig.change(upper, to: plain)
    #expect(rig.map.pointee.count == 1 && rig.violation == nil)
  }

  @Test func growJoinsTheNextEntryWhenItMeetsIt() {
    let rig = Rig(0, 100 * page)
    rig.insert(0, 10, plain)
    rig.insert(15, 20, plain)
    rig.insert(25, 30)
    let entry = rig.map.pointee.first!
    #expect(rig.grow(entry, by: 5 * page))
    #expect(rig.map.pointee.count == 2 && entry.pointee.end == 20 * page && rig.violation == nil)
    #expect(rig.grow(entry, by: 5 * page))
    #expect(rig.map.pointee.count == 2 && rig.violation == nil)
    #expect(rig.map.pointee.firstFree?.pointee.end == 30 * page)
    #expect(!rig.grow(entry, by: page))
  }

  @Test func U1_removeCutsBothEnds() {
    let rig = Rig(0, 100 * page)
    rig.insert(0, 100, plain)
    #expect(rig.remove(40, 60) == 20 * page)
    #expect(rig.entries.map(\.start) == [0, 60 * page] && rig.violation == nil)
    #expect(rig.entries.allSatisfy { $0.attributes == plain })
    #expect(rig.remove(30, 70) == 20 * page)
    #expect(rig.entries.map(\.end) == [30 * page, 100 * page] && rig.violation == nil)
    #expect(rig.remove(0, 100) == 60 * page && rig.map.pointee.count == 0)
  }

  @Test func U1_clipOutsideIsACallersError() async {
    await #expect(processExitsWith: .failure) {
      let rig = Rig(0, 100 * page)
      rig.insert(10, 20)
      _ = rig.clip(rig.map.pointee.first!, at: 20 * page)
    }
  }

  @Test func V11_stormsLeaveFewEntries() {
    // Many owners come and go in random order between a few that stay.
    var random = Generator(12)
    let rig = Rig(0, 100_000 * page)
    let stay = EntryAttributes(kind: 9)
    for index in 0..<10 as Range<UInt> { rig.insert(index * 10_000, index * 10_000 + 10, stay) }
    let resting = rig.map.pointee.count
    var live: [(UInt, UInt)] = []
    for _ in 0..<5000 * Stage.scale {
      if live.count < 500, random.below(5) < 3 {
        let length = UInt(random.below(20) + 1) * page
        var request = SpaceRequest(length: length, direction: random.below(2) == 0 ? .bottomUp : .topDown)
        if random.below(4) == 0 { request.alignment = 8 * page }
        if let address = rig.allocate(request, plain).value { live.append((address, length)) }
      } else if !live.isEmpty {
        let (address, length) = live.remove(at: random.below(live.count))
        #expect(rig.remove(start: address, length: length).value == length)
      }
    }
    #expect(rig.violation == nil)
    for (address, length) in live.shuffled(using: &random) { _ = rig.remove(start: address, length: length) }
    #expect(rig.map.pointee.count == resting && rig.violation == nil)
    #expect(rig.supply.pointee.inUse == resting)
  }

  @Test func V11_holeFilledBetweenEqualEntriesLeavesOne() {
    let rig = Rig(0, 1000 * page)
    // Every second page, then the holes, in an order that makes all kinds of merges.
    for index in stride(from: 0, to: 1000, by: 2) as StrideTo<UInt> { rig.insert(index, index + 1, plain) }
    #expect(rig.map.pointee.count == 500)
    for index in stride(from: 1, to: 1000, by: 4) as StrideTo<UInt> { rig.insert(index, index + 1, plain) }
    for index in stride(from: 3, to: 1000, by: 4) as StrideTo<UInt> { rig.insert(index, index + 1, plain) }
    #expect(rig.map.pointee.count == 1 && rig.map.pointee.size == 1000 * page && rig.violation == nil)
  }
}
