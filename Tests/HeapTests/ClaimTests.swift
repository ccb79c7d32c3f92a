// SPDX-License-Identifier: BSD-2-Clause
//
// The size or the malloc type that a caller says of the block it frees: each of what may be known of a block, and each way to be wrong.

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

/// Whether something was said; it is counted, and the program goes on.
private func isReported(_ claim: () -> Void) -> Bool {
  let before = stave_reports().pointee.count
  claim()
  return stave_reports().pointee.count > before
}

private func isRefused(_ block: UnsafeMutableRawPointer?, _ size: UInt, _ alignment: UInt = 1) -> Bool {
  isReported { Heap.demandSize(block, size, alignment: alignment, "test") }
}

extension OnRoot {
  @Suite struct ClaimTests {
    @Test(arguments: [Option.redZone, .memguard])
    func `of a block with guard bytes, or a guarded one, only the size that was asked for is right`(_ option: Option) async {
      await #expect(processExitsWith: .success) { [number = option.rawValue as Int] in
        Stage.up()
        OnRoot.RedZoneTests.goOn()
        let option = Option(rawValue: number)!
        precondition(!Heap.looksAtClaims)
        precondition(Heap.obey(MailboxTests.set(option, 1)).status == MailStatus.done && Heap.looksAtClaims)
        for size in [1, 15, 16, 100, 4096, 32_768, 100_000] as [UInt] {
          for alignment in [1, 64] as [UInt] {
            let block = Heap.allocate(size, alignment: alignment)!
            // What a C++ library's new may have rounded up is not wrong.
            for wrong in [0, size - 1, size + 1, size * 2, size / 2] where max(1, wrong).roundedUp(to: alignment) != size { precondition(isRefused(block, wrong, alignment), "\(size) as \(wrong)") }
            precondition(!isRefused(block, size, alignment), "\(size)")
            let resized = Heap.reallocate(block, size + 50)!
            precondition(isRefused(resized, size, alignment) && !isRefused(resized, size + 50, alignment))
            Heap.free(resized)
          }
        }
        precondition(Heap.obey(MailboxTests.set(option, 0)).status == MailStatus.done && !Heap.looksAtClaims)
        checkAll()
      }
    }

    @Test func `of any other block, with item checks, a size of its class, or to which realloc shrinks it in its place`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.RedZoneTests.goOn()
        let early = Heap.allocate(100)!
        precondition(Heap.obey(MailboxTests.set(.check, 1)).status == MailStatus.done && Heap.looksAtClaims)
        precondition(isRefused(early, 50) && !isRefused(early, 100), "from before the switch as well")
        Heap.free(early)
        for size in Array(0...2000) + [4096, 10_000, 32_768, 32_769, 100_000, 5 << 20] as [UInt] {
          let block = Heap.allocate(size)!, holds = Heap.usableSize(block)!
          precondition(!isRefused(block, size) && isRefused(block, holds + 1) && (holds == 16 || isRefused(block, holds / 2)), "\(size)")
          let less = size / 2 + 1
          if let resized = Heap.reallocate(block, less) {
            precondition(!isRefused(resized, less), "\(size) to \(less)")
            Heap.free(resized)
          }
        }
        for alignment in [32, 64, 4096, 65_536] as [UInt] {
          for size in [1, 100, 5000, 100_000] as [UInt] {
            let block = Heap.allocate(size, alignment: alignment)!
            precondition(!isRefused(block, size, alignment), "\(size) at \(alignment)")
            Heap.free(block)
          }
        }
        precondition(Heap.obey(MailboxTests.set(.check, 0)).status == MailStatus.done && !Heap.looksAtClaims)
        checkAll()
      }
    }

    @Test func `of what is no live block nothing is said before the free itself`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.RedZoneTests.goOn()
        for option in [Option.check, .redZone, .memguard] {
          precondition(Heap.obey(MailboxTests.set(option, 1)).status == MailStatus.done)
          let block = Heap.allocate(100)!, large = Heap.allocate(1 << 20)!
          var local = 0
          precondition(!isRefused(nil, 5) && !isRefused(block + 16, 5) && !isRefused(large + 4096, 5))
          withUnsafeMutableBytes(of: &local) { precondition(!isRefused($0.baseAddress!, 5)) }
          Heap.free(block)
          Heap.free(large)
          precondition(!isRefused(block, 5) && !isRefused(large, 5), "freed already")
          precondition(Heap.obey(MailboxTests.set(option, 0)).status == MailStatus.done)
        }
      }
    }

    @Test(arguments: [0, 1] as [Int64]) func `L53 what is out of a type that ends is counted, by whomever it is guarded`(_ stacks: Int64) async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) { [stacks] in
        Stage.up()
        setGuard(.stacks, stacks)
        let ours = OnRoot.RedZoneTests.register("ours").pointee.author!
        for option in [Option.memguard, .redZone, .sizes] {
          setGuard(option, 1)
          for size in [100, 200, 100_000] as [UInt] { _ = Heap.allocate(size, type: types.known(ours)!, .noWait)! }
          setGuard(option, 0)
        }
        Heap.unregister(ours)
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("malloc type ended with blocks out: ours: 9 blocks, "), "\(text)")
    }

    @Test func `a type is wrong if the block is of another author's; memory without one may be freed as any`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        OnRoot.RedZoneTests.goOn()
        let ours = OnRoot.RedZoneTests.register("ours").pointee.author!, theirs = OnRoot.RedZoneTests.register("theirs").pointee.author!
        for option in [Option.check, .redZone, .memguard] {
          precondition(Heap.obey(MailboxTests.set(option, 1)).status == MailStatus.done)
          for size in [100, 100_000] as [UInt] {
            let block = Heap.allocate(size, type: types.known(ours)!, .noWait)!, plain = Heap.allocate(size)!
            precondition(isReported { Heap.demandType(block, theirs, "test") } && !isReported { Heap.demandType(block, ours, "test") })
            precondition(!isReported { Heap.demandType(plain, ours, "test") } && !isReported { Heap.demandType(block, nil, "test") })
            Heap.free(block)
            Heap.free(plain)
          }
          precondition(Heap.obey(MailboxTests.set(option, 0)).status == MailStatus.done)
        }
        // In a scope malloc's memory has a type that whoever asked for it knows nothing of.
        precondition(Heap.obey(MailboxTests.set(.redZone, 1)).status == MailStatus.done)
        let early = Heap.allocate(100, type: types.known(ours)!, .noWait)!
        Heap.leaveScope(to: Heap.enterScope(ours))
        precondition(!isReported { Heap.demandType(early, theirs, "test") })
        Heap.free(early)
        stave_hot().pointee.scopes = 0
        // What an ended type left is nobody's.
        let left = [100, 100_000].map { Heap.allocate($0, type: types.known(ours)!, .noWait)! }
        Heap.unregister(ours)
        for block in left {
          precondition(!isReported { Heap.demandType(block, theirs, "test") })
          (block - 1).storeBytes(of: 0, as: UInt8.self)
          Heap.free(block)
        }
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("type a type that is gone)") && !text.contains("type )"), "\(text)")
      #expect(text.contains("a block of 100 bytes of type ours, as one of type theirs"), "\(text)")
    }
  }
}
