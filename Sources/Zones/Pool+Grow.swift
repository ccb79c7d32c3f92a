// SPDX-License-Identifier: BSD-2-Clause
//
// Pages: growing by one, and the marks and limits that say how many there are to be.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Pool {
  /// One page more; the lock is held before and after, and dropped meanwhile. False if the back-end has none. Nobody else is growing.
  /// `isForMark`: nobody waits for it, so siblings are asked for no more than what has long been idle.
  func grow(_ flags: WaitFlags, isForMark: Bool = false) -> Bool {
    let keg = pointee.keg
    let made = keg.pointee.slabsMade
    pointee.isGrowing = true
    pointee.isForMark = isForMark
    pointee.hasMetBusy = false
    var isRefused = false
    _ = keg.makeSlab(flags: flags, &isRefused)
    pointee.isGrowing = false
    let hasGrown = keg.pointee.slabsMade != made
    if hasGrown {
      _ = stave_add_fetching(&pointee.growths, 1)
      keg.tail(of: keg.pointee.free.first!).pointee.idleSince = zones.pointee.pools.now
      pointee.mostPages = Swift.max(pointee.mostPages, pages)
      if returned.advance() { returned.wake() }
    }
    // Who waited for the growth tries for itself now; not those who wait for the back-end, lest the two wake each other for ever.
    if grown.advance() { grown.wake() }
    return hasGrown
  }

  /// Grows, without waiting, until the low water mark is reached or the back-end refuses. The lock is held before and after.
  func catchUp() {
    while pointee.keg.pointee.freeItems < pointee.lowItems && !pointee.isGrowing && grow(.noWait, isForMark: true) {}
  }

  /// Adds pages for `items` now. They stay until the pool is destroyed. False if the back-end refuses, or with `noWait` if another
  /// thread is growing: pages that came before stay nevertheless.
  @discardableResult
  public func prime(_ items: Int, _ given: WaitFlags = .noWait) -> Bool {
    let flags = given.checked, lock = pointee.keg
    lock.pointee.lock.lock()
    defer { lock.pointee.lock.unlock() }
    var left = pages(for: Swift.max(0, items))
    while left > 0 {
      if pointee.isGrowing {
        guard flags.maySleep else { return false }
        sleep(on: grown, after: grown.now)
        continue
      }
      guard grow(flags) else { return false }
      pointee.primedPages += 1
      left -= 1
    }
    return true
  }

  /// Fewer free items than this make the pool grow after a get, without waiting; now too. Pages for so many stay.
  public func setLow(_ items: Int) {
    pointee.keg.pointee.lock.lock()
    pointee.lowItems = Swift.max(0, items)
    pointee.lowPages = pages(for: pointee.lowItems)
    catchUp()
    pointee.keg.pointee.lock.unlock()
  }

  /// A page that becomes empty goes back at once when there are more pages than for so many items. `Int.max`, as at first: none does.
  public func setHigh(_ items: Int) {
    pointee.keg.pointee.lock.lock()
    pointee.highPages = items == .max ? .max : pages(for: Swift.max(0, items))
    pointee.keg.pointee.lock.unlock()
  }

  /// At most so many items are out at a time; objects in caches are called back first. Sets the high water mark, too. `Int.max`: no limit.
  /// What is out beyond a new limit stays out.
  public func setLimit(_ items: Int) {
    pointee.keg.pointee.lock.lock()
    pointee.limit = Swift.max(0, items)
    pointee.highPages = items == .max ? .max : pages(for: pointee.limit)
    let isAwaited = returned.advance()
    pointee.keg.pointee.lock.unlock()
    if isAwaited { returned.wake() }
  }

  /// A request that meets the limit has the text's first 500 bytes written, at most once in `interval` nanoseconds; nil or an empty one:
  /// none. The text ends with a zero byte and stays its owner's, who may free it once another is set: it is read under the lock.
  public func setLimitMessage(_ text: UnsafePointer<UInt8>?, interval: Int64) {
    pointee.keg.pointee.lock.lock()
    (pointee.limitMessage, pointee.limitInterval, pointee.limitSaid) = (text, interval, nil)
    pointee.keg.pointee.lock.unlock()
  }

  /// What gives back items that the pool's owner can do without: called when the pool cannot serve a request, and at each reclaim, by one
  /// thread at a time; the others do without. One that is running when another is set goes on.
  public func setDrainHook(_ hook: PoolDrainHook?, argument: UnsafeMutableRawPointer? = nil) {
    pointee.keg.pointee.lock.lock()
    (pointee.drainHook, pointee.drainArgument) = (hook, argument)
    pointee.keg.pointee.lock.unlock()
  }
}
