// SPDX-License-Identifier: BSD-2-Clause
//
// L39: one script over everything that the heap and author zones can do, run with the first system call refused, then with the
// second, and so on until none is; the same with runs of refusals, for what tries again. Every request is answered or refused,
// nothing is lost, and all of it can be had afterwards.

#if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct SweepTests {
    /// What the script holds: blocks with their sizes and the byte that fills them.
    struct Held {
      var blocks: [(block: UnsafeMutableRawPointer, size: Int, mark: UInt8)] = []

      mutating func add(_ block: UnsafeMutableRawPointer?, _ size: Int, isZero: Bool = false) {
        guard let block else { return }
        if isZero { precondition(holds(block, size, 0), "not zero") }
        let mark = UInt8(truncatingIfNeeded: blocks.count + 1)
        fill(block, size, mark)
        blocks.append((block, size, mark))
      }

      mutating func resize(_ index: Int, to size: Int) {
        guard index < blocks.count else { return }
        let (block, old, mark) = blocks[index]
        guard let moved = Heap.reallocate(block, UInt(size)) else { return }
        precondition(holds(moved, min(old, size), mark), "contents after realloc")
        fill(moved, size, mark)
        blocks[index] = (moved, size, mark)
      }

      mutating func freeAll(every step: Int = 1) {
        var kept: [(block: UnsafeMutableRawPointer, size: Int, mark: UInt8)] = []
        for (index, entry) in blocks.enumerated() {
          precondition(holds(entry.block, entry.size, entry.mark), "contents")
          if index % step == 0 { Heap.free(entry.block) } else { kept.append(entry) }
        }
        blocks = kept
      }
    }

    static func zonesOfAuthors() {
      for flags in [ZoneFlags.none, .offPage] {
        let hooks = ZoneHooks(constructor: { _, _, _, _ in 0 }, destructor: { _, _, _ in }, initialize: { _, _, _ in 0 }, finish: { _, _ in })
        guard let zone = makeZone(name: FixedName("swept"), size: 640, flags: flags, hooks: hooks) else { continue }
        let items = zone.takeMany(300)
        zone.freeAll(items)
        zone.reclaim(.drain)
        zone.reclaim(.drainCPU)
        check(zone, holding: 0)
        // Items that stayed in a cell whose CPU could not be stopped come now.
        let injection = stave_inject().pointee
        stave_inject().pointee.after = 0
        stave_inject().pointee.left = 0
        precondition(zone.destroy() == 0)
        stave_inject().pointee = injection
      }
    }

    static func script() {
      var held = Held()
      for size in [16, 100, 1000, 9000, 32768] { for _ in 0..<80 { held.add(Heap.allocate(UInt(size)), size) } }
      for size in [500, 200_000, 3 << 20] { held.add(Heap.allocateZeroed(UInt(size)), size, isZero: true) }
      for size in [100, 70_000] { held.add(Heap.allocate(UInt(size), alignment: 1 << 20), size) }
      for _ in 0..<6 { held.add(Heap.allocate(1 << 20), 1 << 20) }
      held.freeAll(every: 3)
      if let block = arena.takeLarge(size: 2 << 20) {
        precondition(arena.releaseLarge(arena.moveLarge(block.start, to: 7 << 20) ?? block.start))
      }
      let last = held.blocks.count - 1
      held.resize(last, to: 1_500_000)  // in place, or moved by the kernel
      held.resize(last, to: 6 << 20)
      held.resize(last, to: 100_000)
      held.resize(0, to: 40_000)
      zonesOfAuthors()
      held.add(Heap.allocate(200 << 20), 4096)  // the frontier moves
      for _ in 0..<3 { _ = Heap.endOfPeriod() }
      held.freeAll()
      for cpu in 0..<Int(root.pointee.cpuCount) { _ = emptyCaches(of: cpu) }
      _ = Heap.trim()
    }

    static func sweep() {
      for more in [0, 1, 7] {
        stave_inject().pointee.more = more
        sweepOnce()
      }
    }

    private static func sweepOnce() {
      script()
      let before = live()
      let buckets = bucketsOut()
      let headers = headersOut()
      var number = 1
      while true {
        // No metadata is left, so that it has to be mapped.
        exhaustMetadata()
        stave_inject().pointee.error = 12
        stave_inject().pointee.after = number
        script()
        let wasRefused = stave_inject().pointee.after == 0
        stave_inject().pointee.after = 0
        stave_inject().pointee.left = 0
        precondition(live() == before, "lost with call \(number) refused")
        checkAll()
        // All can be had again, and given back.
        _ = Heap.trim()
        precondition(arena.pointee.cachedBytes == 0 && arena.pointee.recentBytes == 0, "not returned with call \(number) refused")
        precondition(bucketsOut() == buckets && headersOut() == headers, "buckets or headers lost with call \(number) refused")
        if !wasRefused { break }
        number += 1
        precondition(number < 1000)
      }
      precondition(number > (CPUCache.isLocked ? 8 : 15), "so many calls were refused, one at a time")
    }

    @Test func `L39 every system call of a long script refused, one at a time`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.SweepTests.sweep()
      }
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.SweepTests.sweep()
      }
    }

    @Test func `L39 the same where address space is limited, so that it is unmapped too`() async {
      await #expect(processExitsWith: .success) {
        var limit = rlimit(rlim_cur: 16 << 30, rlim_max: 16 << 30)
        precondition(setrlimit(__rlimit_resource_t(9), &limit) == 0)
        Stage.up()
        precondition(arena.pointee.isTight)
        OnRoot.SweepTests.sweep()
      }
    }

    @Test func `L39 the first steps of a process with each system call refused`() async {
      // A process of its own for each, since a heap starts once.
      for number in 1...24 {
        setenv("STAVE_TEST_REFUSE", "\(number)", 1)
        await #expect(processExitsWith: .success) {
          stave_inject().pointee.error = 12
          stave_inject().pointee.after = Int(ProcessInfo.processInfo.environment["STAVE_TEST_REFUSE"]!)!
          let isUp = heap.start()
          if !isUp { precondition(heap.start(), "the second try") }
          heap.pointee.options.values[Option.background.rawValue] = 0
          OnRoot.SweepTests.script()
          stave_inject().pointee.after = 0
          precondition(live().items == 0 && live().large == 0)
          checkAll()
          OnRoot.SweepTests.script()
          precondition(live().items == 0 && live().large == 0)
        }
      }
      unsetenv("STAVE_TEST_REFUSE")
    }
  }
}
#endif
