// SPDX-License-Identifier: BSD-2-Clause
//
// Drain hooks that ask pools for something themselves, that are set while they are asked for, and pools that give back for others.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// What the hooks below see. A hook that is in itself three deep goes no deeper: a test is to fail, not to die.
private enum Seen {
  nonisolated(unsafe) static var depth = 0
  nonisolated(unsafe) static var deepest = 0
  nonisolated(unsafe) static var calls = 0
  nonisolated(unsafe) static var isWithinOther = 0
  nonisolated(unsafe) static var other: PoolPointer?

  static func reset() { (depth, deepest, calls, isWithinOther, other) = (0, 0, 0, 0, nil) }

  static func enter(_ body: () -> Void) {
    calls += 1
    depth += 1
    deepest = max(deepest, depth)
    if depth < 4 { body() }
    depth -= 1
  }
}

extension OnRoot {
  @Suite struct PoolHookTests {
    init() {
      Stage.up()
      Seen.reset()
    }

    @Test func `a drain hook that has all pools drained does not come back to itself`() {
      let pool = makeTestPool("drains")
      pool.setDrainHook { _, _ in
        Seen.enter {
          // Each pool's turn comes.
          for _ in 0..<100 where Seen.depth < 4 { drainNextPool() }
        }
      }
      pool.reclaim()
      #expect(Seen.deepest == 1 && Seen.calls == 1)
      // Not for ever.
      pool.reclaim()
      #expect(Seen.calls == 2)
      #expect(pool.destroy() == 0)
    }

    @Test func `a drain hook that asks another pool is not in itself, nor is a pool drained that is being grown`() {
      let bank = PageBank(quota: 0), allocator = bank.allocator()
      let grower = makeTestPool("grower", 512, allocator), asks = makeTestPool("asks", 512, allocator), other = makeTestPool("other", 512, allocator)
      Seen.other = other
      asks.setDrainHook { _, _ in
        Seen.enter {
          if let item = Seen.other!.get() { Seen.other!.put(item) }
        }
      }
      grower.setDrainHook { _, _ in if Seen.depth > 0 { Seen.isWithinOther += 1 } }
      #expect(grower.get() == nil)
      #expect(Seen.deepest == 1 && Seen.calls > 0 && Seen.isWithinOther == 0)
      for pool in [grower, asks, other] { #expect(pool.destroy() == 0) }
      allocator.release()
    }

    @Test func `a hook is not read while another thread sets it`() {
      let pool = makeTestPool("set")
      pool.setDrainHook { _, _ in Seen.calls += 1 }
      let shared = Shared(pool)
      // Halfway through setting another one.
      pool.pointee.keg.pointee.lock.lock()
      inThreads(1) { _ in #expect(!shared.value.reclaim()) }
      #expect(Seen.calls == 0)
      pool.pointee.keg.pointee.lock.unlock()
      pool.reclaim()
      #expect(Seen.calls == 1)
      #expect(pool.destroy() == 0)
    }

    @Test func `for a low water mark siblings give what has long been idle, and nothing else`() {
      PoolClock.stop()
      defer { PoolClock.start() }
      let bank = PageBank(quota: 2), allocator = bank.allocator()
      let sibling = makeTestPool("sibling", 512, allocator), marked = makeTestPool("marked", 512, allocator)
      let item = marked.get()!
      sibling.put(sibling.get()!)
      PoolClock.advance(9)
      marked.setLow(marked.perPage)
      #expect(sibling.counts.pages == 1 && marked.counts.pages == 1, "it has been idle for nine seconds")
      marked.put(marked.get()!)
      #expect(sibling.counts.pages == 1)
      PoolClock.advance(1)
      marked.put(marked.get()!)
      #expect(sibling.counts.pages == 0 && marked.counts.pages == 2)
      marked.put(item)
      // A request that needs a page has it all the same.
      marked.setLow(0)
      bank.quota = 3
      sibling.put(sibling.get()!)
      #expect(marked.getMany(3 * marked.perPage).count == 3 * marked.perPage && sibling.counts.pages == 0)
      _ = marked.destroy()
      #expect(sibling.destroy() == 0)
      allocator.release()
    }

    @Test func `a drain of all zones takes pages and objects of pools however short they have been idle, a trim does not`() {
      PoolClock.stop()
      defer { PoolClock.start() }
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("trimmed", 512, allocator)
      let cache = pool.makeCache(constructor: nil, destructor: nil)!
      for request in [Reclaim.drain, .drainCPU] {
        let objects = (0..<40).map { _ in cache.get()! }
        for object in objects { cache.put(object) }
        pool.putAll(pool.getMany(3 * pool.perPage))
        let pages = bank.out
        reclaimAll(.trim)
        #expect(bank.out == pages && cache.pointee.held == 40)
        reclaimAll(request)
        #expect(bank.out == 0 && cache.pointee.held == 0)
      }
      pool.checkInvariants()
      #expect(pool.destroy() == 0)
      allocator.release()
    }

    @Test func `the items that are out are never fewer than none, nor more than there can be`() {
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("counted", 512, allocator)
      pool.setHigh(0)
      let shared = Shared(pool)
      let isOver = Flag()
      inThreads(2) { thread in
        if thread == 0 {
          while !isOver.isSet { shared.value.put(shared.value.get(.wait)!) }
        } else {
          var wrong = 0
          for _ in 0..<Stage.steps(300_000, soak: 3_000_000) where !(0...1 ~= shared.value.itemsOut) { wrong += 1 }
          if wrong > 0 { Issue.record("\(wrong) times") }
          isOver.set()
        }
      }
      #expect(pool.destroy() == 0)
      allocator.release()
    }
  }
}
