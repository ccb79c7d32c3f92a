// SPDX-License-Identifier: BSD-2-Clause
//
// Threads and tasks that wait for items of a pool, and are cancelled: nobody waits for ever, and no more are out than may be.

import Foundation
import Synchronization
import Testing

@testable import Stave
@testable import TestSupport

private let order = Mutex<[Int]>([])
private let out = Atomic(0)

/// No task tries because some time has gone by: what the tests see is by wake-ups alone.
private func lookNever() {
  PoolTurns.firstPause.store(3_600_000, ordering: .relaxed)
  endInTime()
}

/// Pages that come when the gate is open.
private final class Gate: PageSupply {
  let isOpen = Atomic(false), isInside = Atomic(false)

  func pages(byteCount: Int, alignment: Int, mayWait: Bool) -> UnsafeMutableRawPointer? {
    isInside.store(true, ordering: .sequentiallyConsistent)
    while !isOpen.load(ordering: .sequentiallyConsistent) { usleep(100) }
    return .allocate(byteCount: byteCount, alignment: alignment)
  }

  func takeBack(_ pages: UnsafeMutableRawPointer, byteCount: Int) { pages.deallocate() }
}

@Suite struct PoolTurnTests {
  @Test func `tasks are served in the order in which they came, and counted as waiting`() async {
    await #expect(processExitsWith: .success) {
      lookNever()
      let pool = try Pool<Counted>("queue", limit: 1)
      var held = pool.item(Counted(0))
      precondition(held != nil)
      var tasks: [Task<Void, Never>] = []
      for number in 0..<10 {
        tasks.append(
          Task {
            let item = try! await pool.itemWhenFree(Counted(number))
            order.withLock { $0.append(item.value.number) }
          })
        demand(await comesTrue { pool.figures.waits == number + 1 })
        // Into the queue.
        try? await Task.sleep(for: .milliseconds(1))
      }
      held = nil
      for task in tasks { await task.value }
      precondition(order.withLock { $0 } == Array(0..<10), "\(order.withLock { $0 })")
      precondition(pool.figures.failures == 0 && living == 0)
      pool.checkInvariants()
    }
  }

  @Test func `setting the limit changes nothing in the order of those who wait`() async {
    await #expect(processExitsWith: .success) {
      lookNever()
      let pool = try Pool<Int>("reordered", limit: 1)
      let held = pool.allocate()!
      var tasks: [Task<Void, any Error>] = []
      for number in 0..<10 {
        tasks.append(
          Task {
            let item = try await pool.itemWhenFree(number)
            order.withLock { $0.append(item.value) }
          })
        demand(await comesTrue { pool.figures.waits == number + 1 })
        try? await Task.sleep(for: .milliseconds(2))
      }
      for _ in 0..<5 {
        pool.limit = 1
        try? await Task.sleep(for: .milliseconds(2))
      }
      pool.free(held)
      for task in tasks { try await task.value }
      precondition(order.withLock { $0 } == Array(0..<10), "\(order.withLock { $0 })")
    }
  }

  @Test func `a task that comes later is served later, also where an item has just come back`() async {
    await #expect(processExitsWith: .success) {
      lookNever()
      let pool = try Pool<Int>("late", limit: 1)
      for round in 0..<50 {
        let held = pool.allocate()!
        let before = pool.figures.waits
        let first = Task {
          let item = try await pool.itemWhenFree(1)
          order.withLock { $0.append(item.value) }
        }
        demand(await comesTrue { pool.figures.waits > before })
        try? await Task.sleep(for: .milliseconds(1))
        pool.free(held)
        do {
          let item = try await pool.itemWhenFree(2)
          order.withLock { $0.append(item.value) }
        }
        try await first.value
        precondition(order.withLock { all in defer { all = [] }; return all } == [1, 2], "round \(round)")
      }
      precondition(pool.itemsInUse == 0)
    }
  }

  @Test func `one that is refused its object keeps nobody behind it from an item`() async {
    await #expect(processExitsWith: .success) {
      lookNever()
      let pool = try Pool<Int>("refused", limit: 1)
      let isRefusing = Atomic(true), refusals = Atomic(0)
      let cache = try PoolCache(pool) {
        guard isRefusing.load(ordering: .sequentiallyConsistent) else { return 7 }
        refusals.wrappingAdd(1, ordering: .sequentiallyConsistent)
        return nil
      }
      let held = pool.allocate()!
      let refused = (0..<3).map { _ in Task { try await cache.objectWhenFree().value } }
      demand(await comesTrue { pool.figures.waits == 3 })
      for number in 0..<3 {
        Task {
          let item = try await pool.itemWhenFree(number)
          order.withLock { $0.append(item.value) }
        }
      }
      demand(await comesTrue { pool.figures.waits == 6 })
      pool.free(held)
      demand(await comesTrue { order.withLock { $0.count } == 3 })
      // One that comes when only refused ones wait.
      Task {
        let item = try await pool.itemWhenFree(9)
        order.withLock { $0.append(item.value) }
      }
      demand(await comesTrue { order.withLock { $0.last } == 9 && pool.itemsInUse == 0 })
      precondition(refusals.load(ordering: .sequentiallyConsistent) >= 3)
      // They do not ask all the while, but at the next put.
      try? await Task.sleep(for: .milliseconds(20))
      let asked = refusals.load(ordering: .sequentiallyConsistent)
      try? await Task.sleep(for: .milliseconds(20))
      precondition(refusals.load(ordering: .sequentiallyConsistent) - asked < 10)
      isRefusing.store(false, ordering: .sequentiallyConsistent)
      _ = pool.item(0)
      for task in refused { demand(try await task.value == 7) }
      pool.checkInvariants()
    }
  }

  @Test func `a task that comes while a thread fetches a page goes on when it is there`() async {
    await #expect(processExitsWith: .success) {
      lookNever()
      let gate = Gate()
      let pool = try Pool<InlineArray<64, Int>>("grows", pages: try SharedPages(gate, pageByteCount: 4096))
      Thread { _ = pool.allocate() }.start()
      demand(await comesTrue { gate.isInside.load(ordering: .sequentiallyConsistent) })
      Task {
        let item = try await pool.itemWhenFree(InlineArray(repeating: 0))
        order.withLock { $0.append(item.value[0]) }
      }
      demand(await comesTrue { pool.figures.waits == 1 })
      try? await Task.sleep(for: .milliseconds(20))
      // One that does not wait does without, and it is documented so.
      precondition(pool.allocate() == nil)
      gate.isOpen.store(true, ordering: .sequentiallyConsistent)
      demand(await comesTrue { order.withLock { $0 } == [0] })
    }
  }

  @Test func `who is cancelled before it is its turn leaves the next one in its place`() async {
    await #expect(processExitsWith: .success) {
      lookNever()
      let pool = try Pool<Int>("left", limit: 1)
      for _ in 0..<20 {
        let held = pool.allocate()!
        let before = pool.figures.waits
        let tasks = (0..<3).map { number in Task { try await pool.itemWhenFree(number).value } }
        demand(await comesTrue { pool.figures.waits == before + 3 })
        // At the same time, so that the first may have been told that it is its turn.
        pool.free(held)
        tasks[0].cancel()
        _ = await tasks[0].result
        demand(try await tasks[1].value == 1)
        demand(try await tasks[2].value == 2)
        precondition(pool.itemsInUse == 0)
      }
    }
  }

  @Test func `of a zone with a limit, too, tasks are served in the order in which they came`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      let zone = try Zone<Int>("queue", limit: 1)
      for round in 0..<20 {
        let held = zone.item(0)!
        var tasks: [Task<Void, any Error>] = []
        for number in 0..<4 {
          let waits = zone.waits
          tasks.append(
            Task {
              let item = try await zone.itemWhenFree(number)
              order.withLock { $0.append(item.value) }
            })
          demand(await comesTrue { zone.waits > waits })
        }
        zone.limit = 1
        _ = held.take()
        do {
          let item = try await zone.itemWhenFree(4)
          order.withLock { $0.append(item.value) }
        }
        for task in tasks { try await task.value }
        precondition(order.withLock { all in defer { all = [] }; return all } == Array(0..<5), "round \(round)")
      }
    }
  }

  @Test func `a cancelled task leaves the pool's queue, a higher limit serves those who wait`() async {
    await #expect(processExitsWith: .success) {
      lookNever()
      let pool = try Pool<Counted>("cancelled", limit: 1)
      let held = pool.item(Counted(0))
      let first = Task { try await pool.itemWhenFree(Counted(1)).value.number }
      demand(await comesTrue { pool.figures.waits == 1 })
      let second = Task { try await pool.itemWhenFree(Counted(2)).value.number }
      demand(await comesTrue { pool.figures.waits == 2 })
      first.cancel()
      do {
        _ = try await first.value
        preconditionFailure("cancelled")
      } catch { precondition(error as? ZoneError == .cancelled) }
      precondition(pool.figures.failures == 1)
      pool.limit = 2
      demand((try? await second.value) == 2)
      precondition(held != nil && living == 1)
      // A limit that makes room for several at once serves them all: none of them returns what it has.
      let rest = (3..<6).map { _ in Task { UInt(bitPattern: try await pool.allocateWhenFree()) } }
      demand(await comesTrue { pool.figures.waits >= 4 && pool.itemsInUse == 2 })
      pool.limit = 4
      var items: [UInt] = []
      for task in rest { items.append(try await task.value) }
      for item in items { pool.free(UnsafeMutablePointer(bitPattern: item)!) }
      precondition(pool.itemsInUse == 1)
    }
  }

  @Test func `a task waits for an object of a pool's cache`() async {
    await #expect(processExitsWith: .success) {
      lookNever()
      let pool = try Pool<Counted>("cached", limit: 3)
      let cache = try PoolCache(pool) { Counted(7) }
      await withTaskGroup(of: Void.self) { group in
        for _ in 0..<30 {
          group.addTask {
            for _ in 0..<20 {
              let object = try! await cache.objectWhenFree()
              precondition(out.wrappingAdd(1, ordering: .relaxed).newValue <= 3)
              await Task.yield()
              precondition(object.value.number == 7)
              out.wrappingSubtract(1, ordering: .relaxed)
            }
          }
        }
      }
      precondition(living <= 3 && pool.itemsInUse == cache.itemsCached)
      cache.trim()
      precondition(living == 0)
      pool.checkInvariants()
    }
  }

  @Test func `tasks and threads that contend for a pool's few items, some of them cancelled: nobody waits for ever`() async {
    await #expect(processExitsWith: .success) {
      let pool = try Pool<Counted>("contended", limit: 3)
      await contend(rounds: 100 * min(Stage.scale, 20)) { number, waits, hold in
        guard let item = pool.item(Counted(number), waits ? .wait : []) else { return nil }
        hold()
        return item.value.number
      } inTask: { number, hold in
        let item = try await pool.itemWhenFree(Counted(number))
        await hold()
        return item.value.number
      } isCancellation: { $0 as? ZoneError == .cancelled }
      precondition(living == 0 && pool.itemsInUse == 0)
      pool.checkInvariants()
    }
  }
}
