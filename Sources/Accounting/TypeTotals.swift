// SPDX-License-Identifier: BSD-2-Clause
//
// What a type holds: sums over its zones and its large blocks. Exact when no thread is inside the allocator, never negative (L58).

import Pages
import Zones

public struct TypeTotals {
  /// Successful requests (L55), and frees.
  public var allocations: Int64 = 0
  public var frees: Int64 = 0
  /// Bytes of classes and of whole pages, not as requested.
  public var allocatedBytes: Int64 = 0
  public var freedBytes: Int64 = 0
  /// Bit i: class i has served the type. Large blocks set none.
  public var classes: InlineArray<2, UInt64> = InlineArray(repeating: 0)

  public var used: Int64 { max(0, allocations - frees) }
  public var usedBytes: Int64 { max(0, allocatedBytes - freedBytes) }

  public init(_ type: TypePointer) {
    for index in 0..<SizeClass.count {
      guard let zone = type.knownZone(index) else { continue }
      let counts = ZoneCounts(zone)
      add(counts, size: Int64(SizeClass.size(index)))
      if counts.allocations > 0 { classes[index >> 6] |= 1 << UInt64(index & 63) }
    }
    let large = arena.largeTotals(of: type.pointee.number)
    allocations += large.allocations
    frees += large.frees
    allocatedBytes += large.allocatedBytes
    freedBytes += large.freedBytes
  }

  private mutating func add(_ counts: ZoneCounts, size: Int64) {
    allocations += counts.allocations
    frees += counts.frees
    allocatedBytes += counts.allocations * size
    freedBytes += counts.frees * size
  }
}
