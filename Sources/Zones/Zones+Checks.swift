// SPDX-License-Identifier: BSD-2-Clause
//
// Item checks, on and off, for all zones at any time. While they are on the caches are passed by: each allocation takes its item
// from a slab, each free gives it straight back, and the slab's bitmap is the truth about every address. So any double free is noticed,
// in whatever thread and however late, until the item has been handed out again; and free memory is filled and looked at (Keg+Trash).
//
// A switch is under the reclaim lock, so that fork finds all of it done or nothing; but for zones with an author's code, which no
// lock may be held over. Cost: a membarrier for each CPU, and the time to fill what is free in slabs.

import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == ItemChecks {
  /// Switches on, or changes the divisor: of items whose number is a multiple of it free ones are filled; 0 for none, 1 for all. False
  /// if the system refuses what that needs: then they are off. Holding no lock. Without `runningHooks` what is in the caches of zones with
  /// an author's code stays there until the next reclaim.
  public func begin(divisor: Int, runningHooks: Bool = true) -> Bool {
    zones.pointee.reclaimLock.lock()
    pointee.divisor = divisor
    guard CPUCache.passBy() else {
      zones.pointee.reclaimLock.unlock()
      return false
    }
    forEachZone { zone in
      guard !zone.hasAuthorsCode else { return }
      zone.drainToSlabs()
      zone.pointee.keg.followTrash()
    }
    zones.pointee.reclaimLock.unlock()
    forEachZone { zone in
      guard zone.hasAuthorsCode else { return }
      if runningHooks { zone.whileReclaiming { zone.drainToSlabs() } }
      zone.pointee.keg.followTrash()
    }
    return true
  }

  /// Switches off. What is filled stays so; nobody looks at it any more.
  public func end() {
    zones.pointee.reclaimLock.lock()
    CPUCache.useAgain()
    forEachZone { $0.pointee.keg.followTrash() }
    zones.pointee.reclaimLock.unlock()
  }
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// All that is cached, while the caches are passed by.
  fileprivate func drainToSlabs() {
    drainCaches()
    drainDepot(keeping: 0)
    freeEmptyBuckets()
  }
}
