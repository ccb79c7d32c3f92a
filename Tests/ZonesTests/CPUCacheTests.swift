// SPDX-License-Identifier: BSD-2-Clause
//
// Cells: a stack on each CPU, in whichever mode the process has; CPU numbers at and beyond the bounds; emptying from
// elsewhere; both modes by the same tests.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct CPUCacheTests {
    init() { Stage.up() }

    /// The four operations on one CPU; run in both modes.
    static func fourOperations() {
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      let cell = CPUCache.addCell(capacity: 100, reciprocal: ~0)!
      CPUCache.prepare()
      let cells = CPUCache.cells(of: usableCPUs[0])!
      func fill() -> Int { Int(cells[cell].word & 0xffff) }
      func pops() -> Int { Int(cells[cell].word >> 16) }
      func item(_ number: Int) -> UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: 0x10000 * number)! }
      precondition(CPUCache.pop(cell) == nil && pops() == 0)
      // Last in, first out; the top twice is found out.
      for number in 1...64 { precondition(CPUCache.push(cell, item(number)) == .pushed) }
      precondition(fill() == 64 && cells[cell].moved == 0)
      precondition(CPUCache.push(cell, item(65)) == .full)
      precondition(CPUCache.pop(cell) == item(64) && pops() == 1)
      precondition(CPUCache.push(cell, item(63)) == .again)
      precondition(fill() == 63)
      // Growth, if it has run empty since the last time, up to the slots there are.
      precondition(!CPUCache.grow(cell) && cells[cell].capacity == 64)
      CPUCache.noteEmpty(cell)
      precondition(CPUCache.grow(cell) && cells[cell].capacity == 100)
      CPUCache.noteEmpty(cell)
      precondition(!CPUCache.grow(cell))
      // Fill as far as there is room; flush from the top, in order.
      var many = (0..<80).map { UInt(0x9000_0000 + $0 * 64) }
      precondition(CPUCache.fill(cell, from: many, count: 80) == 37)
      precondition(fill() == 100 && cells[cell].moved == -37)
      precondition(CPUCache.fill(cell, from: many, count: 80) == 0)
      var out = [UInt](repeating: 0, count: 200)
      precondition(CPUCache.flush(cell, to: &out, count: 37) == 37)
      precondition(Array(out.prefix(37)) == Array(many.prefix(37)))
      precondition(cells[cell].moved == 0 && fill() == 63 && pops() == 1)
      precondition(CPUCache.flush(cell, to: &out, count: 200) == 63)
      precondition(Array(out.prefix(63)) == (1...63).map { UInt(0x10000 * $0) })
      precondition(CPUCache.flush(cell, to: &out, count: 200) == 0)
      precondition(cells[cell].moved == 63 && fill() == 0)
      // frees = fill + pops + moved
      precondition(fill() + pops() + Int(cells[cell].moved) == 64)
      many = []
      CPUCache.removeCell(cell)
      precondition(CPUCache.push(cell, item(1)) == .full && CPUCache.pop(cell) == nil)
      precondition(CPUCache.addCell(capacity: 100, reciprocal: ~0) == cell, "a cell of that capacity is used again")
      precondition(cells[cell].word == 0 && cells[cell].moved == 0)
      CPUCache.removeCell(cell)
    }

    @Test func `push, pop, fill, flush and what they count`() async {
      Self.fourOperations()
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        precondition(CPUCache.isLocked)
        OnRoot.CPUCacheTests.fourOperations()
      }
    }

    @Test func `while a CPU is emptied its cells are out of sight, and come back`() {
      let cpu = usableCPUs[0]
      bind(toCPU: cpu)
      defer { bindToAll() }
      let zone = makeTestZone("exclusive", 64)
      zone.free(zone.allocate())
      let cells = CPUCache.cells(of: cpu)!
      if !CPUCache.isLocked {
        let isDone = CPUCache.withExclusiveCells(of: cpu) { exclusive in
          #expect(exclusive == cells)
          // This thread runs on that very CPU: it finds nothing and no room, whatever lies in the cell.
          #expect(CPUCache.pop(zone.pointee.cell) == nil)
          #expect(CPUCache.push(zone.pointee.cell, UnsafeMutableRawPointer(bitPattern: 0x10000)!) == .full)
        }
        #expect(isDone)
      }
      let item = CPUCache.pop(zone.pointee.cell)
      #expect(item != nil)
      #expect(CPUCache.push(zone.pointee.cell, item!) == .pushed)
      check(zone, holding: 0)
      zone.destroy()
    }

    @Test func `a cell that has grown keeps its items, and emptied it is small again`() {
      let cpu = usableCPUs[0]
      bind(toCPU: cpu)
      defer { bindToAll() }
      let zone = makeTestZone("growing", 64)
      let items = (0..<300).map { _ in zone.allocate()! }
      let cells = CPUCache.cells(of: cpu)!
      let first = cells[zone.pointee.cell].slots
      items.forEach { zone.free($0) }
      #expect(cells[zone.pointee.cell].capacity > CPUCache.firstCapacity)
      #expect(cells[zone.pointee.cell].slots != first)
      check(zone, holding: 0)
      // Last in, first out, wherever the slots lie.
      #expect((0..<100).map { _ in zone.allocate()! } == items.suffix(100).reversed())
      items.suffix(100).forEach { zone.free($0) }
      #expect(emptyCaches(of: cpu))
      #expect(cells[zone.pointee.cell].capacity == CPUCache.firstCapacity)
      #expect(cells[zone.pointee.cell].slots == first)
      check(zone, holding: 0)
      zone.destroy()
    }

    @Test func `idle means that nothing happened since the last look, while something is held`() {
      let cpu = usableCPUs[0]
      bind(toCPU: cpu)
      defer { bindToAll() }
      let zone = makeTestZone("idle", 64)
      zone.free(zone.allocate())
      _ = CPUCache.isIdle(cpu)
      #expect(CPUCache.isIdle(cpu))
      zone.free(zone.allocate())
      #expect(!CPUCache.isIdle(cpu))
      #expect(CPUCache.isIdle(cpu))
      #expect(!CPUCache.isIdle(Int(root.pointee.cpuCount) - 1) || Int(root.pointee.cpuCount) - 1 == cpu || CPUCache.cells(of: Int(root.pointee.cpuCount) - 1) != nil)
      zone.destroy()
    }

    @Test func `L3 L4 a thread on a CPU beyond the count goes round the caches`() async {
      await #expect(processExitsWith: .success) {
        guard let cpu = usableCPUs.last, cpu > 0 else { return }
        Stage.up()
        // As if the system had named fewer CPUs than it has.
        root.pointee.cpuCount = UInt32(cpu)
        for index in 0..<Int(STAVE_MAX_CPUS) { stave_cpu_table()[index] = nil }
        CPUCache.start(forceLocked: false)
        bind(toCPU: cpu)
        let zone = makeTestZone("beyond", 64)
        zone.freeAll(zone.takeMany(1000))
        check(zone, holding: 0)
        precondition(CPUCache.cells(of: cpu) == nil)
        for size in [16, 1000, 100_000] as [UInt] { Heap.free(Heap.allocate(size)) }
        bindToAll()
        zone.freeAll(zone.takeMany(1000))
        precondition(zone.destroy() == 0)
        checkAll()
      }
    }

    @Test func `L3 CPU numbers below the count may have a region; each CPU used has one, whatever gaps lie between`() {
      let zone = makeTestZone("sparse", 64)
      let chosen = Array(usableCPUs.enumerated().filter { $0.offset % 2 == 0 }.map(\.element).prefix(4))
      var held: [UnsafeMutableRawPointer] = []
      for cpu in chosen {
        bind(toCPU: cpu)
        let items = zone.takeMany(20)
        zone.freeAll(Array(items.dropFirst()))
        held.append(items[0])
        #expect(cpu < Int(root.pointee.cpuCount))
        #expect(CPUCache.cells(of: cpu) != nil)
      }
      bindToAll()
      check(zone, holding: chosen.count)
      zone.freeAll(held)
      zone.reclaim(.drainCPU)
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
      var regions = 0
      CPUCache.forEachRegion { _ in regions += 1 }
      #expect(regions == zones.pointee.regionCount)
      #expect(regions <= Int(root.pointee.cpuCount))
    }

    @Test func `L3 a CPU number beyond the count goes round the caches`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        root.pointee.cpuCount = 1
        let zone = makeTestZone("beyond", 64)
        for cpu in usableCPUs.prefix(3) {
          bind(toCPU: cpu)
          let items = zone.takeMany(500)
          precondition(items.count == 500)
          zone.freeAll(items)
          check(zone, holding: 0)
        }
        precondition(zones.pointee.regionCount <= 1)
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `L35 threads that all want to make a CPU's region make one`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let zone = makeTestZone("regions", 64)
        precondition(zones.pointee.regionCount == 0)
        // All have seen that there is none before the first may make it.
        let arrived = UnsafeMutablePointer<Int64>.allocate(capacity: 1)
        arrived.pointee = 0
        let shared = Shared((zone, arrived))
        inThreads(9) { thread in
          let (zone, arrived) = shared.value
          bind(toCPU: usableCPUs[0])
          if thread == 0 {
            zones.pointee.regionLock.lock()
            stave_add(arrived, 1)
            usleep(200_000)
            zones.pointee.regionLock.unlock()
          } else {
            while stave_load32(arrived) == 0 { usleep(1000) }
            zone.free(zone.allocate())
          }
        }
        precondition(zones.pointee.regionCount == 1, "regions of one CPU: \(zones.pointee.regionCount)")
        check(zone, holding: 0)
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `L4 the largest count of CPUs stays within the tables`() async {
      await #expect(processExitsWith: .success) {
        root.pointee.pageBytes = UInt32(stave_page_bytes())
        root.pointee.cpuCount = UInt32(STAVE_MAX_CPUS)
        metadataPages.start(boot: stave_boot().address, bytes: Int(STAVE_BOOT_BYTES))
        precondition(zones.start())
        let sizes = (stave_hot().pointee.size_cell.0, stave_hot().pointee.size_cell.1)
        CPUCache.start(forceLocked: false)
        precondition(arena.start())
        let table = stave_cpu_table()
        precondition(table[Int(STAVE_MAX_CPUS) - 1] == stave_no_cells() && table[-1] == stave_no_cells() && table[-2] == stave_no_cells())
        precondition(stave_hot().pointee.size_cell.0 == sizes.0 && stave_hot().pointee.size_cell.1 == sizes.1, "what lies behind the table")
        let zone = makeTestZone("many CPUs", 64)
        zone.freeAll(zone.takeMany(2000))
        check(zone, holding: 0)
        for cpu in [0, 1, Int(STAVE_MAX_CPUS) - 1] { precondition(emptyCaches(of: cpu)) }
        zone.reclaim(.drainCPU)
        check(zone, holding: 0)
        precondition(zone.destroy() == 0)
        CPUCache.switchToLocked()
        let locked = makeTestZone("many CPUs", 64)
        locked.freeAll(locked.takeMany(2000))
        precondition(locked.destroy() == 0)
      }
    }

    @Test func `cells run out before their table does, and zones without a cell work`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        // Larger ones than any zone's, until the slots of a region are used up.
        var taken: [Int] = []
        while let cell = CPUCache.addCell(capacity: 4000, reciprocal: ~0) { taken.append(cell) }
        precondition(!taken.isEmpty && taken.last! < Int(STAVE_MAX_CELLS))
        var zonesMade: [ZonePointer] = []
        for number in 0..<40 {
          let zone = makeTestZone("late", 16 * (number % 9 + 1))
          zone.freeAll(zone.takeMany(300))
          check(zone, holding: 0)
          zonesMade.append(zone)
        }
        precondition(zonesMade.contains { $0.pointee.cell == 0 })
        for zone in zonesMade { precondition(zone.destroy() == 0) }
        for cell in taken { CPUCache.removeCell(cell) }
        checkAll()
      }
    }

    @Test func `a cell that its zone gave up serves the next zone from zero`() {
      let first = makeTestZone("first", 64)
      let cell = first.pointee.cell
      first.freeAll(first.takeMany(1000))
      first.destroy()
      let second = makeTestZone("second", 64)
      #expect(second.pointee.cell == cell)
      #expect(ZoneCounts(second).allocations == 0)
      #expect(ZoneCounts(second).frees == 0)
      #expect(cached(second) == 0)
      second.freeAll(second.takeMany(10))
      check(second, holding: 0)
      second.destroy()
    }

    @Test func `T21 what has left a cell and is not noted there yet is no free taken back`() {
      let zone = makeTestZone("flushed", 64)
      let items = zone.takeMany(40)
      CPUCache.forEachRegion { $0[zone.pointee.cell].moved -= 1000 }
      let counts = ZoneCounts(zone)
      #expect(counts.frees == 0 && counts.used == counts.allocations && counts.used >= 40)
      CPUCache.forEachRegion { $0[zone.pointee.cell].moved += 1000 }
      check(zone, holding: 40)
      zone.freeAll(items)
      #expect(zone.destroy() == 0)
    }
  }
}
