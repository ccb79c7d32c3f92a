// SPDX-License-Identifier: BSD-2-Clause
//
// Giving back: trim, drain, drain with the CPUs' caches; the working set; destruction and what it must not leave.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import Zones

extension OnRoot {
  @Suite struct ReclaimTests {
    init() { Stage.up() }

    @Test(arguments: [16, 640, 4096, 70000]) func `L6 with nothing live, draining returns every page`(size: Int) {
      for flags in [ZoneFlags.none, .offPage, .malloc, .vm] {
        let mock = MockSource()
        let zone = makeTestZone("drained", size, flags: flags, source: mock.source)
        let headers = headersOut()
        let count = size > 10000 ? 100 : 20_000
        zone.freeAll(zone.takeMany(count))
        check(zone, holding: 0)
        #expect(mock.bytesOut > 0)
        zone.reclaim(.drainCPU)
        check(zone, holding: 0)
        #expect(mock.bytesOut == 0)
        #expect(zone.pointee.keg.pointee.slabCount == 0)
        #expect(headersOut() == headers)
        #expect(cached(zone) == 0 && zone.pointee.depotItems == 0)
        zone.destroy()
      }
    }

    @Test func `L6 for all zones at once, buckets and headers too`() {
      reclaimAll(.drainCPU)
      let mock = MockSource()
      let all = [16, 100, 640, 2048, 4096].map { makeTestZone("drained", $0, flags: .offPage, source: mock.source) }
      reclaimAll(.drainCPU)
      let buckets = bucketsOut()
      let headers = headersOut()
      let metadata = metadataPages.pointee.usedBytes
      for zone in all { zone.freeAll(zone.takeMany(5000)) }
      #expect(mock.bytesOut > 0)
      reclaimAll(.drainCPU)
      checkAll()
      #expect(mock.bytesOut == 0)
      #expect(bucketsOut() == buckets)
      #expect(headersOut() == headers)
      #expect(metadataPages.pointee.usedBytes <= metadata, "the slabs of buckets and headers too")
      for zone in all { #expect(zone.destroy() == 0) }
      checkAll()
    }

    @Test func `L8 two reclaims in a row both act`() {
      let mock = MockSource()
      let zone = makeTestZone("twice", 640, source: mock.source)
      for _ in 0..<2 {
        let keep = zone.takeMany(500)
        let extra = zone.takeMany(500)
        zone.freeAll(extra)
        zone.reclaim(.drainCPU)
        check(zone, holding: 500)
        let half = mock.bytesOut
        zone.freeAll(keep)
        zone.reclaim(.drainCPU)
        check(zone, holding: 0)
        #expect(mock.bytesOut < half)
        #expect(mock.bytesOut == 0)
      }
      zone.destroy()
    }

    @Test func `drain leaves the cells, drainCPU empties them`() {
      let zone = makeTestZone("levels", 64)
      zone.freeAll(zone.takeMany(3000))
      let inCells = cached(zone)
      #expect(inCells > 0)
      #expect(zone.pointee.depotItems > 0)
      zone.reclaim(.drain)
      check(zone, holding: 0)
      #expect(cached(zone) == inCells)
      #expect(zone.pointee.depotItems == 0)
      zone.reclaim(.drainCPU)
      check(zone, holding: 0)
      #expect(cached(zone) == 0)
      #expect(zone.pointee.keg.outstanding == 0)
      zone.destroy()
    }

    @Test func `trim stops at the working set`() {
      let zone = makeTestZone("trimmed", 64)
      zone.freeAll(zone.takeMany(5000))
      // The depot goes down and up again by some 2000 items: that is its working set.
      zone.freeAll(zone.takeMany(2500))
      trimIdleDepots()
      let need = zone.pointee.workingSet.size
      #expect(need > 0 && need <= zone.pointee.depotItems)
      let before = zone.pointee.depotItems
      zone.reclaim(.trim)
      check(zone, holding: 0)
      #expect(zone.pointee.depotItems >= need)
      #expect(zone.pointee.depotItems < before)
      #expect(zone.pointee.depotItems < need + 254, "and no more than a bucket above it")
      zone.reclaim(.drainCPU)
      zone.destroy()
    }

    @Test func `an idle depot is trimmed, the first time after one whole period`() {
      let mock = MockSource()
      let zone = makeTestZone("idle", 640, source: mock.source)
      zone.freeAll(zone.takeMany(2000))
      let held = zone.pointee.depotItems
      #expect(held > 0)
      trimIdleDepots()
      #expect(zone.pointee.depotItems == held, "it was filled in this period")
      #expect(trimIdleDepots())
      check(zone, holding: 0)
      #expect(zone.pointee.depotItems < held)
      for _ in 0..<3 { trimIdleDepots() }
      check(zone, holding: 0)
      #expect(zone.pointee.depotItems == 0)
      zone.reclaim(.drainCPU)
      #expect(mock.bytesOut == 0)
      zone.destroy()
    }

    @Test func `L7 the end of a period touches no cell`() {
      let zone = makeTestZone("cells", 64)
      zone.freeAll(zone.takeMany(3000))
      func words() -> [UInt64] {
        var words: [UInt64] = []
        CPUCache.forEachRegion { words.append($0[zone.pointee.cell].word) }
        return words
      }
      let before = words()
      for _ in 0..<60 {
        trimIdleDepots()
      }
      #expect(words() == before)
      zone.destroy()
    }

    @Test func `one CPU is emptied for all zones at once`() {
      let all = [16, 64, 640].map { makeTestZone("cpu", $0) }
      for zone in all { zone.freeAll(zone.takeMany(300)) }
      for cpu in 0..<Int(root.pointee.cpuCount) { #expect(emptyCaches(of: cpu)) }
      for zone in all {
        check(zone, holding: 0)
        #expect(cached(zone) == 0)
        #expect(zone.pointee.depotItems > 0, "cached still, but in the depot")
        zone.destroy()
      }
    }

    @Test func `L38 no bucket is allocated while a usable one is at hand`() {
      let zone = makeTestZone("pingpong", 256)
      // At every level of fill, one item to and fro, then a bucketful: after the first round the buckets in use are constant.
      var held = zone.takeMany(1000)
      for level in 0..<40 {
        let buckets = bucketsOut()
        var most = buckets
        for _ in 0..<20 {
          held.append(zone.allocate()!)
          most = max(most, bucketsOut())
          zone.free(held.removeLast())
          most = max(most, bucketsOut())
        }
        #expect(most <= buckets + 1, "level \(level)")
        for _ in 0..<13 { zone.free(held.removeLast()) }
      }
      zone.freeAll(held)
      let full = bucketsOut()
      for _ in 0..<20 {
        let items = zone.takeMany(700)
        #expect(bucketsOut() <= full)
        zone.freeAll(items)
        #expect(bucketsOut() <= full)
      }
      check(zone, holding: 0)
      zone.destroy()
    }
  }

  @Suite struct DestroyTests {
    init() { Stage.up() }

    @Test func `L16 destroying a zone with items out reports name, items and pages`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
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
      #expect(text.contains("zone destroyed with items out: leaky buffers: 3 items, 2 pages lost"))
      #expect(!text.contains("clean"))
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
      let isDone = UnsafeMutablePointer<UInt32>.allocate(capacity: 1)
      isDone.pointee = 0
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
          _ = stave_claim(isDone)
        case 1:
          while stave_load32(UnsafeRawPointer(isDone).assumingMemoryBound(to: Int32.self)) == 0 {
            trimIdleDepots()
          }
        default:
          while stave_load32(UnsafeRawPointer(isDone).assumingMemoryBound(to: Int32.self)) == 0 {
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
      isDone.deallocate()
    }
  }
}
