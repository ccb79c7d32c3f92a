// SPDX-License-Identifier: BSD-2-Clause
//
// What a request may do while it waits, and what it must not ask for: waiting under a lock or in a hook that may not sleep is
// reported, and noVM asks the system for nothing. Debug builds only.

#if STAVE_CHECK_LOCKS

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct WaitTests {
    private func text(_ result: ExitTest.Result?) -> String { String(decoding: result?.standardErrorContent ?? [], as: UTF8.self) }
    private func warnings(_ result: ExitTest.Result?) -> [Substring] {
      text(result).split(separator: "\n").filter { $0.contains("blocking request") }
    }

    @Test func `L2 a request that may wait, made while a lock is held, is reported`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestZone("waiting", 64)
        zone.free(zone.allocate(.wait))
        zones.pointee.reclaimLock.lock()
        zone.free(zone.allocate(.noWait))
        zone.free(zone.allocate(.wait))
        zones.pointee.reclaimLock.unlock()
        zone.free(zone.allocate(.wait))
      }
      let said = warnings(result)
      #expect(said.count == 1, "\(text(result))")
      #expect(said.allSatisfy { $0.contains("zone waiting that may wait is made while a lock of rank \(LockRank.reclaim) is held") }, "\(said)")
    }

    @Test func `L2 a request that may wait, made in a hook that may not sleep, is reported`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        Inner.zone = makeTestZone("inner", 64)
        let inner: Constructor = { _, _, _, _ in
          Inner.zone!.free(Inner.zone!.allocate(.wait))
          return 0
        }
        let zone = makeTestZone("outer", 640, hooks: ZoneHooks(constructor: inner))
        zone.free(zone.allocate(.wait))  // a hook of a request that may wait, may
        zone.free(zone.allocate(.noWait))
        precondition(zone.destroy() == 0)
        let frees = makeTestZone("freeing", 640, hooks: ZoneHooks(destructor: { _, _, _ in Inner.zone!.free(Inner.zone!.allocate(.wait)) }))
        frees.free(frees.allocate(.wait))  // freeing never waits
        Inner.zone!.free(Inner.zone!.allocate(.wait))
      }
      let said = warnings(result)
      #expect(said.count == 2, "\(text(result))")
      #expect(said.allSatisfy { $0.contains("zone inner that may wait is made in a hook that may not sleep") }, "\(said)")
    }

    @Test func `L37 noVM asks the system for nothing, be it for buckets or caches`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let mock = MockSource()
        let noVM = WaitFlags.noWait.union(.noVM)
        let zone = makeTestZone("noVM", 640, source: mock.source)
        exhaustMetadata()
        var calls = stave_inject().pointee.calls
        precondition(zone.allocate(noVM) == nil)
        precondition(stave_inject().pointee.calls == calls && mock.allocations == 0)
        // With items in the keg and no room in the cell.
        let items = zone.takeMany(2000)
        zone.freeAll(items)
        zone.reclaim(.trim)
        exhaustMetadata()
        calls = stave_inject().pointee.calls
        let sources = mock.allocations
        let held = (0..<2000).compactMap { _ in zone.allocate(noVM) }
        precondition(held.count > 0)
        precondition(stave_inject().pointee.calls == calls && mock.allocations == sources)
        zone.freeAll(held)
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `L37 a VM zone takes buckets only from what is there`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let mock = MockSource()
        let zone = makeTestZone("vm", 640, flags: .vm, source: mock.source)
        // On one CPU, and once before, so that its cell has grown, which costs a membarrier.
        bind(toCPU: usableCPUs[0])
        zone.freeAll(zone.takeMany(2000))
        let items = zone.takeMany(2000)
        exhaustMetadata()
        let calls = stave_inject().pointee.calls
        zone.freeAll(items)
        precondition(stave_inject().pointee.calls == calls)
        check(zone, holding: 0)
        precondition(zone.destroy() == 0 && mock.bytesOut == 0)
      }
    }
  }
}

private enum Inner {
  nonisolated(unsafe) static var zone: ZonePointer?
}
#endif
