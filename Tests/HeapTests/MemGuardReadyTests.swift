// SPDX-License-Identifier: BSD-2-Clause
//
// Ready regions: pages go from block to block, and blocks are guarded as ever; also in a child of fork, where the descriptor for it is
// closed, is somebody else's, or is not to be had. In processes of their own.

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

/// Whether this system moves pages at all: Linux 6.8, and no container that forbids it.
func canMovePages() -> Bool {
  let page = Int(getpagesize())
  let memory = stave_mmap(0, page, 3, mapPrivateAnonymous)
  guard memory > 0 else { return false }
  let mover = stave_open_mover(UInt(bitPattern: memory), page)
  if mover > 0 { _ = close(Int32(mover)) }
  _ = stave_munmap(UInt(bitPattern: memory), page)
  return mover > 0
}

private func pageFaults() -> Int {
  var usage = rusage()
  getrusage(0 /* RUSAGE_SELF */, &usage)
  return usage.ru_minflt
}

/// Blocks that are guarded, written, read back and freed; afterwards nothing can be read where they were.
func usePairs(_ count: Int, sourceLocation: SourceLocation = #_sourceLocation) {
  for number in 0..<count {
    let size = [1, 100, 2000, 4096][number & 3]
    let block = Heap.allocate(UInt(size))!
    precondition(isGuarded(block) && holds(block, size, 0), "pair \(number)")
    let end = (block.address | 4095) + 1
    precondition(!isReadable(end) && !isReadable(block.address.roundedDown(to: 4096) - 1))
    fill(block, size, 0xa5)
    Heap.free(block)
    precondition(!isReadable(block.address) && residentPages(block.address.roundedDown(to: 4096), 4096) <= 0, "pair \(number)")
  }
  memGuard.checkInvariants()
}

#if arch(x86_64)
/// From now on one of these two calls ends the process.
func killCallers(of calls: [UInt64]) -> Bool {
  func line(_ code: UInt64, _ then: UInt64, _ otherwise: UInt64, _ value: UInt64) -> UInt64 { code | then << 16 | otherwise << 24 | value << 32 }
  let filter = [
    line(0x20, 0, 0, 0), line(0x15, 2, 0, calls[0]), line(0x15, 1, 0, calls[1]), line(0x06, 0, 0, 0x7fff_0000),
    line(0x06, 0, 0, 0x8000_0000),
  ]
  return filter.withUnsafeBufferPointer { lines in
    var program: [UInt] = [UInt(lines.count), UInt(bitPattern: lines.baseAddress!)]
    let prctl = 157
    guard stave_syscall6(prctl, 38 /* NO_NEW_PRIVS */, 1, 0, 0, 0, 0) == 0 else { return false }
    return program.withUnsafeMutableBufferPointer { stave_syscall6(prctl, 22 /* SECCOMP */, 2, Int(bitPattern: $0.baseAddress!), 0, 0, 0) == 0 }
  }
}
#endif

extension OnRoot {
  @Suite(.enabled(if: canMovePages(), "pages cannot be moved here")) struct MemGuardReadyTests {
    @Test func `a block that is freed leaves its page to the next one: no page is asked for or given back`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        precondition(memGuard.pointee.mover >= 960 && memGuard.pointee.guarded == 0, "before the program can have taken rights from itself")
        usePairs(8)
        precondition(memGuard.pointee.readyPages == 1 && memGuard.pointee.mover >= 960)
        let block = Heap.allocate(100)!
        fill(block, 100, 1)
        precondition(memGuard.pointee.readyPages == 0)
        Heap.free(block)
        let faults = pageFaults()
        for _ in 0..<1000 {
          let block = Heap.allocate(100)!
          fill(block, 100, 1)
          Heap.free(block)
        }
        // What Swift's own code touches for the first time.
        precondition(pageFaults() - faults < 50, "\(pageFaults() - faults)")
        memGuard.checkInvariants()
      }
    }

    @Test func `a ready region's block lies in its own page, also when guards have become wider since it was made`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        usePairs(1)
        precondition(memGuard.pointee.readyPages == 1)
        let page = memGuard.address(ofPage: memGuard.record(memGuard.pointee.ready[0]).pointee.dataPage)
        // As a change of the option does, before it closes what is ready.
        memGuard.pointee.width = 4
        let block = Heap.allocate(100)!
        precondition(memGuard.pointee.readyPages == 0 && block.address.roundedDown(to: 4096) == page && holds(block, 100, 0))
        fill(block, 100, 7)
        Heap.free(block)
        precondition(!isReadable(block.address))
      }
    }

    @Test func `a ready region is nobody's block: of an address in it nothing is known, and it is not found live`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        usePairs(4)
        let region = memGuard.record(memGuard.pointee.ready[0]), page = memGuard.address(ofPage: region.pointee.dataPage)
        precondition(memGuard.block(around: page) == nil && memGuard.block(around: page - 1) == nil && memGuard.liveBlock(at: page) == nil)
        precondition(isReadable(page) && !isReadable(page - 1) && !isReadable(page + 4096))
        let next = Heap.allocate(100)!
        precondition(memGuard.block(around: page)?.pointee.address == next.address && holds(next, 100, 0))
      }
    }

    @Test func `in a child of fork, and in its parent beside it, blocks are guarded, and each moves pages of its own`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let kept = Heap.allocate(100)!
        fill(kept, 100, 3)
        usePairs(8)
        let its = memGuard.pointee.mover, identity = memGuard.pointee.moverIdentity
        for deep in 0..<3 {
          Heap.prepareFork()
          let child = libcFork()
          if child == 0 {
            Heap.childAfterFork()
            // The parent's has been closed, and another is there at once.
            if memGuard.pointee.mover < 960 || stave_file_identity(its) == identity || memGuard.pointee.openings != 1 { _exit(2) }
            usePairs(20)
            Heap.free(kept)
            usePairs(20)
            if memGuard.pointee.mover < 960 || memGuard.pointee.readyPages == 0 { _exit(3) }
            _exit(0)
          }
          Heap.parentAfterFork()
          usePairs(20)
          var status: Int32 = 0
          precondition(waitpid(child, &status, 0) == child && status == 0, "child \(deep): \(status)")
          precondition(memGuard.pointee.mover == its && holds(kept, 100, 3))
        }
        // Where few are guarded it is closed as well.
        setGuard(.memguard, 100)
        precondition(memGuard.pointee.mover == its && inChild(withHandlers: true) { stave_file_identity(its) == identity ? 1 : 0 } == 0)
      }
    }

    @Test func `where no handler runs, a child of fork cannot move its parent's pages by its descriptor`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let kept = Heap.allocate(100)!
        fill(kept, 100, 3)
        usePairs(8)
        let child = libcFork()
        if child == 0 {
          usePairs(20)
          Heap.free(kept)
          usePairs(20)
          _exit(memGuard.pointee.openings == 2 ? 0 : 2)
        }
        var status: Int32 = 0
        precondition(waitpid(child, &status, 0) == child && status == 0, "\(status)")
        precondition(holds(kept, 100, 3))
        usePairs(20)
      }
    }

    @Test func `the program closes the descriptor, or uses its number: a few times another is opened, then pages stay where they are`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        usePairs(4)
        for round in 0..<6 {
          let mover = memGuard.pointee.mover
          precondition((mover > 0) == (round < 4), "round \(round): \(mover)")
          var file: Int32 = -1
          if mover > 0 {
            if round == 0 { precondition(close(mover) == 0) } else {
              let temporary = open("/dev/null", O_RDWR)
              precondition(dup2(temporary, mover) == mover)
              close(temporary)
              file = mover
              // A child closes its parent's descriptor, and not what has the number now.
              let identity = stave_file_identity(file)
              let isThere = inChild(withHandlers: true) { stave_file_identity(file) == identity ? 0 : 1 } == 0
              precondition(isThere, "a child has closed the program's file")
            }
          }
          // With this it is noticed.
          Heap.free(Heap.allocate(100))
          usePairs(40)
          if file >= 0 { precondition(fcntl(file, F_GETFD) >= 0 && memGuard.pointee.mover != file, "it is the program's") }
        }
        precondition(memGuard.pointee.openings == 4)
      }
    }

    @Test func `the program's own descriptors have the numbers that they would have`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let before = open("/dev/null", O_RDONLY)
        close(before)
        guardUp()
        usePairs(8)
        let after = open("/dev/null", O_RDONLY)
        precondition(before == after && memGuard.pointee.mover >= 960 && fcntl(memGuard.pointee.mover, F_GETFD) == FD_CLOEXEC)
      }
    }

    @Test func `where few descriptors are allowed there is none, and none is left behind`() async {
      await #expect(processExitsWith: .success) {
        var limit = rlimit(rlim_cur: 256, rlim_max: 256)
        precondition(setrlimit(__rlimit_resource_t(7 /* NOFILE */), &limit) == 0)
        guardUp()
        usePairs(8)
        precondition(memGuard.pointee.mover == 0 && memGuard.pointee.readyPages == 0)
        for number in Int32(3)..<256 where fcntl(number, F_GETFD) >= 0 {
          let name = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(number)")
          precondition(name.map { !$0.contains("userfaultfd") } ?? true)
        }
      }
    }

    #if arch(x86_64)
    @Test func `under a filter of system calls that kills, pages are not moved`() async {
      await #expect(processExitsWith: .success) {
        guard killCallers(of: [16 /* ioctl */, 323 /* userfaultfd */]) else { return }
        guardUp()
        usePairs(40)
        precondition(memGuard.pointee.mover == 0 && memGuard.pointee.readyPages == 0)
      }
    }
    #endif

    @Test func `L5 threads whose blocks' pages go to each other, while others fork: what a block holds stays`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        memGuard.pointee.kept = 4 << 20
        inThreads(4) { thread in
          var lot = Generator(UInt64(900 + thread))
          var held: [(block: UnsafeMutableRawPointer, size: Int)] = []
          for round in 0..<4000 {
            if held.count > 12 || (lot.below(2) == 0 && !held.isEmpty) {
              let (block, size) = held.remove(at: lot.below(held.count))
              precondition(holds(block, size, UInt8(thread + 1)))
              Heap.free(block)
            } else {
              let size = 1 + lot.below(lot.below(8) == 0 ? 9000 : 4096), block = Heap.allocate(UInt(size))!
              precondition(!isGuarded(block) || holds(block, size, 0), "not zero")
              fill(block, size, UInt8(thread + 1))
              held.append((block, size))
            }
            if thread == 0 && round % 400 == 399 {
              Heap.prepareFork()
              let child = libcFork()
              if child == 0 {
                Heap.childAfterFork()
                for (block, size) in held {
                  if !holds(block, size, 1) { _exit(2) }
                  Heap.free(block)
                }
                _exit(0)
              }
              Heap.parentAfterFork()
              var status: Int32 = 0
              precondition(waitpid(child, &status, 0) == child && status == 0, "\(status)")
            }
          }
          for (block, size) in held {
            precondition(holds(block, size, UInt8(thread + 1)))
            Heap.free(block)
          }
        }
        precondition(memGuard.pointee.guarded == memGuard.pointee.freed)
        memGuard.checkInvariants()
      }
    }
  }
}
