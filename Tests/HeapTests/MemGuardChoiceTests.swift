// SPDX-License-Identifier: BSD-2-Clause
//
// Which requests MemGuard takes: by type, zone, size and lot, changed while it works; and what it declines.

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
  @Suite struct MemGuardChoiceTests {
    @Test func `L51 what is guarded changes while guarded blocks are out, and all are freed as what they are`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let images = types.named(FixedName("images"))!, texts = types.named(FixedName("texts"))!
        var blocks: [UnsafeMutableRawPointer] = []
        func take(_ type: TypePointer?, _ guarded: Bool, _ size: UInt = 100) {
          let block = Heap.allocate(size, type: type, .noWait)!
          precondition(isGuarded(block) == guarded)
          fill(block, Int(size), 1)
          blocks.append(block)
        }
        take(images, true)
        take(nil, true)
        guardTypes("images")
        take(images, true)
        take(texts, false)
        take(nil, false)
        guardTypes("malloc+texts-128")
        take(images, false)
        take(nil, true)
        take(texts, true, 128)
        take(texts, false, 129)
        setGuard(.memguardType, 1)
        take(nil, false)
        setGuard(.memguardType, 0)
        take(images, true, 70_000)
        setGuard(.memguard, 0)
        take(images, false)
        for block in blocks { Heap.free(block) }
        precondition(memGuard.pointee.guarded == memGuard.pointee.freed && memGuard.pointee.usedBytes == 0 && memGuard.pointee.wastedBytes == 0)
        precondition(TypeTotals(images).used == 0 && TypeTotals(texts).used == 0)
        memGuard.checkInvariants()
        checkAll()
      }
    }

    @Test func `L51 L69 a type is named before it exists; another one in its place is another type`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        guardTypes("late+later-64")
        func author(_ name: String) -> UnsafeMutablePointer<stave_type> {
          let author = UnsafeMutablePointer<stave_type>.allocate(capacity: 1)
          author.initialize(to: stave_type())
          (author.pointee.magic, author.pointee.version) = (STAVE_TYPE_MAGIC, 1)
          author.pointee.name = UnsafePointer(strdup(name))
          return author
        }
        let first = author("late")
        let late = types.register(first)!
        let block = Heap.allocate(64, type: late, .noWait)
        precondition(isGuarded(block))
        types.unregister(first)
        // The same record and number, another name; and the name again in another record.
        let other = types.register(author("other"))!
        precondition(other == late, "the record is used again")
        precondition(!isGuarded(Heap.allocate(64, type: other, .noWait)))
        let again = types.register(author("late"))!, later = types.register(author("later"))!
        precondition(isGuarded(Heap.allocate(64, type: again, .noWait)))
        precondition(isGuarded(Heap.allocate(64, type: later, .noWait)) && !isGuarded(Heap.allocate(65, type: later, .noWait)))
        Heap.free(block)
      }
    }

    @Test func `sizes: those below the least are counted and left, those of a page may be meant whatever else is said`() async {
      await #expect(processExitsWith: .success) {
        guardUp([(.memguardMin, 100), (.memguardMax, 200)])
        precondition(!isGuarded(Heap.allocate(99)) && isGuarded(Heap.allocate(100)) && isGuarded(Heap.allocate(200)) && !isGuarded(Heap.allocate(201)))
        precondition(memGuard.tooSmall == 1 && memGuard.pointee.hits == 2)
        setGuard(.memguardPages, 1)
        setGuard(.memguardType, 1)
        precondition(isGuarded(Heap.allocate(4096)) && !isGuarded(Heap.allocate(4095)) && isGuarded(Heap.allocate(1 << 20)))
        setGuard(.memguardMin, 8192)
        precondition(!isGuarded(Heap.allocate(4096)) && isGuarded(Heap.allocate(8192)))
        precondition(Heap.allocate(0) != nil, "of size 0 there is nothing to guard")
      }
    }

    @Test func `one in so many, by lot: about as many as that, none without, and the rest from the caches`() async {
      await #expect(processExitsWith: .success) {
        guardUp([(.memguard, 50)])
        var guarded = 0, gap = 0, gaps: Set<Int> = []
        for _ in 0..<100_000 {
          let block = Heap.allocate(64)!
          if isGuarded(block) {
            guarded += 1
            gaps.insert(gap)
            gap = 0
          } else {
            gap += 1
          }
          Heap.free(block)
        }
        // The standard deviation is 26.
        precondition(abs(guarded - 2000) < 200, "\(guarded)")
        precondition(gaps.count > 50, "by lot, not by count")
        precondition(memGuard.pointee.hits == guarded)
        // Zeroed, aligned and typed requests take part.
        let type = types.named(FixedName("sampled"))!
        guarded = 0
        for round in 0..<30_000 {
          let block =
            switch round % 3 {
            case 0: Heap.allocateZeroed(100)!
            case 1: Heap.allocate(100, alignment: 64)!
            default: Heap.allocate(100, type: type, round % 2 == 0 ? .noWait : .wait)!
            }
          if round % 3 == 0 { precondition(holds(block, 100, 0)) }
          fill(block, 100, 0xee)
          if isGuarded(block) { guarded += 1 }
          Heap.free(block)
        }
        precondition(abs(guarded - 600) < 150, "\(guarded)")
      }
    }

    @Test func `beyond the memory that they may take, and the lines of the map, requests are ordinary ones, and counted`() async {
      await #expect(processExitsWith: .success) {
        guardUp(marks: false)
        memGuard.pointee.mostLines = 20
        let blocks = (0..<30).map { _ in Heap.allocate(100)! }
        precondition(blocks.filter { isGuarded($0) }.count == 10 && memGuard.pointee.refused == 20 && memGuard.pointee.lines == 20)
        freeAll(blocks)
        precondition(memGuard.pointee.lines == 0)
        memGuard.pointee.mostLines = 1000
        memGuard.pointee.limit = 5 * UInt(pageBytes)
        let more = (0..<30).map { _ in Heap.allocate(100)! }
        precondition(more.filter { isGuarded($0) }.count == 5 && memGuard.pointee.withoutPages == 25)
        freeAll(more)
        memGuard.pointee.limit = .max
        // More addresses than there are.
        precondition(!isGuarded(Heap.allocate(9 << 30)) || memGuard.pointee.bytes > 9 << 34)
        memGuard.checkInvariants()
        checkAll()
      }
    }

    @Test func `the largest size that is guarded is compared with what was asked for, with an alignment too`() async {
      await #expect(processExitsWith: .success) {
        guardUp([(.memguardMax, 100)])
        freeAll((0..<64).map { _ in Heap.allocate(112)! })
        for _ in 0..<20 {
          let block = Heap.allocate(100, alignment: 16)!, larger = Heap.allocate(101, alignment: 16)!
          precondition(isGuarded(block) && !isGuarded(larger))
          freeAll([block, larger])
        }
      }
    }

    @Test func `malloc's second try gives what the lot passes by, and leaves the rest to be looked at`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        bind(toCPU: usableCPUs[0])
        setGuard(.memguard, 100)
        precondition(stave_hot().pointee.small_limit == 0 && stave_hot().pointee.passing_limit == UInt64(SizeClass.largest) + 1)
        Heap.free(Heap.allocate(100))
        // Each request that it leaves is guarded then: one in a hundred of them, more or less.
        var guarded = 0
        for _ in 0..<20_000 {
          let block = Heap.popPassing(100) ?? Heap.allocate(100)!
          if isGuarded(block) { guarded += 1 }
          Heap.free(block)
        }
        precondition((120...300).contains(guarded), "\(guarded)")
        // A divisor that leaves nothing is none; and what the arena and the container may have is all that there is.
        let limit = memGuard.pointee.limit
        setGuard(.memguardDivisor, 1 << 60)
        precondition(memGuard.pointee.limit == limit && limit > 1 << 20)
        heap.pointee.containerLimit = 50 << 20
        setGuard(.memguardDivisor, 10)
        precondition(memGuard.pointee.limit == 5 << 20)
        heap.pointee.containerLimit = 0
        setGuard(.memguardDivisor, 0)
        precondition(memGuard.pointee.limit == limit)
        setGuard(.memguardDivisor, 10)
        // Where more has to be looked at there is no such try; where memory without a type is not meant, the first one is open.
        for (option, value) in [(Option.memguardMin, 16), (.memguardMax, 1000), (.memguardPages, 1)] as [(Option, Int64)] {
          let before = heap.pointee.options[option]
          setGuard(option, value)
          precondition(stave_hot().pointee.passing_limit == 0 && stave_hot().pointee.small_limit == 0 && Heap.popPassing(100) == nil, "\(option)")
          setGuard(option, before)
          precondition(stave_hot().pointee.passing_limit > 0)
        }
        guardTypes("images")
        precondition(stave_hot().pointee.small_limit > 0 && stave_hot().pointee.passing_limit == 0 && stave_hot().pointee.typed_limit == 0)
        guardTypes("images+malloc")
        precondition(stave_hot().pointee.small_limit == 0 && stave_hot().pointee.passing_limit > 0)
      }
    }
  }
}
