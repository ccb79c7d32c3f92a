// SPDX-License-Identifier: BSD-2-Clause
//
// Cells that hold less than they have slots for, or nothing any more: what they held goes to the depot, on every CPU. Threads that read
// a closed cell's number long before find it empty and full at once, whenever they come to it, and take the slow path.

import CPlatform
import Pages
import Primitives
import Synchronization

extension CPUCache {
  @inline(__always)
  static func isClosed(_ cell: Int) -> Bool { stave_cell_places()[cell].most == 0 }

  /// Regions that are made from now on know it.
  static func noteMost(_ cell: Int, _ items: Int) {
    zones.pointee.regionLock.lock()
    stave_cell_places()[cell].most = UInt16(items)
    zones.pointee.regionLock.unlock()
  }
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// Cells hold so many items at most, 0 to close them: then operations are counted by the zone alone. What they held is in the depot.
  /// One membarrier for each CPU; false if the system refuses it: then some CPU's cell may still be as it was.
  @discardableResult
  func boundCells(_ items: Int) -> Bool {
    guard pointee.cell != 0 else { return true }
    CPUCache.noteMost(pointee.cell, Swift.min(items, pointee.cellCapacity))
    for cpu in 0..<Int(root.pointee.cpuCount) {
      guard CPUCache.withExclusiveCells(of: cpu, { $0.moveToDepot(self) }) else { return false }
    }
    return true
  }

  public func closeCells() -> Bool { boundCells(0) }
}
