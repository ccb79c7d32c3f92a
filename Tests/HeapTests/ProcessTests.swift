// SPDX-License-Identifier: BSD-2-Clause
//
// What the heap has to do with the life of its process: options, injected failures, fork.

@testable import Accounting
import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct ProcessTests {
    init() { Stage.up() }

    @Test func `L36 the locks around fork are taken in their order, and all are free after`() {
      let block = Heap.allocate(100)!
      Heap.prepareFork()
      // Handlers of the program may allocate meanwhile on this thread.
      let inside = Heap.allocate(5000)
      #expect(inside != nil)
      Heap.free(inside)
      Heap.parentAfterFork()
      #if STAVE_CHECK_LOCKS
      #expect(!FutexLock.threadHoldsAny)
      #endif
      Heap.free(block)
      checkAll()
      freeAll((0..<1000).map { _ in Heap.allocate(64)! })
    }

    @Test(arguments: [false, true])
    func `a fork that began before the core served takes no lock, and gives none back that was taken since`(_ isChild: Bool) async {
      await #expect(processExitsWith: .success) { [isChild] in
        Heap.prepareFork()
        Stage.up()
        types.pointee.lock.lock()
        if isChild { Heap.childAfterFork() } else { Heap.parentAfterFork() }
        precondition(types.pointee.lock.isHeld)
        types.pointee.lock.unlock()
        checkAll()
      }
    }

    static func becomeChild() {
      let blocks = (0..<1000).map { _ in Heap.allocate(100)! }
      root.pointee.mailbox.letter = Letter(request: 5, command: MailCommand.trim)
      Heap.prepareFork()
      Heap.childAfterFork()
      precondition(root.pointee.mailbox.letter.request == 0 && !OwnMailbox.hasMail && OwnMailbox.read() == nil && root.pointee.mailbox.answer == 0)
      precondition(heap.pointee.background.thread == 0)
      freeAll(blocks)
      freeAll((0..<1000).map { _ in Heap.allocate(100)! })
      reclaimAll(.drainCPU)
      _ = Heap.trim()
      checkAll()
    }

    @Test func `in the child of a fork all locks are free and the mailbox is new`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.ProcessTests.becomeChild()
      }
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.ProcessTests.becomeChild()
      }
    }

    @Test(arguments: [0, 1, 2])
    func `a process that ends while a lock is held says so, and ends`(_ which: Int) async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) { [which] in
        Stage.up()
        for option in [Option.stats, .leaks] { precondition(Heap.obey(MailboxTests.set(option, 1)).status == MailStatus.done) }
        switch which {
        case 0: zones.pointee.listLock.lock()
        case 1: types.pointee.lock.lock()
        default: metadataPages.pointee.lock.lock()
        }
        heap.finish()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("exit: the process ends inside the allocator: what is in use is not counted"), "\(text)")
      #expect(!text.contains("leaks: "), "\(text)")
    }

    @Test func `failure_rate makes every n-th call fail, and nothing else`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        heap.pointee.options.values[Option.failureRate.rawValue] = 10
        heap.openFastPath()
        var failures = 0
        for _ in 0..<1000 {
          if let block = Heap.allocate(64) { Heap.free(block) } else { failures += 1 }
        }
        if failures != 100 { Issue.record("\(failures) of 1000 failed") }
        precondition(heap.pointee.injectedFailures >= Int64(failures))
        checkAll()
      }
    }

    @Test func `configuration comes from the environment it is given`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        var entries: [UnsafePointer<CChar>?] = [UnsafePointer(strdup("STAVE_OPTIONS=percpu:locked,background:0,verbose:1,period:77")), nil]
        entries.withUnsafeMutableBufferPointer { heap.configure(environment: UnsafePointer($0.baseAddress!)) }
        precondition(CPUCache.isLocked && heap.pointee.options[.period] == 77)
        freeAll((0..<1000).map { _ in Heap.allocate(64)! })
        checkAll()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("caches locked"))
      #expect(text.contains("percpu:locked"))
      #expect(text.contains("period:77"))
      await #expect(processExitsWith: .success) {
        for (words, advice) in [("always", 14), ("never", 15), ("default", 0)] as [(String, Int32)] {
          var entries: [UnsafePointer<CChar>?] = [UnsafePointer(strdup("STAVE_HUGEPAGES=\(words)")), nil]
          arena.pointee.hugePageAdvice = 0
          entries.withUnsafeMutableBufferPointer { heap.configure(environment: UnsafePointer($0.baseAddress!)) }
          precondition(arena.pointee.hugePageAdvice == advice, words)
        }
      }
    }
  }
}
