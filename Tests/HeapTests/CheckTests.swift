// SPDX-License-Identifier: BSD-2-Clause
//
// Item checks: what they report, that they see each free once, what is filled and what is left alone, and that what malloc promises
// holds meanwhile and afterwards.

@testable import Accounting
import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// Switches them as a letter does.
@discardableResult
func setChecks(_ isOn: Bool, divisor: Int64 = 1) -> UInt32 {
  heap.pointee.options.values[Option.checkDivisor.rawValue] = divisor
  return Heap.obey(OnRoot.MailboxTests.set(.check, isOn ? 1 : 0)).status
}

/// In each zone nothing is cached.
func demandNothingCached() {
  forEachListedZone { precondition(ZoneCounts($0).cached == 0 && $0.pointee.depotItems == 0, "a zone has cached items") }
}

extension OnRoot {
  @Suite struct CheckTests {
    /// What the process said before it was stopped.
    private func expect(_ result: ExitTest.Result?, _ pieces: String..., sourceLocation: SourceLocation = #_sourceLocation) {
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      for piece in pieces where !text.contains(piece) { Issue.record("\"\(piece)\" is missing in: \(text)", sourceLocation: sourceLocation) }
    }

    @Test func `L21 with item checks a double free is reported at that call, however late and in whichever thread`() async {
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          Stage.up()
          setChecks(true)
          let one = Heap.allocate(100)!
          let others = (0..<3000).map { _ in Heap.allocate(100)! }
          Heap.free(one)
          for other in others.dropLast(10) { Heap.free(other) }
          print("reached", one.address)
          Heap.free(one)
        }, "bad free: double free", "in zone malloc-112", "of its slab", "freed before by type malloc")
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          Stage.up()
          setChecks(true)
          let block = Shared(Heap.allocate(5000)!)
          inThreads(1) { _ in
            bind(toCPU: usableCPUs.last!)
            Heap.free(block.value)
          }
          bind(toCPU: usableCPUs[0])
          Heap.free(block.value)
        }, "double free", "in zone malloc-5120")
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          // Freed long before they are switched on.
          Stage.up()
          let type = types.named(FixedName("images"))!
          let blocks = (0..<50).map { _ in Heap.allocate(48, type: type)! }
          for block in blocks { Heap.free(block) }
          setChecks(true)
          Heap.free(blocks[25])
        }, "double free", "in zone images-48", "of type images")
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          Stage.up()
          setChecks(true)
          let type = types.named(FixedName("limited"))!
          precondition(types.setLimit(type, 1 << 20))
          let block = Heap.allocate(48, type: type)!
          Heap.free(block)
          Heap.free(block)
        }, "double free", "in zone limited-48", "freed before by type limited")
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          Stage.up()
          setChecks(true)
          let block = Heap.allocate(64)!
          Heap.free(block)
          _ = Heap.reallocate(block, 60)
        }, "realloc() of a free block", "in zone malloc-64")
    }

    @Test func `L21 with item checks a large block is freed once, and only at its start`() async {
      for (size, offset) in [(40_000, 0), (1 << 20, 0), (8 << 20, 0), (1 << 20, 16), (8 << 20, 65_536)] as [(Int, Int)] {
        setenv("STAVE_TEST_LARGE", "\(size) \(offset)", 1)
        expect(
          await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            Stage.up()
            setChecks(true)
            let numbers = String(cString: getenv("STAVE_TEST_LARGE")).split(separator: " ").map { Int($0)! }
            let block = Heap.allocate(UInt(numbers[0]))!, other = Heap.allocate(UInt(numbers[0]))!
            if numbers[1] == 0 {
              Heap.free(block)
              Heap.free(other)
            }
            Heap.free(block + numbers[1])
          }, "bad free")
      }
      unsetenv("STAVE_TEST_LARGE")
    }

    @Test func `L21 with item checks an author's destructor does not see an item that is free, nor an address that is none`() async {
      for mistake in ["twice", "inside", "stack"] {
        setenv("STAVE_TEST_MISTAKE", mistake, 1)
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          Stage.up()
          let zone = makeTestZone("hooked", 640, hooks: ZoneHooks(destructor: { _, _, _ in Report("dtor").writeOnly() }))
          setChecks(true)
          let items = zone.takeMany(5)
          switch String(cString: getenv("STAVE_TEST_MISTAKE")) {
          case "twice":
            zone.free(items[2])
            zone.free(items[2])
          case "inside": zone.free(items[2] + 8)
          default:
            var local = InlineArray<4096, UInt>(repeating: 0)
            withUnsafeMutableBytes(of: &local) { zone.free($0.baseAddress! + 8192) }
          }
        }
        expect(result, "bad free", "in zone hooked")
        let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(text.components(separatedBy: "dtor").count - 1 == (mistake == "twice" ? 1 : 0))
      }
      unsetenv("STAVE_TEST_MISTAKE")
    }

    @Test func `L20 each free is checked once, whichever way it takes`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let type = types.named(FixedName("typed"))!, limited = types.named(FixedName("limited"))!
        precondition(types.setLimit(limited, 1 << 20))
        let plain = makeTestZone("plain", 64), direct = makeTestZone("direct", 64, flags: .noBucket)
        let hooked = makeTestZone("hooked", 64, hooks: ZoneHooks(destructor: { _, _, _ in }))
        let fussy = makeTestZone("fussy", 64, hooks: ZoneHooks(constructor: { _, _, argument, _ in argument == nil ? 0 : 1 }))
        for isOn in [false, true, false, true] {
          precondition(setChecks(isOn) == MailStatus.done)
          // To and fro: no check takes a free for the second of two, none is left out.
          for round in 0..<200 {
            for zone in [plain, direct, hooked, fussy] {
              let before = zone.pointee.keg.pointee.freeItems, frees = ZoneCounts(zone).frees
              let items = zone.takeMany(3)
              if zone == fussy { precondition(zone.allocate(argument: UnsafeMutableRawPointer(bitPattern: 1)) == nil) }
              zone.freeAll(items)
              precondition(ZoneCounts(zone).frees == frees + 3)
              if isOn && round > 0 { precondition(zone.pointee.keg.pointee.freeItems == before) }
            }
            for type in [nil, type, limited] {
              let blocks = (0..<5).map { Heap.allocate(UInt($0 * 100), type: type, .noWait)! }
              for block in blocks { Heap.free(block) }
            }
            if isOn { demandNothingCached() }
          }
        }
        precondition(limited.pointee.charged == 0)
        checkAll()
      }
    }

    @Test func `a write to a free block is found when it is handed out again: block, byte, value, and whose it was`() async {
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          Stage.up()
          setChecks(true)
          let type = types.named(FixedName("images"))!
          let blocks = (0..<20).map { _ in Heap.allocate(112, type: type)! }
          Heap.free(blocks[7])
          (blocks[7] + 37).storeBytes(of: 0x41, as: UInt8.self)
          for _ in 0..<2000 { _ = Heap.allocate(112, type: type) }
        }, "write after free: byte 37 is 0x41 instead of 0xc0 at 0x", "37 bytes into the item at", "in zone images-112", "handed out again", "freed last by type images")
      // Before they were switched on nobody knows who freed it.
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let blocks = (0..<20).map { _ in Heap.allocate(112)! }
        Heap.free(blocks[7])
        setChecks(true)
        (blocks[7] + 1).storeBytes(of: 0, as: UInt8.self)
        for _ in 0..<2000 { _ = Heap.allocate(112) }
      }
      expect(result, "byte 1 is 0x0 instead of 0xc0")
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(!text.contains("freed last"))
      // All that a block has room for, the word that says who freed it too.
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          Stage.up()
          setChecks(true)
          let block = Heap.allocate(64)!
          Heap.free(block)
          (block + 63).storeBytes(of: 0x41, as: UInt8.self)
          for _ in 0..<2000 { _ = Heap.allocate(64) }
        }, "the last word, which says who freed it, is 0x41", "56 bytes into the item at")
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          Stage.up()
          setChecks(true)
          let block = Heap.allocate(64)!
          Heap.free(block)
          memset(block, 0x5a, 64)
          for _ in 0..<2000 { _ = Heap.allocate(64) }
        }, "byte 0 is 0x5a instead of 0xde", "its last word, which says who freed it, is 0x5a5a5a5a5a5a5a5a")
    }

    @Test func `a write to a free block is found when its slab is given back, and to a recent large block when that is handed out`() async {
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          Stage.up()
          setChecks(true)
          let blocks = (0..<200).map { _ in Heap.allocate(1000)! }
          // One keeps the slab.
          for block in blocks where block != blocks[160] { Heap.free(block) }
          (blocks[150] + 999).storeBytes(of: 1, as: UInt8.self)
          Heap.free(blocks[160])
          _ = Heap.trim()
        }, "write after free", "in zone malloc-1024", "its slab was given back", "freed last by type malloc")
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          Stage.up()
          setChecks(true)
          let block = Heap.allocate(100_000)!
          Heap.free(block)
          (block + 90_001).storeBytes(of: 1, as: UInt8.self)
          precondition(Heap.allocate(100_000) == block)
        }, "write after free: byte 90001 is 0x1 instead of 0xc0", "into the large block at", "handed out again", "freed last by type malloc")
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          Stage.up()
          setChecks(true)
          let zone = makeTestZone("authors", 100)
          let items = zone.takeMany(10)
          zone.free(items[4])
          (items[4] + 96).storeBytes(of: 1, as: UInt8.self)
          _ = zone.takeMany(100)
        }, "write after free: byte 96 is 0x1", "in zone authors")
    }

    @Test func `L45 with item checks a type whose mark was overwritten is noticed by a request and by a free of its memory`() async {
      for call in ["request", "free"] {
        setenv("STAVE_TEST_CALL", call, 1)
        expect(
          await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            Stage.up()
            setChecks(true)
            let author = UnsafeMutablePointer<stave_type>.allocate(capacity: 1)
            author.initialize(to: stave_type())
            (author.pointee.magic, author.pointee.version) = (STAVE_TYPE_MAGIC, 1)
            author.pointee.name = UnsafePointer(strdup("marked"))
            let type = types.register(author)!
            let block = Heap.allocate(100, type: type)
            author.pointee.magic ^= 0x100
            if strcmp(getenv("STAVE_TEST_CALL"), "free") == 0 { Heap.free(block) } else { _ = Heap.allocate(100, type: type) }
          }, "bad malloc type: marked: the structure does not begin with its mark")
      }
      unsetenv("STAVE_TEST_CALL")
    }

    @Test func `L20 where the process goes on after reports a bad free is none, and all counts stay right`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        heap.pointee.options.values[Option.onreport.rawValue] = 1
        heap.applyReports()
        setChecks(true)
        let limited = types.named(FixedName("limited"))!
        precondition(types.setLimit(limited, 1 << 20))
        let hooked = makeTestZone("hooked", 64, hooks: ZoneHooks(destructor: { item, _, _ in precondition(item.load(as: UInt8.self) == 5) }))
        let item = hooked.allocate()!, other = hooked.allocate()!
        memset(item, 5, 64)
        hooked.free(item)
        let plain = Heap.allocate(100)!, charged = Heap.allocate(100, type: limited)!, keeper = Heap.allocate(100)!
        Heap.free(plain)
        Heap.free(charged)
        for _ in 0..<3 {
          hooked.free(item)
          hooked.free(other + 8)
          Heap.free(plain)
          Heap.free(charged)
          Heap.free(keeper + 16)
          precondition(Heap.reallocate(plain, 90) == nil)
        }
        precondition(limited.pointee.charged == 0 && ZoneCounts(hooked).used == 1)
        memset(plain, 1, 40)
        let taken = (0..<200).map { _ in Heap.allocate(100)! }
        precondition(taken.contains(plain), "handed out all the same")
        for block in taken { Heap.free(block) }
        Heap.free(keeper)
        precondition(itemChecks.pointee.damaged == 1)
        checkAll()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.components(separatedBy: "]: bad free: ").count - 1 == 18, "\(text)")
      #expect(text.components(separatedBy: "]: write after free: ").count - 1 == 1)
    }

    @Test func `what is filled, and what is left alone`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
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
        let running = UnsafeMutablePointer<Int64>.allocate(capacity: 1)
        running.pointee = 1
        let shared = Shared(running)
        let thread = Thread {
          var isOn = true
          while shared.value.pointee != 0 {
            setChecks(isOn)
            isOn.toggle()
          }
        }
        thread.start()
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
        running.pointee = 0
        while thread.isExecuting { usleep(1000) }
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

extension Report {
  fileprivate func writeOnly() {
    var copy = self
    copy.text("\n")
    copy.write()
  }
}
