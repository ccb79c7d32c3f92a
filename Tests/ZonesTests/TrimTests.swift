// SPDX-License-Identifier: BSD-2-Clause
//
// Trims of zones that nobody else looks after, as in a program with zones of its own: what was lately used stays, and what has not been
// used for long goes, by the time that has passed between the trims.

import CPlatform
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct TrimTests {
    init() { Stage.up() }

    /// Wherever the clock of pools stands; `body` moves it.
    private func withClock(_ body: () -> Void) {
      Clock.now = 1_000_000_000_000
      zones.pointee.pools.clock = { Clock.now }
      // Another CPU's cell would hold items of another wave.
      bind(toCPU: usableCPUs[0])
      body()
      bindToAll()
      zones.pointee.pools.clock = nil
    }

    private func wave(_ zone: ZonePointer, _ count: Int) { zone.freeAll(zone.takeMany(count)) }

    @Test func `a trim right after two equal waves keeps what the second one used`() {
      withClock {
        let zone = makeTestZone("waves", 256)
        wave(zone, 20_000)
        wave(zone, 20_000)
        let held = zone.pointee.depotItems
        zone.reclaim(.trim)
        check(zone, holding: 0)
        #expect(zone.pointee.depotItems == held)
        // Not asked for in the first wave, and not yet again.
        let other = makeTestZone("one wave", 256)
        wave(other, 20_000)
        other.reclaim(.trim)
        check(other, holding: 0)
        #expect(other.pointee.depotItems < 300)
        #expect(zone.destroy() == 0 && other.destroy() == 0)
      }
    }

    @Test func `what is not used any more goes with the trims of some periods, however many trims there are`() {
      withClock {
        let zone = makeTestZone("idle", 256)
        wave(zone, 10_000)
        wave(zone, 20_000)
        zone.reclaim(.trim)
        let kept = zone.pointee.depotItems
        #expect(kept > 9_000)
        for _ in 0..<50 { zone.reclaim(.trim) }
        #expect(zone.pointee.depotItems == kept, "no time has passed")
        var before = kept
        for _ in 0..<12 {
          for _ in 0..<7 {
            Clock.now += 3_000_000_000
            if zone.pointee.depotItems > 0 { reclaimAll(.trim) }
          }
          check(zone, holding: 0)
          #expect(zone.pointee.depotItems < before || before < 300, "a period without use: \(before)")
          before = zone.pointee.depotItems
        }
        #expect(before < kept / 8)
        // The same in one go.
        wave(zone, 10_000)
        wave(zone, 20_000)
        Clock.now += 3_600_000_000_000
        zone.reclaim(.trim)
        check(zone, holding: 0)
        #expect(zone.pointee.depotItems == 0)
        #expect(zone.destroy() == 0)
      }
    }
  }
}

private enum Clock {
  nonisolated(unsafe) static var now: Int64 = 0
}
