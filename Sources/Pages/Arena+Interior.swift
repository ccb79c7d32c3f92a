// SPDX-License-Identifier: BSD-2-Clause
//
// The large block that an address lies in, wherever in it: the owner map knows only where one begins.

import AddressMap
import Primitives

extension UnsafeMutablePointer where Pointee == Arena {
  /// Nil for what is in no large block, or in one that was freed. Takes the arena's lock; O(log n).
  public func largeBlock(holding address: UInt) -> (start: UInt, bytes: UInt, type: UInt32)? {
    guard address >= pointee.windowStart, address < pointee.windowEnd else { return nil }
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    guard let entry = pointee.map.entry(containing: address), entry.pointee.kind == RangeKind.large,
      entry.pointee.wordB != Self.contiguous
    else { return nil }
    return (entry.pointee.start, entry.pointee.wordA, UInt32(entry.pointee.owner))
  }
}
