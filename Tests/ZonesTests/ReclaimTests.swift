// SPDX-License-Identifier: BSD-2-Clause
//
// Giving back: trim, drain, drain with the CPUs' caches; the working set.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
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
      // Another CPU's caches would have buckets of their own.
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
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
}
