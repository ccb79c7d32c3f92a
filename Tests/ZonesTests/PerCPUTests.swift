// SPDX-License-Identifier: BSD-2-Clause
//
// Zones of items that every CPU has a copy of.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct PerCPUTests {
    init() { Stage.up() }

    private func copies(of item: UnsafeMutableRawPointer) -> [UnsafeMutableRawPointer] {
      (0..<perCPUCopies).map { perCPUCopy(of: item, cpu: $0) }
    }

    @Test(arguments: [4, 8, 100, 1024, 4096]) func `each item has a copy for each CPU, apart from all others`(size: Int) {
      let mock = MockSource()
      mock.dirt = 0xa5
      let zone = makeTestZone("per CPU", size, flags: .perCPU, source: mock.source)
      #expect(perCPUCopies == Int(root.pointee.cpuCount) && zone.pointee.cell == 0)
      var held: [UnsafeMutableRawPointer] = []
      while held.count < 600 {
        guard let item = zone.allocatePerCPU() else { break }
        for copy in copies(of: item) {
          #expect(isZero(copy, size), "a new slab is zeroed in all its pages")
          copy.initializeMemory(as: UInt8.self, repeating: UInt8(truncatingIfNeeded: held.count), count: size)
        }
        held.append(item)
      }
      #expect(held.count == 600)
      check(zone, holding: 600)
      for (index, item) in held.enumerated() {
        for copy in copies(of: item) {
          #expect(copy.load(as: UInt8.self) == UInt8(truncatingIfNeeded: index) && memcmp(copy, copy + 1, size - 1) == 0)
        }
        #expect(perCPUCopy(of: item, cpu: 0) == item)
      }
      zone.freePerCPU(nil)
      check(zone, holding: 600)
      for item in held { zone.freePerCPU(item) }
      check(zone, holding: 0)
      zone.reclaim(.drainCPU)
      #expect(zone.pointee.keg.pointee.slabCount == 0 && mock.bytesOut == 0)
      mock.isRefusing = true
      #expect(zone.allocatePerCPU() == nil && zone.pointee.failures == 1)
      #expect(zone.destroy() == 0)
    }

    @Test func `zero zeroes every copy, of an item used before too, after the constructor`() {
      Hooks.reset()
      let zone = makeTestZone("per CPU", 24, flags: .perCPU, hooks: Hooks.all)
      var argument = 0
      for _ in 0..<3 {
        let item = withUnsafeMutablePointer(to: &argument) { zone.allocatePerCPU(.noWait.union(.zero), argument: $0) }!
        for copy in copies(of: item) {
          #expect(isZero(copy, 24))
          copy.initializeMemory(as: UInt8.self, repeating: 0xff, count: 24)
        }
        zone.freePerCPU(item)
      }
      #expect(Hooks.count(.constructor) == 3 && Hooks.count(.destructor) == 3 && !Hooks.sawLock)
      Hooks.refuse[.constructor] = 1
      #expect(zone.allocatePerCPU() == nil)
      check(zone, holding: 0)
      #expect(zone.pointee.failures == 1 && Hooks.count(.destructor) == 3)
      #expect(zone.destroy() == 0)
    }

    @Test func `plain calls are reported, and calls of copies in plain zones`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        stave_reports().pointee.mode = ReportMode.goOn
        Hooks.reset()
        let zone = makeTestZone("counters", 64, flags: .perCPU, hooks: Hooks.all)
        precondition(zone.allocate() == nil)
        let item = zone.allocatePerCPU()
        zone.free(item)
        precondition(Hooks.count(.destructor) == 0)
        check(zone, holding: 1)
        zone.freePerCPU(item)
        zone.freePerCPU(item)
        precondition(Hooks.count(.destructor) == 1)
        check(zone, holding: 0)
        let plain = makeTestZone("plain", 64)
        precondition(plain.allocatePerCPU() == nil)
        let other = plain.allocate()
        plain.freePerCPU(other)
        check(plain, holding: 1)
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      for what in ["allocate of an item that every CPU has a copy of, in zone counters", "free of an item that every CPU has a copy of, in zone counters",
        "allocatePerCPU of an item without copies, in zone plain", "freePerCPU of an item without copies, in zone plain"] {
        #expect(text.contains("bad request: " + what))
      }
      #expect(text.contains("double free"))
    }

    @Test func `the ready-made zones are made once each, by name`() {
      inThreads(3) { _ in for bytes in [4, 8, 16, 32, 64] { _ = zones.perCPUZone(bytes: bytes) } }
      for bytes in [4, 8, 16, 32, 64] {
        let zone = zones.perCPUZone(bytes: bytes)
        #expect(zone != nil && zone == zones.perCPUZone(bytes: bytes))
        guard let zone else { continue }
        #expect(zone.pointee.name.equals(FixedName("pcpu-").appending(number: bytes)) && zone.pointee.size == bytes)
        let item = zone.allocatePerCPU(.noWait.union(.zero))
        #expect(item != nil && Int(bitPattern: item) % bytes == 0)
        zone.freePerCPU(item)
        check(zone, holding: 0)
      }
      var listed = 0
      forEachListedZone { if $0.pointee.flags.contains(.perCPU) && $0.pointee.name.equals(FixedName("pcpu-4")) { listed += 1 } }
      #expect(listed == 1)
      for bytes in [0, 1, 2, 3, 12, 128] { #expect(zones.perCPUZone(bytes: bytes) == nil) }
      checkAll()
    }
  }
}
