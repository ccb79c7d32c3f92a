// SPDX-License-Identifier: BSD-2-Clause
//
// A lock of one word. Free it is 0, held 1, held with sleepers 2 (the three-state lock of U. Drepper, "Futexes are
// tricky", 2011). It spins briefly, since all that is done under Stave's locks is short, then sleeps in the kernel.
// Zeroed memory is a free lock. Around fork one thread holds all locks; handlers of the program that run meanwhile on that
// thread may allocate, so to it they are open.
// Not recursive; not to be taken in a signal handler that may have interrupted its holder.

import CPlatform
import Synchronization

/// The order in which locks may be taken: ascending. One rank is held at most once by a thread.
public enum LockRank {
  /// Not a lock: stands among a thread's ranks while a hook runs that may not sleep.
  public static let noSleep: UInt8 = 1
  public static let fork: UInt8 = 8
  public static let types: UInt8 = 9
  public static let reclaim: UInt8 = 10
  public static let region: UInt8 = 20
  public static let regionCells: UInt8 = 21
  public static let zoneList: UInt8 = 30
  public static let depot: UInt8 = 40
  public static let keg: UInt8 = 50
  public static let internalDepot: UInt8 = 55
  public static let internalKeg: UInt8 = 60
  public static let arena: UInt8 = 70
  public static let guards: UInt8 = 75
  public static let metadata: UInt8 = 80
  public static let report: UInt8 = 90
}

public struct FutexLock: ~Copyable, Sendable {
  let state: Atomic<UInt32>
  /// Set once, before the lock is shared.
  public var rank: UInt8

  public init(rank: UInt8) {
    state = Atomic(0)
    self.rank = rank
  }

  @inline(__always)
  public borrowing func lock() {
    if stave_is_fork_owner() { return }
    checkOrder()
    if state.compareExchange(expected: 0, desired: 1, successOrdering: .acquiring, failureOrdering: .relaxed).exchanged { return }
    lockContended()
  }

  /// Takes the lock if nobody holds it.
  @inline(__always)
  public borrowing func tryLock() -> Bool {
    guard state.compareExchange(expected: 0, desired: 1, successOrdering: .acquiring, failureOrdering: .relaxed).exchanged
    else { return false }
    noteHeld()
    return true
  }

  /// Takes the lock; false if it cannot be had for a second: at a process's end a thread may have died with it, or the one that ends
  /// the process may hold it, in the frame that a signal interrupted.
  public borrowing func lockWithinASecond() -> Bool {
    var tries = 0
    while !tryLock() {
      guard tries < 1000 else { return false }
      tries += 1
      var never: UInt32 = 0
      _ = stave_futex_wait(&never, 0, 1_000_000)
    }
    return true
  }

  /// Whether it can be had within a second.
  public borrowing func isToBeHad() -> Bool {
    guard lockWithinASecond() else { return false }
    unlock()
    return true
  }

  @inline(__always)
  public borrowing func unlock() {
    if stave_is_fork_owner() { return }
    noteReleased()
    if state.exchange(0, ordering: .releasing) == 2 { wakeOne() }
  }

  /// In the child of a fork, whose parent held the lock for it: free, with no sleepers.
  public borrowing func resetInChild() {
    noteReleased()
    state.store(0, ordering: .releasing)
  }

  /// Around fork, where all locks of one rank are held together.
  public borrowing func lockUnchecked() {
    if !state.compareExchange(expected: 0, desired: 1, successOrdering: .acquiring, failureOrdering: .relaxed).exchanged {
      lockContended()
    }
  }
  public borrowing func unlockUnchecked() { if state.exchange(0, ordering: .releasing) == 2 { wakeOne() } }
  public borrowing func resetUnchecked() { state.store(0, ordering: .releasing) }

  public var isHeld: Bool { state.load(ordering: .relaxed) != 0 }

  @inline(never)
  borrowing func lockContended() {
    if stave_is_fork_owner() { return }
    var spins = 0
    while spins < 100 {
      if state.load(ordering: .relaxed) == 0,
        state.compareExchange(expected: 0, desired: 1, successOrdering: .acquiring, failureOrdering: .relaxed).exchanged
      {
        return
      }
      stave_pause()
      spins += 1
    }
    while state.exchange(2, ordering: .acquiring) != 0 {
      withUnsafePointer(to: state) { _ = stave_futex_wait(UnsafeRawPointer($0), 2, -1) }
    }
  }

  @inline(never)
  borrowing func wakeOne() {
    withUnsafePointer(to: state) { _ = stave_futex_wake(UnsafeRawPointer($0), 1) }
  }
}

// MARK: - The lock-order checker (debug builds)

// The thread's one word holds the ranks of the locks it has, one byte each, newest lowest: eight deep, no memory needed. Hooks
// that may not sleep stand among them, so that a request that may wait can be reported where waiting is wrong (L2).

#if STAVE_CHECK_LOCKS
extension FutexLock {
  borrowing func checkOrder() {
    let held = UInt(bitPattern: stave_thread_slot().pointee)
    if rank != 0 && UInt8(truncatingIfNeeded: held) >= rank {
      var report = Report("lock order")
      report.text("a lock of rank ")
      report.number(UInt(rank))
      report.text(" is wanted while one of rank ")
      report.number(held & 0xff)
      report.text(" is held\n")
      report.stop()
    }
    noteHeld()
  }

  borrowing func noteHeld() { if rank != 0 { FutexLock.add(rank) } }
  borrowing func noteReleased() { if rank != 0 { FutexLock.remove(rank) } }

  private static func add(_ rank: UInt8) {
    let held = UInt(bitPattern: stave_thread_slot().pointee)
    stave_thread_slot().pointee = UnsafeMutableRawPointer(bitPattern: held << 8 | UInt(rank))
  }

  private static func remove(_ rank: UInt8) {
    let held = UInt(bitPattern: stave_thread_slot().pointee)
    var shift: UInt = 0
    while shift < 64 {
      if UInt8(truncatingIfNeeded: held >> shift) == rank {
        let below = held & ((1 << shift) &- 1)
        let above = shift == 56 ? 0 : (held >> (shift + 8)) << shift
        stave_thread_slot().pointee = UnsafeMutableRawPointer(bitPattern: above | below)
        return
      }
      shift += 8
    }
  }

  /// The newest of the locks that this thread holds, 0 for none; `noSleep` if there is none, but a hook that may not sleep.
  public static var newestRank: UInt8 {
    var held = UInt(bitPattern: stave_thread_slot().pointee)
    var isInHook = false
    while held != 0 {
      let rank = UInt8(truncatingIfNeeded: held)
      if rank != LockRank.noSleep { return rank }
      isInHook = true
      held >>= 8
    }
    return isInHook ? LockRank.noSleep : 0
  }

  /// Whether this thread holds any of Stave's locks: a request that may block must not.
  public static var threadHoldsAny: Bool { newestRank > LockRank.noSleep }

  /// Around an author's code that may not sleep.
  public static func enterHook(maySleep: Bool) { if !maySleep { add(LockRank.noSleep) } }
  public static func leaveHook(maySleep: Bool) { if !maySleep { remove(LockRank.noSleep) } }
}
#else
extension FutexLock {
  @inline(__always) borrowing func checkOrder() {}
  @inline(__always) borrowing func noteHeld() {}
  @inline(__always) borrowing func noteReleased() {}
  public static var threadHoldsAny: Bool { false }
  @inline(__always) public static func enterHook(maySleep: Bool) {}
  @inline(__always) public static func leaveHook(maySleep: Bool) {}
}
#endif
