// SPDX-License-Identifier: BSD-2-Clause
//
// Finding space (spec items F, lessons V2, V3, V6). The random comparison with the model is in PropertyTests.

import Testing

@testable import AddressMap
@testable import TestSupport

@Suite struct FindSpaceTests {
  @Test func F2_fixedTakesExactlyTheAddressOrNothing() {
    let rig = Rig(page, 100 * page)
    rig.insert(10, 20)
    #expect(rig.find(SpaceRequest(length: 10 * page, at: 20 * page)) == 20 * page)
    #expect(rig.find(SpaceRequest(length: 5 * page, at: 5 * page)) == 5 * page)
    #expect(rig.find(SpaceRequest(length: 6 * page, at: 5 * page)) == nil)
    #expect(rig.find(SpaceRequest(length: page, at: 15 * page)) == nil)
    #expect(rig.find(SpaceRequest(length: page, at: 0)) == nil)
    #expect(rig.find(SpaceRequest(length: page, at: 100 * page)) == nil)
    #expect(rig.find(SpaceRequest(length: 81 * page, at: 20 * page)) == nil)
    #expect(rig.find(SpaceRequest(length: .max, at: 20 * page)) == nil)
    #expect(rig.find(SpaceRequest(length: 0, at: 20 * page)) == nil)
  }

  @Test func F2_fixedWithAlignmentIsACallersError() async {
    await #expect(processExitsWith: .failure) {
      let rig = Rig(page, 100 * page)
      var request = SpaceRequest(length: page, at: 8 * page)
      request.alignment = 2 * page
      _ = rig.find(request)
    }
  }

  @Test func F4_bottomUpGivesTheLowest() {
    let rig = Rig(0, 100 * page)
    rig.insert(0, 10)
    rig.insert(12, 20)
    rig.insert(25, 30)
    #expect(rig.find(SpaceRequest(length: page)) == 10 * page)
    #expect(rig.find(SpaceRequest(length: 3 * page)) == 20 * page)
    #expect(rig.find(SpaceRequest(length: 6 * page)) == 30 * page)
    #expect(rig.find(SpaceRequest(length: page, from: 11 * page)) == 11 * page)
    #expect(rig.find(SpaceRequest(length: 2 * page, from: 11 * page)) == 20 * page)
    #expect(rig.find(SpaceRequest(length: page, from: 14 * page)) == 20 * page)
    #expect(rig.find(SpaceRequest(length: page, from: 99 * page)) == 99 * page)
    #expect(rig.find(SpaceRequest(length: 2 * page, from: 99 * page)) == nil)
    #expect(rig.find(SpaceRequest(length: page, from: .max)) == nil)
  }

  @Test func F5_topDownGivesTheHighestUpToTheHint() {
    let rig = Rig(0, 100 * page)
    rig.insert(20, 30)
    rig.insert(35, 40)
    rig.insert(90, 100)
    func down(_ pages: UInt, _ hint: UInt) -> UInt? {
      rig.find(SpaceRequest(length: pages * page, direction: .topDown, from: hint * page)).map { $0 / page }
    }
    #expect(down(1, 99) == 89)
    #expect(down(1, 60) == 60)
    #expect(down(10, 85) == 80)
    #expect(down(1, 37) == 34)
    #expect(down(5, 37) == 30)
    #expect(down(6, 37) == 14)
    #expect(down(51, 99) == nil)
    #expect(down(1, 0) == 0)
    #expect(down(20, 0) == 0)
    #expect(down(21, 5) == nil)
    let low = Rig(10 * page, 20 * page)
    #expect(low.find(SpaceRequest(length: page, direction: .topDown, from: 9 * page)) == nil)
    #expect(low.find(SpaceRequest(length: page, direction: .topDown, from: 10 * page)) == 10 * page)
  }

  @Test func F7_tooLongFailsWithoutASearch() {
    let rig = Rig(0, 10_000 * page)
    for index in 0..<1000 as Range<UInt> { rig.insert(index * 10, index * 10 + 5) }
    let before = rig.map.pointee.counters
    #expect(rig.find(SpaceRequest(length: 6 * page)) == nil)
    #expect(rig.find(SpaceRequest(length: .max)) == nil)
    #expect(rig.find(SpaceRequest(length: .max, direction: .topDown)) == nil)
    let after = rig.map.pointee.counters
    #expect(after.treeSteps == before.treeSteps && after.spaceTries == before.spaceTries && after.lookups == before.lookups)
  }

  /// The finder never names space that is taken or outside: every direction, hint, alignment and length in some maps
  /// that have gone wrong elsewhere, above all top-down with a hint above the map and no gap there.
  @Test func V2_resultIsAlwaysFree() {
    let shapes: [[Range<Int>]] = [[], [0..<64], [0..<63], [1..<64], [8..<64], [0..<10, 11..<64], [5..<6, 20..<40, 41..<64]]
    var wrong = 0
    for shape in shapes {
      for base in [0, 3 * page, UInt.max - 70 * page + 1] {
        let rig = Rig(base, base + 64 * page)
        var model = Model(cells: 64)
        for range in shape {
          _ = rig.insert(
            start: base + UInt(range.lowerBound) * page, length: UInt(range.count) * page, EntryAttributes())
          model.insert(range, EntryAttributes())
        }
        for direction in [SearchDirection.bottomUp, .topDown] {
          for alignment in [page, 4 * page, 64 * page, 1 << 40, 1 << 63] {
            for length in [page, 2 * page, 7 * page, 60 * page, 64 * page] {
              for hint in [0, base, base + 5 * page, base + 20 * page, base + 63 * page, base + 64 * page, .max] {
                var request = SpaceRequest(length: length, direction: direction, from: hint)
                request.alignment = alignment
                if rig.find(request) != model.find(request, base: base) { wrong += 1 }
              }
            }
          }
        }
      }
    }
    #expect(wrong == 0)
  }

  @Test func V2_F15_unlimitedStack() {
    // The whole address space reserved for the stack: no room above, the hint far above the map.
    let rig = Rig(page, 1 << 47)
    _ = rig.insert(start: 1 << 30, length: (1 << 47) - (1 << 30), EntryAttributes())
    #expect(rig.find(SpaceRequest(length: page, direction: .topDown)) == (1 << 30) - page)
    #expect(rig.find(SpaceRequest(length: 1 << 30, direction: .topDown)) == nil)
    _ = rig.insert(start: page, length: (1 << 30) - page, EntryAttributes())
    #expect(rig.find(SpaceRequest(length: page, direction: .topDown)) == nil)
  }

  /// Rounding down may leave the next entry behind and run into the previous one: a gap of exactly length + M - page.
  @Test func V3_F9_bothNeighboursAreCompared() {
    for gap in 1...12 as ClosedRange<UInt> {
      for start in 40..<56 as Range<UInt> {
        for direction in [SearchDirection.topDown, .bottomUp] {
          let rig = Rig(32 * page, 96 * page)
          rig.insert(32, start)
          rig.insert(start + gap, 96)
          var request = SpaceRequest(length: 4 * page, direction: direction)
          request.alignment = 8 * page
          let address = rig.find(request).map { $0 / page }
          let fits = (start...start + gap).filter { $0 % 8 == 0 && $0 + 4 <= start + gap }
          #expect(address == (direction == .topDown ? fits.last : fits.first))
        }
      }
    }
  }

  @Test func F10_F11_V6_colourHoldsInBothDirections() {
    let rig = Rig(0, 1024 * page)
    rig.insert(100, 103)
    rig.insert(106, 200)
    var request = SpaceRequest(length: 2 * page, direction: .bottomUp, from: 101 * page)
    request.colourSize = 16 * page
    request.colour = 5 * page + 64 * page  // taken modulo the size
    #expect(rig.find(request) == 213 * page)
    request.direction = .topDown
    request.address = 104 * page
    #expect(rig.find(request) == 85 * page)
    // A gap that cannot meet the colour leads to the next one, never to another colour.
    request.address = 84 * page
    #expect(rig.find(request) == 69 * page)
    // With a smaller alignment that agrees, and one that contradicts.
    request.alignment = page
    #expect(rig.find(request) == 69 * page)
    request.alignment = 2 * page
    #expect(rig.find(request) == nil)
    // A larger alignment decides if the colour agrees with it.
    request.colour = 0
    request.alignment = 64 * page
    #expect(rig.find(request) == 64 * page)
  }

  @Test func F12_addressesAtTheEndOfTheWord() {
    let rig = Rig(UInt.max - 100 * page, UInt.max)
    for direction in [SearchDirection.bottomUp, .topDown] {
      var request = SpaceRequest(length: page, direction: direction)
      request.alignment = 1 << 63
      #expect(rig.find(request) == nil)
      request.alignment = page
      let address = rig.find(request)!
      #expect(address % page == 0 && address >= rig.map.pointee.minimum && address <= UInt.max - page)
    }
    let whole = Rig(0, UInt.max)
    #expect(whole.find(SpaceRequest(length: .max)) == 0)
    #expect(whole.find(SpaceRequest(length: .max, direction: .topDown)) == 0)
    #expect(whole.find(SpaceRequest(length: .max - 1, direction: .topDown)) == 1)
  }

  @Test func F14_topDownStacksDownwards() {
    let rig = Rig(0, 100 * page)
    let request = SpaceRequest(length: 10 * page, direction: .topDown)
    for expected in stride(from: 90, through: 0, by: -10) {
      #expect(rig.allocate(request, EntryAttributes()).value == UInt(expected) * page)
      #expect(rig.map.pointee.count == 1 && rig.violation == nil)
    }
    #expect(rig.allocate(request, EntryAttributes()).value == nil)
  }

  @Test func patienceTakesASureGap() {
    // Many gaps of two pages at odd places, none of which can hold two pages aligned to two; far away one that can.
    let rig = Rig(0, 100_000 * page)
    for index in 0..<1000 as Range<UInt> { rig.insert(index * 8 + 3, index * 8 + 9) }
    for direction in [SearchDirection.bottomUp, .topDown] {
      var request = SpaceRequest(length: 2 * page, direction: direction, from: direction == .bottomUp ? 4 * page : 7000 * page)
      request.alignment = 2 * page
      let exact = rig.find(request)
      var before = rig.map.pointee.counters
      _ = rig.find(request)
      #expect(rig.map.pointee.counters.spaceTries - before.spaceTries > 500)
      request.patience = 8
      before = rig.map.pointee.counters
      let quick = rig.find(request)
      if direction == .bottomUp {
        #expect(exact == 8002 * page && quick == 8002 * page)
        #expect(rig.map.pointee.counters.spaceTries - before.spaceTries <= 11)
      } else {
        // Only the head gap would do and it belongs to no node: the search goes on to the end, and still finds it.
        #expect(exact == 0 && quick == 0)
      }
    }
  }
}
