// SPDX-License-Identifier: BSD-2-Clause
//
// Buckets and working sets as values; flags.

import CPlatform
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

@Suite struct FlagTests {
  @Test func `L11 public and internal flag bits are disjoint`() {
    let publicFlags: [ZoneFlags] = [
      .zeroInit, .offPage, .malloc, .noFree, .vm, .maxBucket, .noBucket, .refCount, .cacheSpread, .noTouch, .perCPU, .smr, .unmanaged, .noDump, .notPage,
      .firstTouch, .roundRobin,
    ]
    let internalFlags: [ZoneFlags] = [.internal, .ctorDtor, .dying, .bucket, .divided, .part, .hookedByUs]
    #expect(ZoneFlags.publicMask & ZoneFlags.internalMask == 0)
    #expect(publicFlags.allSatisfy { $0.rawValue & ~ZoneFlags.publicMask == 0 })
    #expect(internalFlags.allSatisfy { $0.rawValue & ~ZoneFlags.internalMask == 0 })
    let all = (publicFlags + internalFlags).map(\.rawValue)
    #expect(all.allSatisfy { $0.nonzeroBitCount == 1 })
    #expect(Set(all).count == all.count)
  }

  @Test func `request flags have the values that everybody knows`() {
    #expect(WaitFlags.noWait.rawValue == 0x1)
    #expect(WaitFlags.wait.rawValue == 0x2)
    #expect(WaitFlags.zero.rawValue == 0x100)
    #expect(WaitFlags.noVM.rawValue == 0x200)
    #expect(WaitFlags.useReserve.rawValue == 0x400)
  }
}

@Suite struct WorkingSetTests {
  @Test func `the estimate is the largest dip below a maximum`() {
    var set = WorkingSet()
    set.added(nowHolding: 100)
    set.removed(nowHolding: 40)
    set.added(nowHolding: 90)
    set.update(holding: 90)
    #expect(set.size == 60)
    #expect(set.highest == 95, "half-way down to what is held")
    set.update(holding: 90)
    #expect(set.size == 45, "it fades by a quarter a period")
  }

  @Test func `a new maximum starts a new dip`() {
    var set = WorkingSet()
    set.added(nowHolding: 50)
    set.removed(nowHolding: 20)
    set.added(nowHolding: 60)
    #expect(set.size == 30)
    #expect(set.bottom == 60)
  }

  @Test func `drains shift the marks and do not count as need`() {
    var set = WorkingSet()
    set.added(nowHolding: 100)
    set.update(holding: 100)
    let size = set.size
    set.drained(60, nowHolding: 40)
    set.checkInvariants(holding: 40)
    set.update(holding: 40)
    #expect(set.size <= size)
  }

  @Test func `the marks stay in order whatever happens`() {
    var generator = Generator(20)
    for _ in 0..<200 {
      var set = WorkingSet()
      var held = 0
      for _ in 0..<200 {
        switch generator.below(5) {
        case 0, 1:
          held += 1 + generator.below(50)
          set.added(nowHolding: held)
        case 2 where held > 0:
          held -= 1 + generator.below(held)
          set.removed(nowHolding: held)
        case 3 where held > 0:
          let count = 1 + generator.below(held)
          held -= count
          set.drained(count, nowHolding: held)
        default: set.update(holding: held)
        }
        set.checkInvariants(holding: held)
        if set.size < 0 { Issue.record("negative estimate") }
      }
    }
  }
}

extension OnRoot {
  @Suite struct BucketTests {
    init() { Stage.up() }

    @Test func `L13 cache capacity falls with item size`() {
      let table = [
        (1, 254), (64, 254), (65, 126), (128, 126), (129, 62), (256, 62), (257, 30), (512, 30), (513, 16), (1024, 16), (1025, 8),
        (2048, 8), (2049, 4), (3072, 4), (3073, 2), (4096, 2), (4097, 1), (1 << 20, 1),
      ]
      for (size, capacity) in table { #expect(Bucket.desiredCapacity(itemBytes: size) == capacity, "items of \(size)") }
      for size in 1...8192 {
        let capacity = Bucket.desiredCapacity(itemBytes: size)
        if Bucket.desiredCapacity(itemBytes: size + 1) > capacity { Issue.record("capacity grows at \(size)") }
        if capacity > 1 && capacity * size > 16384 { Issue.record("a bucket of items of \(size) holds \(capacity * size) bytes") }
      }
    }

    @Test func `buckets are powers of two with their headers, and a request gets the smallest with room`() {
      #expect(MemoryLayout<Bucket>.stride == 16)
      #expect((0..<8).map { Bucket.capacityOf($0) } == [2, 4, 8, 16, 30, 62, 126, 254])
      for index in 3..<8 { #expect(UInt(16 + 8 * Bucket.capacityOf(index) + (index == 3 ? 112 : 0)).isPowerOfTwo) }
      for count in 0...300 {
        let index = Bucket.sizeIndex(for: count)
        #expect(Bucket.capacityOf(index) >= min(count, 254))
        if index > 0 { #expect(Bucket.capacityOf(index - 1) < count) }
      }
    }

    @Test func `L14 a new bucket is empty, a full one holds its capacity`() {
      #expect(zones.prepareBuckets(capacity: 254))
      let out = bucketsOut()
      for wanted in [1, 2, 3, 16, 17, 254, 1000] {
        let bucket = Bucket.allocate(capacity: wanted)!
        #expect(bucket.pointee.count == 0)
        #expect(Int(bucket.pointee.capacity) == Bucket.capacityOf(Bucket.sizeIndex(for: wanted)))
        for index in 0..<Int(bucket.pointee.capacity) { bucket.items[index] = UInt(index) }
        bucket.pointee.count = bucket.pointee.capacity
        bucket.checkInvariants()
        #expect((0..<Int(bucket.pointee.capacity)).allSatisfy { bucket.items[$0] == UInt($0) })
        bucket.pointee.count = 0
        Bucket.free(bucket)
      }
      #expect(bucketsOut() == out)
      checkAll()
    }

    @Test func `L17 zones of the zone system have no caches and no place in the list`() {
      for keg in [zones.pointee.kegZone!, zones.pointee.zoneZone!] + (0..<8).compactMap({ zones.pointee.bucketKegs[$0] }) {
        let isInternal = keg.pointee.flags.contains(.internal)
        let hasZone = keg.pointee.zone != nil
        #expect(isInternal && !hasZone)
        #expect(keg.pointee.layout.lookup == .mask)
        #expect(!keg.pointee.layout.isOffPage)
        keg.checkInvariants()
      }
    }
  }
}
