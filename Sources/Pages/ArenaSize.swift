// SPDX-License-Identifier: BSD-2-Clause
//
// How large the arena may be: BSD's formula for kmem, without overflow whatever is said (L49). And making it so: the
// window ends where the arena may end, so that beyond it there is no space, as at the end of any window.

import AddressMap
import CPlatform
import Primitives

/// What is said of it, in bytes; 0 is nothing.
public struct ArenaSize {
  public var size: UInt64
  public var minimum: UInt64
  public var maximum: UInt64
  /// The share of the memory: one by this.
  public var scale: UInt64

  public init(size: UInt64 = 0, minimum: UInt64 = 0, maximum: UInt64 = 0, scale: UInt64 = 0) {
    self.size = size
    self.minimum = minimum
    self.maximum = maximum
    self.scale = scale
  }

  public var isSaid: Bool { size | minimum | maximum | scale != 0 }

  /// The size for a machine, or container, of so many bytes: the one that is said; else a share of the memory, raised to the minimum and
  /// then lowered to the maximum. No more than twice the memory; whole pages. Nil if nothing is said.
  public func bytes(memory: UInt64, page: UInt64) -> UInt64? {
    guard isSaid else { return nil }
    var bytes = size
    if bytes == 0 {
      bytes = Swift.max(scale == 0 ? memory : memory / scale, minimum)
      if maximum != 0 { bytes = Swift.min(bytes, maximum) }
    }
    let (twice, overflow) = memory.multipliedReportingOverflow(by: 2)
    if !overflow { bytes = Swift.min(bytes, twice) }
    let (sum, isTooLarge) = bytes.addingReportingOverflow(page - 1)
    return (isTooLarge ? bytes : sum) / page * page
  }
}

extension UnsafeMutablePointer where Pointee == Arena {
  /// Ends the window behind `bytes`, but not before what is mapped already; whole units. What was larger than the window stays the window.
  public func limitWindow(to bytes: UInt) {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    let window = pointee.windowEnd - pointee.windowStart
    guard bytes < window, let whole = bytes.roundedUp(to: unitBytes), whole < window else { return }
    let end = Swift.max(pointee.windowStart + whole, pointee.frontier)
    guard pointee.map.lowerMaximum(to: end) else { return }
    pointee.windowEnd = end
  }
}
