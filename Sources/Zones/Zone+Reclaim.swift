// SPDX-License-Identifier: BSD-2-Clause
//
// Giving back: down to the working set, the whole depot, or the cells of every CPU too; one zone or all of them.

import CPlatform
import Pages
import Primitives

public enum Reclaim {
  /// The depot down to the working set.
  case trim
  /// The whole depot.
  case drain
  /// The depot and every CPU's cell.
  case drainCPU
}

/// Reclaims every zone. Two calls in a row both act (L8). Internal zones go last, since the others give back to them.
public func reclaimAll(_ request: Reclaim) {
  zones.pointee.reclaimLock.lock()
  defer { zones.pointee.reclaimLock.unlock() }
  forEachZone { $0.reclaim(request) }
  for index in 0..<8 { zones.pointee.bucketKegs[index]?.drain() }
  for index in 0..<5 { zones.pointee.headerKegs[index]?.drain() }
}

/// The end of a period: working sets are brought up to date, depots idle for long are trimmed. Touches no cell (L7).
public func updateWorkingSets() {
  zones.pointee.reclaimLock.lock()
  defer { zones.pointee.reclaimLock.unlock() }
  forEachZone { zone in
    zone.pointee.depotLock.lock()
    zone.pointee.workingSet.update(holding: zone.pointee.depotItems)
    let target = zone.pointee.workingSet.voluntaryTarget(holding: zone.pointee.depotItems)
    zone.pointee.depotLock.unlock()
    if let target {
      zone.drainDepot(keeping: target)
      zone.pointee.keg.drain()
    }
  }
}

/// Gives back what depots held all through the last period, and the free slabs. Touches no cell. False if nothing went.
public func trimIdleDepots() -> Bool {
  zones.pointee.reclaimLock.lock()
  defer { zones.pointee.reclaimLock.unlock() }
  var didSomething = false
  forEachZone { zone in
    zone.pointee.depotLock.lock()
    let held = zone.pointee.depotItems
    let unneeded = Swift.min(zone.pointee.workingSet.lowest, held)
    zone.pointee.workingSet.update(holding: held)
    zone.pointee.depotLock.unlock()
    if unneeded > 0 {
      zone.drainDepot(keeping: held - unneeded)
      if zone.pointee.depotItems < held { didSomething = true }
    }
    if zone.pointee.keg.drain() { didSomething = true }
  }
  return didSomething
}

/// The reclaim lock is held, so that no zone is destroyed; new ones may appear at the head.
func forEachZone(_ body: (ZonePointer) -> Void) {
  zones.pointee.listLock.lock()
  var next = zones.pointee.first
  zones.pointee.listLock.unlock()
  while let zone = next {
    body(zone)
    next = zone.pointee.next
  }
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// Items go to the keg, wholly free slabs to the page source.
  public func reclaim(_ request: Reclaim) {
    pointee.depotLock.lock()
    let target = request == .trim ? pointee.workingSet.size : 0
    if pointee.bucketSize > pointee.bucketSizeMin { pointee.bucketSize -= 1 }
    pointee.depotLock.unlock()
    drainDepot(keeping: target)
    if request == .drainCPU {
      drainCaches()
      drainDepot(keeping: 0)
    }
    if request != .trim { freeEmptyBuckets() }
    pointee.keg.drain()
  }

  /// Takes buckets off the depot while at least `target` items stay.
  func drainDepot(keeping target: Int) {
    while true {
      pointee.depotLock.lock()
      guard let bucket = pointee.full, pointee.depotItems - Int(bucket.pointee.count) >= target else {
        pointee.depotLock.unlock()
        return
      }
      pointee.full = bucket.pointee.next
      pointee.depotItems -= Int(bucket.pointee.count)
      pointee.workingSet.drained(Int(bucket.pointee.count), nowHolding: pointee.depotItems)
      pointee.depotLock.unlock()
      release(bucket.items, count: Int(bucket.pointee.count))
      bucket.pointee.count = 0
      Bucket.free(bucket)
    }
  }

  /// Empties this zone's cell on every CPU.
  func drainCaches() {
    guard pointee.cell != 0 else { return }
    for cpu in 0..<Int(root.pointee.cpuCount) { drainCache(of: cpu) }
  }

  private func drainCache(of cpu: Int) {
    guard let cells = CPUCache.cells(of: cpu), cells[pointee.cell].word & 0xffff != 0 else { return }
    _ = CPUCache.withExclusiveCells(of: cpu) { $0.moveToDepot(self) }
  }

  /// Whatever the limit: for what comes out of a drained cell, with the region's lock held and so without hooks.
  func depositBucket(_ bucket: UnsafeMutablePointer<Bucket>) {
    pointee.depotLock.lock()
    bucket.pointee.next = pointee.full
    pointee.full = bucket
    pointee.depotItems += Int(bucket.pointee.count)
    pointee.workingSet.added(nowHolding: pointee.depotItems)
    pointee.depotLock.unlock()
  }
}

extension UnsafeMutablePointer where Pointee == stave_cell {
  /// Moves what this zone's cell holds to the depot. Without memory for a bucket the items go straight to the keg, unless
  /// the zone has hooks, which must not run here: then they stay. The cells are this thread's alone (withExclusiveCells).
  func moveToDepot(_ zone: ZonePointer) {
    let cell = self + zone.pointee.cell
    while cell.pointee.word & 0xffff != 0 {
      guard let bucket = zone.takeEmptyBucket() else {
        guard zone.pointee.zoneFini == nil, zone.pointee.keg.pointee.finish == nil else { return }
        let fill = Int(cell.pointee.word & 0xffff)
        zone.pointee.keg.give(cell.pointee.slots!, count: fill)
        cell.pointee.word &-= UInt64(fill)
        CPUCache.addMoved(cell, Int64(fill))
        return
      }
      let fill = Int(cell.pointee.word & 0xffff)
      let moving = Swift.min(fill, Int(bucket.pointee.capacity))
      for position in 0..<moving { bucket.items[position] = cell.pointee.slots![fill - moving + position] }
      bucket.pointee.count = UInt16(moving)
      cell.pointee.word &-= UInt64(moving)
      CPUCache.addMoved(cell, Int64(moving))
      zone.depositBucket(bucket)
    }
    CPUCache.useFirstSlots(zone.pointee.cell, of: self)
  }
}

/// Empties all cells of a CPU into the depots at once: one membarrier, however many zones. False if the CPU could not be
/// stopped. The items are cached still; `reclaimAll` gives them back.
public func emptyCaches(of cpu: Int) -> Bool {
  zones.pointee.reclaimLock.lock()
  defer { zones.pointee.reclaimLock.unlock() }
  return CPUCache.withExclusiveCells(of: cpu) { cells in
    forEachZone { zone in
      if zone.pointee.cell != 0 { cells.moveToDepot(zone) }
    }
    CPUCache.returnFurtherSlots(of: cells)
  }
}
