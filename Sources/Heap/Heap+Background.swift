// SPDX-License-Identifier: BSD-2-Clause
//
// Giving memory back while the program idles, with nobody calling malloc: one thread of our own (CPlatform/stave_clone.h).
// It starts when there is something to return, looks once a period, and ends when there has been nothing to do for some
// time; so a quiet process has no wake-ups. While it runs it answers the mailbox; otherwise the next slow call does.

import CPlatform
import Pages
import Primitives
import Synchronization
import Zones

public struct BackgroundState {
  /// The thread's id, cleared by the kernel when it ends.
  public var thread: Int32 = 0
  /// 1 from the decision to start until the thread has ended.
  public var isRunning: UInt32 = 0
  public var periods: UInt64 = 0
  public var starts: UInt64 = 0
  public var failures: UInt64 = 0
  var stack: UInt = 0
  var quietPeriods: Int = 0
  var lastLargeAllocations: UInt = 0
}

extension Heap {
  static let stackBytes = 64 << 10
  /// Cached bytes in the arena from which on the thread is worth starting.
  static var startThreshold: UInt { 1 << 20 }
  /// Quiet periods after which it ends.
  static let patience = 8

  /// Called on slow paths: starts the thread if there is work, answers the mailbox if nobody else does. A few loads.
  @inline(__always)
  static func noteSlowCall() {
    let background = heap.pointee.background
    if background.isRunning == 0 {
      let calls = heap.pointee.slowCalls.wrappingAdd(1, ordering: .relaxed).newValue
      if (arena.pointee.cachedBytes > startThreshold && background.failures == 0) || calls & 4095 == 0 { startBackground() }
      if root.pointee.mailbox.request != root.pointee.mailbox.answer { answerMailbox() }
    }
  }

  @inline(never)
  private static func startBackground() {
    guard heap.pointee.options[.background] == 1, stave_claim(&heap.pointee.background.isRunning) else { return }
    // Its predecessor may still be on the stack.
    guard stave_load32(&heap.pointee.background.thread) == 0 else {
      heap.pointee.background.isRunning = 0
      return
    }
    if heap.pointee.background.stack == 0 {
      guard let stack = mapAnonymous(bytes: stackBytes, name: "stave:thread") else {
        heap.pointee.background.isRunning = 0
        return
      }
      heap.pointee.background.stack = stack
    }
    let base = UnsafeMutableRawPointer(bitPattern: heap.pointee.background.stack)!
    // The thread pointer, with room on both sides; the rseq area behind it says "not registered".
    let threadPointer = base + stackBytes - 8192
    threadPointer.storeBytes(of: threadPointer.address, as: UInt.self)
    (threadPointer + 16).storeBytes(of: threadPointer.address, as: UInt.self)
    let area = Int(stave_hot().pointee.rseq_offset)
    if area > 0 && area < 4096 { (threadPointer + area + 4).storeBytes(of: -1, as: Int32.self) }
    heap.pointee.background.quietPeriods = 0
    heap.pointee.background.starts += 1
    let stackTop = base + stackBytes - 16384
    let result = stave_start_thread({ Heap.runBackground() }, stackTop, threadPointer, &heap.pointee.background.thread)
    // After a refusal, only every so many calls ask again.
    heap.pointee.background.failures = result < 0 ? heap.pointee.background.failures + 1 : 0
    if result < 0 { heap.pointee.background.isRunning = 0 }
  }

  private static func runBackground() {
    var clock: UInt32 = 0
    while true {
      _ = stave_futex_wait(&clock, 0, heap.pointee.options[.period] * 1_000_000)
      // libc does not know this thread, so a change of user or group passes it by: it must not outlive that.
      if stave_user_differs(Int32(root.pointee.process)) { break }
      if root.pointee.mailbox.request != root.pointee.mailbox.answer { answerMailbox() }
      heap.pointee.background.periods += 1
      if endOfPeriod() { heap.pointee.background.quietPeriods = 0 } else { heap.pointee.background.quietPeriods += 1 }
      if heap.pointee.background.quietPeriods >= patience { break }
    }
    heap.pointee.background.isRunning = 0
  }

  /// Returns what the last period did not need. False if there was nothing.
  static func endOfPeriod() -> Bool {
    var didSomething = false
    for cpu in 0..<Int(root.pointee.cpuCount) where CPUCache.isIdle(cpu) {
      if emptyCaches(of: cpu) { didSomething = true }
    }
    if trimIdleDepots() { didSomething = true }
    if arena.pointee.largeAllocations == heap.pointee.background.lastLargeAllocations { arena.forgetRecentBlocks() }
    heap.pointee.background.lastLargeAllocations = arena.pointee.largeAllocations
    if arena.purgeIdle() > 0 { didSomething = true }
    return didSomething || arena.pointee.cachedBytes > 0
  }

  /// Everything that can be given back now: every CPU's cache, every depot, all cached runs. Bytes returned.
  public static func trim() -> UInt {
    guard heap.isReady else { return 0 }
    for cpu in 0..<Int(root.pointee.cpuCount) { _ = emptyCaches(of: cpu) }
    reclaimAll(.drain)
    return arena.purge(recentToo: true)
  }

  @inline(never)
  private static func answerMailbox() {
    let request = root.pointee.mailbox.request
    guard stave_claim(&heap.pointee.mailboxBusy) else { return }
    if request != root.pointee.mailbox.answer {
      root.pointee.mailbox.result = UInt64(trim())
      root.pointee.mailbox.answer = request
    }
    heap.pointee.mailboxBusy = 0
  }
}
