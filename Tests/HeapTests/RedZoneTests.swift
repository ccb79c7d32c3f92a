// SPDX-License-Identifier: BSD-2-Clause
//
// Blocks between guard bytes: what they look like to a program, what free and realloc find, and what is said about it.

@testable import Accounting
import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct RedZoneTests {
    init() { Stage.up() }

    static func setRedZone(_ value: Int64) { precondition(Heap.obey(MailboxTests.set(.redZone, value)).status == MailStatus.done) }
    /// Reports are counted, and the program goes on.
    static func goOn() { stave_reports().pointee.mode = ReportMode.goOn }
    static func finding(_ block: UnsafeMutableRawPointer) -> RedZoneBlock? { Heap.redZoneBlock(at: block.address)?.block }
    static func register(_ name: String) -> TypePointer {
      let author = UnsafeMutablePointer<stave_type>.allocate(capacity: 1)
      author.initialize(to: stave_type())
      (author.pointee.magic, author.pointee.version) = (STAVE_TYPE_MAGIC, 1)
      author.pointee.name = UnsafePointer(strdup(name))
      return types.register(author)!
    }
    static var damaged: Int64 { redZone.pointee.damaged }

    private func expectSaid(_ result: ExitTest.Result?, _ pieces: String..., sourceLocation: SourceLocation = #_sourceLocation) {
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      for piece in pieces where !text.contains(piece) { Issue.record("\"\(piece)\" is missing in: \(text)", sourceLocation: sourceLocation) }
    }

    @Test func `a block has the size and the alignment asked for, and guard bytes on both sides, in zones and beyond`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        let base = live()
        for size in [0, 1, 15, 16, 17, 100, 1000, 32_700, 32_768, 40_000, 1 << 20] as [UInt] {
          for alignment in [1, 16, 32, 64, 4096, 32_768, 65_536, 2 << 20] as [UInt] {
            let block = Heap.allocate(size, alignment: alignment)!
            precondition(block.address % max(16, alignment) == 0 && Heap.usableSize(block) == size)
            let found = OnRoot.RedZoneTests.finding(block)!
            precondition(found.size == size && found.isHeaderWhole && found.isCopyWhole && found.extra == max(32, alignment) + 32)
            precondition((block - 16).load(as: UInt64.self) == RedZone.guardWord && (block + Int(size)).loadUnaligned(as: UInt64.self) == RedZone.guardWord)
            fill(block, Int(size), 7)
            precondition(redZone.pointee.blocks == 1 && redZone.pointee.extraBytes == Int64(found.extra))
            Heap.free(block)
          }
        }
        let zeroed = Heap.allocateZeroed(5000)!
        precondition(isZero(zeroed, 5000) && OnRoot.RedZoneTests.finding(zeroed) != nil)
        Heap.free(zeroed)
        precondition(redZone.pointee.blocks == 0 && redZone.pointee.extraBytes == 0 && OnRoot.RedZoneTests.damaged == 0 && live() == base)
        checkAll()
      }
    }

    @Test func `of a type's zone by name those have guard bytes whom it would serve, aligned ones too`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        precondition(nameTypes(.redZoneType, "malloc-128").allSatisfy { $0 == MailStatus.done })
        OnRoot.RedZoneTests.setRedZone(1)
        for (size, alignment, isMeant) in [(112, 16, false), (113, 16, true), (128, 16, true), (129, 16, false), (100, 64, true), (100_000, 16, false)] as [(UInt, UInt, Bool)] {
          let block = Heap.allocate(size, alignment: alignment)!
          precondition((OnRoot.RedZoneTests.finding(block) != nil) == isMeant, "\(size)")
          Heap.free(block)
        }
      }
    }

    @Test func `while it is off fast paths are open and blocks are plain; what was made before the switch is freed after it`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let open = (stave_hot().pointee.small_limit, stave_hot().pointee.typed_limit)
        let plain = [Heap.allocate(100)!, Heap.allocate(100_000)!]
        OnRoot.RedZoneTests.setRedZone(1)
        precondition(stave_hot().pointee.small_limit == 0 && stave_hot().pointee.typed_limit == 0)
        let guarded = [Heap.allocate(100)!, Heap.allocate(100_000)!]
        precondition(guarded.allSatisfy { OnRoot.RedZoneTests.finding($0) != nil } && plain.allSatisfy { OnRoot.RedZoneTests.finding($0) == nil })
        freeAll(plain)
        OnRoot.RedZoneTests.setRedZone(0)
        precondition((stave_hot().pointee.small_limit, stave_hot().pointee.typed_limit) == open)
        freeAll(guarded)
        let last = Heap.allocate(100)!
        precondition(OnRoot.RedZoneTests.finding(last) == nil && Heap.usableSize(last) == 112)
        Heap.free(last)
      }
    }

    @Test func `L70 every overwrite by 1 to 16 bytes, at every distance in the guard bytes, is found at free: which side, how many, how far`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        OnRoot.RedZoneTests.goOn()
        var generator = Generator(700)
        for round in 0..<(600 * Stage.scale) {
          let size = generator.below(8) == 0 ? generator.size(upTo: 200_000) : generator.size(upTo: 3000)
          let alignment = UInt(1) << UInt(generator.below(10))
          let block = Heap.allocate(UInt(size), alignment: alignment)!
          fill(block, size, 0x42)
          let first = generator.below(16), count = 1 + generator.below(16 - first)
          let isBefore = generator.below(2) == 0
          for index in first..<(first + count) {
            (isBefore ? block - 1 - index : block + size + index).storeBytes(of: UInt8(truncatingIfNeeded: generator.next()) | 0x80, as: UInt8.self)
          }
          let damage = redZone.damage(of: OnRoot.RedZoneTests.finding(block)!)
          var wanted = RedZoneOverwrite()
          (wanted.count, wanted.nearest, wanted.farthest) = (count, first + 1, first + count)
          precondition(damage.before == (isBefore ? wanted : RedZoneOverwrite()) && damage.behind == (isBefore ? RedZoneOverwrite() : wanted), "round \(round) (STAVE_SEED=\(Stage.seed)): \(damage)")
          precondition(!damage.isHeaderLost && !damage.isCopyLost)
          let before = OnRoot.RedZoneTests.damaged
          if generator.below(2) == 0 {
            Heap.free(block)
            precondition(OnRoot.RedZoneTests.damaged == before + 1, "round \(round) (STAVE_SEED=\(Stage.seed)): not found")
          } else {
            let moved = Heap.reallocate(block, UInt(generator.size(upTo: 3000)))!
            precondition(OnRoot.RedZoneTests.damaged == before + 1, "round \(round) (STAVE_SEED=\(Stage.seed)): not found by realloc, or twice")
            Heap.free(moved)
            precondition(OnRoot.RedZoneTests.damaged == before + 1, "said once")
          }
        }
        precondition(redZone.pointee.blocks == 0)
      }
    }

    @Test func `a report says side, distance, number, size, zone and type, and ends the process`() async {
      var result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        let block = Heap.allocate(100)!
        fill(block + 101, 2, 1)
        Heap.free(block)
      }
      expectSaid(result, "redzone: overflow: 2 bytes overwritten, 2 to 3 bytes behind the block of 100 bytes at 0x", "(zone malloc-176, type malloc)", "found by free()")
      result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        let block = Heap.allocate(70_000)!
        (block - 1).storeBytes(of: 1, as: UInt8.self)
        _ = Heap.reallocate(block, 90_000)
      }
      expectSaid(result, "redzone: underflow: 1 byte overwritten, 1 byte before the block of 70000 bytes at 0x", "(a large block, type malloc)", "found by realloc()")
      // Both sides, also where the first has been found damaged.
      result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        let type = OnRoot.RedZoneTests.register("images")
        let block = Heap.allocate(48, type: type)!
        fill(block - 16, 16, 1)
        fill(block + 48, 16, 1)
        Heap.free(block)
      }
      expectSaid(result, "underflow: 16 bytes overwritten, 1 to 16 bytes before", "overflow: 16 bytes overwritten, 1 to 16 bytes behind", "of 48 bytes", "type images)")
    }

    @Test func `what reaches beyond the guard bytes and destroys the header, or its copy, is told by the other`() async {
      var result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        let block = Heap.allocate(100)!
        fill(block - 32, 32, 1)
        Heap.free(block)
      }
      expectSaid(result, "redzone: underflow: 16 bytes overwritten, 1 to 16 bytes before the block, and bytes beyond the guard bytes of 100 bytes", "zone malloc-176")
      result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        let block = Heap.allocate(100)!
        fill(block + 128, 16, 1)  // a jump over the guard bytes
        Heap.free(block)
      }
      expectSaid(result, "redzone: overflow: bytes overwritten beyond the guard bytes behind the block of 100 bytes", "zone malloc-176")
      // Neither: it is an address inside an item.
      result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        let block = Heap.allocate(100)!
        fill(block - 32, 176, 1)
        Heap.free(block)
      }
      expectSaid(result, "bad free", "32 bytes into the item at", "in zone malloc-176")
    }

    @Test func `redzone_panic ends a process that goes on after other reports`() async {
      await #expect(processExitsWith: .signal(SIGABRT)) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        OnRoot.RedZoneTests.goOn()
        precondition(Heap.obey(MailboxTests.set(.redZonePanic, 1)).status == MailStatus.done)
        let block = Heap.allocate(100)!
        fill(block + 100, 1, 1)
        Heap.free(block)
      }
    }

    @Test func `L21 T16 a second free, and addresses in a block that are not its start, are bad frees as ever`() async {
      for isLarge in [false, true] {
        let size: UInt = isLarge ? 100_000 : 100
        var result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) { [size = size as UInt] in
          Stage.up()
          OnRoot.RedZoneTests.setRedZone(1)
          let block = Heap.allocate(size)!
          Heap.free(block)
          Heap.free(block)
        }
        expectSaid(result, "bad free", isLarge ? "free already" : "has been freed already")
        for offset in [-32, -16, 16, 4096] where isLarge || offset < 4096 {
          result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) { [size = size as UInt, offset = offset as Int] in
            Stage.up()
            OnRoot.RedZoneTests.setRedZone(1)
            // The item's own start would be a plain block's, and is freed as one.
            let block = Heap.allocate(size)!
            Heap.free(block + (offset == -32 ? -8 : offset))
          }
          expectSaid(result, "bad free", "bytes into the")
        }
      }
    }

    @Test func `in an item that is used again nothing is left of the block with guard bytes that it was`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        bind(toCPU: usableCPUs[0])
        for size in [100, 30_000, 100_000] as [UInt] {
          OnRoot.RedZoneTests.setRedZone(1)
          let block = Heap.allocate(size)!, found = OnRoot.RedZoneTests.finding(block)!
          Heap.free(block)
          OnRoot.RedZoneTests.setRedZone(0)
          // The same item, of whose first bytes the program makes something of its own.
          var others: [UnsafeMutableRawPointer] = []
          while others.last?.address != found.item {
            others.append(Heap.allocate(found.itemBytes)!)
            precondition(others.count < 10_000, "the item does not come back")
          }
          fill(others.last!, 48, 7)
          precondition(OnRoot.RedZoneTests.finding(block) == nil, "an address inside a plain block is taken for a block")
          freeAll(others)
        }
      }
    }

    @Test func `of two threads that free a block at once one is told so`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        OnRoot.RedZoneTests.goOn()
        let base = live()
        let blocks = (0..<2000).map { _ in Heap.allocate(100)! }
        let shared = Shared(blocks)
        inThreads(2) { _ in for block in shared.value { Heap.free(block) } }
        precondition(live() == base && redZone.pointee.blocks == 0)
        precondition(stave_reports().pointee.count == 2000, "\(stave_reports().pointee.count)")
        checkAll()
      }
    }

    @Test func `L42 realloc keeps the lesser of what was asked for before and now, in place, moved, and across the switch`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let sizes: [UInt] = [1, 40, 48, 50, 100, 3000, 32_700, 33_000, 70_000, 300_000, 900_000, 3 << 20]
        for old in sizes {
          for new in sizes {
            for (before, after) in [(1, 1), (1, 0), (0, 1)] as [(Int64, Int64)] {
              OnRoot.RedZoneTests.setRedZone(before)
              let block = Heap.allocate(old)!
              fill(block, Int(old), 9)
              OnRoot.RedZoneTests.setRedZone(after)
              let moved = Heap.reallocate(block, new)!
              precondition(holds(moved, Int(min(old, new)), 9), "\(old) → \(new)")
              if let found = OnRoot.RedZoneTests.finding(moved) {
                precondition(found.size == new && Heap.usableSize(moved) == new && !redZone.damage(of: found).isAny)
              } else {
                precondition(Heap.usableSize(moved)! >= new)
              }
              fill(moved, Int(new), 8)
              Heap.free(moved)
            }
          }
        }
        precondition(redZone.pointee.blocks == 0 && redZone.pointee.extraBytes == 0 && OnRoot.RedZoneTests.damaged == 0)
        checkAll()
      }
    }

    @Test func `only the types of a list get guard bytes, and one in n`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let images = OnRoot.RedZoneTests.register("images"), other = OnRoot.RedZoneTests.register("other")
        func isGuarded(_ type: TypePointer?) -> Bool {
          let block = type == nil ? Heap.allocate(100)! : Heap.allocate(100, type: type!)!
          defer { Heap.free(block) }
          return OnRoot.RedZoneTests.finding(block) != nil
        }
        OnRoot.RedZoneTests.setRedZone(1)
        precondition(isGuarded(nil) && isGuarded(images))
        precondition(nameTypes(.redZoneType, "images") == [MailStatus.done] && heap.pointee.options[.redZoneType] == Int64(ListMode.listed))
        precondition(isGuarded(images) && !isGuarded(other) && !isGuarded(nil))
        precondition(nameTypes(.redZoneType, "images+malloc").allSatisfy { $0 == MailStatus.done })
        precondition(isGuarded(nil) && isGuarded(images) && !isGuarded(other))
        precondition(nameTypes(.redZoneType, (0..<17).map { "x\($0)" }.joined(separator: "+")).contains(MailStatus.badValue) && isGuarded(nil))
        precondition(Heap.obey(MailboxTests.set(.redZoneType, Int64(ListMode.none))).status == MailStatus.done && !isGuarded(images))
        precondition(Heap.obey(MailboxTests.set(.redZoneType, Int64(ListMode.all))).status == MailStatus.done && isGuarded(other))
        OnRoot.RedZoneTests.setRedZone(10)
        precondition((0..<1000).count { _ in isGuarded(nil) } == 100)
      }
    }

    @Test func `a limit counts the guard bytes, but a block that fits without them is had without them`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        let type = OnRoot.RedZoneTests.register("narrow")
        precondition(types.setLimit(type, 1024))
        let whole = Heap.allocate(1024, type: type)!
        precondition(OnRoot.RedZoneTests.finding(whole) == nil && Heap.allocate(16, type: type) == nil)
        Heap.free(whole)
        let some = Heap.allocate(900, type: type)!
        precondition(OnRoot.RedZoneTests.finding(some) != nil && Heap.allocate(900, type: type) == nil)
        Heap.free(some)
      }
    }

    @Test func `together with item checks: what is live is so, and a second free is reported`() async {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        precondition(Heap.obey(MailboxTests.set(.check, 1)).status == MailStatus.done)
        for size in [1, 100, 3000, 32_000, 100_000] as [UInt] {
          let block = Heap.allocate(size)!
          precondition(OnRoot.RedZoneTests.finding(block) != nil && Heap.demandLive(block, "a look at a free block"))
          fill(block, Int(size), 3)
          let moved = Heap.reallocate(block, size * 2)!
          precondition(holds(moved, Int(size), 3) && Heap.demandLive(moved, "a look at a free block"))
          Heap.free(moved)
        }
        let block = Heap.allocate(100)!
        Heap.free(block)
        Heap.free(block)
      }
      expectSaid(result, "bad free", "malloc-176")
    }

    @Test func `a tracer is told the address that the program has`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.RedZoneTests.setRedZone(1)
        heap.pointee.options.values[Option.otelRate.rawValue] = 1  // each block is a sample
        OnRoot.TracingTests.watch(1)
        for size in [100, 100_000] as [UInt] {
          let block = Heap.allocate(size)!
          precondition(Sampling.forget(block.address), "remembered by its address")
          precondition(Sampling.remember(block.address))
          Heap.free(block)
          precondition(!Sampling.forget(block.address), "its free was heard of")
        }
      }
    }
  }
}
