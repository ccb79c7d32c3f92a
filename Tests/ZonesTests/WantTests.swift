// SPDX-License-Identifier: BSD-2-Clause
//
// Who waits for memory gets what other zones hold and nobody uses; who may not wait takes nothing from them.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct WantTests {
    init() { Stage.up() }

    @Test(arguments: [ZoneFlags.none, .unmanaged]) func `a request that may wait gets what another zone caches`(_ flags: ZoneFlags) {
      let bank = PageBank(quota: 50)
      let full = makeTestZone("full", 256, flags: .notPage, source: bank.source)
      let empty = makeTestZone("empty", 512, flags: flags.union(.notPage), source: bank.source)
      let items = full.takeMany(100_000)
      full.freeAll(items)
      #expect(bank.out == bank.quota && items.count > 200)
      #expect(empty.allocate(.noWait) == nil && bank.out == bank.quota, "nothing is taken from others")
      let item = empty.allocate(.wait.union(.canFail))
      #expect(item != nil && full.pointee.depotItems == 0)
      empty.free(item)
      // And back, but from caches that walks over all zones leave alone.
      empty.freeAll(empty.takeMany(100_000))
      #expect(bank.out == bank.quota)
      let again = full.allocate(.wait.union(.canFail))
      #expect((again != nil) == (flags == .none))
      full.free(again)
      check(full, holding: 0)
      check(empty, holding: 0)
      #expect(!bank.sawLock)
      #expect(full.destroy() == 0 && empty.destroy() == 0 && bank.out == 0)
    }

    @Test func `a pool's request that may wait gets what a zone caches`() async {
      await #expect(processExitsWith: .success) {
        alarm(30)
        Stage.up()
        let bank = PageBank(quota: 50)
        let full = makeTestZone("full", 256, flags: .notPage, source: bank.source)
        full.freeAll(full.takeMany(100_000))
        precondition(bank.out == bank.quota)
        let allocator = bank.allocator(), pool = makeTestPool("empty", 512, allocator)
        precondition(pool.get(.noWait) == nil && bank.out == bank.quota)
        let item = pool.get(.wait)
        precondition(item != nil)
        pool.put(item!)
        pool.checkInvariants()
        precondition(pool.destroy() == 0 && full.destroy() == 0)
        allocator.release()
        precondition(bank.out == 0)
      }
    }
  }
}
