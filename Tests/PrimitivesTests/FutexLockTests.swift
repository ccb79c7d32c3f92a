// SPDX-License-Identifier: BSD-2-Clause
//
// The lock of one word: exclusion, sleepers that are always woken, what fork does to it, and the order checker.

import CPlatform
import Foundation
import Testing

@testable import Primitives
@testable import TestSupport

/// A lock in memory of its own; zeroed memory is a free lock.
private func makeLock(rank: UInt8 = 0) -> UnsafeMutablePointer<FutexLock> {
  let lock = UnsafeMutablePointer<FutexLock>.allocate(capacity: 1)
  UnsafeMutableRawPointer(lock).initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<FutexLock>.stride)
  lock.pointee.rank = rank
  return lock
}

extension UnsafeMutablePointer where Pointee == FutexLock {
  fileprivate var isHeld: Bool { pointee.isHeld }
  fileprivate func tryLock() -> Bool { pointee.tryLock() }
}

@Suite struct FutexLockTests {
  @Test func `zeroed memory is a free lock`() {
    let lock = makeLock()
    defer { lock.deallocate() }
    #expect(!lock.isHeld)
    lock.pointee.lock()
    #expect(lock.isHeld)
    lock.pointee.unlock()
    #expect(!lock.isHeld)
  }

  @Test func `trying succeeds only on a free lock`() {
    let lock = makeLock()
    defer { lock.deallocate() }
    #expect(lock.tryLock())
    #expect(!lock.tryLock())
    lock.pointee.unlock()
    #expect(lock.tryLock())
    lock.pointee.unlock()
  }

  @Test(.timeLimit(.minutes(30))) func `increments under the lock are never lost`() {
    let lock = makeLock()
    let counter = UnsafeMutablePointer<Int>.allocate(capacity: 1)
    counter.pointee = 0
    let rounds = 50_000
    inThreads(4) { _ in
      for _ in 0..<rounds {
        lock.pointee.lock()
        counter.pointee += 1
        lock.pointee.unlock()
      }
    }
    #expect(counter.pointee == 4 * rounds)
    #expect(!lock.isHeld)
    counter.deallocate()
    lock.deallocate()
  }

  @Test(.timeLimit(.minutes(30))) func `no sleeper is forgotten`() {
    // The holder sleeps or yields with the lock held, so that the others really wait in the kernel, more than one at once.
    let lock = makeLock()
    let inside = UnsafeMutablePointer<Int>.allocate(capacity: 2)
    inside.initialize(repeating: 0, count: 2)
    inThreads(8) { thread in
      for round in 0..<200 {
        lock.pointee.lock()
        inside[0] += 1
        if inside[0] != 1 { inside[1] += 1 }
        if round % 50 == thread { usleep(300) } else { _ = stave_yield() }
        inside[0] -= 1
        lock.pointee.unlock()
      }
    }
    #expect(inside[0] == 0)
    #expect(inside[1] == 0, "two threads were inside at once")
    #expect(!lock.isHeld)
    inside.deallocate()
    lock.deallocate()
  }

  @Test func `to the thread that forks, every lock is open`() {
    let lock = makeLock()
    lock.pointee.lock()
    stave_own_fork(true)
    lock.pointee.lock()
    lock.pointee.unlock()
    #expect(lock.isHeld, "the fork owner's operations change nothing")
    stave_own_fork(false)
    lock.pointee.unlock()
    #expect(!lock.isHeld)
    lock.deallocate()
  }

  @Test func `reset in the child of a fork frees a held lock`() {
    let lock = makeLock(rank: 200)
    lock.pointee.lock()
    lock.pointee.resetInChild()
    #expect(!lock.isHeld)
    lock.pointee.lock()
    lock.pointee.unlock()
    lock.pointee.lockUnchecked()
    #expect(lock.isHeld)
    lock.pointee.resetUnchecked()
    #expect(!lock.isHeld)
    lock.deallocate()
  }

  @Test func `ranks name one order`() {
    let order = [
      LockRank.fork, LockRank.reclaim, LockRank.region, LockRank.regionCells, LockRank.zoneList, LockRank.depot, LockRank.keg,
      LockRank.internalDepot, LockRank.internalKeg, LockRank.arena, LockRank.metadata, LockRank.report,
    ]
    #expect(order == order.sorted())
    #expect(Set(order).count == order.count)
  }

  #if STAVE_CHECK_LOCKS
  @Test func `L36 ascending ranks pass the order checker, released in any order`() {
    let locks = [30, 40, 50, 60, 70, 80].map { makeLock(rank: $0) }
    for lock in locks { lock.pointee.lock() }
    #expect(FutexLock.threadHoldsAny)
    for index in [2, 0, 5, 3, 1, 4] { locks[index].pointee.unlock() }
    #expect(!FutexLock.threadHoldsAny)
    for lock in locks { lock.deallocate() }
  }

  @Test func `L36 a lock taken against the order ends the process with both ranks`() async {
    let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
      let outer = makeLock(rank: 50)
      let inner = makeLock(rank: 40)
      outer.pointee.lock()
      inner.pointee.lock()
    }
    let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(text.contains("a lock of rank 40 is wanted while one of rank 50 is held"))
  }

  @Test func `L36 two locks of one rank are against the order`() async {
    await #expect(processExitsWith: .signal(SIGABRT)) {
      let first = makeLock(rank: 40)
      let second = makeLock(rank: 40)
      first.pointee.lock()
      second.pointee.lock()
    }
  }
  #endif
}
