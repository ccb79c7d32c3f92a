// SPDX-License-Identifier: BSD-2-Clause
//
// Zones whose items MemGuard takes over. MemGuard lies above this target, and is reached through four functions that it puts
// into the root. While a zone is meant, a request of it that the lot falls on is a guarded block instead of an item of a slab:
//
//   allocate    MemGuard's block, then the keg's init, the zone's init, the constructor
//   free        destructor, the zone's fini, the keg's fini, then the block goes back
//
// So each guarded item goes through its whole life at each request. A hook that refuses has what was done before undone, and the block
// goes back (T12). Which free is which is told by the address, whatever is guarded by then. Guarded items are in no cell, no depot
// and no slab, and the zone's counters know nothing of them but `guardedItems`.
//
// Never taken over: malloc's zones, whose requests MemGuard meets in malloc; the zone system's own and the page source's; those with
// deferred reuse, whose readers go on where a guarded block would fault; those with an author's page source, since what is special about
// their pages would be missing; and those that want more of a slab than an item: counts, copies, a header elsewhere, to be in no
// dump. Requests with `noVM` are not guarded either.

import CPlatform
import Pages
import Primitives

public struct ZoneGuards {
  /// The range of guarded addresses; of no bytes until MemGuard is first switched on.
  public var start: UInt
  public var bytes: UInt
  /// Whether this zone's items are to be guarded.
  public var isMeant: (@convention(c) (_ zone: UnsafeMutableRawPointer) -> Bool)?
  /// A zeroed block for an item; nil if the lot has not fallen on it, or it is declined.
  public var take: (@convention(c) (_ zone: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer?)?
  /// Whether it is a live item of this zone, whose hooks may run; of two that free it one is told so. Else there is a report.
  public var finish: (@convention(c) (_ item: UnsafeMutableRawPointer, _ zone: UnsafeMutableRawPointer) -> Bool)?
  /// Takes back what is finished. False if that is impossible, which has been reported.
  public var give: (@convention(c) (_ item: UnsafeMutableRawPointer, _ zone: UnsafeMutableRawPointer) -> Bool)?
  /// Adds the stacks of what is out of a zone to a report.
  public var describe: (@convention(c) (_ zone: UnsafeMutableRawPointer, _ report: UnsafeMutableRawPointer) -> Void)?
}

@inline(__always)
public var zoneGuards: UnsafeMutablePointer<ZoneGuards> { rootState(ZoneGuards.self, at: RootLayout.zoneGuardsOffset) }

extension UnsafeMutablePointer where Pointee == ZoneGuards {
  @inline(__always)
  func holds(_ address: UInt) -> Bool { address &- pointee.start < pointee.bytes }

  /// What is meant has changed.
  public func followAll() { forEachListedZone { $0.followGuards() } }
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// Whether MemGuard may take it over.
  var mayBeGuarded: Bool {
    let apart = ZoneFlags.internal.union(.malloc).union(.vm).union(.refCount).union(.noTouch).union(.perCPU).union(.noDump)
      .union(.cacheOnly).union(.smr).union(.part)
    return !pointee.flags.intersects(apart) && pointee.keg.pointee.source.isOurs
  }

  /// The same without a word: what a report may advise.
  var isGuardedIfAll: Bool { mayBeGuarded && !pointee.flags.contains(.noFree) }

  /// As MemGuard wants it at this moment. The list lock is held.
  func followGuards() {
    let isMeant = mayBeGuarded && zoneGuards.pointee.isMeant?(self) ?? false
    pointee.depotLock.lock()
    stave_store32(&pointee.isGuarded, isMeant ? 1 : 0)
    settleQuickly()
    pointee.depotLock.unlock()
  }

  /// The request as a guarded item; nil if it is none, or, with `isRefused`, if a hook refuses.
  @inline(never)
  func allocateGuarded(_ given: WaitFlags, _ argument: UnsafeMutableRawPointer?, _ isRefused: inout Bool) -> UnsafeMutableRawPointer? {
    let flags = given.checked
    guard !flags.contains(.noVM), takeRoomNow() else { return nil }
    guard let item = zoneGuards.pointee.take?(self) else {
      giveRoom(1)
      return nil
    }
    // Where a hook refuses, those before it are undone.
    if refuses(pointee.keg.pointee.initialize, item, flags) {
      isRefused = true
    } else if refuses(pointee.zoneInit, item, flags) {
      isRefused = true
      finish(item, isZoneToo: false)
    } else if let constructor = pointee.constructor {
      FutexLock.enterHook(maySleep: flags.maySleep)
      isRefused = constructor(item, pointee.size, argument, flags.rawValue) != 0
      FutexLock.leaveHook(maySleep: flags.maySleep)
      if isRefused { finish(item, isZoneToo: true) }
    }
    if isRefused {
      if zoneGuards.pointee.finish?(item, self) ?? false { _ = zoneGuards.pointee.give?(item, self) }
      giveRoom(1)
      noteFailure()
      return nil
    }
    if flags.contains(.zero) { item.initializeMemory(as: UInt8.self, repeating: 0, count: pointee.size) }
    stave_add(&pointee.guardedItems, 1)
    return item
  }

  private func refuses(_ hook: ItemHook?, _ item: UnsafeMutableRawPointer, _ flags: WaitFlags) -> Bool {
    guard let hook else { return false }
    FutexLock.enterHook(maySleep: flags.maySleep)
    let isRefused = hook(item, pointee.size, flags.rawValue) != 0
    FutexLock.leaveHook(maySleep: flags.maySleep)
    return isRefused
  }

  private func finish(_ item: UnsafeMutableRawPointer, isZoneToo: Bool) {
    FutexLock.enterHook(maySleep: false)
    if isZoneToo, let finish = pointee.zoneFini { finish(item, pointee.size) }
    if let finish = pointee.keg.pointee.finish { finish(item, pointee.size) }
    FutexLock.leaveHook(maySleep: false)
  }

  /// An address in the range.
  @inline(never)
  func freeGuarded(_ item: UnsafeMutableRawPointer, _ argument: UnsafeMutableRawPointer?) {
    // Before an author's destructor sees it.
    guard zoneGuards.pointee.finish?(item, self) ?? false else { return }
    if let destructor = pointee.destructor {
      FutexLock.enterHook(maySleep: false)
      destructor(item, pointee.size, argument)
      FutexLock.leaveHook(maySleep: false)
    }
    finish(item, isZoneToo: true)
    guard zoneGuards.pointee.give?(item, self) ?? false else { return }
    stave_add(&pointee.guardedItems, -1)
    giveRoom(1)
  }
}
