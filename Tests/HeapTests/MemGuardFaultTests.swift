// SPDX-License-Identifier: BSD-2-Clause
//
// Faults in a block's own bytes, which nothing of ours can be the cause of: the program's own protection, or a jump to data. They are the
// program's. In processes of their own.

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

/// What the handler of the program makes accessible, and how often it has.
private nonisolated(unsafe) var closedPage: UInt = 0
private nonisolated(unsafe) var faults = 0

/// A block of `size` bytes, in the lane if it may be there, and full of the instruction that returns.
private func blockOfCode(_ size: UInt) -> UnsafeMutableRawPointer {
  for _ in 0..<4 { Heap.free(Heap.allocate(size)) }
  let block = Heap.allocate(size)!
  fill(block, Int(size), 0xc3)
  return block
}

private func jump(to memory: UnsafeMutableRawPointer) {
  unsafeBitCast(memory, to: (@convention(c) () -> Void).self)()
}

extension OnRoot {
  @Suite struct MemGuardFaultTests {
    @Test(arguments: [100, 8001, 20_000]) func `a page of a block that the program protects itself faults into the program's handler`(_ size: Int) async {
      await #expect(processExitsWith: .success) { [size = size as Int] in
        signal(SIGSEGV) { _ in
          faults += 1
          if mprotect(UnsafeMutableRawPointer(bitPattern: closedPage), 4096, PROT_READ | PROT_WRITE) != 0 { _exit(3) }
        }
        guardUp()
        setGuard(.onreport, 1)
        let block = blockOfCode(UInt(size))
        closedPage = block.address.roundedDown(to: 4096)
        precondition(mprotect(UnsafeMutableRawPointer(bitPattern: closedPage), 4096, PROT_READ) == 0)
        touch(block.address)
        precondition(faults == 1 && memGuard.pointee.reports == 0, "\(faults) \(memGuard.pointee.reports)")
        Heap.free(block)
        precondition(!isReadable(block.address))
        memGuard.checkInvariants()
      }
    }

    @Test(arguments: [100, 20_000]) func `a jump into a live block ends the program as it would without guards`(_ size: Int) async {
      await #expect(processExitsWith: .signal(SIGSEGV)) { [size = size as Int] in
        guardUp()
        setGuard(.onreport, 1)
        jump(to: blockOfCode(UInt(size)))
      }
    }

    @Test(arguments: [100, 20_000]) func `a jump into a freed block is reported, and ends the program whatever is to follow a report`(_ size: Int) async {
      // Of a small one the page is missing, by the lane's descriptor.
      await #expect(processExitsWith: .signal(size == 100 && canMovePages() ? SIGBUS : SIGSEGV)) { [size = size as Int] in
        guardUp()
        setGuard(.onreport, 1)
        let block = blockOfCode(UInt(size))
        Heap.free(block)
        jump(to: block)
      }
    }
  }
}
