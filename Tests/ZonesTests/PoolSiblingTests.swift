// SPDX-License-Identifier: BSD-2-Clause
//
// Pools that share a back-end: what a shortage of room does to the siblings, to requests that may not wait and to those that may.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct PoolSiblingTests {
    init() { Stage.up() }

    /// Until `isTrue`, or a minute is over.
    private func wait(_ isTrue: () -> Bool) {
      for _ in 0..<60_000 where !isTrue() { usleep(1000) }
      #expect(isTrue())
    }

    @Test func `V14 with an idle page in any sibling a get succeeds, whatever it may wait for`() {
      PoolClock.stop()
      defer { PoolClock.start() }
      for flags in [WaitFlags.noWait, .wait] {
        for victim in 0..<4 {
          let bank = PageBank(quota: 6), allocator = bank.allocator()
          let pools = (0..<4).map { _ in makeTestPool("sibling", 512, allocator) }
          let grower = makeTestPool("grower", 512, allocator)
          let held = pools.map { $0.getMany(1) }
          let further = grower.getMany(2 * grower.perPage)
          #expect(bank.out == 6)
          pools[victim].putAll(held[victim])
          // Idle for no time at all: it goes nevertheless, but no page in use.
          let item = grower.get(flags)
          #expect(item != nil && pools[victim].counts.pages == 0 && grower.counts.pages == 3)
          #expect(grower.counts.failures == 0 && grower.counts.sleeps == 0)
          for (index, pool) in pools.enumerated() where index != victim { #expect(pool.counts.pages == 1) }
          for (index, pool) in pools.enumerated() {
            if index != victim { pool.putAll(held[index]) }
            pool.checkInvariants()
            #expect(pool.destroy() == 0)
          }
          grower.putAll(further + [item!])
          #expect(grower.destroy() == 0 && bank.out == 0 && !bank.sawLock)
          allocator.release()
        }
      }
    }

    @Test func `V14 pages long idle go before others, the minimum never`() {
      PoolClock.stop()
      defer { PoolClock.start() }
      let bank = PageBank(quota: 3), allocator = bank.allocator()
      let primed = makeTestPool("primed", 512, allocator), old = makeTestPool("old", 512, allocator), young = makeTestPool("young", 512, allocator)
      let grower = makeTestPool("grower", 512, allocator)
      #expect(primed.prime(1))
      old.put(old.get()!)
      PoolClock.advance(10)
      young.put(young.get()!)
      let first = grower.getMany(grower.perPage)
      #expect(old.counts.pages == 0 && young.counts.pages == 1)
      let second = grower.getMany(grower.perPage)
      #expect(young.counts.pages == 0 && second.count == grower.perPage)
      #expect(grower.get() == nil && primed.counts.pages == 1)
      grower.putAll(first + second)
      for pool in [primed, old, young, grower] { #expect(pool.destroy() == 0) }
      allocator.release()
    }

    @Test func `V14 no sibling is asked twice in a round, and each round begins with another`() {
      final class Order { var asked: [Int] = [] }
      let order = Order()
      let bank = PageBank(quota: 5), allocator = bank.allocator()
      let pools = (0..<4).map { _ in makeTestPool("asked", 512, allocator) }
      let grower = makeTestPool("grower", 512, allocator)
      AskedOrder.note = { order.asked.append($0) }
      let numbers: [PoolDrainHook] = [{ _, _ in AskedOrder.note(0) }, { _, _ in AskedOrder.note(1) }, { _, _ in AskedOrder.note(2) }, { _, _ in AskedOrder.note(3) }]
      let held = pools.map { $0.getMany(1) } + [grower.getMany(grower.perPage)]
      for (pool, hook) in zip(pools, numbers) { pool.setDrainHook(hook) }
      var firsts: Set<Int> = []
      for _ in 0..<5 {
        order.asked = []
        #expect(grower.get() == nil)
        // One round for what has long been idle, one for the rest.
        #expect(order.asked.count == 8)
        #expect(Set(order.asked.prefix(4)).count == 4 && Set(order.asked.suffix(4)).count == 4)
        firsts.insert(order.asked[0])
        firsts.insert(order.asked[4])
      }
      #expect(firsts.count == 4)
      AskedOrder.note = { _ in }
      for (pool, items) in zip(pools + [grower], held) {
        pool.putAll(items)
        #expect(pool.destroy() == 0)
      }
      allocator.release()
    }

    @Test func `V14 a request that may wait sleeps until a sibling has an empty page`() {
      zones.pointee.pools.pause = -1
      defer { zones.pointee.pools.pause = 0 }
      let bank = PageBank(quota: 2), allocator = bank.allocator()
      let sibling = makeTestPool("sibling", 512, allocator), grower = makeTestPool("grower", 512, allocator)
      for round in 0..<50 {
        let theirs = sibling.getMany(sibling.perPage + 1)
        #expect(bank.out == 2)
        let shared = Shared((sibling, grower, theirs))
        inThreads(3) { thread in
          let (sibling, grower, theirs) = shared.value
          switch thread {
          case 0:
            // Sometimes asleep by then, sometimes not.
            if round % 2 == 0 { while grower.counts.sleeps < round + 1 { usleep(50) } }
            for item in theirs.reversed() { sibling.put(item) }
          default:
            let item = grower.get(.wait)
            if item == nil { Issue.record("nil although it may wait") } else { grower.put(item!) }
          }
        }
        sibling.checkInvariants()
        grower.checkInvariants()
        grower.reclaim(isUrgent: true)
        sibling.reclaim(isUrgent: true)
        #expect(bank.out == 0)
      }
      #expect(sibling.destroy() == 0 && grower.destroy() == 0 && !bank.sawLock)
      allocator.release()
    }

    @Test func `a put into the pool itself wakes who waits for the back-end`() {
      zones.pointee.pools.pause = -1
      defer { zones.pointee.pools.pause = 0 }
      let bank = PageBank(quota: 1), allocator = bank.allocator()
      let pool = makeTestPool("alone", 512, allocator)
      let items = pool.getMany(pool.perPage)
      let shared = Shared((pool, items))
      inThreads(4) { thread in
        let (pool, items) = shared.value
        if thread == 0 {
          while pool.counts.sleeps < 3 { usleep(50) }
          pool.put(items[0])
        } else {
          let item = pool.get(.wait)
          pool.put(item!)
        }
      }
      pool.putAll(Array(items.dropFirst()))
      pool.checkInvariants()
      #expect(pool.destroy() == 0)
      allocator.release()
    }

    @Test func `one thread grows at a time, others wait for it or have nil, and a put serves them meanwhile`() {
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("growing", 512, allocator)
      let items = pool.getMany(pool.perPage)
      let isHeld = Flag(true)
      nonisolated(unsafe) var inside = 0
      nonisolated(unsafe) var most = 0
      let lock = NSLock()
      bank.onAllocate = {
        lock.withLock {
          inside += 1
          most = max(most, inside)
        }
        while isHeld.isSet { usleep(100) }
        lock.withLock { inside -= 1 }
      }
      let shared = Shared((pool, items, lock))
      inThreads(4) { thread in
        let (pool, items, lock) = shared.value
        switch thread {
        case 0:
          while lock.withLock({ inside }) == 0 || pool.counts.sleeps < 2 { usleep(100) }
          // Somebody grows, the two others wait for it.
          if pool.get(.noWait) != nil { Issue.record("noWait got an item while another grew") }
          pool.put(items[0])
          pool.put(items[1])
          // They are served although the growth goes on.
          while pool.counts.itemsOut < items.count { usleep(100) }
          isHeld.set(false)
        default:
          if pool.get(.wait) == nil { Issue.record("nil although it may wait") }
        }
      }
      #expect(most == 1 && pool.counts.itemsOut == items.count + 1)
      bank.onAllocate = nil
      pool.pointee.keg.checkInvariants()
      _ = pool.destroy()
      allocator.release()
    }

    @Test func `at a limit waiters are served one by one, and never more than the limit are out`() {
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("bounded", 512, allocator)
      pool.setLimit(2)
      let rounds = Stage.steps(1500, soak: 100_000)
      let shared = Shared(pool)
      nonisolated(unsafe) let out = UnsafeMutablePointer<Int64>.allocate(capacity: 1)
      out.pointee = 0
      inThreads(6) { thread in
        for round in 0..<rounds {
          let item = shared.value.get(.wait)!
          if stave_add_fetching(out, 1) >= 2 { Issue.record("more out than the limit") }
          item.storeBytes(of: round, as: Int.self)
          if round % 64 == 0 { _ = stave_yield() }
          if item.load(as: Int.self) != round { Issue.record("an item given out twice") }
          stave_add(out, -1)
          shared.value.put(item)
        }
      }
      #expect(pool.counts.gets == 6 * rounds && pool.counts.failures == 0)
      pool.checkInvariants()
      #expect(pool.destroy() == 0 && bank.out == 0)
      out.deallocate()
      allocator.release()
    }

    @Test func `V8 a request that may not wait sleeps nowhere, and nothing that it calls may`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        let bank = PageBank(quota: 4), allocator = bank.allocator()
        let pool = makeTestPool("never", 512, allocator), sibling = makeTestPool("sibling", 700, flags: .noTouch, allocator)
        let cache = pool.makeCache(constructor: { _, _, _, wait in wait == WaitFlags.noWait.rawValue ? 0 : 1 }, destructor: nil)!
        // As in a hook that may not sleep: whatever waits is reported.
        FutexLock.enterHook(maySleep: false)
        pool.setLow(3)
        precondition(bank.lastWait == WaitFlags.noWait.rawValue)
        let theirs = sibling.getMany(20)
        let items = pool.getMany(100)
        precondition(items.count > 0 && bank.out == 4)
        bank.lastWait = 0
        precondition(pool.get(.noWait) == nil && bank.lastWait == WaitFlags.noWait.rawValue)
        sibling.putAll(theirs)
        let more = pool.getMany(100)
        precondition(more.count > 0)
        pool.putAll(items + more)
        pool.setLimit(2)
        let objects = (0..<4).compactMap { _ in cache.get(.noWait) }
        precondition(objects.count == 2)
        for object in objects { cache.put(object) }
        precondition(!sibling.prime(1000, .noWait))
        pool.pointee.isGrowing = true
        pool.setLimit(.max)
        precondition(pool.getMany(1000).count <= 4 * pool.perPage && !pool.prime(1))
        pool.pointee.isGrowing = false
        precondition(pool.counts.sleeps == 0 && sibling.counts.sleeps == 0)
        FutexLock.leaveHook(maySleep: false)
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(!text.contains("blocking request"), "\(text)")
    }
  }
}

private enum AskedOrder {
  nonisolated(unsafe) static var note: (Int) -> Void = { _ in }
}
