// SPDX-License-Identifier: BSD-2-Clause
//
// Random operations on pools that share few pages, one with a cache of objects, beside a model of what is out; threads that hand items on
// while pages are asked back and refused.

import Foundation
import Stave
import Synchronization
import Testing

@testable import TestSupport

/// So many pages of malloc's, of which chance refuses some.
private final class FewPages: PageSupply {
  private struct State {
    var left: Int
    var lot: Generator
    var refusals: Int
  }
  private let state: Mutex<State>
  private let most: Int

  init(_ pages: Int, refusing oneOf: Int, _ lot: Generator) {
    state = Mutex(State(left: pages, lot: lot, refusals: oneOf))
    most = pages
  }

  /// Pages that are out.
  var out: Int { most - state.withLock { $0.left } }

  func pages(byteCount: Int, alignment: Int, mayWait: Bool) -> UnsafeMutableRawPointer? {
    let isGranted = state.withLock { state in
      guard state.left > 0, state.refusals == 0 || state.lot.below(state.refusals) > 0 else { return false }
      state.left -= 1
      return true
    }
    return isGranted ? .allocate(byteCount: byteCount, alignment: alignment) : nil
  }

  func takeBack(_ pages: UnsafeMutableRawPointer, byteCount: Int) {
    pages.deallocate()
    state.withLock { $0.left += 1 }
  }
}

private final class Held<Element: ~Copyable> {
  var item: PoolItem<Element>
  init(_ item: consuming PoolItem<Element>) { self.item = item }
}
private final class HeldObject {
  var object: PoolObject<Counted>
  init(_ object: consuming PoolObject<Counted>) { self.object = object }
}

private func play(_ stream: UInt64) throws {
  var lot = Generator(stream)
  let supply = FewPages(4 + lot.below(30), refusing: lot.below(3) == 0 ? 0 : 5, lot)
  do {
    let pages = try SharedPages(supply, pageByteCount: [512, 4096, 8192][lot.below(3)])
    let flags: [ZoneFlags] = [[], .offPage, .noTouch]
    let one = try Pool<Counted>("model, one", flags: flags[lot.below(3)], pages: pages)
    let two = try Pool<InlineArray<9, Int>>("model, two", flags: flags[lot.below(3)], pages: pages)
    let cache = try PoolCache(one) { Counted(-1) }
    var counted: [(Held<Counted>, Int)] = [], arrays: [(Held<InlineArray<9, Int>>, Int)] = [], objects: [HeldObject] = []
    for step in 0..<Stage.steps(4000, soak: 1_000_000) {
      switch lot.below(14) {
      case 0...2: if let item = one.item(Counted(step)) { counted.append((Held(item), step)) }
      case 3...5: if let item = two.item(InlineArray(repeating: step)) { arrays.append((Held(item), step)) }
      case 6...7:
        if !counted.isEmpty {
          let (held, number) = counted.remove(at: lot.below(counted.count))
          precondition(held.item.value.number == number)
        }
      case 8...9:
        if !arrays.isEmpty {
          let (held, number) = arrays.remove(at: lot.below(arrays.count))
          precondition(held.item.value[0] == number && held.item.value[8] == number)
        }
      case 10:
        if let object = cache.object() {
          precondition(object.value.number < 0)
          objects.append(HeldObject(object))
          objects.last!.object.value.number = -step - 2
        }
      case 11: if !objects.isEmpty { objects.remove(at: lot.below(objects.count)) }
      case 12:
        switch lot.below(5) {
        case 0: one.limit = lot.below(2) == 0 ? 0 : 1 + lot.below(200)
        case 1: two.setLowWater(lot.below(20))
        case 2: two.setHighWater(lot.below(2) == 0 ? nil : lot.below(100))
        case 3: cache.trim()
        default: two.limit = lot.below(2) == 0 ? 0 : 1 + lot.below(200)
        }
      default:
        switch lot.below(3) {
        case 0: one.reclaim(urgently: lot.below(2) == 0)
        case 1: two.reclaim(urgently: true)
        default: reclaimNextPool()
        }
      }
      if Stage.checks(step) {
        precondition(one.itemsInUse == counted.count + objects.count + cache.itemsCached, "step \(step), stream \(stream)")
        precondition(two.itemsInUse == arrays.count && living == counted.count + objects.count + cache.itemsCached)
        precondition(one.figures.pages + two.figures.pages == supply.out)
        one.checkInvariants()
        two.checkInvariants()
      }
    }
  }
  precondition(supply.out == 0 && living == 0, "pages that did not go back, stream \(stream)")
}

@Suite struct PoolModelTests {
  @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
  func `random operations on pools that share pages agree with a model`(_ stream: UInt64) async {
    await #expect(processExitsWith: .success) { [stream] in try play(990 + stream) }
  }

  @Test func `threads that hand items of two pools to each other, while pages are asked back`() async {
    await #expect(processExitsWith: .success) {
      let supply = FewPages(8, refusing: 20, Generator(1001))
      try handOn(supply)
      // The threads keep the pools a moment longer than this one waits for them.
      demand(await comesTrue { living == 0 && supply.out == 0 })
    }
  }
}

private func handOn(_ supply: FewPages) throws {
  let pages = try SharedPages(supply, pageByteCount: 4096)
  let pools = try (0..<2).map { try Pool<Counted>("handed on \($0)", pages: pages) }
  let pile = Mutex<[(pool: Int, address: UInt, number: Int)]>([])
  inThreads(4) { thread in
    var lot = Generator(1010 + UInt64(thread))
    for round in 0..<10_000 * min(Stage.scale, 50) {
      switch lot.below(8) {
      case 0...3:
        let pool = lot.below(2)
        guard let item = pools[pool].item(Counted(round)) else { continue }
        let address = UInt(bitPattern: item.release())
        pile.withLock { $0.append((pool, address, round)) }
      case 4: _ = lot.below(20) == 0 ? pools[lot.below(2)].reclaim(urgently: true) : reclaimNextPool()
      default:
        guard let (pool, address, number) = pile.withLock({ $0.popLast() }) else { continue }
        precondition(pools[pool].adopt(UnsafeMutablePointer(bitPattern: address)!).value.number == number)
      }
    }
  }
  let rest = pile.withLock { $0 }
  precondition(living == rest.count && pools[0].itemsInUse + pools[1].itemsInUse == rest.count)
  for (pool, address, _) in rest { _ = pools[pool].adopt(UnsafeMutablePointer(bitPattern: address)!) }
  for pool in pools { pool.checkInvariants() }
}
