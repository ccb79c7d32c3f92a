// SPDX-License-Identifier: BSD-2-Clause
//
// Frees that a zone must refuse, on each way that a free can take.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct BadFreeTests {
    @Test func `a double free of the item on top of the cache stops the process`() async {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        bind(toCPU: usableCPUs[0])
        let zone = makeTestZone("doubled", 64)
        let items = zone.takeMany(3)
        zone.free(items[0])
        zone.free(items[0])
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("double free"))
      #expect(text.contains("in zone doubled"))
    }

    @Test func `a double free deeper in the cache stops the process when it comes back to its slab`() async {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        bind(toCPU: usableCPUs[0])
        let zone = makeTestZone("doubled", 64, flags: .offPage)
        let items = zone.takeMany(3)
        zone.free(items[0])
        zone.free(items[1])
        zone.free(items[0])
        zone.reclaim(.drainCPU)
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("double free"))
      #expect(text.contains("0 bytes into the item at"))
    }

    @Test func `L20 a free that goes round the caches is checked like any other, and once`() async {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestZone("direct", 64, flags: .noBucket)
        let items = zone.takeMany(3)
        // To and fro by the same way: no check takes a free for the second of two.
        for _ in 0..<5 {
          zone.free(items[1])
          precondition(zone.allocate() == items[1])
        }
        zone.free(items[1])
        zone.free(items[1])
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("double free"))
      // Freed on a CPU whose caches are just being emptied: round the cache, and checked at once.
      let bypassed = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        bind(toCPU: usableCPUs[0])
        let zone = makeTestZone("bypassed", 64)
        let items = zone.takeMany(3)
        root.pointee.cpuCount = 0
        Stage.useLockedCaches()
        zone.free(items[0])
        zone.free(items[0])
        zone.reclaim(.drain)
      }
      let other = String(decoding: bypassed?.standardErrorContent ?? [], as: UTF8.self)
      #expect(other.contains("double free"))
    }

    @Test func `an interior or foreign address stops the process when it comes to a slab`() async {
      await #expect(processExitsWith: .signal(SIGABRT)) {
        Stage.up()
        let zone = makeTestZone("interior", 640, flags: .noBucket)
        zone.free(zone.allocate()! + 8)
      }
      await #expect(processExitsWith: .signal(SIGABRT)) {
        Stage.up()
        let zone = makeTestZone("foreign", 512, flags: .noBucket.union(.offPage))
        zone.free(UnsafeMutableRawPointer(bitPattern: 0x10000))
      }
    }
  }
}
