// SPDX-License-Identifier: BSD-2-Clause
//
// Waiting at a limit: threads and tasks in one queue, cancellation, and nobody forgotten under stress.

import Foundation
import Stave
import Synchronization
import Testing

@testable import TestSupport

private let order = Mutex<[Int]>([])
private let lastZone = Mutex<Zone<Int>?>(nil)

@Suite struct LimitTurnTests {
  @Test func `L34 threads and tasks are served in the order in which they came`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      let zone = try Zone<Counted>("queue", limit: 1)
      var held: ZoneItem<Counted>? = zone.item(Counted(0))
      precondition(held != nil)
      var tasks: [Task<Void, Never>] = []
      let threads = DispatchGroup()
      for number in 0..<10 {
        let before = zone.waits
        if number % 2 == 0 {
          tasks.append(
            Task {
              let item = try! await zone.itemWhenFree(Counted(number))
              order.withLock { $0.append(item.value.number) }
            })
        } else {
          threads.enter()
          Thread {
            let item = zone.item(Counted(number), .wait)!
            order.withLock { $0.append(item.value.number) }
            _ = consume item
            threads.leave()
          }.start()
        }
        demand(await comesTrue { zone.waits == before + 1 })
      }
      precondition(zone.item(Counted(99)) == nil, "who may not wait is not served before")
      held = nil
      for task in tasks { await task.value }
      demand(await comesTrue { order.withLock { $0.count == 10 } })
      precondition(order.withLock { $0 } == Array(0..<10))
      demand(await comesTrue { living == 0 })
      zone.checkInvariants()
    }
  }

  @Test func `a cancelled task leaves the queue, and the next one is served`() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      endInTime()
      let zone = try Zone<Counted>("cancelled", limit: 1)
      var held: ZoneItem<Counted>? = zone.item(Counted(0))
      precondition(held != nil)
      let first = Task { () -> ZoneError? in
        do throws(ZoneError) {
          _ = try await zone.itemWhenFree(Counted(1))
          return nil
        } catch { return error }
      }
      demand(await comesTrue { zone.waits == 1 })
      let second = Task { try! await zone.itemWhenFree(Counted(2)).value.number }
      demand(await comesTrue { zone.waits == 2 })
      first.cancel()
      demand(await first.value == .cancelled)
      held = nil
      demand(await second.value == 2)
      // One that is cancelled before it begins.
      let item = zone.item(Counted(3))
      let early = Task { () -> ZoneError? in
        while !Task.isCancelled { await Task.yield() }
        do throws(ZoneError) {
          _ = try await zone.itemWhenFree(Counted(4))
          return nil
        } catch { return error }
      }
      early.cancel()
      demand(await early.value == .cancelled)
      demand(item != nil)
      demand(living == 1)
      zone.checkInvariants()
    }
    // Which line it was.
    #expect(result?.standardErrorContent.isEmpty == true, "\(String(decoding: result?.standardErrorContent ?? [], as: UTF8.self))")
  }

  @Test func `a higher limit and none serve tasks that wait`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      for raised in [2, 0] {
        let zone = try Zone<Counted>("raised", limit: 1)
        let held = zone.item(Counted(0))
        let waits = zone.waits
        let task = Task { try! await zone.itemWhenFree(Counted(1)).value.number }
        demand(await comesTrue { zone.waits == waits + 1 })
        zone.limit = raised
        demand(await task.value == 1 && held != nil)
      }
    }
  }

  @Test func `what is done at the limit may make room`() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      let zone = try Zone<Counted>("spare", limit: 1)
      let spare = Mutex<ZoneItem<Counted>?>(zone.item(Counted(1)))
      withPassingText("raise the limit of spare") { zone.setWarning($0) }
      precondition(zone.item(Counted(2)) == nil && zone.item(Counted(2)) == nil)
      let place = Spare()
      place.zone = zone
      place.items.withLock { $0.append(spare.withLock { $0.take()! }.release()) }
      zone.atLimit {
        for element in place.items.withLock({ items in defer { items = [] }; return items }) { _ = place.zone!.adopt(element) }
        place.zone!.trim()
      }
      while zone.item(Counted(2)) == nil { usleep(1000) }
      precondition(zone.item(Counted(2)) != nil)
    }
    let said = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(said.components(separatedBy: "raise the limit of spare").count == 2, "\(said)")
  }

  @Test func `what is done at the limits of several zones is done for each, at the same time too`() async {
    await #expect(processExitsWith: .success) {
      let runs = (0..<4).map { _ in Shared(Runs()) }
      let zones = try (0..<4).map { try Zone<Int>("acts \($0)", limit: 1) }
      for (zone, runs) in zip(zones, runs) {
        precondition(zone.allocate() != nil)
        zone.atLimit { runs.value.count += 1 }
      }
      let rounds = 20_000 * min(Stage.scale, 50)
      inThreads(5) { thread in
        if thread == 4 {
          // Others come and go, with what is done at theirs.
          for _ in 0..<rounds / 50 { try! Zone<Int>("passes", limit: 1).atLimit {} }
          return
        }
        for _ in 0..<rounds { precondition(zones[thread].allocate() == nil) }
      }
      // One call may do for several requests; after the last one there is one.
      for (zone, runs) in zip(zones, runs) {
        zone.atLimit(nil)
        let before = runs.value.count
        precondition(before <= rounds, "\(before) of \(rounds)")
        let last = Mutex(false)
        zone.atLimit { last.withLock { $0 = true } }
        while !last.withLock({ $0 }) {
          precondition(zone.allocate() == nil)
          usleep(1000)
        }
        precondition(before > 0)
      }
    }
  }

  @Test func `a zone whose last reference goes in its own action ends later`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      var zone: Zone<Int>? = try Zone<Int>("last", limit: 1)
      nonisolated(unsafe) let item = zone!.allocate()!
      zone!.atLimit {
        guard let last = lastZone.withLock({ zone in defer { zone = nil }; return zone }) else { return }
        last.free(item)
      }
      lastZone.withLock { $0 = zone }
      precondition(zone!.allocate() == nil)
      zone = nil
      while lastZone.withLock({ $0 != nil }) { usleep(1000) }
      // What was given up ends when others are made.
      for _ in 0..<200 {
        _ = try Zone<Int>("next", limit: 1)
        usleep(1000)
      }
    }
  }

  @Test func `what can be spared later serves a task that waits, and the next one that waits as well`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      let zone = try Zone<Counted>("looked for", limit: 1), calls = Shared(Calls())
      let place = Spare()
      place.zone = zone
      for round in 0..<3 {
        place.items.withLock { $0.append(zone.item(Counted(round))!.release()) }
        calls.value.count.store(0, ordering: .sequentiallyConsistent)
        // By the request, as it begins to wait, and after that by who looks for those that wait.
        zone.atLimit {
          guard calls.value.count.add(1, ordering: .sequentiallyConsistent).newValue == 4 else { return }
          for element in place.items.withLock({ items in defer { items = [] }; return items }) { _ = place.zone!.adopt(element) }
        }
        let task = Task { try! await zone.itemWhenFree(Counted(10 + round)).value.number }
        demand(await comesTrue { calls.value.count.load(ordering: .sequentiallyConsistent) >= 4 })
        demand(await task.value == 10 + round)
        // Until nobody looks any more.
        try? await Task.sleep(for: .milliseconds(200))
      }
      precondition(living == 0 && zone.waits == 3)
    }
  }

  @Test func `a task that waits at the limit is counted as one that waits, not as one that failed`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      let zone = try Zone<Counted>("counted", limit: 1)
      let held = Mutex<ZoneItem<Counted>?>(zone.item(Counted(0)))
      let task = Task { try! await zone.itemWhenFree(Counted(1)).value.number }
      demand(await comesTrue { zone.waits == 1 })
      held.withLock { _ = $0.take() }
      demand(await task.value == 1)
      precondition(zone.waits == 1 && zone.failures == 0)
      // Who is cancelled got nothing.
      held.withLock { $0 = zone.item(Counted(2)) }
      let cancelled = Task { try await zone.itemWhenFree(Counted(3)).value.number }
      demand(await comesTrue { zone.waits == 2 })
      cancelled.cancel()
      demand((try? await cancelled.value) == nil)
      precondition(zone.waits == 2 && zone.failures == 1)
    }
  }

  @Test func `L34 tasks and threads that contend for few items, some of them cancelled: nobody waits for ever`() async {
    await #expect(processExitsWith: .success) {
      let zone = try Zone<Counted>("contended", limit: 3)
      await contend(rounds: 200 * min(Stage.scale, 20)) { number, waits, hold in
        guard let item = zone.item(Counted(number), waits ? .wait : []) else { return nil }
        hold()
        return item.value.number
      } inTask: { number, hold in
        let item = try await zone.itemWhenFree(Counted(number))
        await hold()
        return item.value.number
      } isCancellation: { $0 as? ZoneError == .cancelled }
      precondition(living == 0 && zone.itemsInUse == 0)
      zone.checkInvariants()
    }
  }
}

private final class Runs { var count = 0 }
private final class Calls: Sendable { let count = Atomic(0) }

private final class Spare: @unchecked Sendable {
  weak var zone: Zone<Counted>?
  let items = Mutex<[UnsafeMutablePointer<Counted>]>([])
}
