// SPDX-License-Identifier: BSD-2-Clause
//
// MemGuard from inside: where blocks lie and what is beside them, and when addresses come back. In processes of their own, since a heap that
// has been guarded keeps its range. Which requests are guarded: MemGuardChoiceTests. Faults and handlers: Tests/Preload/guards.c.

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
  }
}
