// SPDX-License-Identifier: BSD-2-Clause
//
// What is set before a zone's first allocation: reserve, source, addresses; slabs made ahead of need; and zones whose items are not
// touched, or in no dump.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct ColdZoneTests {
    init() { Stage.up() }

    @Test func `a zone in use refuses its setters with a report, and stays as it was`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        stave_reports().pointee.mode = ReportMode.goOn
        let mock = MockSource()
        let zone = makeTestZone("warm", 640, source: mock.source)
        let item = zone.allocate()
        zone.setReserve(3)
        zone.setSource(.arena)
        precondition(!zone.reserveAddresses(for: 10))
        zone.setZoneHooks(initialize: Hooks.zoneInit, finish: nil)
        precondition(zone.pointee.keg.pointee.reserve == 0 && zone.pointee.keg.pointee.range == nil && zone.pointee.zoneInit == nil)
        zone.free(item)
        zone.reclaim(.drainCPU)
        precondition(mock.frees == mock.allocations && zone.pointee.keg.pointee.slabCount == 0)
        // Its slabs have gone; that it was in use has not.
        zone.setReserve(3)
        precondition(zone.pointee.keg.pointee.reserve == 0 && zone.destroy() == 0)
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      for what in ["the reserve", "the page source", "the addresses", "the hooks"] { #expect(text.contains("zone in use: \(what) of zone warm")) }
      #expect(text.components(separatedBy: "zone in use").count - 1 == 5)
    }

    @Test func `a cold zone takes another page source, and pages come from there and return to it`() {
      let (first, second) = (MockSource(), MockSource())
      let zone = makeTestZone("moved", 640, source: first.source)
      zone.setSource(second.source)
      zone.freeAll(zone.takeMany(100))
      #expect(first.allocations == 0 && second.bytesOut > 0)
      // Addresses that were reserved before go back.
      #expect(zone.destroy() == 0 && second.bytesOut == 0)
      let slabBytes = arena.pointee.slabBytes
      let other = makeTestZone("moved", 640)
      #expect(other.reserveAddresses(for: 1000) && other.reserveAddresses(for: 10) && arena.pointee.slabBytes > slabBytes)
      other.setSource(first.source)
      #expect(arena.pointee.slabBytes == slabBytes && other.pointee.keg.pointee.range == nil)
      #expect(other.destroy() == 0)
    }

    @Test func `a reserve larger than a slab is built up by those who may not use it`() {
      let mock = MockSource()
      let zone = makeTestZone("reserve", 2048, flags: .noBucket, source: mock.source)
      zone.setReserve(7)
      #expect(mock.allocations == 0, "nothing is allocated for it")
      // Two items a slab: each new slab gives one item, until seven are left over.
      var items: [UnsafeMutableRawPointer] = []
      for _ in 0..<7 { items.append(zone.allocate()!) }
      #expect(mock.allocations == 7 && zone.pointee.keg.pointee.freeItems == 7)
      mock.isRefusing = true
      #expect(zone.allocate() == nil)
      items += zone.takeMany(100, .noWait.union(.useReserve))
      #expect(items.count == 14)
      zone.freeAll(items)
      check(zone, holding: 0)
      zone.reclaim(.drainCPU)
      #expect(zone.pointee.keg.pointee.freeItems == 8, "whole slabs that hold seven")
      #expect(zone.destroy() == 0 && mock.bytesOut == 0)
    }

    @Test func `of the reserve one item is taken at a time, so that none lands in a cache for everybody`() {
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      let mock = MockSource()
      let zone = makeTestZone("reserve", 64, source: mock.source)
      zone.setReserve(20)
      zone.preallocate(20)
      mock.isRefusing = true
      let free = zone.pointee.keg.pointee.freeItems
      let items = zone.takeMany(1000)
      #expect(items.count == free - 20 && cached(zone) == 0)
      let urgent = zone.allocate(.noWait.union(.useReserve))
      #expect(urgent != nil && cached(zone) == 0 && zone.pointee.keg.pointee.freeItems == 19)
      #expect(zone.allocate() == nil)
      zone.freeAll(items + [urgent!])
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
    }

    @Test func `L26 slabs made ahead are on the free list, serve without the source, and a drain gives all of them back`() {
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      for flags in [ZoneFlags.none, .offPage, .noBucket] {
        let mock = MockSource()
        let zone = makeTestZone("ahead", 640, flags: flags, source: mock.source)
        let keg = zone.pointee.keg, items = keg.pointee.layout.items
        #expect(zone.preallocate(items * 4 + 1))
        check(zone, holding: 0)
        #expect(keg.pointee.freeSlabCount == 5 && keg.pointee.slabCount == 5 && mock.lastWait == WaitFlags.wait.rawValue && !mock.sawLock)
        mock.isRefusing = true
        let all = zone.takeMany(items * 5)
        #expect(all.count == items * 5 && zone.allocate() == nil)
        zone.freeAll(all)
        for index in 0..<items { zone.free(zone.takeMany(index == 0 ? 1 : 0).first) }
        check(zone, holding: 0)
        mock.isRefusing = false
        zone.reclaim(.drainCPU)
        check(zone, holding: 0)
        #expect(keg.pointee.slabCount == 0 && mock.bytesOut == 0)
        // Not beyond a refusal, of which what went before stays.
        mock.refuseAt = 3
        #expect(!zone.preallocate(items * 5) && keg.pointee.freeSlabCount == 2)
        #expect(zone.preallocate(0) && zone.preallocate(-1) && keg.pointee.freeSlabCount == 2)
        check(zone, holding: 0)
        #expect(zone.destroy() == 0 && mock.bytesOut == 0)
      }
    }

    @Test func `frees do not give back slabs made ahead`() {
      let mock = MockSource()
      let zone = makeTestZone("ahead", 640, flags: .noBucket, source: mock.source)
      let items = zone.pointee.keg.pointee.layout.items
      zone.preallocate(items * 4)
      zone.freeAll(zone.takeMany(items * 4))
      #expect(zone.pointee.keg.pointee.freeSlabCount == 4 && mock.frees == 0)
      #expect(zone.destroy() == 0)
    }

    @Test func `nothing reads or writes items of a noTouch zone, with item checks on too`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        // Memory that may not be read or written, and is made so again before it goes back.
        let source = PageSource(
          allocate: { _, bytes, wait, mark in
            let inner = PageSource.arena
            guard let start = inner.allocate(inner.context, bytes, wait, mark) else { return nil }
            return stave_mprotect(start.address, bytes, 0) == 0 ? start : nil
          },
          free: { _, start, bytes, mark in
            _ = stave_mprotect(start.address, bytes, protectionReadWrite)
            let inner = PageSource.arena
            inner.free(inner.context, start, bytes, mark)
          }, context: nil, isZeroed: false)
        func use(_ zone: ZonePointer) {
          let items = zone.takeMany(500)
          precondition(items.count == 500)
          check(zone, holding: 500)
          zone.freeAll(items)
          zone.freeAll(zone.takeMany(100))
          zone.reclaim(.drainCPU)
          check(zone, holding: 0)
        }
        for size in [8, 100, 512, 5000] {
          for flags in [ZoneFlags.noTouch, .noTouch.union(.noBucket), .noTouch.union(.cacheSpread), .noTouch.union(.refCount), .noTouch.union(.noDump)] {
            let zone = makeTestZone("untouched", size, flags: flags, source: source)
            use(zone)
            precondition(itemChecks.begin(divisor: 1))
            use(zone)
            itemChecks.end()
            use(zone)
            precondition(zone.destroy() == 0)
          }
        }
        checkAll()
      }
    }

    @Test func `pages of a noDump zone are in no dump while they are its own`() {
      func isDumped(_ address: UInt) -> Bool {
        var isIn = false
        for line in kernelText("/proc/self/smaps").split(separator: "\n") {
          let range = line.prefix { $0 != " " }.split(separator: "-")
          if range.count == 2, let low = UInt(range[0], radix: 16), let high = UInt(range[1], radix: 16) { isIn = low <= address && address < high }
          if isIn && line.hasPrefix("VmFlags:") { return !line.contains(" dd") }
        }
        return false
      }
      let plain = makeTestZone("shown", 5000), hidden = makeTestZone("hidden", 5000, flags: .noDump)
      let (one, other) = (plain.allocate()!, hidden.allocate()!)
      #expect(isDumped(one.address) && !isDumped(other.address) && !isDumped(other.address + 4999))
      hidden.free(other)
      plain.free(one)
      #expect(hidden.destroy() == 0 && plain.destroy() == 0)
      // Mapped still, as the arena's, for any use.
      #expect(isDumped(other.address))
    }

    @Test func `L24 flags that contradict each other make no zone`() {
      for flags in [ZoneFlags.noTouch.union(.vm), .perCPU.union(.vm), .perCPU.union(.cacheSpread), .perCPU.union(.malloc), .noTouch.union(.zeroInit), .maxBucket.union(.noBucket)] {
        #expect(contradict(flags) && makeZone(name: FixedName("none"), size: 64, flags: flags) == nil)
      }
      #expect(makeZone(name: FixedName("none"), size: 4097, flags: .perCPU) == nil)
    }

    @Test func `hooks of a secondary zone wait for its own first item, what is the keg's for nobody's`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        stave_reports().pointee.mode = ReportMode.goOn
        let primary = makeTestZone("primary", 640, flags: .perCPU)
        let item = primary.allocatePerCPU()
        let second = makeSecondaryZone(name: FixedName("second"), primary: primary)!
        second.setZoneHooks(initialize: Hooks.zoneInit, finish: nil)
        precondition(second.pointee.zoneInit != nil)
        second.setReserve(3)
        second.setSource(.arena)
        // Copies, there as here.
        precondition(second.pointee.cell == 0 && second.allocate() == nil)
        let other = second.allocatePerCPU()
        second.setZoneHooks(initialize: nil, finish: nil)
        precondition(second.pointee.zoneInit != nil && Hooks.count(.zoneInit) == 1)
        second.freePerCPU(other)
        precondition(second.destroy() == 0)
        primary.freePerCPU(item)
        precondition(primary.destroy() == 0)
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      for what in ["the reserve of zone", "the page source of zone", "the hooks of zone"] {
        #expect(text.components(separatedBy: "zone in use: " + what).count - 1 == 1)
      }
      #expect(text.contains("bad request: allocate of an item that every CPU has a copy of"))
    }

    @Test func `the memory that zones manage is that of their slabs`() {
      let before = zones.memory
      let zone = makeTestZone("measured", 640)
      #expect(zone.memory == 0)
      zone.preallocate(1000)
      let slab = zone.pointee.keg.pointee.layout
      #expect(zone.memory == (1000 + slab.items - 1) / slab.items * slab.slabBytes)
      #expect(zones.memory >= before + zone.memory)
      #expect(zone.destroy() == 0)
    }
  }
}
