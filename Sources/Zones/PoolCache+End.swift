// SPDX-License-Identifier: BSD-2-Clause
//
// Walks over the caches of a pool, which give their objects back, and the ends of caches. An object that ends may have the last reference
// to its cache: so a walk marks the cache that it is at, and ends it where it was given up meanwhile.

import CPlatform
import Primitives

extension UnsafeMutablePointer where Pointee == Pool {
  /// Gives objects of all caches back to the pool: those of idle groups, or all. Where another thread has the lock, none, unless it
  /// `waitsForLock`.
  func flushCaches(idleOnly: Bool, waitsForLock: Bool) {
    guard hasCachesNow, pointee.keg.pointee.lock.lock(orTryBriefly: !waitsForLock) else { return }
    let latest = idleOnly ? zones.pointee.pools.now - PoolsState.inactivity : .max
    var next = pointee.caches, left: PoolCachePointer? = nil
    while let cache = next {
      // It is not destroyed while it is visited; what is given up meanwhile, by the end of an object perhaps, ends with the last visit.
      cache.pointee.visits += 1
      let groups = cache.detachGroups(idleSince: latest)
      pointee.keg.pointee.lock.unlock()
      cache.empty(groups)
      pointee.keg.pointee.lock.lock()
      next = cache.pointee.next
      guard cache.pointee.visits > 0 else { continue }
      cache.pointee.visits -= 1
      guard cache.pointee.visits == 0, cache.pointee.whenGone != nil else { continue }
      cache.unlink()
      cache.pointee.next = left
      left = cache
    }
    pointee.keg.pointee.lock.unlock()
    while let cache = left {
      left = cache.pointee.next
      cache.end()
    }
  }

  /// Whether it is worth taking the lock: without it.
  private var hasCachesNow: Bool { pointee.caches != nil }
}

extension UnsafeMutablePointer where Pointee == PoolCache {
  /// Invalidates the cache and ends it. Nothing may use it any more. Objects that are out are the pool's items now. Waits for walks that
  /// are at it: not to be called by its own destructor.
  public func destroy() {
    let keg = pointee.pool.pointee.keg
    keg.pointee.lock.lock()
    while pointee.visits > 0 {
      keg.pointee.lock.unlock()
      _ = stave_yield()
      keg.pointee.lock.lock()
    }
    unlink()
    keg.pointee.lock.unlock()
    end()
  }

  /// The same where the one who ends it may be its own destructor: nobody is waited for. Where a walk is at it, that one ends it. Then
  /// `whenGone` is called, here or there, with no lock held: the pool must stay until then.
  public func giveUp(_ whenGone: @escaping PoolCacheEnd) {
    let keg = pointee.pool.pointee.keg
    keg.pointee.lock.lock()
    pointee.whenGone = whenGone
    let isVisited = pointee.visits > 0
    if !isVisited { unlink() }
    keg.pointee.lock.unlock()
    if !isVisited { end() }
  }

  /// No walk finds it any more. The lock is held.
  @inline(never)
  func unlink() {
    var place = withUnsafeMutablePointer(to: &pointee.pool.pointee.caches) { $0 }
    while let other = place.pointee, other != self { place = withUnsafeMutablePointer(to: &other.pointee.next) { $0 } }
    place.pointee = pointee.next
  }

  /// Without the lock, and unlinked.
  @inline(never)
  func end() {
    let (whenGone, argument) = (pointee.whenGone, pointee.argument)
    invalidate()
    zones.pointee.pools.cacheKeg!.giveOne(UnsafeMutableRawPointer(self))
    whenGone?(argument)
  }
}
