// SPDX-License-Identifier: BSD-2-Clause
//
// The heap's figures, and how free memory goes back: at once when asked, by and by when idle.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct GivingBackTests {
    init() { Stage.up() }

    @Test func `totals: used grows by what is taken and falls when it is freed`() {
      let before = HeapTotals()
      let blocks = (0..<1000).map { _ in Heap.allocate(1000)! }
      let large = Heap.allocate(10 << 20)!
      let during = HeapTotals()
      #expect(during.usedBytes - before.usedBytes == 1000 * 1024 + 10 << 20)
      freeAll(blocks)
      Heap.free(large)
      let after = HeapTotals()
      #expect(after.usedBytes == before.usedBytes)
      #expect(after.freeBytes >= before.freeBytes)
    }

    @Test func `what cannot be had in any case does not cost what is cached`() {
      let memory = UInt(stave_memory_bytes())
      func isCached() -> Bool { arena.pointee.cachedBytes >= 64 << 20 }
      freeAll([Heap.allocate(64 << 20)!])
      #expect(isCached())
      #expect(Heap.allocate(16, alignment: 1 << 60) == nil && isCached())
      #expect(Heap.allocate(100_000, alignment: 1 << 63) == nil && isCached())
      for size in [.max, 1 << 62, 1 << 47, memory * 4, arena.pointee.windowEnd - arena.pointee.windowStart] as [UInt] {
        guard let block = Heap.allocate(size) else {
          #expect(isCached(), "\(size) bytes")
          continue
        }
        Heap.free(block)  // where the system promises more than it has
      }
      _ = Heap.trim()
      checkAll()
    }

    @Test func `what a limit of address space forbids does not cost what is cached, either`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        freeAll([Heap.allocate(64 << 20)!])
        var limit = rlimit(rlim_cur: 1 << 30, rlim_max: 1 << 30)
        precondition(setrlimit(__rlimit_resource_t(9 /* RLIMIT_AS */), &limit) == 0)
        precondition(UInt(stave_memory_bytes()) > 1 << 30, "nothing else forbids it")
        precondition(Heap.allocate(1 << 30 + 1) == nil)
        precondition(arena.pointee.cachedBytes >= 64 << 20)
        checkAll()
      }
    }

    @Test func `idle bytes: what is freed counts, in a cell and in the depot; what is held does not`() {
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      _ = Heap.trim()
      // Few stay in the cell; of many, most go to the depot.
      for count in [20, 8000] {
        let blocks = (0..<count).map { _ in Heap.allocate(1024)! }
        let before = Heap.idleBytes
        #expect(before < 1 << 20, "\(count) held")
        freeAll(blocks)
        #expect(Heap.idleBytes >= UInt(count * 1024), "\(count) freed")
      }
      _ = Heap.trim()
      #expect(Heap.idleBytes < 1 << 20)
    }

    @Test func `L6 L8 trim gives back all that is free, each time`() {
      _ = Heap.trim()
      let slabs = arena.pointee.slabBytes
      for _ in 0..<2 {
        var blocks: [UnsafeMutableRawPointer] = []
        for size in [16, 100, 1000, 10_000, 32_768, 100_000] as [UInt] { for _ in 0..<300 { blocks.append(Heap.allocate(size)!) } }
        let grown = arena.pointee.slabBytes
        #expect(grown > slabs)
        freeAll(blocks)
        #expect(Heap.trim() > 0)
        #expect(arena.pointee.slabBytes <= slabs)
        #expect(arena.pointee.cachedBytes == 0 && arena.pointee.recentBytes == 0)
        checkAll()
      }
    }

    @Test func `a few quiet periods give back what a trim would, but for what is in use`() {
      _ = Heap.trim()
      let slabs = arena.pointee.slabBytes
      let keep = (0..<50).map { _ in Heap.allocate(2000)! }
      let blocks = (0..<20_000).map { _ in Heap.allocate(2000)! } + (0..<20).map { _ in Heap.allocate(1 << 20)! }
      let most = arena.pointee.slabBytes
      freeAll(blocks)
      var periods = 0
      while Heap.endOfPeriod() && periods < 20 { periods += 1 }
      #expect(periods < 20, "it comes to an end")
      checkAll()
      #expect(arena.pointee.slabBytes < slabs + (most - slabs) / 10)
      #expect(arena.pointee.cachedBytes == 0 && arena.pointee.recentBytes == 0)
      freeAll(keep)
    }

    @Test func `L40 figures can be asked for while zones come and go`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let isDone = UnsafeMutablePointer<UInt32>.allocate(capacity: 1)
        isDone.pointee = 0
        let nowhere = open("/dev/null", O_WRONLY)
        let shared = Shared(isDone)
        inThreads(3) { thread in
          if thread == 0 {
            // So many that the pages in which zones and kegs lie come and go too.
            for _ in 0..<30 * Stage.scale {
              let all = (0..<80).map { _ in makeTestZone("brief", 64, flags: .noBucket) }
              for zone in all { zone.free(zone.allocate()) }
              for zone in all { zone.destroy() }
              reclaimAll(.drain)
            }
            _ = stave_claim(shared.value)
          } else {
            while stave_load32(shared.value) == 0 {
              if thread == 1 { _ = HeapTotals() } else { printZones(to: nowhere) }
            }
          }
        }
        checkAll()
      }
    }

    @Test func `L17 figures can be asked for before anything has started`() async {
      await #expect(processExitsWith: .success) {
        precondition(!heap.isReady)
        let totals = HeapTotals()
        precondition(totals.usedBytes == 0 && totals.freeBytes == 0)
        printZones(to: 1)
        // And when a zone's cells are nowhere yet.
        Stage.up()
        let zone = makeTestZone("cellless", 64)
        precondition(zones.pointee.regionCount == 0 && ZoneCounts(zone).used == 0 && ZoneCounts(zone).cached == 0)
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `the zone table has vmstat's columns and every zone's line`() {
      let block = Heap.allocate(128)!
      let pipe = Pipe()
      printZones(to: pipe.fileHandleForWriting.fileDescriptor)
      try! pipe.fileHandleForWriting.close()
      let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      let lines = text.split(separator: "\n")
      #expect(lines[0].hasPrefix("ITEM                     SIZE  LIMIT      USED      FREE         REQ  FAIL SLEEP XDOMAIN"))
      #expect(lines.count == zones.pointee.zoneCount + 2)
      #expect(lines.contains { $0.hasPrefix("malloc-128:") })
      #expect(lines.last!.hasPrefix("large blocks: "))
      Heap.free(block)
    }
  }
}
