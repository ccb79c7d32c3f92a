// SPDX-License-Identifier: BSD-2-Clause
//
// Waiting at a zone's limit without a thread: who waits is told by a function of its own when it is its turn. It stands in the same queue
// as threads that sleep (Zone+Limit), so who came first is served first, whichever way it waits.
//
//   wait(waiter) ─► told, once ─► allocateGranted        before that: giveUp(waiter), and it is never told
//
// A thread that waits looks by itself into the caches now and then, for an item that was freed just as it began to wait. Who has no
// thread has somebody do that, by `lookForItems`: after 10 ms, say, and ever more rarely.

import CPlatform
import Pages
import Primitives

/// Waiters that have been granted items and not been told.
public struct GrantedWaiters {
  fileprivate let first: ZoneWaiterPointer?

  /// Tells them. To be called once, with no lock of the caller's held that a waiter's function takes.
  public func tell() { ZoneWaiterPointer.wakeAll(first) }
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// Puts a request into the queue of a zone with a limit. The waiter, whose `wake` is set, stays where it is until it has been told, or
  /// has given up. It may be among the result: then it is told by `tell`. Takes the depot's lock.
  public func wait(_ waiter: ZoneWaiterPointer) -> GrantedWaiters {
    let granted = enqueue(waiter)
    // Whoever sees the figure finds the waiter in the queue.
    noteSleep()
    return GrantedWaiters(first: granted)
  }

  /// For those who wait: the limit's action is due, and all that CPUs cache goes back. A membarrier for each CPU that caches something.
  public func lookForItems() {
    act(.noWait)
    reclaim(.drainCPU)
  }

  public var isWaitedFor: Bool { pointee.bound.waiters > 0 }

  /// The item that a waiter has been granted, and has to take. Nil if memory is not to be had or a hook refuses: then the room is the next
  /// one's. Never sleeps.
  public func allocateGranted(zero: Bool = false) -> UnsafeMutableRawPointer? {
    let flags: WaitFlags = zero ? .noWait.union(.zero) : .noWait
    var address: UInt = 0
    guard fetch(into: &address, count: 1, flags) == 1 else {
      giveRoom(1)
      noteFailure()
      return nil
    }
    if let zoneInit = pointee.zoneInit, initialize(&address, count: 1, zoneInit, flags) == 0 {
      noteFailure()
      return nil
    }
    stave_add(&pointee.directAllocations, 1)
    return hand(UnsafeMutableRawPointer(bitPattern: address)!, flags, nil)
  }
}
