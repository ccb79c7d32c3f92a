// SPDX-License-Identifier: BSD-2-Clause
//
// The size classes of malloc: multiples of 16 up to 128, then eight to each doubling, up to 32 KiB. Above 128 bytes a
// request wastes less than an eighth of its class; every class is a multiple of 16, and a power of two is aligned to itself.

import Primitives

public enum SizeClass {
  public static let count = 72
  public static let largest = 32768

  /// Bytes of class `index`: 16, 32, …, 128, 144, …, 32768.
  @inline(__always)
  public static func size(_ index: Int) -> Int {
    if index < 8 { return (index + 1) * 16 }
    let doubling = (index - 8) >> 3
    return (128 << doubling) + ((index - 8) & 7 + 1) * (16 << doubling)
  }

  /// The smallest class that holds `size` bytes, which is at most `largest`.
  @inline(__always)
  public static func index(for size: Int) -> Int {
    if size <= 128 { return size == 0 ? 0 : (size - 1) >> 4 }
    let doubling = 56 - (size - 1).leadingZeroBitCount  // 0 for 129…256
    return 8 + doubling << 3 + ((size - 1) >> (4 + doubling) - 8)
  }

  /// The smallest class that holds `size` bytes at multiples of `alignment`, a power of two; nil if no zone does.
  public static func index(for size: Int, alignment: Int) -> Int? {
    guard size <= largest, alignment <= largest else { return nil }
    var index = index(for: max(size, 1))
    while index < count {
      if self.size(index) & (alignment - 1) == 0 { return index }
      index += 1
    }
    return nil
  }

  /// Slots of a class's cell: at most 1024 items and 128 KiB of them on each CPU, of large items 64 KiB (L13). A cell comes
  /// to that only when so many are freed at a time.
  public static func cellCapacity(size: Int) -> Int { min(1024, max(2, (size <= 1024 ? 128 << 10 : 64 << 10) / size)) }

  /// Items of a bucket.
  public static func bucketSize(size: Int) -> Int { max(1, min(62, cellCapacity(size: size) / 2)) }

  /// Items that a class's depot holds before buckets go back to their slabs: a MiB of them, of large items half.
  public static func depotLimit(size: Int) -> Int { max(2 * bucketSize(size: size), (size <= 1024 ? 1 << 20 : 512 << 10) / size) }

  /// ceil(2^32 / size): distance × this, modulo 2^32, is below this exactly when size divides the distance.
  public static func reciprocal(size: Int) -> UInt32 { UInt32(truncatingIfNeeded: ((1 << 32) + size - 1) / size) }
}
