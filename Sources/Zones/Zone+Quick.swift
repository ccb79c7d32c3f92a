// SPDX-License-Identifier: BSD-2-Clause
//
// The first try of a request and of a free: this CPU's cell, where nothing else has to be done. They call nothing, so that who calls them
// and jumps to `allocate` or `free` where they fail needs no frame (StaveZones/Items). Whether nothing else has to be done is one word
// of the zone for each, which is 0 where a hook, a guard, a lock or a waiter comes in:
//
//   quickCell       no hook, its requests are not guarded, caches are not locked
//   quickFreeCell   no hook, nobody waits for an item, MemGuard has never been on, caches are not locked

import CPlatform
import Primitives

extension UnsafeMutablePointer where Pointee == Zone {
  /// An item; nil where the cell has none, and where that is not all: `allocate` does it all.
  @inline(__always)
  public func allocateQuickly() -> UnsafeMutableRawPointer? {
    let cell = pointee.quickCell
    return cell == 0 ? nil : stave_pop(cell)
  }

  /// Whether the item is in the cell now; if not nothing has happened, and `free` does it all.
  @inline(__always)
  public func freeQuickly(_ item: UnsafeMutableRawPointer) -> Bool {
    let cell = pointee.quickFreeCell
    return cell != 0 && stave_push(cell, item) == STAVE_PUSHED
  }

  /// Something of what these words hang on has changed. The depot's lock is held: two changes at a time leave what is so in the end.
  func settleQuickly() {
    let cell = CPUCache.offset(ofCell: pointee.cell), isHooked = pointee.flags.contains(.ctorDtor)
    set(&pointee.quickCell, isHooked || pointee.isGuarded != 0 ? 0 : cell)
    set(&pointee.quickFreeCell, isHooked || pointee.flags.contains(.awaited) || zoneGuards.pointee.bytes != 0 ? 0 : cell)
  }

  private func set(_ word: UnsafeMutablePointer<UInt64>, _ value: UInt64) { stave_store64(word, value) }

  /// At rest: no word lets through what it must not.
  public func checkQuickness() {
    let cell = CPUCache.offset(ofCell: pointee.cell)
    precondition(pointee.quickCell == 0 || pointee.quickCell == cell && pointee.isGuarded == 0 && !pointee.flags.contains(.ctorDtor), "a request passes something by")
    precondition(
      pointee.quickFreeCell == 0 || pointee.quickFreeCell == cell && pointee.guardedItems == 0 && !pointee.flags.intersects(.freesAside),
      "a free passes something by")
  }
}
