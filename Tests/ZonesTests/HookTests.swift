// SPDX-License-Identifier: BSD-2-Clause
//
// When hooks run, with what, and in which order.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones


/// A zone of 640-byte items: six to a slab, so that the calls can be counted by hand.
func makeHooked(_ mock: MockSource, flags: ZoneFlags = .none, zoneHooks: Bool = false) -> ZonePointer {
  Hooks.reset()
  let zone = makeTestZone("hooked", 640, flags: flags, hooks: Hooks.all, source: mock.source)
  if zoneHooks { zone.setZoneHooks(initialize: Hooks.zoneInit, finish: Hooks.zoneFini) }
  return zone
}

extension OnRoot {
  @Suite struct HookTests {
    init() { Stage.up() }

    @Test func `slab made: init on each item, in index order, with the request's wait flags`() {
      let mock = MockSource()
      let zone = makeHooked(mock, flags: .noBucket)
      let item = zone.allocate(.noWait.union(.zero))!
      let items = zone.pointee.keg.pointee.layout.items
      #expect(items == 6)
      let inits = Hooks.items(.kegInit)
      #expect(inits.count == items)
      #expect(inits == inits.sorted())
      #expect(zip(inits, inits.dropFirst()).allSatisfy { $1 - $0 == 640 })
      #expect(Hooks.lastWait == WaitFlags.noWait.union(.zero).rawValue)
      #expect(Hooks.lastSize == 640)
      #expect(mock.lastWait == WaitFlags.noWait.union(.zero).rawValue)
      #expect(inits.contains(item.address))
      zone.free(item)
      check(zone, holding: 0)
      // Once per life of the slab, however often the item goes round.
      for _ in 0..<20 { zone.free(zone.allocate()) }
      #expect(Hooks.count(.kegInit) == items)
      #expect(Hooks.count(.constructor) == 21)
      #expect(Hooks.count(.destructor) == 21)
      #expect(zone.destroy() == 0)
      #expect(Set(Hooks.items(.kegFini)) == Set(inits))
      #expect(Hooks.count(.kegFini) == items)
      #expect(mock.bytesOut == 0)
    }

    @Test func `constructor and destructor run at every allocation and free, with their arguments`() {
      let mock = MockSource()
      let zone = makeHooked(mock)
      let token = UnsafeMutableRawPointer(bitPattern: 0x1234)!
      for round in 1...50 {
        let item = zone.allocate(.noWait, argument: token)!
        #expect(Hooks.lastArgument == token)
        #expect(Hooks.calls.last == Hooks.Call(kind: .constructor, item: item.address))
        zone.free(item, argument: token + 1)
        #expect(Hooks.lastArgument == token + 1)
        #expect(Hooks.calls.last == Hooks.Call(kind: .destructor, item: item.address))
        #expect(Hooks.count(.constructor) == round)
        #expect(Hooks.count(.destructor) == round)
        let item2 = zone.allocate()
        #expect(Hooks.lastArgument == nil)
        zone.free(item2)
        #expect(Hooks.lastArgument == nil)
        Hooks.calls.removeLast(2)
      }
      Hooks.calls = []
      zone.free(nil)
      #expect(Hooks.calls.isEmpty, "freeing nothing does nothing")
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
    }

    @Test func `without caches: init, constructor; destructor, fini; each time`() {
      let mock = MockSource()
      let zone = makeHooked(mock, flags: .noBucket, zoneHooks: true)
      for _ in 0..<3 {
        Hooks.calls = []
        let item = zone.allocate()!
        zone.free(item)
        let kinds = Hooks.calls.filter { $0.kind != .kegInit }
        #expect(kinds.map(\.kind) == [.zoneInit, .constructor, .destructor, .zoneFini])
        #expect(kinds.allSatisfy { $0.item == item.address })
        check(zone, holding: 0)
      }
      #expect(zone.destroy() == 0)
    }

    @Test func `cache to keg: zone fini per item when reclaimed, once per stay`() {
      let mock = MockSource()
      let zone = makeHooked(mock, zoneHooks: true)
      let items = zone.takeMany(30)
      zone.freeAll(items)
      #expect(Hooks.count(.zoneFini) == 0, "they are cached, and stay as init left them")
      let inited = Hooks.count(.zoneInit)
      zone.reclaim(.drainCPU)
      check(zone, holding: 0)
      #expect(Hooks.count(.zoneFini) == inited)
      #expect(Hooks.count(.kegFini) == Hooks.count(.kegInit))
      #expect(mock.bytesOut == 0)
      // What the zone's fini undid comes before what the keg's undoes.
      for item in Set(Hooks.items(.zoneFini)) {
        let last = Hooks.calls.lastIndex { $0.item == item && $0.kind == .zoneFini }!
        let keg = Hooks.calls.lastIndex { $0.item == item && $0.kind == .kegFini }!
        if last > keg { Issue.record("keg fini before zone fini") }
      }
      #expect(zone.destroy() == 0)
    }
  }
}
