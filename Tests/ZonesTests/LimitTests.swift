// SPDX-License-Identifier: BSD-2-Clause
//
// Limits of zones: what counts, who waits and in which order, how much is cached beside a limit, warnings and actions.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// What actions have seen; they are C functions.
private enum Acted {
  nonisolated(unsafe) static var times = 0
  nonisolated(unsafe) static var spare: UnsafeMutableRawPointer?
}

/// Counts that threads add to.
private func makeCounts(_ count: Int) -> UnsafeMutablePointer<Int64> {
  let counts = UnsafeMutablePointer<Int64>.allocate(capacity: count)
  counts.initialize(repeating: 0, count: count)
  return counts
}

/// Waits until `isTrue`, half a minute at most.
private func eventually(_ isTrue: () -> Bool) -> Bool {
  for _ in 0..<30_000 {
    if isTrue() { return true }
    usleep(1000)
  }
  return false
}

extension OnRoot {
  @Suite struct LimitTests {
    init() { Stage.up() }

    @Test func `how much is cached under a limit is a matter of the limit and the CPUs`() {
      #expect(CacheBound(limit: 1000, cpus: 4).bucket == 62 && CacheBound(limit: 1000, cpus: 4).depot == 504)
      #expect(CacheBound(limit: 10, cpus: 4).bucket == 1 && CacheBound(limit: 10, cpus: 4).depot == 2)
      #expect(CacheBound(limit: 5, cpus: 4).bucket == 0 && CacheBound(limit: 5, cpus: 4).depot == 5)
      #expect(CacheBound(limit: 1 << 30, cpus: 4).bucket == 254)
      for limit in [1, 2, 3, 7, 8, 9, 63, 64, 100, 4095, 100_000] {
        for cpus in [1, 2, 3, 8, 64, 1000] {
          let bound = CacheBound(limit: limit, cpus: cpus)
          #expect(bound.bucket * 2 * cpus <= limit && bound.depot <= limit)
        }
      }
    }

    @Test func `L33 L75 a limit is so many items exactly, whatever a slab holds, and none is none`() {
      for (size, limit) in [(64, 1), (64, 10), (640, 7), (3000, 100), (16, 1000), (9000, 3)] {
        let zone = makeTestZone("limited", size)
        #expect(zone.setLimit(limit) == limit)
        let items = zone.takeMany(limit + 50)
        #expect(items.count == limit && Set(items).count == limit, "\(size) \(limit) \(items.count)")
        #expect(zone.isExhausted && zone.made == limit && zone.pointee.failures == 1)
        check(zone, holding: limit)
        zone.free(items[0])
        #expect(zone.allocate() == items[0] || zone.made <= limit)
        zone.setLimit(limit + 5)
        let more = zone.takeMany(100)
        #expect(more.count == 5 && zone.limit == limit + 5)
        zone.setLimit(0)
        let rest = zone.takeMany(300)
        #expect(rest.count == 300 && !zone.isExhausted && zone.limit == 0)
        // Under what is out already: nothing, until enough has come back.
        zone.setLimit(limit)
        #expect(zone.allocate() == nil)
        zone.freeAll(items + more + rest)
        check(zone, holding: 0)
        zone.reclaim(.drainCPU)
        #expect(zone.made == 0)
        #expect(zone.takeMany(limit + 1).count == limit)
        zone.setLimit(0)
      }
    }

    @Test func `a limit for a zone in use counts what is out and what is cached`() {
      let zone = makeTestZone("later", 100)
      let items = zone.takeMany(300)
      zone.freeAll(Array(items.suffix(100)))
      zone.setLimit(250)
      check(zone, holding: 200)
      #expect(zone.made == 200, "what was cached has gone back")
      let more = zone.takeMany(100)
      #expect(more.count == 50 && zone.made == 250, "\(more.count)")
      check(zone, holding: 200 + more.count)
      zone.freeAll(Array(items.prefix(200)) + more)
      zone.reclaim(.drainCPU)
      #expect(zone.made == 0)
      #expect(zone.destroy() == 0)
    }

    @Test func `L34 who waits is served when something is freed: first come, first served, and nobody who comes later is before`() {
      let zone = makeTestZone("queue", 100)
      zone.setLimit(2)
      let held = zone.takeMany(3)
      #expect(held.count == 2)
      let order = makeCounts(8), place = makeCounts(1)
      let shared = Shared((zone, order, place))
      let done = DispatchGroup()
      for waiter in 0..<6 {
        done.enter()
        let thread = Thread {
          let (zone, order, place) = shared.value
          let item = zone.allocate(.wait)!
          order[Int(stave_add_fetching(place, 1))] = Int64(waiter)
          // As long as others have to wait for it.
          zone.free(item)
          done.leave()
        }
        thread.start()
        #expect(eventually { zone.pointee.bound.waiters == waiter + 1 })
      }
      // One that may not wait is not served before them.
      #expect(zone.allocate() == nil && zone.pointee.flags.contains(.awaited))
      zone.free(held[0])
      done.wait()
      #expect((0..<6).map { order[$0] } == [0, 1, 2, 3, 4, 5] && zone.pointee.sleeps == 6)
      check(zone, holding: 1)
      zone.free(held[1])
      #expect(zone.pointee.bound.waiters == 0 && !zone.pointee.flags.contains(.awaited))
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
    }

    @Test func `L34 who waits finds what other CPUs have cached, and what a higher limit or none allows`() {
      guard usableCPUs.count > 1 else { return }
      let zone = makeTestZone("elsewhere", 100)
      zone.setLimit(100)
      let shared = Shared(zone)
      // Freed on one CPU, and cached there.
      inThreads(1) { _ in
        bind(toCPU: usableCPUs[0])
        shared.value.freeAll(shared.value.takeMany(100))
      }
      inThreads(1) { _ in
        bind(toCPU: usableCPUs[1])
        let items = (0..<100).map { _ in shared.value.allocate(.wait)! }
        #expect(Set(items).count == 100)
        shared.value.freeAll(items)
      }
      let items = zone.takeMany(100)
      #expect(items.count + Int(ZoneCounts(zone).cached) + zone.pointee.depotItems <= 100)
      var all = items
      while all.count < 100 { all.append(zone.allocate(.wait)!) }
      for raise in [101, 0] {
        let done = DispatchGroup()
        done.enter()
        Thread {
          shared.value.free(shared.value.allocate(.wait))
          done.leave()
        }.start()
        #expect(eventually { zone.pointee.bound.waiters == 1 })
        zone.setLimit(raise)
        done.wait()
        zone.setLimit(100)
      }
      zone.freeAll(all)
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
    }

    @Test func `L34 room that comes back while somebody waits is nobody's who comes later`() {
      var bound = ZoneBound(), waiter = ZoneWaiter()
      bound.items = 2
      waiter.wake = { _ in }
      withUnsafeMutablePointer(to: &bound) { bound in
        withUnsafeMutablePointer(to: &waiter) { waiter in
          #expect(bound.take(1) == 1 && bound.take(5) == 1 && bound.take(1) == 0)
          bound.enqueue(waiter)
          #expect(bound.grant() == nil && bound.give(1), "somebody waits")
          // Between the two is who comes later.
          #expect(bound.take(1) == 0 && bound.grant() == waiter && waiter.pointee.isGranted == 1)
          #expect(bound.take(1) == 0 && !bound.give(2) && bound.take(2) == 2)
          bound.checkInvariants()
        }
      }
    }

    @Test func `one that can fail waits its time and is gone from the queue`() {
      let zone = makeTestZone("impatient", 100)
      zone.setLimit(1)
      let item = zone.allocate()!
      let start = stave_nanoseconds()
      #expect(zone.allocate(.wait.union(.canFail)) == nil)
      #expect(stave_nanoseconds() - start >= WaitFlags.patience)
      check(zone, holding: 1)
      #expect(zone.allocate(.wait.union(.noVM)) == nil, "noVM does not wait")
      zone.free(item)
      zone.waitForItem()
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
    }

    @Test func `T18 at the limit a warning is said once in a while, and the action, which is due each time, may make room`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestZone("warned", 100)
        zone.setLimit(1)
        let text: StaticString = "raise kern.warned"
        zone.setWarning(text.utf8Start)
        Acted.spare = zone.allocate()
        for _ in 0..<5 { precondition(zone.allocate() == nil) }
        zone.pointee.bound.warnedAt -= ZoneBound.quiet
        precondition(zone.allocate() == nil)
        zone.setLimitAction { raw in
          precondition(!FutexLock.threadHoldsAny)
          Acted.times += 1
          let zone = raw.assumingMemoryBound(to: Zone.self)
          zone.free(Acted.spare)
          zone.reclaim(.drainCPU)
          Acted.spare = nil
        }
        for _ in 0..<3 { precondition(zone.allocate() == nil && Acted.times == 0, "it ran in who asked") }
        zones.runDue()
        precondition(Acted.times == 1)
        let item = zone.allocate()
        zones.runDue()
        precondition(item != nil && Acted.times == 1)
        precondition(zone.allocate() == nil)
        zones.runDue()
        precondition(Acted.times == 2)
        zones.pointee.isQuiet = true
        zone.pointee.bound.warnedAt -= ZoneBound.quiet
        precondition(zone.allocate() == nil, "and nothing is said")
        zone.free(item)
        check(zone, holding: 0)
      }
      let said = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self).split(separator: "\n").filter { $0.contains("limit of a zone: warned: raise kern.warned") }
      #expect(said.count == 2, "\(said)")
    }

    @Test func `L39 a refusal at each step under a limit leaves the count right`() {
      let mock = MockSource()
      let zone = makeTestZone("refused", 640, source: mock.source)
      zone.setLimit(30)
      var held: [UnsafeMutableRawPointer] = []
      for round in 1..<60 {
        mock.refuseAt = 1 + round % 3
        if let item = zone.allocate() { held.append(item) }
        if round % 4 == 0, !held.isEmpty { zone.free(held.removeFirst()) }
        check(zone, holding: held.count)
        if round % 7 == 0 { zone.reclaim(.drainCPU) }
      }
      mock.refuseAt = 0
      zone.freeAll(held)
      #expect(zone.destroy() == 0 && mock.bytesOut == 0)
    }

    /// More threads than items, on all CPUs, each waiting for its items: never more out than the limit, nobody waits for ever.
    static func contend(_ stream: UInt64) {
      let zone = makeTestZone("contended", 64)
      let limit = 5
      zone.setLimit(limit)
      let out = makeCounts(1), rounds = 300 * min(Stage.scale, 50)
      let shared = Shared((zone, out))
      inThreads(8) { thread in
        let (zone, out) = shared.value
        var lot = Generator(stream + UInt64(thread))
        for round in 0..<rounds {
          if round % 16 == thread { bind(toCPU: usableCPUs[lot.below(usableCPUs.count)]) }
          let flags: WaitFlags = lot.below(4) == 0 ? .noWait : .wait
          guard let item = zone.allocate(flags) else {
            if flags.maySleep { Issue.record("nil although it may wait (STAVE_SEED=\(Stage.seed))") }
            continue
          }
          if stave_add_fetching(out, 1) >= Int64(limit) { Issue.record("more out than the limit (STAVE_SEED=\(Stage.seed))") }
          item.storeBytes(of: thread, as: Int.self)
          if lot.below(8) == 0 { _ = stave_yield() }
          if item.load(as: Int.self) != thread { Issue.record("an item given out twice") }
          _ = stave_add_fetching(out, -1)
          zone.free(item)
        }
      }
      check(zone, holding: 0)
      if zone.pointee.bound.waiters != 0 { Issue.record("somebody waits yet") }
      if zone.destroy() != 0 { Issue.record("items are lost") }
    }

    @Test func `L34 threads that contend for few items: none is lost, nobody waits for ever`() async {
      Self.contend(70)
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.LimitTests.contend(71)
      }
    }

    @Test func `a child of fork has no waiters, and its limit goes on`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let zone = makeTestZone("forked", 100)
        zone.setLimit(1)
        let item = zone.allocate()!
        let shared = Shared(zone)
        let done = DispatchGroup()
        done.enter()
        Thread {
          shared.value.free(shared.value.allocate(.wait))
          done.leave()
        }.start()
        precondition(eventually { zone.pointee.bound.waiters == 1 })
        Heap.prepareFork()
        let child = libcFork()
        if child == 0 {
          Heap.childAfterFork()
          if zone.pointee.bound.waiters != 0 || zone.pointee.flags.contains(.awaited) || zone.allocate() != nil { _exit(2) }
          zone.free(item)
          guard let own = zone.allocate(.wait) else { _exit(3) }
          zone.free(own)
          _exit(0)
        }
        Heap.parentAfterFork()
        var status: Int32 = 0
        precondition(waitpid(child, &status, 0) == child && status == 0, "\(status)")
        zone.free(item)
        done.wait()
        check(zone, holding: 0)
        precondition(zone.destroy() == 0)
      }
    }
  }
}
