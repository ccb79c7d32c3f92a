// SPDX-License-Identifier: BSD-2-Clause
//
// Threads and tasks that wait for items of a pool, and are cancelled: nobody waits for ever, and no more are out than may be.

import Foundation
import Stave
import Synchronization
import Testing

@testable import TestSupport

private let order = Mutex<[Int]>([])
private let out = Atomic(0)

@Suite struct PoolTurnTests {
  @Test func `tasks are served in the order in which they came, and counted as waiting`() async {
    await #expect(processExitsWith: .success) {
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
      precondition(Set(order.withLock { $0 }) == Set(0..<10) && order.withLock { $0.first } == 0)
      precondition(pool.figures.failures == 0 && living == 0)
      pool.checkInvariants()
    }
  }

  @Test func `a cancelled task leaves the pool's queue, a higher limit serves those who wait`() async {
    await #expect(processExitsWith: .success) {
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
    }
  }

  @Test func `a task waits for an object of a pool's cache`() async {
    await #expect(processExitsWith: .success) {
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
