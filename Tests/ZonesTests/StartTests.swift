// SPDX-License-Identifier: BSD-2-Clause
//
// Starting: from boot memory alone, with and without restartable sequences.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct StartTests {
    @Test func `L9 L10 L25 starting takes boot memory only, and zones made at each stage work after it`() async {
      await #expect(processExitsWith: .success) {
        root.pointee.pageBytes = UInt32(stave_page_bytes())
        root.pointee.cpuCount = UInt32(min(stave_possible_cpus(), Int(STAVE_MAX_CPUS)))
        metadataPages.start(boot: stave_boot().address, bytes: Int(STAVE_BOOT_BYTES))
        precondition(zones.start())
        precondition(metadataPages.pointee.chunkCount == 0)
        for keg in [zones.pointee.kegZone!, zones.pointee.zoneZone!] {
          keg.checkInvariants()
          let lies = UnsafeMutableRawPointer(keg).address &- stave_boot().address
          precondition(lies < UInt(STAVE_BOOT_BYTES))
        }
        CPUCache.start(forceLocked: false)
        // Before there is an arena: a zone in metadata pages works at once, one in the arena later.
        let early = makeTestZone("early", 64, flags: .vm.union(.noBucket), source: .metadata)
        let first = early.allocate()!
        let waiting = makeTestZone("waiting", 640, flags: .noBucket)
        check(early, holding: 1)
        precondition(arena.start())
        let item = waiting.allocate()!
        let late = makeTestZone("late", 640)
        late.freeAll(late.takeMany(100))
        checkAll()
        waiting.free(item)
        early.free(first)
        checkAll()
        for zone in [early, waiting, late] { precondition(zone.destroy() == 0) }
        // All of the boot memory is used before and after the first chunk: what is mapped is used or on the free list.
        let state = metadataPages
        var rest: [UnsafeMutableRawPointer] = []
        let chunks = state.pointee.chunkCount
        while state.pointee.chunkCount == chunks, let page = state.allocate(bytes: pageBytes) { rest.append(page) }
        precondition(state.pointee.freePageCount == 0)
      }
    }

    @Test func `L9 starting without restartable sequences takes the locked caches`() async {
      await #expect(processExitsWith: .success) {
        root.pointee.pageBytes = UInt32(stave_page_bytes())
        root.pointee.cpuCount = UInt32(min(stave_possible_cpus(), Int(STAVE_MAX_CPUS)))
        metadataPages.start(boot: stave_boot().address, bytes: Int(STAVE_BOOT_BYTES))
        precondition(zones.start())
        CPUCache.start(forceLocked: true)
        precondition(CPUCache.isLocked && root.pointee.mode == CacheMode.locked)
        precondition(arena.start())
        let zone = makeTestZone("locked", 64)
        zone.freeAll(zone.takeMany(3000))
        check(zone, holding: 0)
        precondition(cached(zone) > 0)
        zone.reclaim(.drainCPU)
        check(zone, holding: 0)
        precondition(cached(zone) == 0)
        precondition(zone.destroy() == 0)
      }
    }
  }
}
