// SPDX-License-Identifier: BSD-2-Clause
//
// Putting an item back. Who waits for one is woken; a page that becomes empty goes back at once if there are more than the high
// water mark wants, or if a sibling waits for one.

import CPlatform
import Primitives

extension UnsafeMutablePointer where Pointee == Pool {
  /// Takes an item back. What is no item of this pool, or is free already, is reported. Never sleeps but for the pool's lock, unless
  /// a page goes back: then the back-end is called. Looks at one page.
  public func put(_ item: UnsafeMutableRawPointer) {
    hearBell(mayRunHooks: false)
    let keg = pointee.keg
    keg.pointee.lock.lock()
    pointee.pageSteps &+= 1
    guard keg.isAmongSlabs(item.address), let page = keg.slab(of: item.address), page.pointee.kegIndex == keg.pointee.index, let index = keg.index(of: item.address, in: page)
    else { return refuse("put of an address that is no item of the pool", item) }
    guard !keg.freeItems(of: page).contains(index) else { return refuse("double put", item, .again) }
    keg.putBack(index, of: page, stack: 0)
    pointee.zone.pointee.directFrees &+= 1
    let trash = keg.pointee.trash
    let isEmpty = Int(page.pointee.freeCount) == keg.pointee.layout.items
    var surplus: SlabPointer? = nil
    if isEmpty {
      if pages > pointee.highPages && pages > minimum && pointee.returned.waiters == 0 {
        keg.unlinkFree(page)
        surplus = page
      } else {
        keg.tail(of: page).pointee.idleSince = zones.pointee.pools.now
      }
    }
    let isAwaited = returned.advance(), isGrowthAwaited = grown.advance()
    keg.pointee.lock.unlock()
    if isAwaited { returned.wake() }
    if isGrowthAwaited { grown.wake() }
    if surplus != nil { return keg.release(surplus, trash) }
    // After the lock: who is to wait counts itself before it tries for the lock.
    if isEmpty && pointee.allocator.isAwaited { _ = releaseIdlePages(isUrgent: true, waitsForLock: true) }
  }

  /// Reports what cannot be put; then it is as if it had not been tried. The lock is held before.
  @inline(never)
  private func refuse(_ what: StaticString, _ item: UnsafeMutableRawPointer, _ kind: BadFree = .strayNow) {
    pointee.keg.pointee.lock.unlock()
    reportBadFree(what, item.address, keg: pointee.keg, kind)
  }
}
