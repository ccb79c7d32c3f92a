// SPDX-License-Identifier: BSD-2-Clause
//
// Item checks: what they report, and that they see each free once.

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
          // What is not there already, of which the check lets nothing pass.
          (block + 63).storeBytes(of: ~block.load(fromByteOffset: 63, as: UInt8.self), as: UInt8.self)
          for _ in 0..<2000 { _ = Heap.allocate(64) }
        }, "the last word, which says who freed it, is 0x", "56 bytes into the item at")
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

    @Test func `what was filled and is handed out after item checks have been switched off is not looked at`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        setChecks(true)
        let block = Heap.allocate(100_000)!, small = Heap.allocate(64)!
        Heap.free(block)
        Heap.free(small)
        setChecks(false)
        (block + 90_001).storeBytes(of: 1, as: UInt8.self)
        (small + 20).storeBytes(of: 1, as: UInt8.self)
        precondition(Heap.allocate(100_000) == block)
        for _ in 0..<2000 { _ = Heap.allocate(64) }
      }
    }

    @Test(arguments: [(64, 3000), (100, 2000), (4096, 100), (30_000, 5)])
    func `a write to a free block is found when it is handed out again, also where all around it was free`(_ size: Int, _ count: Int) async {
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) { [size, count] in
          Stage.up()
          setChecks(true)
          let blocks = (0..<count).map { _ in Heap.allocate(UInt(size))! }
          for block in blocks { Heap.free(block) }
          (blocks[count / 2] + 3).storeBytes(of: 1, as: UInt8.self)
          for _ in 0..<count { _ = Heap.allocate(UInt(size)) }
        }, "write after free: byte 3 is 0x1 instead of 0xde", "handed out again")
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
      // Its last word alone, which says who freed it.
      expect(
        await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
          Stage.up()
          setChecks(true)
          let block = Heap.allocate(100_000)!, bytes = Int(Heap.usableSize(block)!)
          Heap.free(block)
          (block + bytes - 1).storeBytes(of: ~block.load(fromByteOffset: bytes - 1, as: UInt8.self), as: UInt8.self)
          precondition(Heap.allocate(100_000) == block)
        }, "write after free: the last word, which says who freed it, is 0x", "into the large block at", "handed out again")
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
  }
}

extension Report {
  fileprivate func writeOnly() {
    var copy = self
    copy.text("\n")
    copy.write()
  }
}
