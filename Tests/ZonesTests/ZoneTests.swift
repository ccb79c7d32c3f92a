// SPDX-License-Identifier: BSD-2-Clause
//
// What zones are: alignment, flags, names, layouts of all kinds.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct ZoneTests {
    init() { Stage.up() }

    @Test(arguments: [(1, 1), (8, 8), (24, 8), (100, 16), (512, 512), (640, 64), (1536, 8), (3000, 32), (4096, 4096), (4200, 8), (70000, 4096)])
    func `items are aligned, apart and wholly usable`(size: Int, align: Int) {
      for flags in [ZoneFlags.none, .offPage, .malloc, .vm, .noBucket] {
        let zone = makeTestZone("items", size, alignMask: align - 1, flags: flags)
        check(zone, holding: 0)
        let items = zone.takeMany(150)
        #expect(items.count == 150)
        #expect(items.allSatisfy { $0.address % UInt(align) == 0 })
        let sorted = items.map(\.address).sorted()
        #expect(zip(sorted, sorted.dropFirst()).allSatisfy { $1 - $0 >= UInt(size) })
        for (index, item) in items.enumerated() { item.initializeMemory(as: UInt8.self, repeating: UInt8(index), count: size) }
        for (index, item) in items.enumerated() {
          let isIntact = stride(from: 0, to: size, by: max(1, size / 97)).allSatisfy {
            item.load(fromByteOffset: $0, as: UInt8.self) == UInt8(index) && item.load(fromByteOffset: size - 1 - $0, as: UInt8.self) == UInt8(index)
          }
          if !isIntact { Issue.record("item \(index) of \(size) bytes, flags \(flags.rawValue), was overwritten") }
        }
        check(zone, holding: 150)
        for (index, item) in items.enumerated() {
          zone.free(item)
          if index % 10 == 0 { check(zone, holding: 149 - index) }
        }
        check(zone, holding: 0)
        #expect(zone.destroy() == 0)
        arena.checkInvariants()
      }
    }

    @Test func `noFree keeps slabs until the zone is destroyed`() {
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      let mock = MockSource()
      let zone = makeTestZone("kept", 640, flags: .noFree, source: mock.source)
      zone.freeAll(zone.takeMany(600))
      let out = mock.bytesOut
      zone.reclaim(.drainCPU)
      reclaimAll(.drainCPU)
      check(zone, holding: 0)
      #expect(mock.bytesOut == out)
      #expect(mock.frees == 0)
      zone.freeAll(zone.takeMany(600))
      #expect(mock.bytesOut == out, "and used again")
      #expect(zone.destroy() == 0)
      #expect(mock.bytesOut == 0)
    }

    @Test func `L1 items of a noFree zone keep their last words, however much is drained meanwhile`() {
      // The loser of a race for the last reference still reads the count that lies in what the winner has freed.
      let zone = makeTestZone("counts", 64, flags: .noFree)
      let items = zone.takeMany(4000)
      for item in items { item.storeBytes(of: 0x5EED_C0DE, as: UInt32.self) }
      let isDone = UnsafeMutablePointer<UInt32>.allocate(capacity: 1)
      isDone.pointee = 0
      let shared = Shared((zone, items, isDone))
      inThreads(2) { thread in
        let (zone, items, isDone) = shared.value
        if thread == 0 {
          zone.freeAll(items)
          for _ in 0..<10 {
            reclaimAll(.drainCPU)
            arena.purge(recentToo: true)
          }
          _ = stave_claim(isDone)
        } else {
          var wrong = 0
          repeat {
            for item in items where item.load(as: UInt32.self) != 0x5EED_C0DE { wrong += 1 }
          } while stave_load32(isDone) == 0
          if wrong > 0 { Issue.record("\(wrong) counts were lost") }
        }
      }
      #expect(items.allSatisfy { $0.load(as: UInt32.self) == 0x5EED_C0DE })
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
      isDone.deallocate()
    }

    @Test func `noBucket: each operation goes to the keg`() {
      let mock = MockSource()
      let zone = makeTestZone("direct", 64, flags: .noBucket, source: mock.source)
      #expect(zone.pointee.cell == 0)
      let buckets = bucketsOut()
      for count in 1...100 {
        let item = zone.allocate()!
        check(zone, holding: 1)
        #expect(zone.pointee.keg.outstanding == 1)
        zone.free(item)
        #expect(zone.pointee.keg.outstanding == 0)
        #expect(ZoneCounts(zone).allocations == Int64(count))
      }
      #expect(bucketsOut() == buckets)
      #expect(zone.destroy() == 0)
    }

    @Test func `maxBucket begins with the largest bucket, in a process that has none yet`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let zone = makeTestZone("maxbucket", 2048, flags: .maxBucket)
        precondition(zone.pointee.bucketSize == 254)
        let items = zone.takeMany(2000)
        zone.freeAll(items)
        check(zone, holding: 0)
        precondition(zone.pointee.depotItems > 0, "its buckets cannot be had")
        zone.reclaim(.drainCPU)
        check(zone, holding: 0)
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `a zone of one item per slab works like any other`() {
      let mock = MockSource()
      let zone = makeTestZone("huge", 200_000, source: mock.source)
      let items = zone.takeMany(20)
      for (index, item) in items.enumerated() { item.initializeMemory(as: UInt8.self, repeating: UInt8(index), count: 200_000) }
      #expect(items.enumerated().allSatisfy { $1.load(fromByteOffset: 199_999, as: UInt8.self) == UInt8($0) })
      zone.freeAll(items)
      check(zone, holding: 0)
      zone.reclaim(.drainCPU)
      #expect(mock.bytesOut == 0)
      #expect(zone.destroy() == 0)
    }

    @Test func `zones of one name are numbered, one more than the largest there is`() {
      let first = makeTestZone("twin")
      let second = makeTestZone("twin")
      let third = makeTestZone("twin")
      let other = makeTestZone("other")
      #expect([first, second, third].map { $0.pointee.instance } == [0, 1, 2])
      #expect(other.pointee.instance == 0)
      second.destroy()
      let fourth = makeTestZone("twin")
      #expect(fourth.pointee.instance == 3, "the gap stays")
      fourth.destroy()
      third.destroy()
      let fifth = makeTestZone("twin")
      #expect(fifth.pointee.instance == 1)
      for zone in [first, fifth, other] { zone.destroy() }
      checkAll()
    }

    @Test func `T14 names that differ only beyond the cut are numbered like equal ones`() {
      let first = makeTestZone("a name of more than thirty-one bytes, the first")
      let second = makeTestZone("a name of more than thirty-one bytes, the second")
      #expect(first.pointee.name.equals(second.pointee.name))
      #expect(second.pointee.instance == first.pointee.instance + 1)
      for zone in [first, second] { zone.destroy() }
    }

    @Test func `absurd zones are refused and leave nothing`() {
      let count = zones.pointee.zoneCount
      for size in [0, -1, (1 << 40) + 1] { #expect(makeZone(name: FixedName("absurd"), size: size) == nil) }
      #expect(makeZone(name: FixedName("absurd"), size: 64, alignMask: 5) == nil)
      #expect(zones.pointee.zoneCount == count)
      checkAll()
    }
  }
}
