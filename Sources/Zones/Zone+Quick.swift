// SPDX-License-Identifier: BSD-2-Clause
//
// The first try of a request and of a free: this CPU's cell, where nothing else has to be done. They call nothing, so that who calls them
// and jumps to `allocate` or `free` where they fail needs no frame (StaveZones/Items).

import CPlatform
import Primitives

extension UnsafeMutablePointer where Pointee == Zone {
  /// An item; nil where the cell has none, and where a hook, a guard or a lock comes in: `allocate` does it all. A zone without cells
  /// has the number 0, whose cell is always empty and full.
  @inline(__always)
  public func allocateQuickly() -> UnsafeMutableRawPointer? {
    guard pointee.isGuarded == 0, !pointee.flags.contains(.ctorDtor), !CPUCache.isLocked else { return nil }
    return stave_pop(UInt64(truncatingIfNeeded: pointee.cell) &* 32)
  }

  /// Whether the item is in the cell now; if not nothing has happened, and `free` does it all.
  @inline(__always)
  public func freeQuickly(_ item: UnsafeMutableRawPointer) -> Bool {
    guard !zoneGuards.holds(item.address), !pointee.flags.intersects(.freesAside), !CPUCache.isLocked else { return false }
    return stave_push(UInt64(truncatingIfNeeded: pointee.cell) &* 32, item) == STAVE_PUSHED
  }
}
