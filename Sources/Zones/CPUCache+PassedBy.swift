// SPDX-License-Identifier: BSD-2-Clause
//
// The caches passed by, all of them: what item checks want (Zones+Checks). Every CPU's entry in the hot table is the array of empty
// cells then, as it is for a moment while its cells are emptied from elsewhere; with locked caches the operations on cells look at
// `isPassedBy` under the region's own lock. So from one membarrier on no section of that CPU finds a cell, none that is under way
// commits, and what cells hold is the switching thread's alone. The fast paths stay as they are: the first load leads nowhere.
//
// What a thread has in hand then, between the section that took it out of a cell and the depot or its slab, goes to the slab:
// whoever puts items on a depot looks at `isPassedBy` under the depot's lock, which the switching thread takes afterwards.

import CPlatform
import Pages
import Primitives

extension CPUCache {
  @inline(__always)
  public static var isPassedBy: Bool { itemChecks.isOn }

  /// What threads on a CPU are to find in the hot table. Under the region lock.
  static func publish(_ cells: CellPointer, for cpu: Int) { stave_cpu_table()[cpu] = isPassedBy ? stave_no_cells() : cells }

  /// Empties all cells into the depots and keeps them empty. One membarrier for each CPU. False, and nothing changed, if the system
  /// refuses that. The reclaim lock is held.
  static func passBy() -> Bool {
    guard setPassedBy(true) else { return true }
    for cpu in 0..<Int(root.pointee.cpuCount) {
      let isEmptied = withExclusiveCells(of: cpu) { cells in
        forEachZone { zone in
          if zone.pointee.cell != 0 { cells.moveToDepot(zone) }
        }
        returnFurtherSlots(of: cells)
      }
      guard isEmptied else {
        useAgain()
        return false
      }
    }
    return true
  }

  /// The reclaim lock is held.
  static func useAgain() { _ = setPassedBy(false) }

  /// False if it is so already.
  private static func setPassedBy(_ isPassedBy: Bool) -> Bool {
    zones.pointee.regionLock.lock()
    defer { zones.pointee.regionLock.unlock() }
    guard isPassedBy != self.isPassedBy else { return false }
    stave_store32(&itemChecks.pointee.isOn, isPassedBy ? 1 : 0)
    if !isPassedBy && !isLocked {
      for cpu in 0..<Int(root.pointee.cpuCount) {
        if let cells = cells(of: cpu) { stave_cpu_table()[cpu] = cells }
      }
    }
    return true
  }
}
