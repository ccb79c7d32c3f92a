// SPDX-License-Identifier: BSD-2-Clause
//
// What is wanted of a physically contiguous range: contigmalloc(9)'s five conditions, and where in a run of free memory they are
// met. Addresses here are physical ones, or offsets that play them.

import Primitives

public struct ContiguousRequest: BitwiseCopyable {
  /// Whole pages.
  public var size: UInt
  /// The range lies in [low, high). A `high` of all ones is no limit.
  public var low: UInt
  public var high: UInt
  /// Powers of two; a boundary of 0 is none. No multiple of it lies inside the range.
  public var alignment: UInt
  public var boundary: UInt

  public init(size: UInt, low: UInt = 0, high: UInt = .max, alignment: UInt = 1, boundary: UInt = 0) {
    self.size = size
    self.low = low
    self.high = high
    self.alignment = alignment
    self.boundary = boundary
  }

  /// Whether it matters where in the machine's memory the range lies, beyond what a place within a huge page of `bytes` tells.
  public func needsAddresses(beyond bytes: UInt) -> Bool { low > 0 || high < .max || alignment > bytes }

  /// What no memory could meet.
  public var isImpossible: Bool { boundary != 0 && size > boundary || high <= low || high - low < size }

  /// The lowest place for it in [lower, upper); nil if there is none. Constant time: both conditions are powers of two, so a start
  /// that would cross a boundary moves to the next multiple of both, and cannot cross another.
  public func place(from lower: UInt, to upper: UInt) -> UInt? {
    guard !isImpossible, var start = Swift.max(lower, low).roundedUp(to: alignment) else { return nil }
    let end = Swift.min(upper, high)
    func fits(_ start: UInt) -> Bool { start <= end && end - start >= size }
    guard fits(start) else { return nil }
    if boundary != 0 && (start ^ (start + size - 1)) & ~(boundary - 1) != 0 {
      guard let next = start.roundedUp(to: Swift.max(alignment, boundary)), fits(next) else { return nil }
      start = next
    }
    return start
  }
}
