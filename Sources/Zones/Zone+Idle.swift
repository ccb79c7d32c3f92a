// SPDX-License-Identifier: BSD-2-Clause
//
// How much a zone holds that nobody uses, as a guess: read without locks, to tell whether giving back is worth a thread.

import CPlatform
import Pages

extension CPUCache {
  /// The cells of the CPU that this thread is on, nil if it has none.
  public static var cellsHere: CellPointer? {
    guard let cpu = currentCPU else { return nil }
    return cells(of: cpu)
  }
}

extension UnsafeMutablePointer where Pointee == ZonesState {
  /// Bytes in the depots of all zones that have a malloc type.
  public var idleTypedBytes: UInt { UInt(Swift.max(0, pointee.typedDepotBytes)) }
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// Bytes in the depot, in free slabs and in its cell among `cells`.
  @inline(__always)
  public func idleBytes(cells: CellPointer?) -> UInt {
    var items = Swift.max(0, pointee.depotItems)
    if let cells, pointee.cell != 0 { items += Int(cells[pointee.cell].word & 0xffff) }
    return UInt(items * pointee.size) + UInt(Swift.max(0, pointee.keg.pointee.freeSlabCount) * pointee.keg.pointee.layout.slabBytes)
  }
}
