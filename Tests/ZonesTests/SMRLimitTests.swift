// SPDX-License-Identifier: BSD-2-Clause
//
// Zones with deferred reuse at what they may have at most, a limit or reserved addresses: what has been freed is had again as soon as
// readers have left, and who may not wait waits for nobody.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct SMRLimitTests {
    init() { Stage.up() }

    @Test(arguments: [1, 4, 13, 40, 121, 364], [ZoneFlags.none, .noBucket])
    func `L34 at its limit what has been freed is had again, all of it, once no reader is inside`(limit: Int, flags: ZoneFlags) {
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      let zone = makeTestSMRZone("bounded", flags: flags)
      #expect(zone.setLimit(limit) == limit)
      for _ in 0..<3 {
        let items = zone.takeManySMR(limit + 1)
        #expect(items.count == limit)
        zone.freeAllSMR(items)
        check(zone, holding: 0)
        zone.checkLimit()
      }
      let items = zone.takeManySMR(limit + 1), reader = Player()
      reader.act { zone.smr!.enter() }
      zone.freeAllSMR(items)
      #expect(zone.allocateSMR() == nil, "nothing is ready while a reader is inside")
      reader.act { zone.smr!.exit() }
      let again = zone.takeManySMR(limit + 1)
      #expect(again.count == limit)
      zone.freeAllSMR(again)
      // Without it cells are as large as before.
      zone.setLimit(0)
      zone.freeAllSMR(zone.takeManySMR(1000))
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
      checkAll()
    }

    @Test func `requests that are refused while a reader is inside wait for nobody, and take no bucket for each item`() {
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      let zone = makeTestSMRZone("stuffed")
      zone.setLimit(2000)
      var items = zone.takeManySMR(2000)
      let reader = Player()
      reader.act { zone.smr!.enter() }
      for _ in 0..<1500 {
        zone.freeSMR(items.removeLast())
        #expect(zone.allocateSMR() == nil)
      }
      var buckets = 0, next = zone.pointee.deferral!.pointee.first
      while let bucket = next { (buckets, next) = (buckets + 1, bucket.pointee.next) }
      #expect(buckets < 30)
      reader.act { zone.smr!.exit() }
      items += zone.takeManySMR(2000)
      #expect(items.count == 2000)
      zone.freeAllSMR(items)
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
    }

    @Test func `a limit that comes late empties cells that hold more than it lets them`() {
      let zone = makeTestSMRZone("later")
      zone.freeAllSMR(zone.takeManySMR(60))
      let held = zone.takeManySMR(2)
      zone.setLimit(2)
      #expect(zone.allocateSMR() == nil)
      zone.freeAllSMR(held)
      #expect(zone.takeManySMR(3).count == 2)
      zone.checkLimit()
    }

    @Test func `reserved addresses that are used up are used again`() {
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      let zone = makeTestSMRZone("reserved", 640)
      #expect(zone.reserveAddresses(for: 100))
      let items = zone.takeManySMR(1000)
      #expect(items.count >= 100)
      zone.freeAllSMR(items)
      #expect(zone.takeManySMR(1000).count == items.count)
    }

    @Test func `a wait at the limit inside a section of the same context is reported`() async {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestSMRZone("shut")
        zone.setLimit(1)
        _ = zone.allocateSMR()
        zone.smr!.read { _ = zone.allocateSMR(.wait) }
      }
      #expect(said(result, "bad request: a wait at the limit of zone shut inside a read section of its own context"))
    }

    #if STAVE_CHECK_LOCKS
    @Test func `without a bucket a request at the limit waits for no reader`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        alarm(60)
        bind(toCPU: usableCPUs[0])
        let zone = makeTestSMRZone("bucketless")
        zone.smr!.pointee.fences = 1  // every system call is refused below
        zone.setLimit(100)
        let items = zone.takeManySMR(100), reader = Player()
        zone.freeAllSMR(Array(items[..<5]))
        exhaustMetadata()
        stave_inject().pointee.always = 12
        reader.act { zone.smr!.enter() }
        precondition(zone.allocateSMR() == nil)
        reader.act { zone.smr!.exit() }
        stave_inject().pointee.always = 0
        zones.pointee.triesLeft = 0
        precondition(zone.takeManySMR(100).count == 5)
        check(zone, holding: 100)
      }
    }
    #endif
  }
}
