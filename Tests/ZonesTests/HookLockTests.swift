// SPDX-License-Identifier: BSD-2-Clause
//
// Hooks and locks: none of a zone, a keg or a page source is held while a hook runs, so hooks may use the zone itself.

import CPlatform
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// What a destructor that uses its own zone needs to know.
private enum Recursion {
  nonisolated(unsafe) static var zone: ZonePointer?
  nonisolated(unsafe) static var depth = 0
}

extension OnRoot {
  @Suite struct HookLockTests {
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
