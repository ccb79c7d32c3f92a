// SPDX-License-Identifier: BSD-2-Clause
//
// What a zone, with its parts, has counted, summed over the CPUs: exact when no thread is inside the allocator, never negative otherwise.

import CPlatform
import Pages

/// Counts of one zone, summed over the CPUs.
public struct ZoneCounts {
  public var allocations: Int64 = 0
  public var frees: Int64 = 0
  /// Items in cells.
  public var cached: Int64 = 0

  public init(_ zone: ZonePointer) {
    // Frees first, so that a racing pair shows as one more in use, not one less (T21).
    var taken: Int64 = 0
    add(zone, &taken)
    zone.forEachPart { add($0, &taken) }
    // A flush that is between the cell and what it has moved would show as frees taken back.
    frees = max(0, frees)
    allocations = max(frees, taken)
  }

  private mutating func add(_ zone: ZonePointer, _ taken: inout Int64) {
    frees += Int64(bitPattern: stave_load64(&zone.pointee.directFrees))
    add(zone.pointee.freeCell, &taken)
    add(zone.pointee.cell, &taken)
    add(zone.pointee.allocationCell, &taken)
    taken += Int64(bitPattern: stave_load64(&zone.pointee.directAllocations))
  }

  private mutating func add(_ cell: Int, _ pops: inout Int64) {
    guard cell != 0 else { return }
    for cpu in 0..<Int(root.pointee.cpuCount) {
      guard let cells = CPUCache.cells(of: cpu) else { continue }
      let moved = cells[cell].moved
      let word = cells[cell].word
      let fill = Int64(word & 0xffff)
      cached += fill
      pops += Int64(word >> 16)
      frees += fill + Int64(word >> 16) + moved
    }
  }

  public var used: Int64 { allocations - frees }
}
