// SPDX-License-Identifier: BSD-2-Clause
//
// What blocks of the lane are: what blocks are elsewhere, and no more than it has room for. In processes of their own.

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
  @Suite(.enabled(if: canMovePages(), "pages cannot be moved here")) struct MemGuardLaneTests {
    @Test func `L43 live blocks never have more than a quarter of the lane: further ones lie elsewhere, and pages are not moved meanwhile`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        memGuard.pointee.kept = 4 << 20
        // A freed place stays free until the lane's cursor has been round.
        var held: [UnsafeMutableRawPointer] = [], places: Set<UInt> = []
        for _ in 0..<400 {
          let blocks = (0..<3).map { _ in Heap.allocate(100)! }
          for block in blocks { places.remove(block.address & ~4095) }
          for block in blocks.dropFirst() {
            Heap.free(block)
            places.insert(block.address & ~4095)
          }
          held.append(blocks[0])
          precondition(memGuard.pointee.laneTaken <= 1024 / 4 + 64 * 3, "\(memGuard.pointee.laneTaken)")
        }
        memGuard.checkInvariants()
        precondition(memGuard.pointee.laneTaken > 1024 / 4 && memGuard.pointee.readyPages == 0 && openPlaces(Array(places)) == 0)
        for block in held { Heap.free(block) }
        precondition(memGuard.pointee.laneTaken == 0 && memGuard.pointee.readyPages > 0)
        usePairs(400)
      }
    }

    @Test func `a range below four GiB has no lane, a larger one a GiB`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let page = UInt(pageBytes)
        for (bytes, wanted) in [(16 << 20, 0), (2 << 30, 0), (4 << 30 - page, 0), (4 << 30, 1 << 30), (64 << 30, 1 << 30)] as [(UInt, UInt)] {
          precondition(UInt(memGuard.lanePages(of: bytes / page)) * page == wanted, "\(bytes)")
        }
      }
    }

    @Test func `a report in a ready region lets the program go on, and no block gets that region`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        setGuard(.onreport, 1)
        usePairs(7)
        let region = memGuard.record(memGuard.pointee.ready[0]), page = memGuard.address(ofPage: region.pointee.dataPage)
        for address in [page - 1, page + 4096] {
          var fault = stave_fault()
          fault.address = address
          precondition(memGuard.reportFault(&fault))
          touch(address)
        }
        // A write that goes on through it.
        touch(page)
        touch(page + 4095)
        let block = Heap.allocate(100)!
        precondition(block.address & ~4095 != page && holds(block, 100, 0) && !isReadable(page) && !isReadable(page - 1) && !isReadable(page + 4096))
        var damage = GuardDamage()
        guard case .done = memGuard.free(block.address, stack: 0, damage: &damage), damage.count == 0 else { preconditionFailure() }
        // Later its addresses are used like others.
        memGuard.pointee.laneCursor = memGuard.firstLanePage
        usePairs(400)
      }
    }

    @Test func `guards are as wide as they are wanted from the change of the option on, whatever threads free meanwhile`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let isDone = UnsafeMutablePointer<Int64>.allocate(capacity: 1)
        isDone.pointee = 0
        inThreads(2) { thread in
          if thread == 1 {
            while stave_load64(isDone) == 0 {
              let blocks = (0..<8).map { _ in Heap.allocate(100)! }
              for block in blocks {
                let record = memGuard.liveBlock(at: block.address)!.pointee
                precondition(record.pageCount == 2 * (record.dataPage - record.firstPage) + 1, "one guard is wider than the other")
                Heap.free(block)
              }
            }
            return
          }
          for round in 0..<600 {
            let width = UInt32(1 + round & 3)
            setGuard(.memguardWidth, Int64(width) * 4096)
            let blocks = (0..<4).map { _ in Heap.allocate(100)! }
            for block in blocks {
              let record = memGuard.liveBlock(at: block.address)!.pointee
              precondition(record.pageCount == 2 * width + 1 && record.dataPage == record.firstPage + width, "\(round): \(record.pageCount)")
              Heap.free(block)
            }
          }
          stave_store64(isDone, 1)
        }
        memGuard.checkInvariants()
      }
    }

    @Test func `L43 round after round of the lane, among blocks that stay, freed ones have no pages`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        memGuard.pointee.kept = 4 << 20
        var lot = Generator(4711), stay: [UnsafeMutableRawPointer] = [], places: Set<UInt> = [], rounds = 0, cursor: UInt32 = 0
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
          if memGuard.pointee.laneCursor < cursor { rounds += 1 }
          cursor = memGuard.pointee.laneCursor
          if round % 500 == 499 {
            memGuard.checkInvariants()
            precondition(openPlaces(Array(places)) == 0, "\(round)")
            precondition(inChild(withHandlers: true) { min(199, openPlaces(Array(places))) } == 0, "\(round)")
          }
        }
        precondition(rounds >= 10 && memGuard.pointee.wraps == 0, "\(rounds)")
        precondition(memGuard.pointee.reached(UInt(pageBytes)) == memGuard.pointee.opened + 4 << 20)
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
          precondition(isDamaged ? damage.block!.address == block.address && damage.block!.size == UInt(size) : damage.block == nil)
          precondition(!isReadable(start))
        }
        memGuard.checkInvariants()
      }
    }

    @Test func `what a program gives back of a block of whole pages comes again when it touches it, also by a system call`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        usePairs(8)
        for (size, side) in [(4096, 0), (8192, 0), (102_400, 0), (4000, 0), (4081, 0), (200, 0), (200, GuardSide.underflow), (4095, GuardSide.underflow)] as [(UInt, UInt8)] {
          setGuard(.memguardSide, Int64(side))
          usePairs(4)
          let block = Heap.allocate(size, alignment: side == GuardSide.underflow || size == 4081 ? 16 : 4096)!
          precondition(block.address & 4095 == 0)
          fill(block, Int(size), 3)
          precondition(madvise(block, Int(size), 4 /* DONTNEED */) == 0)
          var ends: [Int32] = [0, 0]
          precondition(pipe(&ends) == 0 && write(ends[1], "x", 1) == 1 && read(ends[0], block + 5, 1) == 1)
          precondition(block.load(as: UInt8.self) == 0 && block.load(fromByteOffset: 5, as: UInt8.self) == 0x78)
          // Beside it everything is as the system gave it: written, as far as anybody can tell.
          if size & 4095 != 0 { precondition(madvise(block, Int(size), 4) == 0) }
          var damage = GuardDamage()
          guard case .done = memGuard.free(block.address, stack: 0, damage: &damage), damage.count == 0 else { preconditionFailure("\(size)") }
          precondition(!isReadable(block.address))
        }
      }
    }
  }
}
