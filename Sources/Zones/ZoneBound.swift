// SPDX-License-Identifier: BSD-2-Clause
//
// What a zone with a limit counts: one word for items and waiters, and the waiters in the order in which they came. The
// policy is Zone+Limit's.
//
//   word   | waiters, 20 bits | items made, 44 bits |
//
// Items made are those that callers hold and those in caches. The word changes by atomic operations alone; waiters are added, taken
// off and given their items under the zone's depot lock.

import CPlatform
import Primitives

public struct ZoneBound {
  /// Items that may be made; 0 without a limit.
  public var items: Int64 = 0
  public var word: Int64 = 0
  var first: ZoneWaiterPointer? = nil
  var last: ZoneWaiterPointer? = nil
  /// What is said when the limit is met, and when that was last: monotonic nanoseconds.
  var warning: UnsafePointer<UInt8>? = nil
  var warnedAt: Int64 = 0
  var action: LimitAction? = nil
  /// An ActionState.
  var actionState: UInt32 = 0
  /// 1 while a thread is in `relief`.
  var isRelieved: UInt32 = 0
  var relief: LimitAction? = nil

  init() {}

  static var oneWaiter: UInt64 { 1 << 44 }
  static var itemsMask: UInt64 { (1 << 44) - 1 }
  /// Between two warnings of one zone.
  static var quiet: Int64 { 300_000_000_000 }

  public var made: Int64 { word & Int64(ZoneBound.itemsMask) }
  public var waiters: Int { Int(UInt64(bitPattern: word) >> 44) }
}

/// Runs when a request meets the limit, to free what can be spared: `action` in the worker; `relief`, which is the core's own, in the
/// thread that asks. With no lock held, one call at a time.
public typealias LimitAction = @convention(c) (_ zone: UnsafeMutableRawPointer) -> Void

/// A request that waits: on its thread's stack, or, where no thread waits, wherever its author keeps it (Zone+Turn).
public struct ZoneWaiter {
  /// What the thread sleeps on, and so first: 1 when it may make an item.
  var isGranted: UInt32 = 0
  var next: ZoneWaiterPointer? = nil
  /// Nil where a thread sleeps. Else it is called once with the waiter's address when an item is granted, in the thread that grants it,
  /// with no lock of zone or keg held; it may neither wait nor ask zones for anything. From then on the waiter is its author's again.
  public var wake: (@convention(c) (_ waiter: UnsafeMutableRawPointer) -> Void)? = nil

  public init() {}
}

public typealias ZoneWaiterPointer = UnsafeMutablePointer<ZoneWaiter>

extension UnsafeMutablePointer where Pointee == ZoneWaiter {
  /// Tells those whom `grant` has found, one after the other. No lock is held.
  static func wakeAll(_ granted: ZoneWaiterPointer?) {
    var next = granted
    while let waiter = next {
      next = waiter.pointee.next
      waiter.pointee.wake!(UnsafeMutableRawPointer(waiter))
    }
  }
}

/// How much a zone caches under a limit, so that what some CPUs keep is not missing elsewhere: a pure function.
public struct CacheBound: Equatable {
  /// Items of a bucket; 0: none are cached.
  public var bucket: Int
  /// Items that a cell may hold.
  public var cell: Int
  /// Items that the depot may hold, or each of several.
  public var depot: Int

  /// `domains`: of so many each CPU has a cell, and the zone a depot.
  public init(limit: Int, cpus: Int, domains: Int = 1) {
    // A CPU's cells are worth two buckets, and one more for each domain but its own; where there are several, so is each depot.
    let each = domains + 1, buckets = each * max(1, cpus) + (domains > 1 ? domains : 0)
    bucket = min(254, limit / buckets / 2)
    if bucket == 0 && limit / buckets >= 1 { bucket = 1 }
    cell = bucket * each / domains
    depot = max(0, limit - buckets * bucket) / domains
  }
}

extension UnsafeMutablePointer where Pointee == ZoneBound {
  /// Makes room for up to `wanted` items at once, as many as the limit leaves; 0 at the limit, or while others wait. No lock.
  func take(_ wanted: Int) -> Int {
    while true {
      let old = word, left = room(old)
      guard old >> 44 == 0, left > 0 else { return 0 }
      let granted = Swift.min(Int64(wanted), left)
      if replace(old, old + UInt64(granted)) { return Int(granted) }
    }
  }

  /// Items are no more. Never below none: what was made before there was a limit was not counted. True if somebody waits.
  func give(_ count: Int) -> Bool {
    while true {
      let old = word, new = old - Swift.min(old & ZoneBound.itemsMask, UInt64(count))
      if replace(old, new) { return new >> 44 != 0 }
    }
  }

  /// Puts a waiter at the end. The lock is held.
  func enqueue(_ waiter: ZoneWaiterPointer) {
    if let last = pointee.last { last.pointee.next = waiter } else { pointee.first = waiter }
    pointee.last = waiter
    _ = stave_add_fetching(&pointee.word, Int64(bitPattern: ZoneBound.oneWaiter))
  }

  /// Gives those who wait what there is room for, who came first first. The lock is held. Returns those who are to be told when it is not,
  /// by `wakeAll`; threads that sleep have been.
  func grant() -> ZoneWaiterPointer? {
    var told: ZoneWaiterPointer? = nil
    var latest: ZoneWaiterPointer? = nil
    while let waiter = pointee.first {
      let old = word
      guard room(old) > 0 else { return told }
      guard replace(old, old - ZoneBound.oneWaiter + 1) else { continue }
      pointee.first = waiter.pointee.next
      if pointee.first == nil { pointee.last = nil }
      guard waiter.pointee.wake == nil else {
        waiter.pointee.isGranted = 1
        waiter.pointee.next = nil
        if let latest { latest.pointee.next = waiter } else { told = waiter }
        latest = waiter
        continue
      }
      stave_store32(&waiter.pointee.isGranted, 1)
      // From here on its stack is its own again: only the address is used.
      _ = stave_futex_wake(waiter, 1)
    }
    return told
  }

  /// A waiter gives up. False if it has been granted an item meanwhile. The lock is held.
  func remove(_ waiter: ZoneWaiterPointer) -> Bool {
    guard waiter.pointee.isGranted == 0 else { return false }
    var before: ZoneWaiterPointer? = nil
    var next = pointee.first
    while let one = next, one != waiter {
      before = one
      next = one.pointee.next
    }
    if let before { before.pointee.next = waiter.pointee.next } else { pointee.first = waiter.pointee.next }
    if pointee.last == waiter { pointee.last = before }
    _ = stave_add_fetching(&pointee.word, -Int64(bitPattern: ZoneBound.oneWaiter))
    return true
  }

  private var word: UInt64 { stave_load64(&pointee.word) }
  private func replace(_ old: UInt64, _ new: UInt64) -> Bool { stave_replace64(&pointee.word, Int64(bitPattern: old), Int64(bitPattern: new)) }
  private func room(_ word: UInt64) -> Int64 {
    pointee.items == 0 ? .max : pointee.items - Int64(word & ZoneBound.itemsMask)
  }

  /// In a child of fork no thread is left that waits.
  func forgetWaiters() {
    pointee.first = nil
    pointee.last = nil
    pointee.word &= Int64(ZoneBound.itemsMask)
    pointee.isRelieved = 0
  }

  /// At rest, the lock held.
  func checkInvariants() {
    var count = 0
    var next = pointee.first
    var last: ZoneWaiterPointer? = nil
    while let waiter = next {
      precondition(waiter.pointee.isGranted == 0, "a waiter that has its item still waits")
      count += 1
      (last, next) = (waiter, waiter.pointee.next)
    }
    precondition(last == pointee.last && count == pointee.waiters, "waiters of a limit")
  }
}
