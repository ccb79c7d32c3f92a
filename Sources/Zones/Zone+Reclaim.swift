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

/// Reclaims every zone, without `runningHooks` those that need no author's code for it. Two calls in a row both act (L8). Internal zones go
/// last, since the others give back to them.
public func reclaimAll(_ request: Reclaim, runningHooks: Bool = true) {
  forEachZone { zone in
    guard !zone.pointee.flags.contains(.unmanaged), runningHooks || zone.pointee.flags.contains(.hookedByUs) || !zone.hasAuthorsCode else { return }
    zone.whileReclaiming { zone.reclaimAlone(request) }
  }
  drainZonesOwn()
}

/// Slabs of buckets and headers that are wholly free.
func drainZonesOwn() {
  zones.pointee.reclaimLock.lock()
  for index in 0..<8 { zones.pointee.bucketKegs[index]?.drain() }
  for index in 0..<5 { zones.pointee.headerKegs[index]?.drain() }
  for index in 0..<2 { zones.pointee.countedHeaderKegs[index]?.drain() }
  zones.pointee.reclaimLock.unlock()
}

/// The end of a period: working sets are brought up to date; what depots held all through it goes back, and free slabs.
/// Touches no cell (L7). False if nothing went.
@discardableResult
public func trimIdleDepots() -> Bool {
  var didSomething = false
  forEachZone { zone in
    if zone.pointee.flags.contains(.unmanaged) { return }
    zone.whileReclaiming {
      let slabs = zone.slabsNow
      zone.pointee.depotLock.lock()
      let held = zone.pointee.depotItems
      let unneeded = Swift.min(zone.pointee.workingSet.lowest, held)
      zone.pointee.workingSet.update(holding: held)
      zone.pointee.periodBegan = zones.pointee.pools.now
      zone.pointee.depotLock.unlock()
      if unneeded > 0 {
        zone.drainDepot(keeping: held - unneeded)
        if zone.depotNow < held { didSomething = true }
      }
      if zone.pointee.keg.drain() { didSomething = true }
      if unneeded > 0 || zone.slabsNow < slabs { zone.noteReclaim(.trim, slabsBefore: slabs) }
    }
  }
  return didSomething
}

/// Calls `body` with each zone, no lock of its own held meanwhile. A zone is not destroyed while the walk is at it; `body` may
/// make and destroy others.
func forEachZone(_ body: (ZonePointer) -> Void) {
  let list = zones
  list.pointee.listLock.lock()
  var next = list.pointee.first
  while let zone = next {
    if !zone.pointee.flags.contains(.dying) {
      zone.pointee.walks += 1
      list.pointee.listLock.unlock()
      body(zone)
      list.pointee.listLock.lock()
      zone.pointee.walks -= 1
    }
    next = zone.pointee.next
  }
  list.pointee.listLock.unlock()
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// Whether giving items or slabs back calls what an author wrote.
  var hasAuthorsCode: Bool {
    if pointee.zoneFini != nil || pointee.keg.hasAuthorsCode || pointee.importItems != nil || pointee.deferral != nil { return true }
    for index in 0..<Int(Swift.max(0, pointee.moreKegCount)) where pointee.moreKegs[index]!.hasAuthorsCode { return true }
    guard let domains = pointee.domains else { return false }
    for domain in 0..<DomainTable.most { if domains.pointee.parts[domain]?.pointee.keg.hasAuthorsCode ?? false { return true } }
    return false
  }

  /// With the reclaim lock, so that fork catches nothing between two places and who waits for memory finds all of it. But
  /// without any lock where an author's code may run (L36); a zone at which a walk is already is passed over then, since it may
  /// be that code which began this one.
  func whileReclaiming(_ body: () -> Void) {
    if hasAuthorsCode {
      guard stave_claim(&pointee.isReclaimed) else { return }
      body()
      stave_store32(&pointee.isReclaimed, 0)
      return
    }
    zones.pointee.reclaimLock.lock()
    body()
    zones.pointee.reclaimLock.unlock()
  }

  /// Items go to the keg, wholly free slabs to the page source.
  public func reclaim(_ request: Reclaim) {
    reclaimAlone(request)
    forEachPart { $0.reclaimAlone(request) }
  }

  /// Without its parts, which walks over all zones come to by themselves.
  func reclaimAlone(_ request: Reclaim) {
    let before = slabsNow
    pointee.depotLock.lock()
    let target = request == .trim ? itemsNeeded() : 0
    if pointee.bucketSize > pointee.bucketSizeMin { pointee.bucketSize -= 1 }
    pointee.depotLock.unlock()
    drainDepot(keeping: target)
    if request == .drainCPU {
      drainCaches()
      drainDepot(keeping: 0)
    }
    if request != .trim { freeEmptyBuckets() }
    // A depot that has several kegs' items has given them back just now.
    if pointee.moreKegCount < 0 { drainKegsOfParts() } else { pointee.keg.drain(isUrgent: request != .trim) }
    noteReclaim(request, slabsBefore: before)
  }

  /// How many the depot is to keep at a trim. Periods that nobody has ended are ended by whoever comes after them. The depot's lock is held.
  private func itemsNeeded() -> Int {
    let now = zones.pointee.pools.now, periods = (now - pointee.periodBegan) / WorkingSet.period
    if periods > 0 {
      pointee.periodBegan = now
      for _ in 0..<Swift.min(periods, 100) { pointee.workingSet.update(holding: pointee.depotItems) }
    }
    return pointee.workingSet.needed(holding: pointee.depotItems)
  }

  func noteReclaim(_ request: Reclaim, slabsBefore before: Int) {
    let bytes = Swift.max(0, before - slabsNow) * pointee.keg.pointee.layout.slabBytes
    let how: UInt64 = request == .trim ? 0 : request == .drain ? 1 : 2
    stave_zone_reclaim_probe(shownName, UInt64(pointee.size), how, UInt64(bytes))
  }

  /// Without the keg's lock: for probes, and to know whether a walk did something.
  fileprivate var slabsNow: Int { pointee.keg.pointee.slabCount }
  /// Without the depot's.
  public var depotNow: Int { pointee.depotItems }

  /// As probes want it.
  var shownName: UInt64 { withUnsafeMutablePointer(to: &pointee.name) { UInt64(UInt(bitPattern: $0)) } }

  /// Takes buckets off the depot while at least `target` items stay.
  func drainDepot(keeping target: Int) {
    if let deferral = pointee.deferral { deferral.pointee.act(self, .expire) }
    while true {
      pointee.depotLock.lock()
      guard let bucket = pointee.full, pointee.depotItems - Int(bucket.pointee.count) >= target else {
        pointee.depotLock.unlock()
        return
      }
      pointee.full = bucket.pointee.next
      noteDepot(-Int(bucket.pointee.count))
      pointee.workingSet.drained(Int(bucket.pointee.count), nowHolding: pointee.depotItems)
      pointee.depotLock.unlock()
      release(bucket.items, count: Int(bucket.pointee.count))
      bucket.pointee.count = 0
      Bucket.free(bucket)
    }
  }

  /// Empties this zone's cell on every CPU.
  func drainCaches() {
    if let deferral = pointee.deferral { deferral.pointee.act(self, .drainCells) }
    guard pointee.cell != 0 else { return }
    for cpu in 0..<Int(root.pointee.cpuCount) { drainCache(of: cpu) }
  }

  /// A look without the region's lock: what comes into the cell from now on is not this walk's.
  private func mayHoldItems(_ cells: CellPointer) -> Bool { cells[pointee.cell].word & 0xffff != 0 }

  private func drainCache(of cpu: Int) {
    guard let cells = CPUCache.cells(of: cpu), mayHoldItems(cells) else { return }
    _ = CPUCache.withExclusiveCells(of: cpu) { $0.moveToDepot(self) }
    guard mayHoldItems(cells) else { return }
    // What found no bucket goes by way of the stack, so that an author's code runs without the region's lock.
    var buffer = InlineArray<64, UInt>(repeating: 0)
    withUnsafeMutablePointer(to: &buffer) { raw in
      let items = UnsafeMutableRawPointer(raw).assumingMemoryBound(to: UInt.self)
      var count = 64
      while count == 64 {
        count = 0
        _ = CPUCache.withExclusiveCells(of: cpu) { count = ($0 + pointee.cell).takeTop(into: items, count: 64) }
        release(items, count: count)
      }
    }
  }

  /// Whatever the limit: for what comes out of a drained cell, with the region's lock held and so without hooks.
  func depositBucket(_ bucket: UnsafeMutablePointer<Bucket>) {
    pointee.depotLock.lock()
    bucket.pointee.next = pointee.full
    pointee.full = bucket
    noteDepot(Int(bucket.pointee.count))
    pointee.workingSet.added(nowHolding: pointee.depotItems)
    pointee.depotLock.unlock()
  }
}

extension UnsafeMutablePointer where Pointee == Keg {
  fileprivate var hasAuthorsCode: Bool { pointee.finish != nil || !pointee.source.isOurs }
}

extension UnsafeMutablePointer where Pointee == stave_cell {
  /// Takes up to `count` items off the top of this cell, which is this thread's alone; how many.
  func takeTop(into items: UnsafeMutablePointer<UInt>, count: Int) -> Int {
    let fill = Int(pointee.word & 0xffff)
    let moving = Swift.min(fill, count)
    for position in 0..<moving { items[position] = pointee.slots![fill - moving + position] }
    pointee.word &-= UInt64(moving)
    CPUCache.addMoved(self, Int64(moving))
    return moving
  }

  /// Moves what this zone's cell holds to the depot. Without memory for a bucket the items go straight to the keg, unless
  /// an author's code might run, which must not here: then they stay. The cells are this thread's alone (withExclusiveCells).
  func moveToDepot(_ zone: ZonePointer) {
    let cell = self + zone.pointee.cell
    while cell.pointee.word & 0xffff != 0 {
      guard let bucket = zone.takeEmptyBucket() else {
        guard !zone.hasAuthorsCode, !zone.pointee.flags.contains(.limited) else { return }
        let fill = Int(cell.pointee.word & 0xffff)
        zone.giveBack(cell.pointee.slots!, count: fill)
        cell.pointee.word &-= UInt64(fill)
        CPUCache.addMoved(cell, Int64(fill))
        break
      }
      bucket.pointee.count = UInt16(cell.takeTop(into: bucket.items, count: Int(bucket.pointee.capacity)))
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
      if zone.pointee.cell != 0 && !zone.pointee.flags.contains(.unmanaged) { cells.moveToDepot(zone) }
    }
    CPUCache.returnFurtherSlots(of: cells)
  }
}
