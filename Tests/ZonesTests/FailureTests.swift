// SPDX-License-Identifier: BSD-2-Clause
//
// Every system call behind a zone refused in turn, with no metadata in store, so that each step that can need memory does
// (L39). What counts: nil or an item, never a crash, nothing lost, everything works afterwards.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

#if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
/// Calls `body` with the first injectable call refused, then the second, until none is; how many there are.
func refusingEachCall(_ error: Int = 12, before: () -> Void = {}, _ body: () -> Void) -> Int {
  for number in 1..<200 {
    before()
    stave_inject().pointee.error = error
    stave_inject().pointee.after = number
    body()
    let left = stave_inject().pointee.after
    stave_inject().pointee.after = 0
    if left > 0 { return number - 1 }
  }
  return 200
}

extension OnRoot {
  @Suite struct FailureTests {
    @Test func `L39 making, using and destroying a zone with each system call refused`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        var calls = 0
        for flags in [ZoneFlags.none, .offPage, .noBucket, .maxBucket] {
          for size in [32, 640, 4096] {
            let kegs = zones.pointee.kegZone!.outstanding
            let zonesOut = zones.pointee.zoneZone!.outstanding
            let refused = refusingEachCall(before: exhaustMetadata) {
              guard let zone = makeZone(name: FixedName("refused"), size: size, flags: flags) else { return }
              var items = zone.takeMany(300)
              check(zone, holding: items.count)
              for item in items { item.initializeMemory(as: UInt8.self, repeating: 0x42, count: size) }
              // Free them crosswise, so that cell, depot and keg all take part.
              var order = Generator(UInt64(size))
              items.shuffle(using: &order)
              for item in items { zone.free(item) }
              check(zone, holding: 0)
              zone.reclaim(.drain)
              check(zone, holding: 0)
              // Items that no bucket could be had for stay in their cells until the next try.
              stave_inject().pointee.after = max(stave_inject().pointee.after, 0)
              zone.reclaim(.drainCPU)
              check(zone, holding: 0)
              let after = stave_inject().pointee.after
              stave_inject().pointee.after = 0
              zone.reclaim(.drainCPU)
              precondition(zone.destroy() == 0, "items lost")
              stave_inject().pointee.after = after
            }
            calls += refused
            precondition(refused < 200)
            // The kegs of buckets and headers made meanwhile stay, at most one of each.
            precondition(zones.pointee.kegZone!.outstanding <= kegs + 13 && zones.pointee.zoneZone!.outstanding == zonesOut)
            checkAll()
          }
        }
        precondition(calls > 10, "the failures reached the zones")
      }
    }

    @Test func `L39 a zone that is refused while others work leaves them whole`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let other = makeTestZone("other", 128)
        let held = other.takeMany(100)
        for (index, item) in held.enumerated() { item.storeBytes(of: index, as: Int.self) }
        let made = refusingEachCall(before: exhaustMetadata) {
          // So many that kegs and zones need pages of their own.
          let many = (0..<40).map { _ in makeZone(name: FixedName("refused"), size: 640, flags: .offPage) }
          for case let zone? in many { precondition(zone.destroy() == 0) }
        }
        precondition(made >= 1)
        for (index, item) in held.enumerated() { precondition(item.load(as: Int.self) == index) }
        other.freeAll(held)
        check(other, holding: 0)
        checkAll()
      }
    }

    @Test func `L39 a CPU whose region is refused goes round the cache, and gets it at a later try`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        bind(toCPU: usableCPUs.last!)
        let zone = makeTestZone("regionless", 64)
        precondition(zones.pointee.regionCount == 0)
        stave_inject().pointee.error = 12
        stave_inject().pointee.after = 1
        let first = zone.allocate()
        precondition(first != nil && zones.pointee.regionCount == 0)
        check(zone, holding: 1)
        stave_inject().pointee.after = 1
        zone.free(first)
        stave_inject().pointee.after = 0
        check(zone, holding: 0)
        // Not at every call, lest each cost a system call.
        let second = zone.takeMany(300)
        precondition(second.count == 300 && zones.pointee.regionCount == 0)
        zone.freeAll(second)
        for _ in 0..<1000 { zone.free(zone.allocate()) }
        precondition(zones.pointee.regionCount == 1)
        check(zone, holding: 0)
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `L39 freeing works when no bucket can be had`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        bind(toCPU: usableCPUs[0])
        let zone = makeTestZone("bucketless", 64)
        // Once before, so that the cell has grown, which costs membarriers.
        zone.freeAll(zone.takeMany(3000))
        zone.reclaim(.drain)
        let items = zone.takeMany(3000)
        exhaustMetadata()
        // Every call from here on is refused, and few are made.
        let calls = stave_inject().pointee.calls
        stave_inject().pointee.always = 12
        for item in items { zone.free(item) }
        stave_inject().pointee.always = 0
        precondition(stave_inject().pointee.calls - calls < 100, "a system call for each free")
        check(zone, holding: 0)
        let again = zone.takeMany(3000)
        precondition(again.count == 3000)
        zone.freeAll(again)
        check(zone, holding: 0)
        precondition(zone.destroy() == 0)
        checkAll()
      }
    }

    @Test func `L39 starting with each system call refused, then for good`() async {
      await #expect(processExitsWith: .success) {
        var starts = 0
        for number in 1...20 {
          stave_inject().pointee.error = 12
          stave_inject().pointee.after = number
          if heap.start() { starts += 1 }
          stave_inject().pointee.after = 0
          if starts > 0 { break }
        }
        precondition(heap.isReady || heap.start())
        heap.pointee.options.values[Option.background.rawValue] = 0
        let zone = makeTestZone("started", 64)
        zone.freeAll(zone.takeMany(1000))
        precondition(zone.destroy() == 0)
        checkAll()
      }
    }
  }
}
#endif
