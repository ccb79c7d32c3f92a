// SPDX-License-Identifier: BSD-2-Clause
//
// The thread that gives memory back: what it is made of. What it does in real programs is in Tests/Preload/background.c.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct BackgroundTests {
    @Test func `its rseq area says "not registered", on whichever side of the thread pointer libc keeps it`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        root.pointee.mode = CacheMode.restartable
        let base = UnsafeMutableRawPointer.allocate(byteCount: Heap.stackBytes, alignment: 4096)
        for offset in [32, 64, 2464, 4096, 8160, -32, -160, -4096, -8192] as [Int64] {
          base.initializeMemory(as: UInt8.self, repeating: 0, count: Heap.stackBytes)
          stave_hot().pointee.rseq_offset = offset
          let pointer = Heap.placeThreadPointer(in: base)
          precondition(pointer != nil, "\(offset)")
          precondition(pointer!.load(as: UInt.self) == pointer!.address && (pointer! + 16).load(as: UInt.self) == pointer!.address)
          precondition((pointer! + Int(offset) + 4).load(as: Int32.self) == -1, "\(offset)")
        }
        for offset in [0, 16, -16, 8192, -8224, 1 << 20, -(1 << 20)] as [Int64] {
          stave_hot().pointee.rseq_offset = offset
          precondition(Heap.placeThreadPointer(in: base) == nil, "\(offset) is out of reach: no thread rather than one that takes zero for its CPU")
        }
        // Locked caches ask libc for the CPU, which looks there first.
        root.pointee.mode = CacheMode.locked
        precondition(Heap.placeThreadPointer(in: base) == nil, "libc would read beyond the thread's memory")
        stave_hot().pointee.rseq_offset = 2464
        let pointer = Heap.placeThreadPointer(in: base)!
        precondition((pointer + 2464 + 4).load(as: Int32.self) == -1, "not CPU 0")
        stave_hot().pointee.rseq_offset = 0
        precondition(Heap.placeThreadPointer(in: base) != nil, "a libc without such an area")
      }
    }

    @Test func `whatever ends the thread, another may start`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        heap.pointee.options.values[Option.period.rawValue] = 10
        func wait(for what: String, _ isSo: () -> Bool) {
          for _ in 0..<6000 where !isSo() {
            let blocks = (0..<4).map { _ in Heap.allocate(8 << 20)! }
            for block in blocks {
              fill(block, 8 << 20, 1)
              Heap.free(block)
            }
            usleep(10_000)
          }
          precondition(isSo(), what)
        }
        wait(for: "it starts") { heap.pointee.background.thread > 0 && heap.pointee.background.periods > 2 }
        let starts = heap.pointee.background.starts
        for _ in 0..<6000 where heap.pointee.background.thread != 0 { usleep(10_000) }
        precondition(heap.pointee.background.thread == 0, "nothing to do: it ends")
        precondition(arena.pointee.cachedBytes == 0)
        wait(for: "it starts again") { heap.pointee.background.starts > starts }
      }
    }

    @Test func `the thread ends although locked pages do not go back`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        heap.pointee.options.values[Option.period.rawValue] = 10
        let block = Heap.allocate(16 << 20)!
        guard mlock(block + (8 << 20), 4096) == 0 else { return print("SKIPPED: locked pages, for mlock is not allowed") }
        Heap.free(block)
        for _ in 0..<8 { Heap.free(Heap.allocate(8 << 20)) }
        for _ in 0..<6000 where heap.pointee.background.periods < 3 { usleep(10_000) }
        precondition(heap.pointee.background.periods >= 3, "it works")
        for _ in 0..<6000 where heap.pointee.background.thread != 0 { usleep(10_000) }
        precondition(heap.pointee.background.thread == 0 && arena.pointee.cachedBytes > 0, "it ends, with the locked run still there")
      }
    }

    @Test func `the mailbox is answered within a second or so, however long the period`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        heap.pointee.options.values[Option.period.rawValue] = 3_600_000
        for _ in 0..<8 { Heap.free(Heap.allocate(64 << 20)) }
        precondition(heap.pointee.background.thread > 0)
        root.pointee.mailbox.letter = Letter(request: 7, command: MailCommand.trim)
        for _ in 0..<6000 where root.pointee.mailbox.answer != 7 { usleep(10_000) }
        precondition(root.pointee.mailbox.answer == 7 && heap.pointee.background.periods == 0)
      }
    }

    #if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
    @Test func `L39 a thread that the system refuses is asked for again, but not at every call`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        let block = Heap.allocate(64 << 20)!
        let other = Heap.allocate(64 << 20)!
        stave_inject().pointee.always = 11
        Heap.free(block)  // its stack is refused
        precondition(heap.pointee.background.thread == 0 && heap.pointee.background.failures == 1)
        stave_inject().pointee.always = 0
        heap.pointee.background.failures = 0
        stave_inject().pointee.error = 11
        stave_inject().pointee.after = 2  // behind the stack's mapping comes the thread
        Heap.free(other)
        precondition(stave_inject().pointee.after == 0)
        precondition(heap.pointee.background.thread == 0 && heap.pointee.background.failures == 1)
        for _ in 0..<100 { Heap.free(Heap.allocate(5 << 20)) }
        precondition(heap.pointee.background.failures == 1, "not asked again so soon")
        for _ in 0..<5000 { Heap.free(Heap.allocate(5 << 20)) }
        precondition(heap.pointee.background.failures == 0 && heap.pointee.background.thread > 0)
      }
    }
    #endif

    @Test func `no thread is started in what is not our process`() async {
      await #expect(processExitsWith: .success) {
        Stage.upWithThread()
        // As a child of vfork sees it.
        root.pointee.process += 1
        for _ in 0..<100 { Heap.free(Heap.allocate(64 << 20)) }
        precondition(heap.pointee.background.starts == 0 && heap.pointee.background.thread == 0)
        root.pointee.process -= 1
        for _ in 0..<100 { Heap.free(Heap.allocate(64 << 20)) }
        precondition(heap.pointee.background.starts == 1)
      }
    }
  }
}
