// SPDX-License-Identifier: BSD-2-Clause
//
// Item checks: what is filled and what is left alone, and that what malloc promises holds meanwhile, in children, and afterwards.

@testable import Accounting
import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct CheckedHeapTests {
    @Test func `what is filled, and what is left alone`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        bind(toCPU: usableCPUs[0])
        func isTrash(_ item: UnsafeMutableRawPointer, _ bytes: Int) -> Bool { Trash.firstWrong(item.address, bytes: bytes) == nil }
        let plain = makeTestZone("plain", 100), odd = makeTestZone("odd", 13, alignMask: 0), tiny = makeTestZone("tiny", 3, alignMask: 0)
        let keeping: [ZonePointer] = [
          makeTestZone("zeroed", 64, flags: .zeroInit), makeTestZone("stable", 64, flags: .noFree),
          makeTestZone("made", 64, hooks: ZoneHooks(initialize: { _, _, _ in 0 })), makeTestZone("unmade", 64, hooks: ZoneHooks(finish: { _, _ in })),
        ]
        let between = makeTestZone("between", 64)
        between.setZoneHooks(initialize: { _, _, _ in 0 }, finish: nil)
        let early = plain.takeMany(3), keeper = plain.allocate()  // keeps the slab
        plain.freeAll(early)
        for round in 0..<3 {
          setChecks(true)
          precondition(early.allSatisfy { isTrash($0, 100) }, "what is free already")
          for zone in [plain, odd, tiny] {
            let items = zone.takeMany(40)
            let bytes = zone.pointee.size & ~3
            precondition(items.allSatisfy { isTrash($0, bytes) }, "fresh ones of a new slab")
            for item in items { memset(item, Int32(round), zone.pointee.size) }
            zone.freeAll(items)
            precondition(items.allSatisfy { isTrash($0, bytes) })
            if zone == odd { precondition(items.allSatisfy { $0.load(fromByteOffset: 12, as: UInt8.self) == UInt8(round) }, "no whole word") }
          }
          for zone in keeping + [between] {
            let items = zone.takeMany(40)
            for item in items { memset(item, 0x33, 64) }
            zone.freeAll(items)
            precondition(items.allSatisfy { $0.load(as: UInt64.self) == 0x3333_3333_3333_3333 }, "the state of free items is an author's")
          }
          let block = Heap.allocate(200)!
          Heap.free(block)
          precondition(isTrash(block, 200) && LastOwner(at: block.address + 200) == LastOwner(type: 0, stack: 0))
          checkAll()
          setChecks(false)
          // Nobody looks any more.
          for item in early { memset(item, 1, 100) }
          plain.freeAll(plain.takeMany(1000))
          checkAll()
        }
        plain.free(keeper)
        precondition(itemChecks.pointee.damaged == 0 && itemChecks.pointee.trashed > 200)
      }
    }

    @Test func `the divisor: one in n is filled and looked at, none at 0, and a change fills anew`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        func sample(_ divisor: Int64) -> (trashed: Int64, skipped: Int64, checked: Int64) {
          precondition(Heap.obey(OnRoot.MailboxTests.set(.checkDivisor, divisor)).status == MailStatus.done)
          precondition(setChecks(true, divisor: divisor) == MailStatus.done)
          let blocks = (0..<10_000).map { _ in Heap.allocate(64)! }
          let before = itemChecks.pointee
          for block in blocks { Heap.free(block) }
          let trashed = itemChecks.pointee.trashed - before.trashed, skipped = itemChecks.pointee.skipped - before.skipped
          let checked = itemChecks.pointee.checked
          for _ in 0..<10_000 { _ = Heap.allocate(64)! }
          return (trashed, skipped, itemChecks.pointee.checked - checked)
        }
        var one = sample(1)
        precondition(one.trashed == 10_000 && one.skipped == 0 && one.checked >= 10_000)
        one = sample(10)
        precondition(abs(one.trashed - 1000) < 50 && one.trashed + one.skipped == 10_000 && one.checked > 500, "\(one)")
        one = sample(0)
        precondition(one.trashed == 0 && one.skipped == 0 && one.checked == 0, "\(one)")
        // On all the time: what was free and not filled is filled by the change.
        let block = Heap.allocate(64)!
        Heap.free(block)
        memset(block, 7, 64)
        precondition(Heap.obey(OnRoot.MailboxTests.set(.checkDivisor, 1)).status == MailStatus.done)
        precondition(Trash.firstWrong(block.address, bytes: 56) == nil)
        one = sample(3)
        checkAll()
        precondition(itemChecks.pointee.damaged == 0)
      }
    }

    @Test func `malloc's promises hold: zeroed, copied, aligned, counted; nothing is cached meanwhile, and afterwards all is as before`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let hot = (stave_hot().pointee.small_limit, stave_hot().pointee.typed_limit)
        let type = types.named(FixedName("promises"))!
        for round in 0..<4 {
          let isOn = round % 2 == 0
          precondition(setChecks(isOn) == MailStatus.done && heap.pointee.options[.check] == (isOn ? 1 : 0))
          let before = HeapTotals()
          var blocks: [UnsafeMutableRawPointer] = []
          for size in [1, 16, 100, 4000, 32_768, 32_769, 300_000] as [UInt] {
            for type in [nil, type] {
              for _ in 0..<3 {
                let block = Heap.allocateZeroed(size, type: type)!
                precondition(holds(block, Int(size), 0))
                fill(block, Int(size), 9)
                let moved = Heap.reallocate(block, size * 3, type: type)!
                precondition(holds(moved, Int(size), 9))
                let shrunk = Heap.reallocate(moved, size, type: type)!
                precondition(holds(shrunk, Int(size), 9))
                blocks.append(shrunk)
              }
              let aligned = Heap.allocate(size, alignment: 256, type: type)!
              precondition(aligned.address % 256 == 0)
              blocks.append(aligned)
            }
          }
          if isOn { demandNothingCached() }
          checkAll()
          freeAll(blocks)
          if isOn { demandNothingCached() }
          precondition(HeapTotals().usedBytes == before.usedBytes)
          precondition(hot == (stave_hot().pointee.small_limit, stave_hot().pointee.typed_limit))
        }
        // Off again the cells serve.
        guard !CPUCache.isLocked else { return }
        bind(toCPU: usableCPUs[0])
        Heap.free(Heap.allocate(64))
        let zone = heap.pointee.classZones[3]!
        let direct = zone.pointee.directAllocations + zone.pointee.directFrees
        for _ in 0..<1000 { Heap.free(Heap.allocate(64)) }
        precondition(zone.pointee.directAllocations + zone.pointee.directFrees == direct)
      }
    }

    @Test func `a child of fork checks on, whatever its parent was at`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let isOver = Flag(), hasEnded = Flag()
        alarm(300)
        // What Swift makes at a first use is made before there is a thread that a child of fork does not have.
        setChecks(true)
        setChecks(false)
        for block in [Heap.allocate(20)!] { Heap.free(block) }
        for size in 0..<3 { Heap.free(Heap.allocate(UInt(size))) }
        if itemChecks.isOn { forEachListedZone { _ in } }
        Thread.detachNewThread {
          var isOn = true
          while !isOver.isSet {
            setChecks(isOn)
            isOn.toggle()
          }
          hasEnded.set()
        }
        var blocks: [UnsafeMutableRawPointer] = (0..<300).map { Heap.allocate(UInt($0 * 20))! }
        for round in 0..<40 {
          Heap.prepareFork()
          let child = stave_syscall6(Int(SYS_fork), 0, 0, 0, 0, 0, 0)
          if child == 0 {
            Heap.childAfterFork()
            if itemChecks.isOn { forEachListedZone { zone in if !zone.hasAuthorsCode && zone.pointee.depotItems != 0 { _exit(2) } } }
            for block in blocks { Heap.free(block) }
            for size in 0..<300 { Heap.free(Heap.allocate(UInt(size * 20))) }
            _exit(0)
          }
          Heap.parentAfterFork()
          var status: Int32 = 0
          precondition(child > 0 && waitpid(pid_t(child), &status, 0) == pid_t(child))
          precondition(status == 0, "round \(round): \(status)")
          for index in blocks.indices {
            Heap.free(blocks[index])
            blocks[index] = Heap.allocate(UInt(index * 20))!
          }
        }
        isOver.set()
        while !hasEnded.isSet { usleep(1000) }
        setChecks(false)
        checkAll()
      }
    }

    @Test func `where the system refuses what they need they are off, and say so`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        guard !CPUCache.isLocked else { return }
        // Both ways of a membarrier, for the first CPU that has cells.
        for error in [1, 38] {
          Heap.free(Heap.allocate(64))
          stave_inject().pointee.error = error
          stave_inject().pointee.more = 1
          stave_inject().pointee.after = 1
          precondition(setChecks(true) == MailStatus.systemRefused)
          stave_inject().pointee.after = 0
          precondition(heap.pointee.options[.check] == 0 && !itemChecks.isOn)
          let zone = heap.pointee.classZones[3]!
          Heap.free(Heap.allocate(64))
          let direct = zone.pointee.directFrees
          for _ in 0..<100 { Heap.free(Heap.allocate(64)) }
          precondition(zone.pointee.directFrees == direct, "the cells serve")
          checkAll()
        }
        precondition(setChecks(true) == MailStatus.done)
      }
    }
  }
}
