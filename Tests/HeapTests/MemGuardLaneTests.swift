// SPDX-License-Identifier: BSD-2-Clause
//
// The lane, where a missing page is a guard as long as the descriptor is there: whatever becomes of that, freed blocks have no pages, if
// not at once then from the next guarded pair on; and blocks there are what blocks are elsewhere. In processes of their own.

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

private func pair(_ size: UInt = 100) { Heap.free(Heap.allocate(size)) }

private func touch(_ address: UInt) { UnsafeMutablePointer<UInt8>(bitPattern: address)!.pointee = 1 }

/// As in Stave's own thread, whose descriptors are not the program's.
private func asOwnThread(_ body: () -> Void) {
  stave_set_own_thread(stave_thread_pointer())
  body()
  stave_set_own_thread(0)
}

extension OnRoot {
  @Suite(.enabled(if: canMovePages(), "pages cannot be moved here")) struct MemGuardLaneTests {
    @Test func `a child of fork has all guards; where no handler runs, once it has asked for a block, with a descriptor or without`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(300)
        precondition(open(places) == 0)
        precondition(inChild(withHandlers: true) { open(places) } == 0)
        let touched = inChild(withHandlers: false) {
          for address in places.suffix(20) { touch(address) }
          pair()
          usePairs(40)
          return open(places)
        }
        precondition(touched == 0, "\(touched)")
        for withHandlers in [true, false] {
          let marked = inChild(withHandlers: withHandlers) {
            var limit = rlimit(rlim_cur: 256, rlim_max: 256)
            precondition(setrlimit(__rlimit_resource_t(7 /* NOFILE */), &limit) == 0)
            close(memGuard.pointee.mover)
            pair()
            pair()
            usePairs(200)
            return open(places) + (memGuard.pointee.laneState == LaneState.marked ? 0 : 100)
          }
          precondition(marked == 0 && open(places) == 0, "\(marked)")
        }
        usePairs(200)
      }
    }

    @Test func `where few blocks are guarded, a child of fork gets a descriptor with the first that it frees`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(100)
        setGuard(.memguard, 1000)
        pair()
        let identity = memGuard.pointee.moverIdentity
        let answer = inChild(withHandlers: true) {
          // Its parent's is closed.
          precondition(memGuard.pointee.mover == 0 && (960..<970).allSatisfy { stave_file_identity($0) != identity })
          for address in places { touch(address) }
          for _ in 0..<8000 { pair() }
          precondition(memGuard.pointee.mover >= 960 && memGuard.pointee.openings == 1)
          return open(places)
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
            pair()
            pair()
            precondition((memGuard.pointee.mover > 0) == !isLast && open(places) == 0, "\(isLast): \(open(places))")
            precondition(!isReadable(memGuard.address(ofPage: memGuard.pointee.laneUsed) - 1))
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

    @Test func `somebody has a copy of the descriptor that is closed: the lane is watched, and when that is closed, too, there is another`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(40), copy = dup(memGuard.pointee.mover)
        close(memGuard.pointee.mover)
        // Pages stay where they are, and nothing else.
        usePairs(40)
        precondition(open(places) == 0 && memGuard.pointee.openings == 1 && memGuard.pointee.laneState == LaneState.open)
        close(copy)
        for address in places.suffix(10) { touch(address) }
        pair()
        pair()
        precondition(open(places) == 0 && memGuard.pointee.openings == 2 && memGuard.pointee.mover > 0)
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
          for _ in 0..<100 { pair() }
          // What lies at its number there is another's.
          let file = open("/dev/null", O_RDONLY)
          precondition(dup2(file, mover) == mover)
          for _ in 0..<100 { pair() }
          precondition(fcntl(mover, F_GETFD) >= 0)
        }
        precondition(memGuard.pointee.mover == mover && memGuard.pointee.openings == 1 && open(places) == 0)
        let ready = memGuard.pointee.readyCount
        usePairs(40)
        precondition(memGuard.pointee.readyCount > ready || ready > 0)
      }
    }

    @Test func `a child of fork whose parent's descriptor was closed: what was touched meanwhile is gone there, too`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(200)
        close(memGuard.pointee.mover)
        for address in places.suffix(50) { touch(address) }
        let answer = inChild(withHandlers: true) {
          pair()
          return open(places)
        }
        precondition(answer == 0, "\(answer)")
      }
    }

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
          let ready = memGuard.pointee.readyCount, cursor = memGuard.pointee.laneCursor
          Heap.free(block)
          precondition(memGuard.pointee.laneCursor == cursor + 3 && !isReadable(block.address), "\(round)")
          precondition(memGuard.pointee.readyCount == (round == 2 ? ready : ready + 1), "\(round)")
          precondition(memGuard.pointee.openings == 1)
        }
        usePairs(100)
        precondition(open(places) == 0 && memGuard.pointee.openings == 1)
      }
    }

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
        precondition(memGuard.pointee.laneTaken > 1024 / 4 && memGuard.pointee.readyCount == 0 && open(Array(places)) == 0)
        for block in held { Heap.free(block) }
        precondition(memGuard.pointee.laneTaken == 0 && memGuard.pointee.readyCount > 0)
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

    @Test func `blocks that marks have closed have no page again in the time without a descriptor, nor have their guards`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        usePairs(100)
        func many() -> [UnsafeMutableRawPointer] { (0..<64).map { _ in Heap.allocate(100)! } }
        var inLane = many()
        for block in inLane { Heap.free(block) }
        inLane = many()
        // So many pages can be ready; the others are given back.
        let others = many()
        for block in others + inLane { Heap.free(block) }
        close(memGuard.pointee.mover)
        let behind = inLane.map { ($0.address | 4095) + 1 }
        for address in behind { touch(address) }
        for _ in 0..<70 { pair() }
        precondition(memGuard.pointee.openings == 2 && open(inLane.map { $0.address }) == 0 && open(behind) == 0, "\(open(behind))")
      }
    }

    #if arch(x86_64)
    @Test func `a page that cannot be moved is no cause to ask for the descriptor, which a filter of system calls might not bear`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        usePairs(8)
        let block = Heap.allocate(300)!
        fill(block, 300, 4)
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0)
        let child = libcFork()
        if child == 0 {
          var byte: UInt8 = 0
          close(ends[1])
          _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1)
        }
        close(ends[0])
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
        precondition(open(places) == 1 && isReadable(freed) && isReadable(behind))
        precondition(!isReadable((freed | 4095) + 1) && !isReadable(freed & ~4095 - 1) && !isReadable(live[3].address & ~4095 - 1))
        for block in live {
          fill(block, 200, 9)
          precondition((block == live[3]) == isReadable((block.address | 4095) + 1) && !isReadable(block.address & ~4095 - 1))
          Heap.free(block)
          precondition(!isReadable(block.address) && !isReadable((block.address | 4095) + 1))
        }
        setGuard(.memguard, 1)
        usePairs(300)
        precondition(open(places) == 1)
        setGuard(.memguard, 0)
        setGuard(.memguard, 1)
        usePairs(300)
        precondition(open(places) == 1)
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

    @Test func `a page that cannot be moved: the lane is as it was, and the block is closed otherwise`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let places = freedBlocks(20), block = Heap.allocate(300)!
        fill(block, 300, 4)
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0)
        // As long as a child shares it.
        let child = libcFork()
        if child == 0 {
          var byte: UInt8 = 0
          close(ends[1])
          _exit(read(ends[0], &byte, 1) == 0 && holds(block, 300, 4) ? 0 : 1)
        }
        let (cursor, ready) = (memGuard.pointee.laneCursor, memGuard.pointee.readyCount)
        Heap.free(block)
        precondition(!isReadable(block.address) && memGuard.pointee.readyCount == ready)
        precondition(memGuard.pointee.laneCursor == cursor && memGuard.pointee.mover > 0)
        // Nothing is said of it to be there.
        let next = memGuard.address(ofPage: cursor + memGuard.pointee.width)
        precondition(memGuard.block(around: next)?.pointee.address != block.address)
        memGuard.checkInvariants()
        close(ends[1])
        var status: Int32 = 0
        precondition(waitpid(child, &status, 0) == child && status == 0, "\(status)")
        usePairs(300)
        precondition(open(places) == 0 && memGuard.pointee.openings == 1)
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
            precondition(hasEnded == (isAll || isClosed) && open(places) == 0, "\(isAll) \(isClosed)")
            setGuard(.memguard, 0)
            precondition(open(places) == 0)
            setGuard(.memguard, 1)
            use()
            precondition(!isAll || memGuard.pointee.mover == 0 && memGuard.pointee.laneState == LaneState.marked)
            return open(places)
          }
          precondition(answer == 0, "\(isAll): \(answer)")
        }
      }
    }

    @Test func `a report in a ready region lets the program go on, and no block gets that region`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        setGuard(.onreport, 1)
        usePairs(7)
        let region = memGuard.record(memGuard.pointee.ready), page = memGuard.address(ofPage: region.pointee.dataPage)
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
            precondition(open(Array(places)) == 0, "\(round)")
            precondition(inChild(withHandlers: true) { min(199, open(Array(places))) } == 0, "\(round)")
          }
        }
        precondition(rounds >= 10 && memGuard.pointee.wraps == 0, "\(rounds)")
        precondition(memGuard.pointee.reached == memGuard.pointee.opened + 4 << 20)
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
