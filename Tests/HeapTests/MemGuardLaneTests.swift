// SPDX-License-Identifier: BSD-2-Clause
//
// The lane, where a missing page is a guard as long as the descriptor is there: only its window hangs on that, whatever becomes of
// the descriptor; and blocks there are what blocks are elsewhere. In processes of their own.

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

/// Where blocks of the lane were that are freed.
private func freedBlocks(_ count: Int) -> [UInt] {
  var places: [UInt] = []
  while places.count < count {
    let block = Heap.allocate(100)!
    fill(block, 100, 1)
    Heap.free(block)
    let page = UInt32((block.address - memGuard.pointee.start) / 4096)
    if memGuard.isInLane(page) { places.append(block.address) }
  }
  return places
}

/// In a child of fork: what `body` answers, less than 200.
private func inChild(withHandlers: Bool, _ body: () -> Int) -> Int {
  if withHandlers { Heap.prepareFork() }
  let child = libcFork()
  if child == 0 {
    if withHandlers { Heap.childAfterFork() }
    _exit(Int32(body()))
  }
  if withHandlers { Heap.parentAfterFork() }
  var status: Int32 = 0
  precondition(waitpid(child, &status, 0) == child && status & 0x7f == 0, "\(status)")
  return Int(status >> 8)
}

/// How many of them can be read that are no ready region's.
private func open(_ places: [UInt]) -> Int { places.count { memGuard.block(around: $0) != nil && isReadable($0) } }

/// 64 regions behind the cursor, and as many before it.
private func windowIsShort() -> Bool { memGuard.pointee.laneOpened - memGuard.pointee.laneSwept <= 3 * 3 * 64 + 48 }

extension OnRoot {
  @Suite(.enabled(if: canMovePages(), "pages cannot be moved here")) struct MemGuardLaneTests {
    @Test func `a child of fork where no handler runs has guards but in the window, and all once it asks for a block`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(300)
        precondition(open(places) == 0 && windowIsShort())
        let inWindow = inChild(withHandlers: false) { open(places) }
        precondition((1...130).contains(inWindow), "\(inWindow)")
        precondition(inChild(withHandlers: false) { Heap.free(Heap.allocate(100)); return open(places) } == 0)
        precondition(inChild(withHandlers: true) { open(places) } == 0)
        // Where it cannot have a descriptor it has marks.
        let marked = inChild(withHandlers: false) {
          var limit = rlimit(rlim_cur: 256, rlim_max: 256)
          precondition(setrlimit(__rlimit_resource_t(7 /* NOFILE */), &limit) == 0)
          Heap.free(Heap.allocate(100))
          usePairs(200)
          return open(places) + (memGuard.pointee.laneState == LaneState.shut ? 0 : 1)
        }
        precondition(marked == 0 && open(places) == 0)
        usePairs(200)
      }
    }

    @Test func `the descriptor is closed: guards but in the window, and all from the next block on, with another or without`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(300), live = (0..<40).map { _ in Heap.allocate(200)! }
        for block in live { fill(block, 200, 9) }
        for isLast in [false, true] {
          let answer = inChild(withHandlers: true) {
            let places = places + freedBlocks(50)
            if isLast { memGuard.pointee.openings = 4 }
            close(memGuard.pointee.mover)
            // Touched meanwhile: its page has to go.
            let touched = places.suffix(10)
            precondition(touched.allSatisfy(isReadable))
            for address in touched { UnsafeMutablePointer<UInt8>(bitPattern: address)!.pointee = 1 }
            let inWindow = open(places)
            precondition((10...130).contains(inWindow), "\(inWindow)")
            Heap.free(Heap.allocate(100))
            Heap.free(Heap.allocate(100))
            precondition((memGuard.pointee.mover > 0) == !isLast && open(places) == 0, "\(isLast): \(open(places))")
            for block in live {
              precondition(holds(block, 200, 9) && !isReadable((block.address | 4095) + 1) && !isReadable(block.address & ~4095 - 1))
              Heap.free(block)
              precondition(!isReadable(block.address))
            }
            usePairs(200)
            return open(places)
          }
          precondition(answer == 0, "\(answer)")
        }
      }
    }

    @Test func `guards are switched off: nothing hangs on the descriptor any more`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(300), live = (0..<4).map { _ in Heap.allocate(200)! }
        setGuard(.memguard, 0)
        close(memGuard.pointee.mover)
        precondition(open(places) == 0)
        for block in live {
          fill(block, 200, 9)
          precondition(!isReadable((block.address | 4095) + 1) && !isReadable(block.address & ~4095 - 1))
          Heap.free(block)
          precondition(!isReadable(block.address))
        }
        setGuard(.memguard, 1)
        usePairs(300)
        precondition(open(places) == 0)
      }
    }

    @Test func `L43 round after round of the lane, among blocks that stay, freed ones have no pages and the window is short`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        memGuard.pointee.kept = 4 << 20
        var lot = Generator(4711), stay: [UnsafeMutableRawPointer] = [], places: Set<UInt> = []
        for round in 0..<6000 {
          let block = Heap.allocate(3000)!
          places.remove(block.address & ~4095)
          precondition(holds(block, 3000, 0))
          fill(block, 3000, 5)
          if lot.below(40) == 0 { stay.append(block) } else {
            Heap.free(block)
            places.insert(block.address & ~4095)
          }
          if stay.count > 60 {
            let old = stay.remove(at: lot.below(stay.count))
            precondition(holds(old, 3000, 5) && !isReadable((old.address | 4095) + 1) && !isReadable(old.address & ~4095 - 1))
            Heap.free(old)
            places.insert(old.address & ~4095)
          }
          if round % 500 == 499 {
            memGuard.checkInvariants()
            precondition(windowIsShort() && open(Array(places)) == 0, "\(round)")
            // In a child that has no descriptor: what is open there are the window's.
            let inWindow = inChild(withHandlers: false) { min(199, open(Array(places))) }
            precondition(inWindow <= 130, "\(round): \(inWindow)")
          }
        }
        precondition(memGuard.pointee.wraps >= 10, "\(memGuard.pointee.wraps)")
        for block in stay { Heap.free(block) }
        memGuard.checkInvariants()
      }
    }

    @Test func `a block has the filling beside it whatever the one before has left, and damage is its own`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        var lot = Generator(77)
        for round in 0..<500 {
          let size = 1 + lot.below(4095), block = Heap.allocate(UInt(size))!, start = block.address & ~4095
          precondition(holds(block, size, 0), "\(round)")
          for address in start..<start + 4096 where address < block.address || address >= block.address + UInt(size) {
            precondition(UnsafePointer<UInt8>(bitPattern: address)!.pointee == 0x42, "\(round): \(address - start)")
          }
          fill(block, size, UInt8(round & 255))
          let isDamaged = block.address > start && lot.below(3) == 0
          let place = isDamaged ? start + UInt(lot.below(Int(block.address - start))) : 0
          if isDamaged { UnsafeMutablePointer<UInt8>(bitPattern: place)!.pointee = 0 }
          var damage = GuardDamage()
          guard case .done = memGuard.free(block.address, stack: 0, damage: &damage) else { preconditionFailure() }
          precondition(damage.count == (isDamaged ? 1 : 0) && damage.first == place && damage.last == place, "\(round): \(damage.count)")
          precondition(!isReadable(start))
        }
        memGuard.checkInvariants()
      }
    }

    @Test func `what a program gives back of a block of whole pages comes again when it touches it, also by a system call`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        usePairs(8)
        for size in [4096, 8192, 102_400] as [UInt] {
          let block = Heap.allocate(size, alignment: 4096)!
          fill(block, Int(size), 3)
          precondition(madvise(block, Int(size), 4 /* DONTNEED */) == 0)
          var ends: [Int32] = [0, 0]
          precondition(pipe(&ends) == 0 && write(ends[1], "x", 1) == 1 && read(ends[0], block + 5, 1) == 1)
          precondition(block.load(as: UInt8.self) == 0 && block.load(fromByteOffset: 5, as: UInt8.self) == 0x78)
          Heap.free(block)
          precondition(!isReadable(block.address))
        }
      }
    }

    @Test func `memory is locked: what cannot be marked is closed otherwise, and the lane is left`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(20)
        let lane = memGuard.address(ofPage: memGuard.pointee.laneStart), end = memGuard.address(ofPage: memGuard.pointee.laneUsed)
        guard stave_syscall6(325 /* mlock2 */, Int(lane), Int(end - lane), 1 /* ONFAULT */, 0, 0, 0) == 0 else { return }
        usePairs(300)
        precondition(memGuard.pointee.laneState == LaneState.shut && open(places) == 0)
      }
    }
  }
}
