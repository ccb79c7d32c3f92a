// SPDX-License-Identifier: BSD-2-Clause
//
// Giving memory back while the program idles, with nobody calling malloc: one thread of our own (CPlatform/stave_clone.h).
// It starts when there is something to return, looks once a period, and ends when there has been nothing to do for some
// time; so a quiet process has no wake-ups. While it runs it answers the mailbox; otherwise the next slow call does.
// The kernel's word that it is there, which it clears however the thread ends, is the only one.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives
import Synchronization
import Zones

public struct BackgroundState {
  /// The thread's id, -1 while it is being started. The kernel clears it when the thread has ended, however it ended.
  public var thread: Int32 = 0
  /// Monotonic nanoseconds when this process began to use the heap; its fork counts as that.
  var began: Int64 = 0
  public var periods: UInt64 = 0
  public var starts: UInt64 = 0
  public var failures: UInt64 = 0
  public var stack: UInt = 0
  var quietPeriods: Int = 0
  var lastLargeAllocations: UInt = 0
  var lastIdleBytes: UInt = 0
}

extension Heap {
  public static let stackBytes = 64 << 10
  /// Bytes that could go back (`idleBytes`) from which on the thread is worth starting.
  static var startThreshold: UInt { 1 << 20 }
  /// And from here on at once, even in a young process of one thread.
  static var hurryThreshold: UInt { 4 << 20 }
  /// How many bytes pass through slow calls of free between two looks at what caches hold: half a MiB, as a logarithm.
  static var lookShift: UInt32 { 19 }
  /// Quiet periods after which it ends.
  static let patience = 8

  /// Called on slow paths: starts the thread if there is work, answers the mailbox if nobody else does. A few loads, and one
  /// or two additions. `bytes`: about how many the call has moved from a cell to depot or slabs.
  @inline(__always)
  static func noteSlowCall(moving bytes: Int = 0) {
    guard stave_load32(&heap.pointee.background.thread) == 0 else { return }
    if heap.pointee.options[.background] == 1 {
      let calls = heap.pointee.slowCalls.wrappingAdd(1, ordering: .relaxed).newValue
      let isPlain = arena.pointee.cachedBytes > startThreshold && (arena.pointee.cachedBytes >= hurryThreshold || !stave_is_single_threaded())
      if calls & 1023 == 0 || isPlain || hasFreedMuch(bytes) { lookForWork(calls) }
    }
    if OwnMailbox.hasMail { answerMailbox() }
  }

  @inline(__always)
  private static func hasFreedMuch(_ bytes: Int) -> Bool {
    guard bytes > 0 else { return false }
    let freed = heap.pointee.freedBytes.wrappingAdd(UInt32(truncatingIfNeeded: bytes), ordering: .relaxed)
    return freed.oldValue >> lookShift != freed.newValue >> lookShift
  }

  @inline(never)
  private static func lookForWork(_ calls: UInt32) {
    // After a refusal, only every so many calls ask again.
    if calls & 4095 == 0 || heap.pointee.background.failures == 0 && idleBytes > startThreshold { startBackground() }
  }

  /// Bytes that could go back if nobody needed them: cached runs, and what malloc's zones hold in depots, free slabs and the
  /// cells of this CPU. Read without locks: a guess. A few loads for each class.
  static var idleBytes: UInt {
    var bytes = arena.pointee.cachedBytes + zones.idleTypedBytes + memGuard.readyBytes
    let cells = CPUCache.cellsHere
    for index in 0..<SizeClass.count {
      guard let zone = publishedZone(&heap.pointee.classZones, index) else { continue }
      bytes += zone.idleBytes(cells: cells)
    }
    hashClasses.forEach { record in
      for index in 0..<SizeClass.count {
        if let zone = record.knownZone(index) { bytes += zone.idleBytes(cells: cells) }
      }
    }
    return bytes
  }

  @inline(never)
  private static func startBackground() {
    guard mayStart, stave_swap32(&heap.pointee.background.thread, 0, -1) else { return }
    let result = startThread()
    heap.pointee.background.failures = result < 0 ? heap.pointee.background.failures + 1 : 0
    if result < 0 { heap.pointee.background.thread = 0 }
  }

  /// Worth a second thread at once. One thread alone may want to enter namespaces (unshare, setns), which a second one would
  /// forbid it; sandboxes do so early in their lives.
  private static var isUrgent: Bool { !stave_is_single_threaded() || idleBytes >= hurryThreshold }

  /// Otherwise after a second. Never in a child of vfork, with which the thread would die, whatever it holds.
  private static var mayStart: Bool {
    guard stave_getpid() == Int(root.pointee.process) else { return false }
    return isUrgent || stave_nanoseconds() - Swift.max(root.pointee.started, heap.pointee.background.began) > 1_000_000_000
  }

  /// 0 or more, or an error.
  private static func startThread() -> Int {
    if heap.pointee.background.stack == 0 {
      guard let stack = mapAnonymous(bytes: stackBytes, name: "stave:thread") else { return -12 }
      heap.pointee.background.stack = stack
    }
    let base = UnsafeMutableRawPointer(bitPattern: heap.pointee.background.stack)!
    guard let threadPointer = placeThreadPointer(in: base) else { return -22 }
    heap.pointee.background.quietPeriods = 0
    heap.pointee.background.starts += 1
    stave_set_own_thread(threadPointer.address)
    return stave_start_thread({ Heap.runBackground() }, base + stackBytes - 2 * roomBytes, threadPointer, &heap.pointee.background.thread)
  }

  /// Room on either side of the thread pointer; the stack lies below both.
  private static let roomBytes = 8192

  /// A thread pointer in the thread's memory, whose rseq area says "not registered", so that sections go round the caches, and libc
  /// asks the kernel for the CPU. Nil if libc keeps that area, which may lie on either side, too far away.
  static func placeThreadPointer(in base: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    let pointer = base + stackBytes - roomBytes
    pointer.storeBytes(of: pointer.address, as: UInt.self)
    (pointer + 16).storeBytes(of: pointer.address, as: UInt.self)
    let area = Int(stave_hot().pointee.rseq_offset)
    if area != 0 || root.pointee.mode == CacheMode.restartable {
      guard area >= -roomBytes && area <= -32 || area >= 24 && area <= roomBytes - 32 else { return nil }
      (pointer + area + 4).storeBytes(of: -1, as: Int32.self)
    }
    return pointer
  }

  private static func runBackground() {
    stave_schedule_as_process()
    guard stave_leave_descriptors(), stave_compare_rights() == 0 else { return runBriefly() }
    noteContainerLimit()
    var rights: Int32 = 0
    while rights == 0 {
      rights = restForPeriod()
      if heap.pointee.options[.background] == 0 { return }
      if rights == 0 { work() }
      if heap.pointee.background.quietPeriods >= patience { return }
    }
    if rights < 0 { runBriefly() }
  }

  /// Where the thread cannot find out whether the process has given up rights (no /proc, as after chroot; no table of descriptors of
  /// its own, before Linux 5.9), or has others from the start, since the thread that started it has, it must not stay: four looks in
  /// one second, as many as what lies in a cell takes by way of depot, slab and cached run, and it ends. The next slow call that finds
  /// work starts another, with the rights of then.
  private static func runBriefly() {
    for _ in 0..<4 {
      sleep(250_000_000)
      work()
    }
  }

  private static func work() {
    if OwnMailbox.hasMail { answerMailbox() }
    heap.pointee.background.periods += 1
    if endOfPeriod() { heap.pointee.background.quietPeriods = 0 } else { heap.pointee.background.quietPeriods += 1 }
  }

  private static func sleep(_ nanoseconds: Int64) {
    var clock: UInt32 = 0
    _ = stave_futex_wait(&clock, 0, nanoseconds)
  }

  /// Sleeps for a period, and answers the mailbox meanwhile, each second; a letter may change the period, or end the thread. 1 if
  /// the process has given up rights, or gained some: libc does not know this thread, so that passes it by, and it must not outlive
  /// it by more than a second. -1 if that cannot be found out any more, else 0.
  private static func restForPeriod() -> Int32 {
    var slept: Int64 = 0
    while heap.pointee.options[.background] == 1 {
      let left = heap.pointee.options[.period] * 1_000_000 - slept
      if left <= 0 { return 0 }
      let step = Swift.min(left, 1_000_000_000)
      sleep(step)
      slept += step
      let rights = stave_compare_rights()
      if rights != 0 { return rights }
      if OwnMailbox.hasMail { answerMailbox() }
    }
    return 0
  }

  /// Returns what the last period did not need. False if nothing went and nothing has changed: what is left then, as in locked
  /// pages, is not worth another look.
  static func endOfPeriod() -> Bool {
    var didSomething = false
    for cpu in 0..<Int(root.pointee.cpuCount) where CPUCache.isIdle(cpu) {
      if emptyCaches(of: cpu) { didSomething = true }
    }
    if trimIdleDepots() { didSomething = true }
    types.sweep()
    if arena.pointee.largeAllocations == heap.pointee.background.lastLargeAllocations { arena.forgetRecentBlocks() }
    heap.pointee.background.lastLargeAllocations = arena.pointee.largeAllocations
    if arena.purgeIdle() > 0 { didSomething = true }
    if memGuard.trimReady() > 0 { didSomething = true }
    if isNearLimit && trim() > 0 { didSomething = true }
    // What was freed a moment ago has not lain for a period yet.
    let left = idleBytes
    defer { heap.pointee.background.lastIdleBytes = left }
    return didSomething || left != heap.pointee.background.lastIdleBytes && (arena.pointee.cachedBytes > 0 || left > startThreshold)
  }

  /// Everything that can be given back now: every CPU's cache, every depot, all cached runs. Bytes returned.
  public static func trim(runningHooks: Bool = true) -> UInt {
    guard heap.isReady else { return 0 }
    for cpu in 0..<Int(root.pointee.cpuCount) { _ = emptyCaches(of: cpu) }
    reclaimAll(.drain, runningHooks: runningHooks)
    return arena.purge(recentToo: true) + memGuard.trimReady(all: true)
  }
}
