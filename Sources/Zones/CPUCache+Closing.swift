// SPDX-License-Identifier: BSD-2-Clause
//
// A zone without cells from some moment on: its cell is emptied on every CPU and takes nothing any more. Threads that read the cell's
// number long before find it empty and full at once, whenever they come to it, and take the slow path.

import CPlatform
import Pages
import Primitives
import Synchronization

extension CPUCache {
  /// What `taken` says of a cell that has a zone, and of one that is closed.
  private static var closed: UInt16 { 2 }

  @inline(__always)
  static func isClosed(_ cell: Int) -> Bool { stave_cell_places()[cell].taken == closed }

  /// Regions that are made from now on have the cell closed.
  static func noteClosed(_ cell: Int) {
    zones.pointee.regionLock.lock()
    stave_cell_places()[cell].taken = closed
    zones.pointee.regionLock.unlock()
  }
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// From here on operations are counted by the zone alone, none by its cells. What these held is in the depot. One membarrier for
  /// each CPU; false if the system refuses it: then some CPU's cell may still be open.
  public func closeCells() -> Bool {
    guard pointee.cell != 0 else { return true }
    CPUCache.noteClosed(pointee.cell)
    for cpu in 0..<Int(root.pointee.cpuCount) {
      guard CPUCache.withExclusiveCells(of: cpu, { $0.moveToDepot(self) }) else { return false }
    }
    return true
  }
}
