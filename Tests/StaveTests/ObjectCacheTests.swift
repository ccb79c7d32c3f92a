// SPDX-License-Identifier: BSD-2-Clause
//
// Object caches: objects are made when none is cached, reset at each return, kept between uses, ended when they go.

import Foundation
import Stave
import Synchronization
import Testing

@testable import TestSupport

private let made = Atomic(0), inUse = Atomic(0)

private func makeCounted() -> Counted { Counted(made.wrappingAdd(1, ordering: .relaxed).newValue) }

@Suite struct ObjectCacheTests {
  @Test func `objects keep their state between uses`() async {
    await #expect(processExitsWith: .success) {
      var cache: ObjectCache<Counted>? = try ObjectCache<Counted>("objects") { makeCounted() } reset: { $0.number += 1000 }
      for round in 0..<100 {
        let object = cache!.object()!
        precondition(object.value.number == 1 + 1000 * round && living == 1)
      }
      do {
        let one = cache!.object()!, two = cache!.object()!
        precondition(one.value.number != two.value.number && living == 2 && cache!.itemsInUse == 2)
      }
      precondition(living == 2 && cache!.itemsInUse == 0)
      do { cache!.object()!.discard() }
      precondition(living == 1)
      cache!.trim()
      precondition(living == 0)
      var object = cache!.object()!
      object.value.number = 7
      cache = nil  // said on standard error
      precondition(living == 1 && object.value.number == 7)
    }
  }

  @Test func `what cannot be made is refused, and a limit counts cached objects too`() async {
    await #expect(processExitsWith: .success) {
      let below = try Zone<Counted>("below"), none = try ObjectCache<Counted>("none", in: below) { nil }
      precondition(none.object() == nil && none.failures == 1 && none.itemsInUse == 0 && below.itemsInUse == 0)
      let memory = try Zone<Counted>("memory")
      let pool = try ObjectCache<Counted>("pool", limit: 2, in: memory) { makeCounted() }
      do {
        let one = pool.object(), two = pool.object()
        precondition(one != nil && two != nil && pool.object() == nil && memory.itemsInUse == 2)
      }
      for _ in 0..<10 { precondition(pool.object() != nil) }
      precondition(living <= 2 && memory.itemsInUse == living)
      pool.checkInvariants()
      memory.checkInvariants()
    }
  }

  @Test func `as many objects as the limit allows can be made at the same time`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      let cache = try ObjectCache<Counted>("slow to make", limit: 40) {
        // Until all have come here.
        _ = inUse.wrappingAdd(1, ordering: .relaxed)
        while inUse.load(ordering: .relaxed) < 40 { usleep(1000) }
        return makeCounted()
      }
      inThreads(40) { _ in
        let object = cache.object()
        if object == nil { inUse.wrappingAdd(1, ordering: .relaxed) }
        precondition(object != nil, "refused below the limit")
      }
      precondition(cache.failures == 0 && living <= 40)
      cache.checkInvariants()
    }
  }

  @Test func `a lower limit ends objects that nobody uses, and those above it as they come back`() async {
    await #expect(processExitsWith: .success) {
      let cache = try ObjectCache<Counted>("lowered", limit: 3) { makeCounted() }
      do {
        let one = cache.object(), two = cache.object(), three = cache.object()
        precondition(one != nil && two != nil && three != nil)
      }
      precondition(living == 3)
      cache.limit = 2
      precondition(living == 2 && cache.itemsCached == 2)
      do {
        let one = cache.object(), two = cache.object()
        precondition(one != nil && two != nil && living == 2)
        cache.limit = 1
        precondition(living == 2 && cache.object() == nil)
      }
      precondition(living == 1)
      cache.limit = 0
      do {
        let one = cache.object(), two = cache.object()
        precondition(one != nil && two != nil && living == 2)
      }
      precondition(living == 2)
      cache.checkInvariants()
    }
  }

  @Test func `a task waits for an object of a pool`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      let pool = try ObjectCache<Counted>("waiting pool", limit: 3) { makeCounted() }
      await withTaskGroup(of: Void.self) { group in
        for _ in 0..<50 {
          group.addTask {
            for _ in 0..<20 {
              let object = try! await pool.objectWhenFree()
              precondition(inUse.wrappingAdd(1, ordering: .relaxed).newValue <= 3)
              await Task.yield()
              // Who waits gets the object that another has returned, not a new one.
              precondition(1...3 ~= object.value.number)
              inUse.wrappingSubtract(1, ordering: .relaxed)
            }
          }
        }
      }
      precondition(living <= 3 && pool.itemsInUse == 0)
      pool.checkInvariants()
      pool.trim()
      precondition(living == 0)
      // What is discarded while others wait is not passed on.
      var held = pool.object()
      precondition(held != nil && pool.limit == 3)
      pool.limit = 1
      let waits = pool.waits, number = held!.value.number
      let task = Task { try! await pool.objectWhenFree().value.number }
      demand(await comesTrue { pool.waits == waits + 1 })
      held.take()!.discard()
      demand(await task.value == number + 1)
    }
  }
}
