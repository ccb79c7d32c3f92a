// SPDX-License-Identifier: BSD-2-Clause
//
// Getting an item: from the current page, or after whatever has to happen before there is one.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Pool {
  /// An item, or nil: with `noWait` when there is none to be had at once, also because another thread is fetching a page, whatever memory
  /// there is (K10); with `limitFail` at the limit. With `wait` it may sleep, until an item is put or a page goes back to the back-end.
  /// Looks at one page; takes the pool's lock once, unless it has to grow.
  /// Who asks without `isCounted` may try again, and says `noteFailure` when giving up.
  public func get(_ given: WaitFlags = .noWait, isCounted: Bool = true) -> UnsafeMutableRawPointer? {
    let flags = given.checked
    hearBell(mayRunHooks: flags.maySleep)
    #if STAVE_CHECK_LOCKS
    if flags.maySleep { pointee.zone.checkMaySleep() }
    #endif
    let keg = pointee.keg
    keg.pointee.lock.lock()
    guard let page = page(for: flags) else {
      keg.pointee.lock.unlock()
      if isCounted { noteFailure() }
      return nil
    }
    var item: UInt = 0
    pointee.pageSteps &+= 1
    _ = keg.takeItems(of: page, into: &item, count: 1)
    pointee.zone.pointee.directAllocations &+= 1
    let trash = keg.pointee.trash
    if keg.pointee.freeItems < pointee.lowItems { catchUp() }
    keg.pointee.lock.unlock()
    if trash != 0 { keg.lookAtTaken(&item, count: 1, trash) }
    let result = UnsafeMutableRawPointer(bitPattern: item)!
    if flags.contains(.zero) { result.initializeMemory(as: UInt8.self, repeating: 0, count: keg.pointee.layout.size) }
    return result
  }

  /// A request has failed, or begins to wait, of a caller that counts for itself.
  public func noteFailure() { pointee.zone.noteFailure() }
  public func noteSleep() { pointee.zone.noteSleep() }

  /// The page that the request's item comes from, nil if it is to fail. The lock is held before and after, not all the while: each
  /// time that it has been dropped all is looked at again.
  private func page(for flags: WaitFlags) -> SlabPointer? {
    let keg = pointee.keg
    // The owner is asked once for what it can do without, and told once of the limit; the back-end is asked again once it knows who wants
    // its pages.
    var hasAsked = false, hasSaid = false
    var wish: UInt32? = nil
    defer { if let wish { endWish(wish) } }
    while true {
      let event = returned.now
      if keg.outstanding >= pointee.limit {
        if askBack(flags, &hasAsked) { continue }
        if !hasSaid && sayLimit() {
          hasSaid = true
          continue
        }
        guard flags.maySleep, !flags.contains(.limitFail) else { return nil }
        sleep(on: returned, after: event)
        continue
      }
      if let page = keg.current { return page }
      if pointee.isGrowing {
        if !flags.maySleep, askBack(flags, &hasAsked) { continue }
        guard flags.maySleep else { return nil }
        sleep(on: grown, after: grown.now)
        continue
      }
      if grow(flags) || keg.current != nil { continue }
      if askBack(flags, &hasAsked) { continue }
      guard flags.maySleep, !flags.contains(.noVM) else { return nil }
      if wish == nil {
        wish = beginWish()
      } else {
        let isBrief = pointee.hasMetBusy
        sleep(on: returned, after: event, pause: isBrief ? 1_000_000 : zones.pointee.pools.pause)
        if isBrief || returned.now != event { continue }
      }
      // Nothing has come back: perhaps from the caches of zones, and of pools elsewhere.
      keg.pointee.lock.unlock()
      if pointee.allocator.pointee.source.isOurs { events.tellShortage() }
      reclaimAll(.drainCPU)
      keg.pointee.lock.lock()
    }
  }

  /// Has what is held back given back: objects in caches, then, once, items of the owner's. False if there is nothing to ask for; else
  /// the lock was dropped. So nobody sleeps while a cache holds objects: what is put after that goes to the pool.
  private func askBack(_ flags: WaitFlags, _ hasAsked: inout Bool) -> Bool {
    let holds = cachesHoldObjects
    guard holds || !hasAsked && pointee.drainHook != nil else { return false }
    if holds {
      pointee.keg.pointee.lock.unlock()
      flushCaches(idleOnly: false, waitsForLock: true)
    } else {
      hasAsked = true
      runDrainHook(flags)
    }
    pointee.keg.pointee.lock.lock()
    return true
  }

  /// Says that the limit is met, at most once in its interval. True if it was said: the lock was dropped for it.
  private func sayLimit() -> Bool {
    guard let message = pointee.limitMessage, message.pointee != 0 else { return false }
    let now = zones.pointee.pools.now
    if let said = pointee.limitSaid, now - said < pointee.limitInterval { return false }
    pointee.limitSaid = now
    // The text may go as soon as the lock is free. What is composed here fits the report, so that nothing is written yet.
    var report = Report("pool limit")
    pointee.keg.sayName(in: &report)
    report.text(": ")
    report.text(endingAtZero: message, most: 500)
    report.text("; ")
    report.number(UInt(pointee.limit))
    report.text(" items are out\n")
    pointee.keg.pointee.lock.unlock()
    report.write()
    pointee.keg.pointee.lock.lock()
    return true
  }
}
