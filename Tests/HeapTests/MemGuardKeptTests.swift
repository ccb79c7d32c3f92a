// SPDX-License-Identifier: BSD-2-Clause
//
// How much is kept of what guarded blocks leave: how many pages are ready, of blocks of one page and of two, and when they go back; and how
// many bytes beside a block are filled. In processes of their own.

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

/// Pages of the range that are there.
private func residentInRange() -> Int {
  let lane = memGuard.address(ofPage: memGuard.pointee.laneStart), end = memGuard.address(ofPage: memGuard.pointee.laneUsed)
  return max(0, residentPages(memGuard.pointee.start, memGuard.pointee.opened)) + max(0, residentPages(lane, end - lane))
}

extension OnRoot {
  @Suite(.enabled(if: canMovePages(), "pages cannot be moved here")) struct MemGuardKeptTests {
    @Test func `of many that are freed at once as many pages are kept as were in use; a change of options, and off, gives them back`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        func freeMany(_ count: Int, _ kept: UInt32) {
          let blocks = (0..<count).map { _ in Heap.allocate(100)! }
          for block in blocks { fill(block, 100, 1) }
          for block in blocks { Heap.free(block) }
          precondition(memGuard.pointee.readyPages == kept, "\(memGuard.pointee.readyPages)")
          precondition(residentInRange() == Int(kept), "\(residentInRange())")
          memGuard.checkInvariants()
        }
        freeMany(40, 40)
        freeMany(300, 300)
        freeMany(3000, 1024)
        setGuard(.memguardWidth, 8192)
        precondition(memGuard.pointee.readyPages == 0 && residentInRange() == 0, "\(residentInRange())")
        freeMany(100, 100)
        setGuard(.memguard, 0)
        precondition(memGuard.pointee.readyPages == 0 && residentInRange() == 0, "\(residentInRange())")
        // Nor is one made by a block that is freed while they are off.
        setGuard(.memguard, 1)
        let last = Heap.allocate(100)!
        setGuard(.memguard, 0)
        Heap.free(last)
        precondition(memGuard.pointee.readyPages == 0)
        memGuard.checkInvariants()
      }
    }

    @Test func `what a period did not need of what is ready goes back at its end, and all of it when memory is wanted`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        func freeMany(_ count: Int, _ size: UInt) {
          let blocks = (0..<count).map { _ in Heap.allocate(size)! }
          for block in blocks { Heap.free(block) }
        }
        freeMany(300, 100)
        freeMany(300, 5000)
        let full = memGuard.pointee.readyPages
        precondition(full == 600 && memGuard.readyBytes == 600 * 4096, "\(full)")
        // The period in which they came: at its beginning there was none.
        precondition(memGuard.trimReady() == 0)
        freeMany(50, 100)
        precondition(memGuard.trimReady() == 550 * 4096 && memGuard.pointee.readyPages == 50 && residentInRange() == 50)
        // No more than those has been in use since then.
        freeMany(100, 100)
        precondition(memGuard.pointee.readyPages == 100, "\(memGuard.pointee.readyPages)")
        freeMany(10, 5000)
        precondition(memGuard.pointee.readyPages == 100, "\(memGuard.pointee.readyPages)")
        _ = Heap.endOfPeriod()
        _ = Heap.endOfPeriod()
        precondition(memGuard.pointee.readyPages == 0 && residentInRange() == 0)
        usePairs(100)
        freeMany(100, 100)
        precondition(Heap.trim() >= 100 * 4096 && memGuard.pointee.readyPages == 0 && residentInRange() == 0)
        memGuard.checkInvariants()
        usePairs(100)
      }
    }

    @Test func `blocks of two pages leave both to the next one of two, and those of one page theirs to others of one`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        // Of one that nobody has touched, too.
        Heap.free(Heap.allocate(8001))
        precondition(memGuard.pointee.ready[1] != 0)
        // The second page of some is theirs alone.
        for (size, mayMove) in [(5000, true), (4097, true), (8000, false), (8001, true), (8176, false), (8191, false), (8184, false), (100, true), (8192, false)] as [(UInt, Bool)] {
          for round in 0..<4 {
            let block = Heap.allocate(size)!, first = block.address.roundedDown(to: 4096)
            precondition(holds(block, Int(size), 0), "\(size)")
            precondition(!isReadable(first - 1) && !isReadable((block.address + size - 1 | 4095) + 1))
            if round > 0 { precondition(memGuard.isInLane(UInt32((first - memGuard.pointee.start) / 4096)) == mayMove, "\(size)") }
            // Not all of its pages have been touched by the program.
            if round & 1 == 0 { fill(block, Int(size), 0xa5) }
            Heap.free(block)
            precondition(!isReadable(block.address) && !isReadable(block.address + size - 1))
            precondition(!mayMove || memGuard.pointee.ready[size > 4096 ? 1 : 0] != 0, "\(size)")
          }
        }
        precondition(memGuard.pointee.readyPages == 3 && memGuard.pointee.reports == 0)
        memGuard.checkInvariants()
      }
    }

    @Test func `a page that the program itself has given back: it may touch it again, itself and by a system call`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        for size in [8000, 8176, 8001, 5000, 4090] as [UInt] {
          usePairs(4)
          let block = Heap.allocate(size)!, page = (block.address | 4095) + 1, end = (block.address + size).roundedDown(to: 4096)
          fill(block, Int(size), 7)
          if end > page {
            for _ in 0..<2 {
              precondition(madvise(UnsafeMutableRawPointer(bitPattern: page), Int(end - page), 4 /* DONTNEED */) == 0)
              var ends: [Int32] = [0, 0]
              precondition(pipe(&ends) == 0 && write(ends[1], "x", 1) == 1 && read(ends[0], UnsafeMutableRawPointer(bitPattern: page + 5)!, 1) == 1)
              precondition(UnsafePointer<UInt8>(bitPattern: page + 6)!.pointee == 0 && UnsafePointer<UInt8>(bitPattern: page + 5)!.pointee == 0x78)
            }
          }
          Heap.free(block)
          precondition(!isReadable(block.address) && !isReadable(page) && memGuard.pointee.reports == 0, "\(memGuard.pointee.reports)")
          memGuard.checkInvariants()
        }
      }
    }

    @Test func `where few are guarded some bytes on each side are filled, and looked at; what was filled as where many are is looked at whole`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        setGuard(.onreport, 1)
        func damage(_ block: UnsafeMutableRawPointer, at offset: Int) -> Int64 {
          let before = memGuard.pointee.reports
          touch(UInt(Int(block.address) + offset))
          Heap.free(block)
          memGuard.checkInvariants()
          return memGuard.pointee.reports - before
        }
        func guardedBlock(_ size: UInt) -> UnsafeMutableRawPointer {
          while true {
            let block = Heap.allocate(size)!
            if isGuarded(block) { return block }
          }
        }
        let old = Heap.allocate(100)!
        setGuard(.memguard, 100)
        precondition(damage(old, at: -3000) == 1)
        for _ in 0..<3 {
          for size in [100, 40, 1001] as [UInt] {
            precondition(damage(guardedBlock(size), at: -1) == 1 && damage(guardedBlock(size), at: -128) == 1)
            precondition(damage(guardedBlock(size), at: -129) == 0 && damage(guardedBlock(size), at: -2000) == 0)
          }
          precondition(damage(guardedBlock(1001), at: 1001) == 1)
        }
        // One after the other in the same page, undamaged.
        for size in [40, 1001, 100, 2000, 300] as [UInt] {
          let reports = memGuard.pointee.reports
          Heap.free(guardedBlock(size))
          precondition(memGuard.pointee.reports == reports, "\(size)")
        }
        let few = guardedBlock(100)
        setGuard(.memguard, 1)
        precondition(damage(few, at: -2000) == 0)
        for size in [1000, 100, 2000, 50] as [UInt] { precondition(damage(Heap.allocate(size)!, at: -2000) == 1, "\(size)") }
      }
    }
  }
}
