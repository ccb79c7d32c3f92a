// SPDX-License-Identifier: BSD-2-Clause
//
// The map's own bookkeeping: layout, lookup and hints, gaps, frontier, version, checker (spec items M).

import Testing

@testable import AddressMap
@testable import Primitives

@Suite struct MapTests {
  @Test func layoutIsWhatAnOutsideReaderExpects() {
    #expect(MemoryLayout<MapEntry>.size == 96 && MemoryLayout<MapEntry>.stride == 96)
    #expect(MemoryLayout<MapEntry>.offset(of: \.start) == 0)
    #expect(MemoryLayout<MapEntry>.offset(of: \.left) == 16)
    #expect(MemoryLayout<MapEntry>.offset(of: \.gap) == 32)
    #expect(MemoryLayout<MapEntry>.offset(of: \.next) == 56)
    #expect(MemoryLayout<MapEntry>.offset(of: \.wordA) == 72)
    #expect(MemoryLayout<MapEntry>.offset(of: \.kind) == 88)
    #expect(MemoryLayout<MapEntry>.offset(of: \.flags) == 89)
  }

  @Test func M1_emptyMap() {
    let rig = Rig(page, 10 * page)
    #expect(rig.violation == nil)
    #expect(rig.map.pointee.largestGap == 9 * page)
    let place = rig.lookup(3 * page)
    #expect(!place.found && place.entry == nil)
    #expect(rig.remove(start: page, length: 9 * page).value == 0)
    #expect(rig.map.pointee.version == 0)
  }

  @Test func M4_M5_gapsAfterEachKindOfChange() {
    let rig = Rig(0, 100 * page)
    rig.insert(10, 20)
    rig.insert(40, 50, EntryAttributes(kind: 1))
    let low = rig.map.pointee.first!
    #expect(low.pointee.gap == 20 * page)
    #expect(low.pointee.next!.pointee.gap == 50 * page)
    #expect(rig.map.pointee.headGap == 10 * page)
    #expect(rig.map.pointee.largestGap == 50 * page)
    #expect(rig.grow(low, by: 5 * page))
    #expect(low.pointee.gap == 15 * page && rig.violation == nil)
    #expect(rig.shrink(low, by: 10 * page))
    #expect(low.pointee.gap == 25 * page && rig.violation == nil)
    let upper = rig.clip(low, at: 12 * page)!
    #expect(low.pointee.gap == 0 && upper.pointee.gap == 25 * page && rig.violation == nil)
    rig.remove(45, 47)
    #expect(rig.violation == nil && rig.map.pointee.count == 4)
    rig.remove(0, 100)
    #expect(rig.violation == nil && rig.map.pointee.count == 0 && rig.supply.pointee.inUse == 0)
  }

  @Test func M6_lookupFindsTheEntryOrTheOneBefore() {
    let rig = Rig(0, 100 * page)
    rig.insert(10, 20)
    rig.insert(30, 40)
    for fresh in [true, false] {
      func look(_ address: UInt) -> (Bool, UInt?) {
        if fresh { rig.map.pointee.hint = nil }
        let place = rig.lookup(address)
        return (place.found, place.entry?.pointee.start)
      }
      #expect(look(0) == (false, nil))
      #expect(look(10 * page) == (true, 10 * page))
      #expect(look(20 * page - 1) == (true, 10 * page))
      #expect(look(20 * page) == (false, 10 * page))
      #expect(look(30 * page - 1) == (false, 10 * page))
      #expect(look(30 * page) == (true, 30 * page))
      #expect(look(.max) == (false, 30 * page))
    }
    #expect(rig.entry(containing: 35 * page)?.pointee.start == 30 * page)
    #expect(rig.entry(containing: 25 * page) == nil)
    #expect(rig.entry(containing: 0) == nil)
  }

  @Test func M7_hintHitsAreCounted() {
    let rig = Rig(0, 10_000 * page)
    for index in 0..<100 as Range<UInt> { rig.insert(index * 10, index * 10 + 5) }
    _ = rig.lookup(500 * page)
    let before = rig.map.pointee.counters
    for offset in 0..<10 as Range<UInt> { _ = rig.lookup((500 + offset) * page) }
    let after = rig.map.pointee.counters
    #expect(after.lookups - before.lookups == 10)
    #expect(after.hintHits - before.hintHits == 10)
    #expect(after.treeSteps == before.treeSteps && after.listSteps == before.listSteps)
    _ = rig.lookup(0)
    #expect(rig.map.pointee.counters.hintHits == after.hintHits)
  }

  @Test func M8_noHintNamesAnEntryThatIsGone() {
    let rig = Rig(0, 100 * page)
    rig.insert(0, 5)
    rig.insert(5, 9, EntryAttributes(kind: 1))
    rig.insert(20, 30)
    _ = rig.lookup(6 * page)
    #expect(rig.map.pointee.hint?.pointee.start == 5 * page)
    #expect(rig.map.pointee.firstFree?.pointee.start == 5 * page)
    rig.remove(5, 9)
    #expect(rig.map.pointee.hint?.pointee.start == 0 && rig.violation == nil)
    #expect(rig.map.pointee.firstFree?.pointee.start == 0)
    // The hint to an entry that is merged away.
    rig.insert(40, 50)
    _ = rig.lookup(45 * page)
    rig.insert(30, 40)
    #expect(rig.violation == nil)
    #expect(rig.lookup(45 * page).entry?.pointee.start == 20 * page)
    rig.remove(0, 100)
    #expect(rig.map.pointee.hint == nil && rig.violation == nil)
  }

  @Test func M9_frontierFollowsTheRunFromMinimum() {
    let rig = Rig(0, 100 * page)
    func frontier() -> UInt? { rig.map.pointee.firstFree.map { $0.pointee.end / page } }
    rig.insert(10, 20)
    #expect(frontier() == nil)
    rig.insert(0, 5, EntryAttributes(kind: 1))
    #expect(frontier() == 5)
    rig.insert(5, 10, EntryAttributes(kind: 2))
    #expect(frontier() == 20)
    rig.remove(7, 8)
    #expect(frontier() == 7)
    rig.insert(7, 8, EntryAttributes(kind: 2))
    #expect(frontier() == 20 && rig.violation == nil)
    rig.remove(0, 1)
    #expect(frontier() == nil && rig.violation == nil)
    rig.insert(0, 1)
    rig.insert(20, 100, EntryAttributes(kind: 3))
    #expect(frontier() == 100 && rig.violation == nil && rig.map.pointee.largestGap == 0)
  }

  @Test func M10_checkerSeesDamage() {
    func damaged(_ damage: (UnsafeMutablePointer<AddressMap>) -> Void) -> Bool {
      let rig = Rig(0, 1000 * page)
      for index in 1..<20 as Range<UInt> { rig.insert(index * 10, index * 10 + 5) }
      let supply = rig.supply.pointee
      damage(rig.map)
      defer { rig.supply.pointee = supply; repair(rig) }
      return rig.violation != nil
    }
    // Let the rig end without following what was damaged.
    func repair(_ rig: Rig) {
      rig.map.pointee.first = nil
      rig.supply.pointee.inUse = 0
    }
    #expect(!damaged { _ in })
    #expect(damaged { $0.pointee.count += 1 })
    #expect(damaged { $0.pointee.count -= 1 })
    #expect(damaged { $0.pointee.size += page })
    #expect(damaged { $0.pointee.first!.pointee.gap += page })
    #expect(damaged { $0.pointee.tree.root!.pointee.subtreeGap += page })
    #expect(damaged { $0.pointee.first!.pointee.end += 6 * page })
    #expect(damaged { $0.pointee.first!.pointee.start += 5 * page })
    #expect(damaged { $0.pointee.last!.pointee.next = $0.pointee.first })
    #expect(damaged { $0.pointee.first!.pointee.next!.pointee.previous = nil })
    #expect(damaged { $0.pointee.firstFree = $0.pointee.first })
    #expect(damaged { $0.pointee.last = $0.pointee.first })
    #expect(damaged { $0.pointee.hint = EntryPointer(bitPattern: 64) })
    #expect(damaged { $0.pointee.first!.pointee.flags &= ~MapEntry.live })
    #expect(damaged { map in _ = map.pointee.tree.remove(map.pointee.first!) })
  }

  @Test func M11_versionMovesWithEachChangeAndOnlyThen() {
    let rig = Rig(0, 100 * page)
    var last = rig.map.pointee.version
    func moved() -> Bool {
      defer { last = rig.map.pointee.version }
      return rig.map.pointee.version != last
    }
    rig.insert(10, 20)
    #expect(moved())
    _ = rig.lookup(15 * page)
    _ = rig.find(SpaceRequest(length: page))
    #expect(!rig.insert(15, 16))
    #expect(rig.remove(50, 60) == 0)
    #expect(!moved())
    _ = rig.grow(rig.map.pointee.first!, by: page)
    #expect(moved())
    _ = rig.shrink(rig.map.pointee.first!, by: page)
    #expect(moved())
    rig.change(rig.map.pointee.first!, to: EntryAttributes(kind: 3))
    #expect(moved())
    _ = rig.clip(rig.map.pointee.first!, at: 12 * page)
    #expect(moved())
    rig.remove(12, 13)
    #expect(moved())
  }

  @Test func checkInvariantsTraps() async {
    await #expect(processExitsWith: .failure) {
      let rig = Rig(0, 100 * page)
      rig.insert(10, 20)
      rig.map.pointee.size += 1
      rig.map.pointee.checkInvariants()
    }
  }
}
