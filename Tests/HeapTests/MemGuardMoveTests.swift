// SPDX-License-Identifier: BSD-2-Clause
//
// Pages that cannot be moved, and places in the lane where none can be put: the block is closed otherwise, and nothing is lost. In processes
// of their own.

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
  @Suite(.enabled(if: canMovePages(), "pages cannot be moved here")) struct MemGuardMoveTests {
    @Test func `where a page is to go something lies already, or something else is mapped: it is put right, or another place is taken`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(100)
        func next() -> UInt { memGuard.address(ofPage: memGuard.pointee.laneCursor + memGuard.pointee.width) }
        for round in 0..<4 {
          let place = next()
          let block = Heap.allocate(100)!
          precondition(place != block.address & ~4095)
          switch round {
          case 0: precondition(stave_zero_page(memGuard.pointee.mover, place, 4096) == 0)
          case 1: precondition(stave_mmap(place, 4096, 3, mapPrivateAnonymous | mapFixed) > 0)
          case 2: precondition(stave_mmap(place, 4096, 3, 1 /* SHARED */ | 0x20 | mapFixed) > 0)
          default: break
          }
          let ready = memGuard.pointee.readyPages, cursor = memGuard.pointee.laneCursor
          Heap.free(block)
          precondition(memGuard.pointee.laneCursor == cursor + 3 && !isReadable(block.address), "\(round)")
          precondition(memGuard.pointee.readyPages == (round == 2 ? ready : ready + 1), "\(round)")
          precondition(memGuard.pointee.openings == 1)
        }
        usePairs(100)
        precondition(openPlaces(places) == 0 && memGuard.pointee.openings == 1)
      }
    }

    @Test func `blocks that marks have closed have no page again in the time without a descriptor, nor have their guards`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        usePairs(100)
        func many() -> [UnsafeMutableRawPointer] { (0..<64).map { _ in Heap.allocate(100)! } }
        var inLane = many()
        for block in inLane { Heap.free(block) }
        inLane = many()
        let others = many()
        // As if so many had never been in use at once: 64 pages can be ready, the others are given back.
        memGuard.pointee.mostUsedBytes = 0
        for block in others + inLane { Heap.free(block) }
        close(memGuard.pointee.mover)
        let behind = inLane.map { ($0.address | 4095) + 1 }
        for address in behind { touch(address) }
        for _ in 0..<70 { usePair() }
        precondition(memGuard.pointee.openings == 2 && openPlaces(inLane.map { $0.address }) == 0 && openPlaces(behind) == 0, "\(openPlaces(behind))")
      }
    }

    @Test func `a page that cannot be moved: the lane is as it was, and the block is closed otherwise`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(20), block = Heap.allocate(300)!
        fill(block, 300, 4)
        let sharer = Sharer(block, 300, 4)
        let (cursor, ready) = (memGuard.pointee.laneCursor, memGuard.pointee.readyPages)
        Heap.free(block)
        precondition(!isReadable(block.address) && memGuard.pointee.readyPages == ready)
        precondition(memGuard.pointee.laneCursor == cursor && memGuard.pointee.mover > 0)
        // Nothing is said of it to be there.
        let next = memGuard.address(ofPage: cursor + memGuard.pointee.width)
        precondition(memGuard.block(around: next)?.pointee.address != block.address)
        memGuard.checkInvariants()
        sharer.finish()
        usePairs(300)
        precondition(openPlaces(places) == 0 && memGuard.pointee.openings == 1)
      }
    }

    @Test func `L43 sources that cannot be moved, round after round of the lane: no search begins inside a region`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        memGuard.pointee.kept = 4 << 20
        var lot = Generator(83)
        var held: [(block: UnsafeMutableRawPointer, size: Int, mark: UInt8)] = []
        for step in 0..<20_000 {
          if held.count < 40 {
            let size = [20 + lot.below(3000), 4100 + lot.below(4000)].randomElement(using: &lot)!, mark = UInt8(truncatingIfNeeded: step)
            let block = Heap.allocate(UInt(size))!
            fill(block, size, mark)
            held.append((block, size, mark))
          } else {
            let one = held.remove(at: lot.below(held.count))
            precondition(holds(one.block, one.size, one.mark))
            if lot.below(9) == 0 { precondition(mlock(one.block, one.size) == 0) }
            Heap.free(one.block)
            precondition(!isReadable(one.block.address))
          }
          if step % 16 == 0 { memGuard.checkInvariants() }
        }
        precondition(memGuard.pointee.reports == 0 && memGuard.pointee.laneState == LaneState.open)
      }
    }

    @Test func `what the program has locked and freed takes no lines of the map`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        usePairs(100)
        let before = mapLines()
        for size in [100, 5000, 20_000] as [UInt] {
          for _ in 0..<200 {
            let block = Heap.allocate(size)!
            precondition(mlock(block, Int(size)) == 0)
            Heap.free(block)
            precondition(!isReadable(block.address))
          }
        }
        precondition(mapLines() < before + 20 && memGuard.pointee.refused == 0, "\(mapLines() - before) \(memGuard.pointee.refused)")
        memGuard.checkInvariants()
      }
    }

    @Test func `of a block of two pages one is shared with a child: what was written beside it is found all the same`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        setGuard(.onreport, 1)
        usePairs(4)
        for (offset, wanted) in [(-1, 1), (5003, 1), (100, 0)] as [(Int, Int64)] {
          Heap.free(Heap.allocate(5000))
          let block = Heap.allocate(5000)!, reports = memGuard.pointee.reports
          fill(block, 5000, 3)
          let sharer = Sharer(block, 5000, 3)
          touch(block.address)
          touch(UInt(Int(block.address) + offset))
          Heap.free(block)
          precondition(memGuard.pointee.reports - reports == wanted && !isReadable(block.address) && !isReadable(block.address + 4999), "\(offset)")
          sharer.finish()
          memGuard.checkInvariants()
        }
      }
    }

    @Test func `memory is locked: the lane ends, and blocks are closed as ever`() async {
      await #expect(processExitsWith: .success) {
        for (isAll, isClosed) in [(false, false), (true, false), (true, true), (false, true)] {
          let answer = inChild(withHandlers: false) {
            guardUp()
            let places = freedBlocks(20)
            let lane = memGuard.address(ofPage: memGuard.pointee.laneStart), end = memGuard.address(ofPage: memGuard.pointee.laneUsed)
            guard stave_syscall6(325 /* mlock2 */, Int(lane), Int(end - lane), 1 /* ONFAULT */, 0, 0, 0) == 0 else { return 0 }
            if isAll && mlockall(4 | 1 /* ONFAULT | CURRENT */) != 0 { return 0 }
            if isClosed {
              close(memGuard.pointee.mover)
              for address in places { touch(address) }
            }
            func use() {
              for number in 0..<100 {
                let block = Heap.allocate([100, 4096][number & 1])!
                fill(block, 100, 1)
                let wasGuarded = isGuarded(block)
                Heap.free(block)
                precondition(!wasGuarded || !isReadable(block.address))
              }
            }
            use()
            let hasEnded = memGuard.pointee.mover == 0 && memGuard.pointee.laneState == LaneState.marked
            // Of a lane that is locked alone it is noticed when pages are to be given back.
            precondition(hasEnded == (isAll || isClosed) && openPlaces(places) == 0, "\(isAll) \(isClosed)")
            setGuard(.memguard, 0)
            precondition(openPlaces(places) == 0)
            setGuard(.memguard, 1)
            use()
            precondition(!isAll || memGuard.pointee.mover == 0 && memGuard.pointee.laneState == LaneState.marked)
            return openPlaces(places)
          }
          precondition(answer == 0, "\(isAll): \(answer)")
        }
      }
    }
  }
}
