// SPDX-License-Identifier: BSD-2-Clause
//
// Whatever becomes of the descriptor by which the lane is guarded, in children of fork, in other tables, closed or copied: freed blocks have
// no pages, if not at once then from the next guarded pair on. In processes of their own.

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
  @Suite(.enabled(if: canMovePages(), "pages cannot be moved here")) struct MemGuardDescriptorTests {
    @Test func `a child of fork has all guards; where no handler runs, once it has asked for a block, with a descriptor or without`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(300)
        precondition(openPlaces(places) == 0)
        precondition(inChild(withHandlers: true) { openPlaces(places) } == 0)
        let touched = inChild(withHandlers: false) {
          for address in places.suffix(20) { touch(address) }
          usePair()
          usePairs(40)
          return openPlaces(places)
        }
        precondition(touched == 0, "\(touched)")
        for withHandlers in [true, false] {
          let marked = inChild(withHandlers: withHandlers) {
            var limit = rlimit(rlim_cur: 256, rlim_max: 256)
            precondition(setrlimit(__rlimit_resource_t(7 /* NOFILE */), &limit) == 0)
            close(memGuard.pointee.mover)
            usePair()
            usePair()
            usePairs(200)
            return openPlaces(places) + (memGuard.pointee.laneState == LaneState.marked ? 0 : 100)
          }
          precondition(marked == 0 && openPlaces(places) == 0, "\(marked)")
        }
        usePairs(200)
      }
    }

    @Test func `where few blocks are guarded, a child of fork gets a descriptor with the first that it frees`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(100)
        setGuard(.memguard, 1000)
        usePair()
        let identity = memGuard.pointee.moverIdentity
        let answer = inChild(withHandlers: true) {
          // Its parent's is closed.
          precondition(memGuard.pointee.mover == 0 && (960..<970).allSatisfy { stave_file_identity($0) != identity })
          for address in places { touch(address) }
          for _ in 0..<8000 { usePair() }
          precondition(memGuard.pointee.mover >= 960 && memGuard.pointee.openings == 1)
          return openPlaces(places)
        }
        precondition(answer == 0, "\(answer)")
      }
    }

    @Test func `the descriptor is closed: guards again from the next block on, with another or without, and what was touched is gone`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(300), live = (0..<40).map { _ in Heap.allocate(200)! }
        for block in live { fill(block, 200, 9) }
        for isLast in [false, true] {
          let answer = inChild(withHandlers: true) {
            let places = places + freedBlocks(50)
            if isLast { memGuard.pointee.openings = 4 }
            close(memGuard.pointee.mover)
            for address in places.suffix(10) { touch(address) }
            // Beyond all that has been in use.
            touch(memGuard.address(ofPage: memGuard.pointee.laneUsed) - 1)
            usePair()
            usePair()
            precondition((memGuard.pointee.mover > 0) == !isLast && openPlaces(places) == 0, "\(isLast): \(openPlaces(places))")
            precondition(!isReadable(memGuard.address(ofPage: memGuard.pointee.laneUsed) - 1))
            for block in live {
              precondition(holds(block, 200, 9) && !isReadable((block.address | 4095) + 1) && !isReadable(block.address & ~4095 - 1))
              Heap.free(block)
              precondition(!isReadable(block.address))
            }
            usePairs(200)
            return openPlaces(places)
          }
          precondition(answer == 0, "\(answer)")
        }
      }
    }

    @Test func `somebody has a copy of the descriptor that is closed: the lane is watched, and when that is closed, too, there is another`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(40), copy = dup(memGuard.pointee.mover)
        close(memGuard.pointee.mover)
        // Pages stay where they are, and nothing else.
        usePairs(40)
        precondition(openPlaces(places) == 0 && memGuard.pointee.openings == 1 && memGuard.pointee.laneState == LaneState.open)
        close(copy)
        for address in places.suffix(10) { touch(address) }
        usePair()
        usePair()
        precondition(openPlaces(places) == 0 && memGuard.pointee.openings == 2 && memGuard.pointee.mover > 0)
        usePairs(300)
      }
    }

    @Test func `threads with a table of descriptors of their own, where it is closed: nothing changes for others`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(40), mover = memGuard.pointee.mover
        inThreads(2) { _ in
          precondition(stave_syscall6(272 /* unshare */, 0x400 /* FILES */, 0, 0, 0, 0, 0) == 0)
          close(mover)
          for _ in 0..<100 { usePair() }
          // What lies at its number there is another's.
          let file = open("/dev/null", O_RDONLY)
          precondition(dup2(file, mover) == mover)
          for _ in 0..<100 { usePair() }
          precondition(fcntl(mover, F_GETFD) >= 0)
        }
        precondition(memGuard.pointee.mover == mover && memGuard.pointee.openings == 1 && openPlaces(places) == 0)
        let ready = memGuard.pointee.readyPages
        usePairs(40)
        precondition(memGuard.pointee.readyPages > ready || ready > 0)
      }
    }

    @Test func `a child of fork whose parent's descriptor was closed: what was touched meanwhile is gone there, too`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(200)
        close(memGuard.pointee.mover)
        for address in places.suffix(50) { touch(address) }
        let answer = inChild(withHandlers: true) {
          usePair()
          return openPlaces(places)
        }
        precondition(answer == 0, "\(answer)")
      }
    }

    #if arch(x86_64)
    @Test func `a page that cannot be moved is no cause to ask for the descriptor, which a filter of system calls might not bear`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        usePairs(8)
        let block = Heap.allocate(300)!
        fill(block, 300, 4)
        // It ends with this process, whose filter lets it wait for nobody.
        _ = Sharer(block, 300, 4)
        guard killCallers(of: [5 /* fstat */, 323 /* userfaultfd */]) else { return }
        Heap.free(block)
        precondition(!isReadable(block.address))
        // Nor is that it is gone from this table; the child has it yet.
        close(memGuard.pointee.mover)
        let next = Heap.allocate(100)!
        fill(next, 100, 1)
        Heap.free(next)
        precondition(!isReadable(next.address) && memGuard.pointee.openings == 1)
      }
    }
    #endif

    @Test func `guards are switched off: nothing hangs on the descriptor any more, and what a report has opened stays open`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(300), live = (0..<4).map { _ in Heap.allocate(200)! }
        let freed = places[250], behind = (live[3].address | 4095) + 1
        precondition(memGuard.patch(freed, of: memGuard.block(around: freed)!) && memGuard.patch(behind, of: memGuard.block(around: behind)!))
        touch(freed)
        touch(behind)
        setGuard(.memguard, 0)
        close(memGuard.pointee.mover)
        precondition(openPlaces(places) == 1 && isReadable(freed) && isReadable(behind))
        precondition(!isReadable((freed | 4095) + 1) && !isReadable(freed & ~4095 - 1) && !isReadable(live[3].address & ~4095 - 1))
        for block in live {
          fill(block, 200, 9)
          precondition((block == live[3]) == isReadable((block.address | 4095) + 1) && !isReadable(block.address & ~4095 - 1))
          Heap.free(block)
          precondition(!isReadable(block.address) && !isReadable((block.address | 4095) + 1))
        }
        setGuard(.memguard, 1)
        usePairs(300)
        precondition(openPlaces(places) == 1)
        setGuard(.memguard, 0)
        setGuard(.memguard, 1)
        usePairs(300)
        precondition(openPlaces(places) == 1)
      }
    }

    @Test func `Stave's own thread opens no descriptor, and takes none for lost that is not in its table`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        asOwnThread {
          setGuard(.memguard, 1)
          usePairs(4)
        }
        precondition(memGuard.pointee.mover == 0 && memGuard.pointee.openings == 0 && memGuard.laneAddress < .max)
        usePairs(4)
        let mover = memGuard.pointee.mover
        precondition(mover >= 960 && memGuard.pointee.openings == 1)
        asOwnThread {
          // No descriptor of the program's is in its table.
          let copy = dup(mover)
          close(mover)
          usePairs(40)
          setGuard(.memguard, 0)
          setGuard(.memguard, 1)
          precondition(dup2(copy, mover) == mover)
          close(copy)
        }
        usePairs(40)
        precondition(memGuard.pointee.mover == mover && memGuard.pointee.openings == 0, "counted since guards were switched on")
      }
    }
  }
}
