// SPDX-License-Identifier: BSD-2-Clause
//
// Objects that stay constructed in front of a pool.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct PoolCacheTests {
    init() { Stage.up() }

    private func makeCache(_ pool: PoolPointer) -> PoolCachePointer {
      Hooks.reset()
      return pool.makeCache(constructor: Hooks.constructor, destructor: Hooks.destructor, argument: UnsafeMutableRawPointer(bitPattern: 0x77))!
    }

    @Test func `an object is constructed when it is made of an item, and destroyed when it goes back`() {
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("objects", 100, allocator)
      let cache = makeCache(pool)
      let first = (0..<40).map { _ in cache.get()! }
      #expect(Hooks.items(.constructor) == first.map(\.address) && Hooks.lastArgument?.address == 0x77 && Hooks.lastSize == 100)
      for object in first { cache.put(object) }
      #expect(Hooks.count(.destructor) == 0 && cache.pointee.held == 40 && pool.counts.itemsOut == 40)
      pool.checkInvariants()
      // The newest first, and none is made.
      let again = (0..<40).map { _ in cache.get()! }
      #expect(again[0] == first[39] && Set(again) == Set(first) && Hooks.count(.constructor) == 40)
      #expect(cache.pointee.misses == 40 && cache.pointee.gets == 80 && cache.pointee.puts == 40)
      for object in again { cache.put(object) }
      cache.invalidate()
      #expect(Set(Hooks.items(.destructor)) == Set(first.map(\.address)) && Hooks.count(.destructor) == 40)
      #expect(cache.pointee.held == 0 && pool.counts.itemsOut == 0 && !Hooks.sawLock)
      #expect(zones.pointee.pools.groupKeg!.outstanding == 0)
      cache.destroy()
      #expect(pool.destroy() == 0)
      allocator.release()
    }

    @Test func `a constructor that refuses leaves nothing out`() {
      let pool = makeTestPool("refusing", 100)
      let cache = makeCache(pool)
      Hooks.refuse[.constructor] = 2
      let first = cache.get()
      #expect(first != nil && cache.get() == nil && pool.counts.itemsOut == 1)
      cache.put(first!)
      // The pool's end is the cache's.
      #expect(pool.destroy() == 0 && Hooks.count(.destructor) == 1)
    }

    @Test func `a cache without hooks`() {
      let pool = makeTestPool("plain", 100)
      let cache = pool.makeCache(constructor: nil, destructor: nil)!
      let objects = (0..<20).map { _ in cache.get()! }
      #expect(pool.counts.itemsOut == 20)
      for object in objects { cache.put(object) }
      cache.destroy()
      #expect(pool.counts.itemsOut == 0 && pool.destroy() == 0)
    }

    @Test func `reclaim takes groups that have been idle, and then their pages`() {
      PoolClock.stop()
      defer { PoolClock.start() }
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("idle", 100, allocator)
      let cache = makeCache(pool)
      let objects = (0..<16 * 5).map { _ in cache.get()! }
      for object in objects.prefix(48) { cache.put(object) }
      PoolClock.advance(6)
      for object in objects.dropFirst(48) { cache.put(object) }
      PoolClock.advance(4)
      // Two groups were full by then; the third is so since the first put after that.
      #expect(!pool.reclaim() && cache.pointee.held == 48 && Hooks.count(.destructor) == 32)
      PoolClock.advance(6)
      pool.reclaim()
      #expect(cache.pointee.held == 16, "the current group has no idle time")
      PoolClock.advance(10)
      #expect(pool.reclaim() && bank.frees > 0)
      #expect(pool.reclaim(isUrgent: true) && cache.pointee.held == 0 && bank.out == 0)
      #expect(pool.destroy() == 0)
      allocator.release()
    }

    @Test func `objects in groups stand in nobody's way`() {
      let bank = PageBank(quota: 1), allocator = bank.allocator()
      let pool = makeTestPool("limited", 512, allocator)
      let cache = makeCache(pool), other = pool.makeCache(constructor: nil, destructor: nil)!
      pool.setLimit(4)
      for object in (0..<4).map({ _ in cache.get()! }) { cache.put(object) }
      // For the pool they are out.
      #expect(pool.counts.itemsOut == 4)
      let item = pool.get()
      #expect(item != nil && Hooks.count(.destructor) == 4)
      other.put(item!)
      pool.setLimit(.max)
      let objects = (0..<pool.perPage).map { _ in cache.get()! }
      for object in objects { cache.put(object) }
      // Nor for want of pages.
      #expect(pool.getMany(pool.perPage).count == pool.perPage)
      pool.checkInvariants()
      _ = pool.destroy()
      allocator.release()
    }

    @Test func `a put that somebody waits for goes to the pool`() {
      let pool = makeTestPool("awaited", 512)
      let cache = pool.makeCache(constructor: nil, destructor: nil)!
      pool.setLimit(1)
      let object = cache.get()!
      let shared = Shared((pool, cache, object))
      inThreads(2) { thread in
        let (pool, cache, object) = shared.value
        if thread == 0 {
          while pool.counts.sleeps == 0 { usleep(50) }
          cache.put(object)
        } else {
          pool.put(pool.get(.wait)!)
        }
      }
      #expect(cache.pointee.held == 0)
      #expect(pool.destroy() == 0)
    }

    @Test func `L34 a request that begins to wait while a put gets a group has the object`() {
      let pool = makeTestPool("between", 512)
      let cache = pool.makeCache(constructor: nil, destructor: nil)!
      pool.setLimit(1)
      let shared = Shared((pool, cache, cache.get()!))
      let isHeld = Flag(), mayGoOn = Flag(), isServed = Flag()
      inThreads(4) { thread in
        let (pool, cache, object) = shared.value
        switch thread {
        case 0:
          // No group is to be had until the other one sleeps.
          zones.pointee.pools.groupKeg!.pointee.lock.lock()
          isHeld.set()
          while !mayGoOn.isSet { usleep(50) }
          zones.pointee.pools.groupKeg!.pointee.lock.unlock()
        case 1:
          while !isHeld.isSet { usleep(50) }
          cache.put(object)
        case 2:
          func putsOfCache() -> Int {
            pool.pointee.keg.pointee.lock.lock()
            defer { pool.pointee.keg.pointee.lock.unlock() }
            return Int(cache.pointee.puts)
          }
          while putsOfCache() == 0 { usleep(50) }
          pool.put(pool.get(.wait)!)
          isServed.set()
        default:
          while pool.counts.sleeps == 0 { usleep(50) }
          mayGoOn.set()
          for _ in 0..<5000 where !isServed.isSet { usleep(1000) }
          guard !isServed.isSet else { return }
          Issue.record("it sleeps beside the cached object")
          while !isServed.isSet {
            cache.invalidate()
            usleep(1000)
          }
        }
      }
      #expect(cache.pointee.held == 0)
      pool.checkInvariants()
      #expect(pool.destroy() == 0)
    }

    @Test func `a request that may not wait has what caches hold while another thread grows`() {
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("growing", 512, allocator)
      let cache = pool.makeCache(constructor: nil, destructor: nil)!
      let shared = Shared((pool, cache, (0..<pool.perPage).map { _ in cache.get()! }))
      let isInside = Flag(), mayGoOn = Flag()
      bank.onAllocate = {
        isInside.set()
        while !mayGoOn.isSet { usleep(100) }
      }
      inThreads(2) { thread in
        let (pool, cache, objects) = shared.value
        if thread == 0 {
          pool.put(pool.get(.wait)!)
        } else {
          while !isInside.isSet { usleep(50) }
          // Who waits for the growth takes puts; nobody waits here but who grows.
          cache.put(objects[0])
          #expect(cache.pointee.held == 1)
          let item = pool.get()
          #expect(item == objects[0] && cache.pointee.held == 0 && pool.get() == nil)
          mayGoOn.set()
          if let item { pool.put(item) }
          for object in objects.dropFirst() { pool.put(object) }
        }
      }
      bank.onAllocate = nil
      pool.checkInvariants()
      #expect(pool.destroy() == 0 && bank.out == 0)
      allocator.release()
    }

    @Test func `with item checks on a double put into a cache is noticed at once`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        stave_reports().pointee.mode = ReportMode.goOn
        precondition(itemChecks.begin(divisor: 1))
        Hooks.reset()
        let pool = makeTestPool("checked", 80)
        let cache = pool.makeCache(constructor: Hooks.constructor, destructor: Hooks.destructor)!
        let object = cache.get()!
        cache.put(object)
        cache.put(object)
        precondition(Hooks.count(.destructor) == 1 && pool.counts.itemsOut == 0)
        pool.checkInvariants()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.components(separatedBy: "bad free: double put at").count == 2, "\(text)")
    }
  }
}
