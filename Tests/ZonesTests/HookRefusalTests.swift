// SPDX-License-Identifier: BSD-2-Clause
//
// What happens when a hook refuses: what was done is undone, and nothing is left behind.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct HookRefusalTests {
    init() { Stage.up() }

    @Test func `init refuses at item k: finished in reverse, pages returned, nil, one failure`() {
      for offPage in [false, true] {
        for refusing in 1...6 {
          let mock = MockSource()
          let zone = makeHooked(mock, flags: offPage ? .offPage : .none)
          let headers = headersOut()
          Hooks.refuse[.kegInit] = refusing
          #expect(zone.allocate() == nil)
          let inits = Hooks.items(.kegInit)
          #expect(inits.count == refusing)
          #expect(Hooks.items(.kegFini) == inits.dropLast().reversed())
          #expect(mock.allocations == 1)
          #expect(mock.bytesOut == 0)
          #expect(headersOut() == headers)
          #expect(zone.pointee.failures == 1)
          check(zone, holding: 0)
          // Nothing is left behind: the next request works.
          let item = zone.allocate()
          #expect(item != nil)
          check(zone, holding: 1)
          zone.free(item)
          #expect(zone.destroy() == 0)
          #expect(mock.bytesOut == 0)
        }
      }
    }

    @Test func `a slab's init may refuse a request that waits`() {
      let mock = MockSource()
      let zone = makeHooked(mock)
      Hooks.refuse[.kegInit] = 1
      // The pages were there, so this is the hook's word: either nil or another try, but an end.
      let item = zone.allocate(.wait)
      check(zone, holding: item == nil ? 0 : 1)
      zone.free(item)
      #expect(zone.destroy() == 0)
    }

    @Test(arguments: [ZoneFlags.none, .noBucket, .perCPU, .smr])
    func `a slab's init that always refuses lets a request fail that waits`(_ flags: ZoneFlags) {
      let hooks = ZoneHooks(initialize: { _, _, _ in 12 })
      let zone = flags == .smr ? makeTestSMRZone("never", hooks: hooks) : makeTestZone("never", flags: flags, hooks: hooks)
      for request in [WaitFlags.noWait, .wait] {
        #expect(flags == .smr ? zone.allocateSMR(request) == nil : flags == .perCPU ? zone.allocatePerCPU(request) == nil : zone.allocate(request) == nil)
      }
      #expect(zone.pointee.failures == 2 && !zone.preallocate(1))
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
    }

    @Test(arguments: [ZoneFlags.none, .roundRobin, .firstTouch])
    func `a slab's init that refuses who does not wait lets a request have an item that waits`(_ flags: ZoneFlags) {
      withDomains(2) {
        let zone = makeTestZone(
          "patient", flags: flags, hooks: ZoneHooks(initialize: { _, _, wait in WaitFlags(rawValue: wait).maySleep ? 0 : 12 }))
        #expect(zone.allocate(.noWait) == nil)
        let item = zone.allocate(.wait)
        #expect(item != nil)
        zone.free(item)
        #expect(zone.destroy() == 0)
      }
    }

    @Test func `a zone of several kegs has items of those whose init lets it`() {
      let refusing = makeTestZone("refusing", 1000, flags: .offPage, hooks: ZoneHooks(initialize: { _, _, _ in 12 }))
      let willing = makeTestZone("willing", 1000, flags: .offPage)
      let zone = makeSecondaryZone(name: FixedName("either"), primary: refusing)!
      #expect(zone.addKeg(of: willing) == .done)
      let item = zone.allocate(.wait)
      #expect(item != nil)
      zone.free(item)
      #expect(zone.destroy() == 0 && willing.destroy() == 0 && refusing.destroy() == 0)
    }

    @Test func `T19 keg to cache: zone init on each item; a refusal keeps the items before it`() {
      // 6 items in a slab, all asked for at once.
      for refusing in 1...6 {
        let mock = MockSource()
        let zone = makeHooked(mock, zoneHooks: true)
        Hooks.refuse[.zoneInit] = refusing
        let item = zone.allocate()
        #expect((item == nil) == (refusing == 1))
        #expect(Hooks.count(.zoneInit) == refusing)
        #expect(Hooks.count(.zoneFini) == 0, "items that were not initialised are not finished")
        #expect(zone.pointee.failures == (refusing == 1 ? 1 : 0), "a failure only if there was no item at all")
        #expect(zone.pointee.keg.outstanding == refusing - 1)
        check(zone, holding: item == nil ? 0 : 1)
        zone.free(item)
        #expect(zone.destroy() == 0)
        #expect(Hooks.count(.zoneFini) == refusing - 1)
        #expect(mock.bytesOut == 0)
      }
    }

    @Test func `L26 a slab that was fetched and not used is on the free list, and drained`() {
      for flags in [ZoneFlags.noBucket, .noBucket.union(.offPage), .none] {
        let mock = MockSource()
        let zone = makeHooked(mock, flags: flags, zoneHooks: true)
        let keg = zone.pointee.keg
        Hooks.refuse[.zoneInit] = 1
        #expect(zone.allocate() == nil)
        #expect(mock.allocations >= 1 && keg.pointee.slabCount == 1)
        #expect(keg.pointee.freeSlabCount == 1 && keg.pointee.free.first != nil && keg.pointee.partial.first == nil)
        check(zone, holding: 0)
        #expect(keg.drain())
        #expect(keg.pointee.slabCount == 0 && mock.bytesOut == 0)
        #expect(zone.destroy() == 0)
      }
    }

    @Test(.timeLimit(.minutes(30))) func `a waiting request ends with nil when zone init refuses`() {
      let mock = MockSource()
      Hooks.reset()
      let zone = makeTestZone("refusing", 640, source: mock.source)
      zone.setZoneHooks(initialize: { _, _, _ in 12 }, finish: nil)
      #expect(zone.allocate(.wait) == nil)
      #expect(zone.pointee.failures == 1)
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
    }

    @Test func `T1 a constructor that refuses: fini without destructor, nil even when waiting, counts given back`() {
      for flags in [ZoneFlags.none, .noBucket, .offPage] {
        for wait in [WaitFlags.noWait, .wait] {
          let mock = MockSource()
          let zone = makeHooked(mock, flags: flags, zoneHooks: true)
          // From the keg, from the cell, after some traffic.
          var out: [UnsafeMutableRawPointer] = []
          for round in 0..<8 {
            let before = ZoneCounts(zone)
            Hooks.calls = []
            Hooks.refuse[.constructor] = 1
            #expect(zone.allocate(wait) == nil)
            #expect(Hooks.count(.constructor) == 1)
            #expect(Hooks.count(.destructor) == 0)
            #expect(Hooks.items(.zoneFini).first == Hooks.items(.constructor).first)
            let after = ZoneCounts(zone)
            #expect(after.used == before.used)
            #expect(after.allocations == before.allocations)
            #expect(after.frees == before.frees)
            #expect(zone.pointee.failures == Int64(round + 1))
            check(zone, holding: out.count)
            out.append(zone.allocate(wait)!)
            check(zone, holding: out.count)
          }
          zone.freeAll(out)
          check(zone, holding: 0)
          #expect(zone.destroy() == 0)
          #expect(mock.bytesOut == 0)
        }
      }
    }
  }
}
