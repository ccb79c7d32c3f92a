// SPDX-License-Identifier: BSD-2-Clause
//
// The end of a zone: what it must not leave, and what it says of items still out.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct DestroyTests {
    init() { Stage.up() }

    @Test func `L16 T11 destroying a zone with items out reports name, items out and pages`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        bind(toCPU: usableCPUs[0])
        let zone = makeTestZone("leaky buffers", 640)
        let items = zone.takeMany(20)
        // Two of one slab and one of another stay out.
        let sorted = items.sorted()
        zone.freeAll(sorted.dropLast().dropFirst(2).map { $0 })
        precondition(zone.destroy() == 3)
        let clean = makeTestZone("clean", 640)
        clean.freeAll(clean.takeMany(20))
        precondition(clean.destroy() == 0)
        arena.checkInvariants()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("zone destroyed with items out: leaky buffers: 3 items, 2 pages lost\n"), "\(text)")
      let advice = "STAVE_OPTIONS=memguard:1 says where they were asked for; stave symbolize names the functions\n"
      #expect(text.contains("\n  at 20") && text.hasSuffix("\n  next: \(advice)"), "\(text)")
      #expect(!text.contains("clean"))
    }

    @Test func `L40 the places of zones that have gone lead to the older ones, however many go`() {
      let last = makeTestZone("stays", 100)
      defer { last.destroy() }
      let many = (0..<40).map { _ in makeTestZone("comes and goes", 100) }
      for zone in many { zone.destroy() }
      reclaimAll(.drain)
      for place in many {
        // As a look from outside goes on that came here before.
        var next: ZonePointer? = place
        while let zone = next, zone != last { next = zone.pointee.next }
        #expect(next == last)
        #expect(place.pointee.flags.contains(.dying))
      }
    }

    @Test func `L15 a zone of every layout and every way to find a slab can be destroyed`() {
      let mock = MockSource()
      var kinds: Set<String> = []
      for size in [16, 640, 1536, 2048, 4096, 70_000] {
        for flags in [ZoneFlags.none, .offPage, .malloc, .vm, .noFree, .noBucket, .offPage.union(.malloc), .malloc.union(.noFree)] {
          for use in ["never used", "used", "drained"] {
            let headers = headersOut()
            let zone = makeTestZone("matrix", size, flags: flags, source: mock.source)
            let layout = zone.pointee.keg.pointee.layout
            kinds.insert("\(layout.isOffPage ? "off-page" : "in-page") \(layout.lookup)")
            if use != "never used" { zone.freeAll(zone.takeMany(200)) }
            if use == "drained" { zone.reclaim(.drainCPU) }
            check(zone, holding: 0)
            #expect(zone.destroy() == 0, "\(size), flags \(flags.rawValue), \(use)")
            #expect(mock.bytesOut == 0 && headersOut() == headers)
          }
        }
      }
      #expect(kinds == ["in-page mask", "in-page metadata", "off-page metadata"])
      checkAll()
    }

    @Test func `what leaked stays readable, and the zone is gone from the list`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let count = zones.pointee.zoneCount
        let zone = makeTestZone("leaky", 640)
        let items = zone.takeMany(100)
        for item in items { item.storeBytes(of: 0x1234_5678, as: Int.self) }
        precondition(zone.destroy() == 100)
        precondition(zones.pointee.zoneCount == count)
        for item in items { precondition(item.load(as: Int.self) == 0x1234_5678) }
        reclaimAll(.drainCPU)
        for size in [16, 640, 4096] {
          let other = makeTestZone("after", size)
          other.freeAll(other.takeMany(1000))
          precondition(other.destroy() == 0)
        }
        for item in items { precondition(item.load(as: Int.self) == 0x1234_5678) }
      }
    }

    @Test func `L19 create, use, destroy a thousand times on all CPUs: buckets, headers, cells and pages are as before`() {
      // Once before, so that what is made on first use exists.
      func once(_ round: Int) {
        let zone = makeTestZone("brief", 64 << (round % 6), flags: round % 2 == 0 ? .none : .offPage)
        var items: [UnsafeMutableRawPointer] = []
        for cpu in usableCPUs.prefix(4) {
          bind(toCPU: cpu)
          let some = zone.takeMany(200)
          zone.freeAll(Array(some.prefix(120)))
          items += some.suffix(80)
        }
        zone.freeAll(items)
        if round % 100 == 0 { check(zone, holding: 0) }
        #expect(zone.destroy() == 0)
      }
      for round in 0..<12 { once(round) }
      reclaimAll(.drainCPU)
      let buckets = bucketsOut()
      let headers = headersOut()
      let metadata = metadataPages.pointee.usedBytes
      let slabs = arena.pointee.slabBytes
      let cells = zones.pointee.nextCell
      let kegs = zones.pointee.kegCount
      let zonesBefore = zones.pointee.zoneCount
      for round in 0..<1000 { once(round) }
      bindToAll()
      #expect(bucketsOut() == buckets)
      #expect(headersOut() == headers)
      #expect(arena.pointee.slabBytes == slabs)
      #expect(zones.pointee.nextCell == cells)
      #expect(zones.pointee.kegCount == kegs)
      #expect(zones.pointee.zoneCount == zonesBefore)
      reclaimAll(.drainCPU)
      #expect(metadataPages.pointee.usedBytes <= metadata)
      checkAll()
    }

    @Test func `L19 empty buckets that a zone keeps go with it`() {
      let cpu = usableCPUs[0]
      bind(toCPU: cpu)
      defer { bindToAll() }
      let out = bucketsOut()
      let zone = makeTestZone("empties", 64)
      // Two buckets of the depot are used up while there is room for all items in the cell.
      let held = zone.takeMany(65)
      zone.free(held[64])
      #expect(emptyCaches(of: cpu))
      zone.freeAll(Array(held.prefix(64)))
      #expect(emptyCaches(of: cpu))
      let again = zone.takeMany(zone.pointee.depotItems)
      check(zone, holding: again.count)
      #expect(zone.pointee.emptyBucketCount == 2)
      zone.freeAll(again)
      #expect(zone.pointee.emptyBucketCount == 2)
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
      #expect(bucketsOut() == out)
    }

    @Test func `L18 destroyed in a loop against a timer, nothing is retained`() {
      let mock = MockSource()
      reclaimAll(.drainCPU)
      let buckets = bucketsOut()
      let zonesBefore = zones.pointee.zoneCount
      let rounds = 300 * Stage.scale
      let isDone = Flag()
      let shared = Shared(mock)
      inThreads(3) { thread in
        switch thread {
        case 0:
          for round in 0..<rounds {
            let zone = makeTestZone("timed", 640, source: shared.value.source)
            let items = zone.takeMany(300)
            zone.freeAll(items)
            if zone.destroy() != 0 { Issue.record("items out in round \(round)") }
            if shared.value.bytesOut != 0 {
              Issue.record("\(shared.value.bytesOut) bytes retained in round \(round)")
              break
            }
          }
          isDone.set()
        case 1:
          while !isDone.isSet {
            trimIdleDepots()
          }
        default:
          while !isDone.isSet {
            for cpu in 0..<min(8, Int(root.pointee.cpuCount)) { _ = emptyCaches(of: cpu) }
            reclaimAll(.trim)
            usleep(500)
          }
        }
      }
      #expect(zones.pointee.zoneCount == zonesBefore)
      #expect(mock.bytesOut == 0)
      #expect(bucketsOut() == buckets)
      checkAll()
    }
  }
}
