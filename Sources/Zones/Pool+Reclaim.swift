// SPDX-License-Identifier: BSD-2-Clause
//
// Giving pages back: objects of idle groups first, then what the owner can do without, then empty pages that have been so for long.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Pool {
  /// Gives back the pages that have been empty for the time of inactivity, but for the minimum and the low water mark. True exactly if
  /// a page went back meanwhile. Each step begins only where no other thread has the lock, but for a moment; objects that caches gave up
  /// are put as all are, under the lock. `isUrgent`: objects and pages go however short they have been idle.
  @discardableResult
  public func reclaim(isUrgent: Bool = false) -> Bool { tryReclaim(isUrgent: isUrgent) ?? false }

  /// The same; nil if another thread has the lock and nothing is known to have gone.
  func tryReclaim(isUrgent: Bool) -> Bool? {
    let before = stave_load64(&pointee.pagesFreed)
    flushCaches(idleOnly: !isUrgent, waitsForLock: false)
    if pointee.keg.pointee.lock.lock(orTryBriefly: true) { runDrainHook(.noWait) }
    let hadLock = releaseIdlePages(isUrgent: isUrgent, waitsForLock: false)
    return stave_load64(&pointee.pagesFreed) != before ? true : hadLock ? false : nil
  }

  /// The pages alone. False if another thread has the lock.
  func releaseIdlePages(isUrgent: Bool, waitsForLock: Bool) -> Bool {
    let keg = pointee.keg
    guard keg.pointee.lock.lock(orTryBriefly: !waitsForLock) else { return false }
    let latest = zones.pointee.pools.now - PoolsState.inactivity
    var surplus: SlabPointer? = nil
    while let page = keg.pointee.oldestFree, pages > minimum, keg.pointee.freeItems - keg.pointee.layout.items >= pointee.lowItems,
      isUrgent || keg.tail(of: page).pointee.idleSince <= latest
    {
      pointee.pageSteps &+= 1
      keg.unlinkFree(page)
      page.pointee.next = surplus
      surplus = page
    }
    let trash = keg.pointee.trash
    keg.pointee.lock.unlock()
    keg.release(surplus, trash)
    return true
  }

  /// Runs the drain hook, unless a thread is in it: this one, perhaps, by way of another pool (K23). The lock is held before, not after.
  @inline(never)
  func runDrainHook(_ flags: WaitFlags) {
    let (given, argument) = (pointee.drainHook, pointee.drainArgument)
    pointee.keg.pointee.lock.unlock()
    guard let hook = given, stave_claim(&pointee.isDraining) else { return }
    FutexLock.enterHook(maySleep: false)
    hook(argument, flags.rawValue)
    FutexLock.leaveHook(maySleep: false)
    pointee.isDraining = 0
  }
}

extension UnsafeMutablePointer where Pointee == Pool {
  /// Whether somebody who gives back from several pools is at this one, whose drain hook may run.
  public var isVisited: Bool {
    zones.pointee.listLock.lock()
    defer { zones.pointee.listLock.unlock() }
    return pointee.zone.pointee.walks > 0
  }
}

/// Reclaims one pool, each time the next one in a rotating order. Whether a page went back: who needs pages stops when it has enough.
@discardableResult
public func drainNextPool() -> Bool {
  let list = zones
  list.pointee.listLock.lock()
  // The next number after the last one's; behind the last of all the first.
  var chosen: PoolPointer? = nil
  let last = list.pointee.pools.lastDrained
  var next = list.pointee.first
  while let zone = next {
    next = zone.pointee.next
    guard zone.pointee.flags.contains(.pool), !zone.pointee.flags.contains(.dying), let pool = zone.pointee.keg.pointee.pool else { continue }
    func turn(_ pool: PoolPointer) -> UInt { pool.pointee.number &- last &- 1 }
    if chosen == nil || turn(pool) < turn(chosen!) { chosen = pool }
  }
  guard let pool = chosen else {
    list.pointee.listLock.unlock()
    return false
  }
  list.pointee.pools.lastDrained = pool.pointee.number
  pool.pointee.zone.pointee.walks += 1
  list.pointee.listLock.unlock()
  let hasFreed = pool.reclaim()
  list.pointee.listLock.lock()
  pool.pointee.zone.pointee.walks -= 1
  list.pointee.listLock.unlock()
  return hasFreed
}
