// SPDX-License-Identifier: BSD-2-Clause
//
// Where entries come from, and what happens when none come (spec items E, lesson V28).

import Testing

@testable import AddressMap
@testable import TestSupport

private func alternating(_ index: UInt) -> EntryAttributes { EntryAttributes(kind: UInt8(index % 2)) }

@Suite struct EntrySupplyTests {
  @Test func E3_bootstrapFirstThenPages() {
    let rig = Rig(0, 1000 * page, bootstrapEntries: 4)
    for index in 0..<4 as Range<UInt> { rig.insert(index, index + 1, alternating(index)) }
    #expect(rig.provider.calls == 0)
    rig.insert(4, 5, alternating(4))
    #expect(rig.provider.calls == 1 && rig.supply.pointee.pagesTaken == 1)
    for index in 5..<46 as Range<UInt> { rig.insert(index, index + 1, alternating(index)) }
    #expect(rig.provider.calls == 1 && rig.map.pointee.count == 46)  // 4 + 42
    rig.insert(46, 47, alternating(46))
    #expect(rig.provider.calls == 2 && rig.violation == nil)
  }

  @Test func E4_entriesReturnWhereTheyCameFrom() {
    let rig = Rig(0, 1000 * page, bootstrapEntries: 4)
    for index in 0..<20 as Range<UInt> { rig.insert(index, index + 1, alternating(index)) }
    #expect(rig.supply.pointee.bootstrap.freeCount == 0 && rig.supply.pointee.pages.freeCount == 42 - 16)
    rig.remove(0, 20)
    #expect(rig.supply.pointee.bootstrap.freeCount == 4 && rig.supply.pointee.pages.freeCount == 42)
    #expect(rig.supply.pointee.inUse == 0 && rig.violation == nil)
    for index in 0..<46 as Range<UInt> { rig.insert(index, index + 1, alternating(index)) }
    #expect(rig.provider.calls == 1 && rig.violation == nil)
  }

  @Test func E4_doubleReturnTraps() async {
    await #expect(processExitsWith: .failure) {
      let rig = Rig(0, 1000 * page)
      let entry = rig.supply.pointee.take()!
      rig.supply.pointee.put(entry)
      rig.supply.pointee.put(entry)
    }
  }

  @Test func reservationsHold() {
    let rig = Rig(0, 1000 * page)
    rig.insert(0, 100)
    #expect(rig.reserveEntries(200))
    rig.provider.failing = true
    for index in 0..<200 as Range<UInt> {
      #expect(rig.insert(start: (200 + index) * page, length: page, alternating(index)).value != nil)
    }
    #expect(rig.violation == nil)
    #expect(!rig.reserveEntries(1000))
    #expect(rig.supply.pointee.failures == 1 && rig.violation == nil)
  }

  /// Every operation that wants an entry and gets none leaves the map as it was; those that need none do not ask.
  @Test func I9_I12_E5_noEntryLeavesTheMapUnchanged() {
    let rig = Rig(0, 1000 * page, oneByOne: true)
    rig.insert(10, 20)
    rig.insert(20, 30, alternating(1))
    rig.provider.failing = true
    let state = rig.state
    let calls = rig.provider.calls
    guard case .noEntry = rig.insert(start: 50 * page, length: page, EntryAttributes()) else {
      Issue.record("insert")
      return
    }
    guard case .noEntry = rig.allocate(SpaceRequest(length: page), EntryAttributes(kind: 5)) else {
      Issue.record("allocate")
      return
    }
    guard case .noEntry = rig.remove(start: 12 * page, length: page) else {
      Issue.record("remove")
      return
    }
    #expect(rig.clip(rig.map.pointee.first!, at: 12 * page) == nil)
    #expect(rig.state == state && rig.violation == nil)
    #expect(rig.provider.calls == calls + 4)
    // These work without memory: merging, cutting an end, removing across entries, growing, shrinking, changing.
    #expect(rig.insert(30, 35, alternating(1)))
    #expect(rig.remove(18, 22) == 4 * page)
    #expect(rig.grow(rig.map.pointee.first!, by: page))
    #expect(rig.shrink(rig.map.pointee.first!, by: page))
    rig.change(rig.map.pointee.first!, to: alternating(1))
    #expect(rig.provider.calls == calls + 4 && rig.violation == nil)
  }

  /// One fixed sequence of random operations, run again and again with the supply failing at its first, second, ... call.
  @Test func I12_failureAtEveryCallOfTheSupply() {
    var failAt = 1
    var reached = true
    var failuresSeen = 0
    while reached {
      let rig = Rig(0, 64 * page, oneByOne: true)
      rig.provider.failAtCall = failAt
      var random = Generator(13)
      for step in 0..<120 {
        let before = rig.state
        let failuresBefore = rig.supply.pointee.failures
        let noEntry: Bool
        let from = UInt(random.below(60))
        let length = UInt(random.below(6) + 1)
        let kind = random.below(3)
        switch random.below(4) {
        case 0:
          if case .noEntry = rig.allocate(SpaceRequest(length: length * page), alternating(UInt(kind))) {
            noEntry = true
          } else {
            noEntry = false
          }
        case 1:
          if case .noEntry = rig.insert(start: from * page, length: length * page, alternating(UInt(kind))) {
            noEntry = true
          } else {
            noEntry = false
          }
        case 2:
          if let entry = rig.lookup(from * page).entry, entry.pointee.length > page {
            noEntry = rig.clip(entry, at: entry.pointee.start + page) == nil
          } else {
            noEntry = false
          }
        default:
          if case .noEntry = rig.remove(start: from * page, length: min(length, 64 - from) * page) {
            noEntry = true
          } else {
            noEntry = false
          }
        }
        let failed = rig.supply.pointee.failures > failuresBefore
        if failed { failuresSeen += 1 }
        if failed != noEntry || (failed && rig.state != before) || rig.violation != nil {
          let what = rig.violation ?? "a failure was hidden or left a trace"
          Issue.record("STAVE_SEED=\(Stage.seed), call \(failAt), step \(step): \(what)")
          return
        }
      }
      reached = rig.supply.pointee.failures > 0
      failAt += 1
    }
    #expect(failuresSeen == failAt - 2 && failuresSeen > 5)
  }

  /// The number of entries is bounded by memory only, and at the moment the supply asks for a page the map is whole and
  /// no call into it is half done.
  @Test func V28_E2_entriesNeverRunOutAndTheSupplyNeverReenters() {
    let rig = Rig(0, 1 << 40, bootstrapEntries: 8)
    var insideOnce = true
    var whole = true
    var lastCount = 0
    rig.provider.onCall = { [unowned rig] in
      if rig.provider.depth != 1 { insideOnce = false }
      // Reading is safe here: the caller has not begun to change anything.
      if rig.map.pointee.count != lastCount { whole = false }
      if rig.provider.calls < 40, rig.map.pointee.invariantViolation() != nil { whole = false }
    }
    let count = 20_000
    var done = true
    for index in 0..<UInt(count) {
      if !rig.insert(index * 2, index * 2 + 1) { done = false }
      lastCount = rig.map.pointee.count
    }
    // The other way to want entries: holes in the middle of one.
    rig.insert(100_000, 200_000)
    lastCount = rig.map.pointee.count
    for index in 0..<1000 as Range<UInt> {
      if rig.remove(100_010 + index * 10, 100_011 + index * 10) == nil { done = false }
      lastCount = rig.map.pointee.count
    }
    #expect(done && insideOnce && whole)
    #expect(rig.map.pointee.count == count + 1 + 1000 && rig.violation == nil)
    #expect(rig.provider.calls == (count + 1001 - 8 + 41) / 42)
  }

  @Test func pagesGoBackWhenTheMapIsEmpty() {
    let rig = Rig(0, 100_000 * page, bootstrapEntries: 4)
    for index in 0..<1000 as Range<UInt> { rig.insert(index * 2, index * 2 + 1) }
    #expect(rig.provider.pagesOut > 10)
    rig.map.pointee.removeAll()
    #expect(rig.violation == nil && rig.supply.pointee.inUse == 0)
    rig.supply.pointee.releasePages { context, memory, bytes in
      Unmanaged<Provider>.fromOpaque(context!).takeUnretainedValue().pagesOut -= 1
      memory.deallocate()
    }
    #expect(rig.provider.pagesOut == 0 && rig.violation == nil)
    for index in 0..<100 as Range<UInt> { rig.insert(index * 2, index * 2 + 1) }
    #expect(rig.map.pointee.count == 100 && rig.violation == nil)
  }
}
