// SPDX-License-Identifier: BSD-2-Clause
//
// MemGuard from inside: where blocks lie and what is beside them, when addresses come back, what is guarded and what is declined. In
// processes of their own, since a heap that has been guarded keeps its range. Faults and handlers: Tests/Preload/guards.c.

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

/// MemGuard on, with these options; `marks: false` as on a kernel without MADV_GUARD_INSTALL.
func guardUp(_ options: [(Heap.OptionName, Int64)] = [], marks: Bool = true) {
  Stage.up()
  heap.pointee.options.values[Option.memguard.rawValue] = 1
  for (option, value) in options { heap.pointee.options.values[option.rawValue] = value }
  precondition(Heap.configureGuards())
  guard !marks else { return }
  memGuard.pointee.usesMarks = false
  memGuard.shutLane()
  // As if none had been there from the start.
  precondition(stave_mmap(memGuard.pointee.start, Int(memGuard.pointee.opened), 0, mapPrivateAnonymous | mapNoReserve | mapFixed) > 0)
}

extension Heap { typealias OptionName = Option }

func setGuard(_ option: Option, _ value: Int64) {
  let answer = Heap.obey(Letter(request: 1, command: MailCommand.set, subject: UInt32(option.rawValue), value: value))
  precondition(answer.status == MailStatus.done)
}

func guardTypes(_ names: String) { precondition(nameTypes(.memguardType, names).allSatisfy { $0 == MailStatus.done }) }

/// Sends the letters of a list; what became of each.
func nameTypes(_ option: Heap.OptionName, _ text: String) -> [UInt32] {
  var names: [ListedName] = []
  Array(text.utf8).withUnsafeBufferPointer { forEachListedName(in: $0, withZones: option.takesZones) { names.append($0) } }
  return names.enumerated().map { index, name in
    Heap.obey(TypeNameLetter(option: option.rawValue, name, at: index, of: names.count, list: 1).letter(1)).status
  }
}

func isGuarded(_ block: UnsafeMutableRawPointer?) -> Bool { memGuard.liveBlock(at: UInt(bitPattern: block)) != nil }

/// Whether a byte can be read, as the system finds when it is asked to.
func isReadable(_ address: UInt) -> Bool {
  var ends: [Int32] = [0, 0]
  guard pipe(&ends) == 0 else { return false }
  defer { for end in ends { close(end) } }
  return write(ends[1], UnsafeRawPointer(bitPattern: address), 1) == 1
}

extension OnRoot {
  @Suite struct MemGuardTests {
    @Test func `off, nothing of it is there; on and off again, the fast paths are as they were`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let open = (stave_hot().pointee.small_limit, stave_hot().pointee.typed_limit)
        precondition(memGuard.pointee.bytes == 0 && stave_hot().pointee.guarded_limit == 0 && !memGuard.holds(0) && !memGuard.holds(1))
        setGuard(.memguard, 1000)
        precondition(stave_hot().pointee.small_limit == 0 && stave_hot().pointee.typed_limit == 0 && stave_hot().pointee.guarded_limit == open.1)
        setGuard(.memguard, 0)
        precondition(stave_hot().pointee.small_limit == open.0 && stave_hot().pointee.typed_limit == open.1 && stave_hot().pointee.guarded_limit == 0)
      }
    }

    @Test(arguments: [true, false])
    func `a block lies at the end of its pages, or at their start, between pages that cannot be touched`(_ marks: Bool) async {
      await #expect(processExitsWith: .success) { [marks] in
        guardUp(marks: marks)
        let page = UInt(pageBytes)
        for side in [GuardSide.overflow, GuardSide.underflow, GuardSide.exact] {
          heap.pointee.options.values[Option.memguardSide.rawValue] = Int64(side)
          precondition(Heap.configureGuards())
          for size in [1, 16, 100, 4095, 4096, 4097, 70_000] as [UInt] {
            let block = Heap.allocate(size)!, record = memGuard.liveBlock(at: block.address)!
            let pages = (size + page - 1) / page
            precondition(UInt(record.pointee.dataCount) == pages && UInt(record.pointee.pageCount) == pages + 2 && record.pointee.size == size)
            precondition(Heap.usableSize(block) == size)
            let start = memGuard.address(ofPage: record.pointee.dataPage), end = start + pages * page
            switch side {
            case GuardSide.overflow: precondition(block.address % 16 == 0 && end - (block.address + size) < 16)
            case GuardSide.underflow: precondition(block.address == start)
            default: precondition(block.address + size == end)
            }
            precondition(!isReadable(start - 1) && !isReadable(end) && isReadable(start) && isReadable(end - 1))
            precondition(holds(block, Int(size), 0), "fresh pages are zero")
            fill(block, Int(size), 0x5a)
            Heap.free(block)
            precondition(!isReadable(start) && !isReadable(end - 1))
            memGuard.checkInvariants()
          }
        }
      }
    }

    @Test func `aligned blocks are aligned, whatever the side, and guarded`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        for side in 0..<3 {
          setGuard(.memguardSide, Int64(side))
          var alignment: UInt = 16
          while alignment <= 4 << 20 {
            for size in [1, 40, 5000] as [UInt] {
              let block = Heap.allocate(size, alignment: alignment)!, record = memGuard.liveBlock(at: block.address)!
              precondition(block.address % alignment == 0)
              fill(block, Int(size), 1)
              precondition(!isReadable(memGuard.address(ofPage: record.pointee.dataPage) - 1))
              Heap.free(block)
            }
            alignment *= 2
          }
        }
        memGuard.checkInvariants()
      }
    }

    @Test(arguments: [true, false])
    func `L43 what is freed has no memory any more, and its addresses come back as late as can be`(_ marks: Bool) async {
      await #expect(processExitsWith: .success) { [marks] in
        guardUp(marks: marks)
        memGuard.pointee.kept = 4 << 20
        let stays = Heap.allocate(100)!
        var seen: Set<UInt> = [stays.address], order: [UInt] = []
        // 1,024 pages: 341 regions, one of them taken for good.
        while true {
          let block = Heap.allocate(3000)!
          fill(block, 3000, 1)
          let page = block.address.roundedDown(to: UInt(pageBytes))
          precondition(residentPages(page, 4096) == 1)
          Heap.free(block)
          precondition(!isReadable(page) && residentPages(page, 4096) <= 0)
          if !seen.insert(block.address).inserted { break }
          order.append(block.address)
          precondition(order.count < 1000)
        }
        // The figure is of the range without the lane.
        precondition(order.count >= 339 && memGuard.pointee.wraps == (memGuard.pointee.mover > 0 ? 0 : 1), "\(order.count) \(memGuard.pointee.wraps)")
        precondition(order == order.sorted() && memGuard.pointee.opened == 4 << 20)
        // What is in use is stepped over.
        fill(stays, 100, 7)
        for _ in 0..<1000 { Heap.free(Heap.allocate(9000)) }
        precondition(isGuarded(stays) && holds(stays, 100, 7) && memGuard.pointee.wraps >= 3 && memGuard.pointee.opened == 4 << 20)
        memGuard.checkInvariants()
        Heap.free(stays)
      }
    }

    @Test(arguments: [true, false])
    func `a page that was made accessible after a report is closed again: with its block, or when its addresses are used again`(_ marks: Bool) async {
      await #expect(processExitsWith: .success) { [marks] in
        guardUp(marks: marks)
        memGuard.pointee.kept = 4 << 20
        let page = UInt(pageBytes)
        let block = Heap.allocate(100)!, record = memGuard.liveBlock(at: block.address)!
        let before = block.address.roundedDown(to: page) - 1, behind = before + 1 + page
        precondition(memGuard.patch(behind, of: record) && memGuard.patch(before, of: record) && isReadable(behind) && isReadable(before))
        Heap.free(block)
        precondition(!isReadable(behind) && !isReadable(before) && !isReadable(block.address))
        // After the free: until the addresses belong to another block, the guards of which are whole.
        precondition(memGuard.patch(block.address, of: record) && isReadable(block.address))
        let first = record.pointee.firstPage
        // From the range's start, one page further than before: the page in question is a guard now.
        memGuard.pointee.cursor = first
        setGuard(.memguardWidth, Int64(2 * page))
        let next = Heap.allocate(100)!, its = memGuard.liveBlock(at: next.address)!
        precondition(its.pointee.firstPage == first && its.pointee.dataPage == its.pointee.firstPage + 2)
        precondition(next.address.roundedDown(to: page) == behind && !isReadable(block.address) && !isReadable(before))
        Heap.free(next)
        memGuard.checkInvariants()
      }
    }

    @Test func `more of the range is opened when a quarter of what is open is in use, and not before`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        memGuard.pointee.kept = 4 << 20
        // 1,024 pages in regions of three: a quarter of them is 85.
        let few = (0..<80).map { _ in Heap.allocate(100)! }
        // Of a whole page: others go to the lane.
        for _ in 0..<2000 { Heap.free(Heap.allocate(4096)) }
        precondition(memGuard.pointee.opened == 4 << 20 && memGuard.pointee.wraps >= 5, "\(memGuard.pointee.opened)")
        let more = (0..<20).map { _ in Heap.allocate(100)! }
        for _ in 0..<2000 { Heap.free(Heap.allocate(4096)) }
        precondition(memGuard.pointee.opened == 8 << 20, "\(memGuard.pointee.opened)")
        for block in few + more { Heap.free(block) }
        memGuard.checkInvariants()
      }
    }

    @Test func `L42 realloc copies the smaller of both sizes asked for, moves, and stays guarded`() async {
      await #expect(processExitsWith: .success) {
        guardUp([(.memguardSide, 2)])
        var size: UInt = 4096
        var block = Heap.allocate(size)!
        fill(block, 4096, 0x33)
        for next in [100, 4096 * 3, 50, 17, 5000, 5001, 1] as [UInt] {
          let moved = Heap.reallocate(block, next)!
          precondition(moved != block && isGuarded(moved) && Heap.usableSize(moved) == next)
          precondition(!isReadable(block.address))
          precondition(holds(moved, Int(min(size, next)), 0x33) && (next <= size || moved.load(fromByteOffset: Int(size), as: UInt8.self) == 0))
          fill(moved, Int(next), 0x33)
          (block, size) = (moved, next)
        }
        // The lot is not cast again.
        setGuard(.memguard, 1 << 30)
        block = Heap.reallocate(block, 300)!
        precondition(isGuarded(block))
        // Where no guard is to be had it becomes an ordinary block, and keeps what it holds.
        fill(block, 300, 0x44)
        memGuard.pointee.limit = 0
        block = Heap.reallocate(block, 3000)!
        precondition(!isGuarded(block) && holds(block, 300, 0x44) && memGuard.pointee.withoutPages == 1)
        Heap.free(block)
        memGuard.checkInvariants()
      }
    }

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
