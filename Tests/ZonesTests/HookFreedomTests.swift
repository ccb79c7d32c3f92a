// SPDX-License-Identifier: BSD-2-Clause
//
// What hooks may do themselves: no lock is held around them, so they may use zones, their own too, reclaim and destroy.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// What a destructor that uses its own zone needs to know.
private enum Slow {
  static let hasEntered = Flag()
  static let hasLeft = Flag()
  static let othersAreGone = Flag()
}

private enum Recursion {
  nonisolated(unsafe) static var zone: ZonePointer?
  nonisolated(unsafe) static var depth = 0
  nonisolated(unsafe) static var deepest = 0
}

extension OnRoot {
  @Suite struct HookFreedomTests {
    init() { Stage.up() }

    @Test func `L29 L36 no lock is held around hooks and page sources`() {
      let mock = MockSource()
      let zone = makeHooked(mock, zoneHooks: true)
      let items = zone.takeMany(700)
      zone.freeAll(items)
      zone.reclaim(.trim)
      zone.reclaim(.drain)
      zone.reclaim(.drainCPU)
      Hooks.refuse[.kegInit] = 3
      zone.free(zone.allocate())
      Hooks.refuse[.zoneInit] = 3
      zone.free(zone.allocate())
      Hooks.refuse[.constructor] = 1
      zone.free(zone.allocate())
      zone.reclaim(.drainCPU)
      #expect(mock.frees > 0)
      #expect(!Hooks.sawLock)
      #expect(!mock.sawLock)
      #expect(zone.destroy() == 0)
    }

    @Test func `L36 a fini may do all that an author may, under shortage too`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let mock = MockSource()
        let other = makeTestZone("other", 64)
        other.freeAll(other.takeMany(500))
        let zone = makeTestZone(
          "deep", 96,
          hooks: ZoneHooks(finish: { _, _ in
            guard Recursion.depth == 0 else { return }
            Recursion.depth += 1
            if FutexLock.threadHoldsAny { Hooks.sawLock = true }
            let inner = makeTestZone("inner", 200)
            inner.free(inner.allocate())
            inner.destroy()
            // What malloc does when memory is short.
            reclaimAll(.drainCPU)
            for cpu in 0..<Int(root.pointee.cpuCount) { _ = emptyCaches(of: cpu) }
            Heap.free(Heap.allocate(3000))
            Recursion.depth -= 1
          }), source: mock.source)
        zone.freeAll(zone.takeMany(1000))
        mock.onFree = {
          guard Recursion.depth == 0 else { return }
          Recursion.depth += 1
          reclaimAll(.drain)
          Recursion.depth -= 1
        }
        reclaimAll(.drainCPU)
        zone.freeAll(zone.takeMany(1000))
        for _ in 0..<3 { trimIdleDepots() }
        precondition(zone.destroy() == 0 && other.destroy() == 0)
        precondition(!Hooks.sawLock && !mock.sawLock && mock.bytesOut == 0)
        checkAll()
      }
    }

    @Test func `L36 a fini that runs into a shortage each time does not nest for ever`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let zone = makeTestZone(
          "nesting", 96,
          hooks: ZoneHooks(finish: { _, _ in
            Recursion.depth += 1
            Recursion.deepest = max(Recursion.deepest, Recursion.depth)
            reclaimAll(.drainCPU)
            Recursion.depth -= 1
          }))
        for request in [Reclaim.trim, .drain, .drainCPU] {
          zone.freeAll(zone.takeMany(3000))
          reclaimAll(request)
        }
        precondition(Recursion.deepest == 1, "\(Recursion.deepest) deep")
        check(zone, holding: 0)
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `L36 a zone is not destroyed under a walk that is at it`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        // The fini is slow, once; meanwhile another thread destroys the zone.
        let zone = makeTestZone(
          "slow", 4096,
          hooks: ZoneHooks(finish: { _, _ in
            guard !Slow.hasEntered.isSet else { return }
            Slow.hasEntered.set()
            for _ in 0..<300_000 where !Slow.othersAreGone.isSet { usleep(100) }  // half a minute at least
            usleep(100_000)
            Slow.hasLeft.set()
          }))
        let neighbours = [makeTestZone("before", 64), makeTestZone("behind", 64)]
        zone.freeAll(zone.takeMany(20))
        let shared = Shared((zone, neighbours))
        inThreads(2) { thread in
          if thread == 1 { return reclaimAll(.drainCPU) }
          while !Slow.hasEntered.isSet { usleep(100) }
          for neighbour in shared.value.1 { precondition(neighbour.destroy() == 0) }
          precondition(!Slow.hasLeft.isSet, "others can be destroyed at any time")
          Slow.othersAreGone.set()
          precondition(shared.value.0.destroy() == 0)
          precondition(Slow.hasLeft.isSet)
        }
        checkAll()
      }
    }

    @Test func `L29 a destructor may allocate from its own zone and free to it`() {
      let zone = makeTestZone(
        "recursive", 96,
        hooks: ZoneHooks(destructor: { _, _, _ in
          guard Recursion.depth < 3, let zone = Recursion.zone else { return }
          Recursion.depth += 1
          zone.free(zone.allocate())
          Recursion.depth -= 1
        }))
      Recursion.zone = zone
      let items = zone.takeMany(2000)
      zone.freeAll(items)
      check(zone, holding: 0)
      zone.reclaim(.drainCPU)
      check(zone, holding: 0)
      Recursion.zone = nil
      #expect(zone.destroy() == 0)
    }
  }
}
