// SPDX-License-Identifier: BSD-2-Clause
//
// Page sizes other than this machine's. A larger page is a multiple of the true one, so every mapping still works; what assumes
// 4096 bytes shows as a broken rule. Mappings are made to begin at multiples of the simulated page.

#if STAVE_CHECK_LOCKS  // debug builds, which can simulate it

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct PageSizeTests {
    static func start(pageBytes bytes: Int) {
      root.pointee.pageBytes = UInt32(bytes)
      stave_inject().pointee.page = bytes
      Stage.up()
      precondition(pageBytes == bytes)
    }

    static func everything() {
      let page = UInt(pageBytes)
      // Metadata comes in whole pages.
      let metadata = (0..<40).map { _ in metadataPages.allocate(bytes: pageBytes)! }
      for start in metadata { precondition(start.address % page == 0 && isZero(start.address, page)) }
      precondition(Set(metadata).count == 40)
      for start in metadata { start.initializeMemory(as: UInt8.self, repeating: 0xDB, count: pageBytes) }
      for start in metadata { metadataPages.free(start, bytes: pageBytes) }
      // Zones of every layout.
      for flags in [ZoneFlags.none, .offPage, .vm, .noBucket] {
        for size in [8, 24, 640, 5000, 70_000] where flags != .vm || size < 5000 {
          let zone = makeTestZone("paged", size, flags: flags)
          precondition(zone.pointee.keg.pointee.layout.slabBytes % pageBytes == 0)
          let items = zone.takeMany(700)
          precondition(Set(items).count == 700)
          for item in items { item.initializeMemory(as: UInt8.self, repeating: 0x6C, count: size) }
          check(zone, holding: 700)
          zone.freeAll(items)
          zone.reclaim(.drainCPU)
          check(zone, holding: 0)
          precondition(zone.destroy() == 0)
        }
      }
      // The heap and the arena.
      #if STAVE_CHECK_LOCKS
      OnRoot.SweepTests.script()
      #endif
      for size in [1, 40_000, 65_537, 1 << 20] as [UInt] {
        let block = arena.takeLarge(size: size)!
        precondition(block.start % page == 0 && arena.largeBytes(at: block.start)! % page == 0)
        precondition(arena.resizeLarge(block.start, to: size * 2) || true)
        arena.checkInvariants()
        precondition(arena.releaseLarge(block.start))
      }
      // So many ranges that map entries need pages.
      let many = (0..<2000).map { _ in Heap.allocate(33_000)! }
      for index in stride(from: 0, to: 2000, by: 2) { Heap.free(many[index]) }
      arena.checkInvariants()
      for index in stride(from: 1, to: 2000, by: 2) { Heap.free(many[index]) }
      // Random operations on all classes.
      var generator = Generator(77)
      var held: [(UnsafeMutableRawPointer, Int)] = []
      for _ in 0..<5000 {
        if held.count > 300 {
          let (block, size) = held.remove(at: generator.below(held.count))
          precondition(holds(block, size, UInt8(truncatingIfNeeded: size)))
          Heap.free(block)
        } else {
          let size = generator.size(upTo: 200_000)
          let block = Heap.allocate(UInt(size))!
          fill(block, size, UInt8(truncatingIfNeeded: size))
          held.append((block, size))
        }
      }
      for (block, _) in held { Heap.free(block) }
      checkAll()
      precondition(live() == (0, 0))
      _ = Heap.trim()
      checkAll()
    }

    @Test func `zones, arena and heap work with pages of 16 KiB`() async {
      await #expect(processExitsWith: .success) {
        OnRoot.PageSizeTests.start(pageBytes: 16 << 10)
        OnRoot.PageSizeTests.everything()
      }
    }

    @Test func `zones, arena and heap work with pages of 64 KiB`() async {
      await #expect(processExitsWith: .success) {
        OnRoot.PageSizeTests.start(pageBytes: 64 << 10)
        OnRoot.PageSizeTests.everything()
      }
    }

    @Test func `and with this machine's`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.PageSizeTests.everything()
      }
    }
  }
}
#endif
