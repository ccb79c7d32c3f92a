// SPDX-License-Identifier: BSD-2-Clause
//
// Waiting and waking. An event is a number that goes up whenever what is waited for may have happened, and the waiters are counted, so
// that nobody pays for waking nobody. A request reads the number before it looks, and sleeps only if it is still the same: what happens
// in between is not missed. After each sleep it looks at everything again (K11).
//
// Who waits for the back-end is a *wish*: counted at the allocator before the last try, so that whoever frees a page after that try
// sees the count.
//
// In a fork's child the other threads, and so their waits, growths and visits, do not exist.

import CPlatform
import Primitives

struct PoolEvent {
  var number: UInt32 = 0
  /// Under the pool's lock.
  var waiters = 0
}

extension UnsafeMutablePointer where Pointee == PoolEvent {
  /// What a wait for the next time begins with.
  var now: UInt32 { UInt32(bitPattern: stave_load32(self)) }

  /// It may have happened. True if somebody is to be woken. The pool's lock is held.
  func advance() -> Bool {
    guard pointee.waiters > 0 else { return false }
    stave_advance32(&pointee.number)
    return true
  }

  /// Wakes all; no lock is needed.
  func wake() { _ = stave_futex_wake(UnsafeRawPointer(self), .max) }
}

extension UnsafeMutablePointer where Pointee == Pool {
  /// Something was put, or a page went back to the back-end; and the end of a growth.
  var returned: UnsafeMutablePointer<PoolEvent> { withUnsafeMutablePointer(to: &pointee.returned) { $0 } }
  var grown: UnsafeMutablePointer<PoolEvent> { withUnsafeMutablePointer(to: &pointee.grown) { $0 } }

  /// Sleeps unless the event's number has moved on from `number`; `pause`: nanoseconds at most, 0 a second, negative for ever. The lock
  /// is held before and after.
  func sleep(on event: UnsafeMutablePointer<PoolEvent>, after number: UInt32, pause: Int64 = -1) {
    event.pointee.waiters += 1
    let forks = zones.pointee.pools.forks
    pointee.zone.noteSleep()
    pointee.keg.pointee.lock.unlock()
    #if STAVE_CHECK_LOCKS
    pointee.zone.checkMaySleep()
    #endif
    // Who sleeps for ever wakes each second to hear who rings.
    var answer: Int
    repeat {
      answer = stave_futex_wait(UnsafeRawPointer(event), number, pause <= 0 ? 1_000_000_000 : pause)
      hearBell(mayRunHooks: true)
    } while pause < 0 && answer == -110 /* ETIMEDOUT */
    pointee.keg.pointee.lock.lock()
    if forks == zones.pointee.pools.forks { event.pointee.waiters -= 1 }
  }

  /// From now on a page that goes back to the back-end wakes this pool's requests. What to give `endWish`.
  func beginWish() -> UInt32 {
    _ = stave_add_fetching(&pointee.wanting, 1)
    _ = stave_add_fetching(&pointee.allocator.pointee.wanting, 1)
    return zones.pointee.pools.forks
  }

  func endWish(_ forks: UInt32) {
    guard forks == zones.pointee.pools.forks else { return }
    stave_add(&pointee.wanting, -1)
    stave_add(&pointee.allocator.pointee.wanting, -1)
  }

  /// In a fork's child, whose one thread has all locks.
  func forgetOthers() {
    pointee.returned.waiters = 0
    pointee.grown.waiters = 0
    pointee.isGrowing = false
    pointee.isDraining = 0
    pointee.wanting = 0
    pointee.allocator.pointee.wanting = 0
    var cache = pointee.caches
    while let some = cache {
      some.pointee.visits = 0
      cache = some.pointee.next
    }
  }
}

extension FutexLock {
  /// Takes the lock; or, without sleeping, only if its holder is about to give it up.
  borrowing func lock(orTryBriefly isTry: Bool) -> Bool {
    guard isTry else {
      lock()
      return true
    }
    for _ in 0..<200 {
      if tryLock() { return true }
      stave_pause()
    }
    return false
  }
}
