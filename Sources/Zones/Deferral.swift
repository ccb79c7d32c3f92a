// SPDX-License-Identifier: BSD-2-Clause
//
// What a zone with deferred reuse has besides: items that have been freed wait here until readers have left.
//
//   freeSMR ─► cell of this CPU ─► filling bucket ─► stamped with a goal, at the end of the queue
//   allocateSMR ◄─ cell of this CPU ◄─ depot: ready ◄─ destructor ◄─ the oldest, once its goal has expired
//
// Items come to the depot and the slabs by way of the destructor alone, so what the zone has ready is as in any other zone, and what
// slabs are filled and looked at with (Keg+Trash) applies to it. Of cells there are two to a CPU: one that only gives, one that only takes.
//
// Lock: the depot's, over the queue and the filling bucket. It is not held over a look at readers, a wait or a hook.

import CPlatform
import Pages
import Primitives

/// What other files have a zone's deferral do; by address, so that what has no such zone does not have this code.
enum DeferralTask: Int32 {
  /// What has expired becomes ready; who comes next finds the rest of the filling bucket in the queue.
  case expire
  /// The cells that give are emptied.
  case drainCells
  /// Both cells are emptied, and hold from now on what the limit lets them.
  case boundCells
  /// Whether this thread is in no section of the context, and may wait; else there is a report.
  case demandOutside
  /// All becomes ready, after a wait, and the deferral is no more.
  case end
}

public struct Deferral: ~Copyable {
  var perform: @convention(c) (_ zone: UnsafeMutableRawPointer, _ task: Int32) -> Bool
  var smr: SMRPointer
  /// Whether the context goes with the zone.
  var ownsSMR: Bool
  /// The bucket that is being filled, not full; nil for none.
  public internal(set) var filling: UnsafeMutablePointer<Bucket>?
  /// Stamped, oldest first. None is empty (L28).
  public internal(set) var first: UnsafeMutablePointer<Bucket>?
  var last: UnsafeMutablePointer<Bucket>?
  /// Items in all of these; the zone's depot has them in its sum.
  public internal(set) var waiting: Int

  /// True but for `demandOutside`.
  @discardableResult
  func act(_ zone: ZonePointer, _ task: DeferralTask) -> Bool { perform(UnsafeMutableRawPointer(zone), task.rawValue) }

  /// Slots of the cells: what lies in them waits for nobody, so they are small.
  static func cellCapacity(bucketSize: Int) -> Int { min(Int(CPUCache.firstCapacity), bucketSize) }

  /// The same under a limit: a CPU's cell for items is two here.
  static func cellCapacity(bucketSize: Int, limit: Int) -> Int {
    let capacity = cellCapacity(bucketSize: bucketSize)
    return limit == 0 ? capacity : min(capacity, CacheBound(limit: limit, cpus: Int(root.pointee.cpuCount)).cell / 2)
  }
}

/// Makes a zone with deferred reuse: as `makeZone`, with a context that others have too, or else one of its own. Nil when memory,
/// cells or kegs run out, and for flags that contradict deferred reuse: `perCPU`, and policies for memory domains.
public func makeSMRZone(
  name: FixedName, size: Int, alignMask: Int = 7, flags: ZoneFlags = .none, hooks: ZoneHooks = ZoneHooks(), source: PageSource = .arena,
  smr shared: SMRPointer? = nil
) -> ZonePointer? {
  guard let flags = flags.union(.smr).completed,
    let layout = SlabLayout.choose(size: size, alignMask: alignMask, flags: flags, pageBytes: pageBytes),
    let keg = zones.deferralKeg(), let raw = keg.takeOne()
  else { return nil }
  let bucketSize = Bucket.desiredCapacity(itemBytes: layout.itemBytes)
  guard let smr = shared ?? makeSMR() else {
    keg.giveOne(raw)
    return nil
  }
  guard
    let zone = makeZone(
      name: name, layout: layout, alignMask: alignMask, flags: flags, hooks: hooks, source: source, cellCapacity: 0,
      bucketSize: bucketSize, reciprocal: ~0)
  else {
    if shared == nil { smr.destroy() }
    keg.giveOne(raw)
    return nil
  }
  let deferral = raw.assumingMemoryBound(to: Deferral.self)
  deferral.initialize(
    to: Deferral(
      perform: { zone, task in zone.assumingMemoryBound(to: Zone.self).perform(DeferralTask(rawValue: task)!) }, smr: smr, ownsSMR: shared == nil,
      filling: nil, first: nil, last: nil, waiting: 0))
  _ = stave_add_fetching(&smr.pointee.users, 1)
  if !flags.contains(.noBucket) {
    let capacity = Deferral.cellCapacity(bucketSize: bucketSize)
    zone.pointee.allocationCell = CPUCache.addCell(capacity: capacity, reciprocal: ~0) ?? 0
    zone.pointee.freeCell = CPUCache.addCell(capacity: capacity, reciprocal: ~0) ?? 0
  }
  zone.pointee.deferral = deferral
  return zone
}

extension UnsafeMutablePointer where Pointee == ZonesState {
  /// The keg of deferrals, made when first asked for.
  fileprivate func deferralKeg() -> KegPointer? {
    pointee.listLock.lock()
    defer { pointee.listLock.unlock() }
    if pointee.deferralKeg == nil { pointee.deferralKeg = makeInternalKeg(name: "DEFERRALS ", number: 1, size: MemoryLayout<Deferral>.stride) }
    return pointee.deferralKeg
  }
}

extension UnsafeMutablePointer where Pointee == Zone {
  fileprivate func perform(_ task: DeferralTask) -> Bool {
    switch task {
    case .expire: expireAll()
    case .drainCells:
      emptyCells(pointee.allocationCell) { release($0, count: $1) }
      // Somebody may wait at the limit for what lies in the others.
      if pointee.flags.contains(.limited) { emptyCells(pointee.freeCell) { postpone($0, count: $1) } }
    case .boundCells: boundDeferredCells()
    case .demandOutside: return pointee.deferral!.pointee.smr.isInside ? reportWaitInside() : true
    case .end: endDeferral()
    }
    return true
  }

  // MARK: - Into the queue

  /// Takes items that have been freed. Where no bucket is to be had it waits, once for a bucket's worth; not in a section of the
  /// context, therefore.
  func postpone(_ items: UnsafeMutablePointer<UInt>, count: Int) {
    let deferral = pointee.deferral!
    var done = 0
    while done < count {
      pointee.depotLock.lock()
      if let bucket = deferral.pointee.filling {
        let before = Int(bucket.pointee.count)
        let moving = Swift.min(count - done, Int(bucket.pointee.capacity) - before)
        for position in 0..<moving { bucket.items[before + position] = items[done + position] }
        bucket.pointee.count = UInt16(before + moving)
        deferral.pointee.waiting += moving
        noteDepot(moving)
        pointee.workingSet.added(nowHolding: pointee.depotItems)
        if before + moving == Int(bucket.pointee.capacity) { seal() }
        pointee.depotLock.unlock()
        done += moving
        continue
      }
      pointee.depotLock.unlock()
      guard let bucket = takeEmptyBucket() ?? waitForBucket() else { return releaseAtOnce(items + done, count: count - done) }
      pointee.depotLock.lock()
      let isWanted = deferral.pointee.filling == nil
      if isWanted { deferral.pointee.filling = bucket }
      pointee.depotLock.unlock()
      if !isWanted { putEmptyBucket(bucket) }
    }
  }

  /// Takes those of a bucket of the caller's, which is the zone's from then on. Waits for nothing.
  func postpone(_ bucket: UnsafeMutablePointer<Bucket>) {
    let count = Int(bucket.pointee.count)
    guard count > 0 else { return putEmptyBucket(bucket) }
    pointee.depotLock.lock()
    pointee.deferral!.pointee.waiting += count
    noteDepot(count)
    pointee.workingSet.added(nowHolding: pointee.depotItems)
    enqueue(bucket)
    pointee.depotLock.unlock()
  }

  /// The filling bucket goes into the queue. The depot's lock is held.
  private func seal() {
    guard let bucket = pointee.deferral!.pointee.filling, bucket.pointee.count > 0 else { return }
    pointee.deferral!.pointee.filling = nil
    enqueue(bucket)
  }

  /// A bucket gets its stamp: what is in it can be reached by no section that begins from now on. The depot's lock is held.
  private func enqueue(_ bucket: UnsafeMutablePointer<Bucket>) {
    let deferral = pointee.deferral!
    bucket.pointee.stamp = SMRPointer.stamp(of: deferral.pointee.smr.advance())
    bucket.pointee.next = nil
    if let last = deferral.pointee.last { last.pointee.next = bucket } else { deferral.pointee.first = bucket }
    deferral.pointee.last = bucket
  }

  /// Nobody can reach these items; no section of this thread is open. Where the system refuses what tells that readers have left, they are
  /// left where they are.
  private func releaseAtOnce(_ items: UnsafeMutablePointer<UInt>, count: Int) {
    guard pointee.deferral!.pointee.smr.synchronize() else {
      stave_add(&pointee.directFrees, -Int64(count))
      var report = Report("deferred reuse")
      report.text("the system refuses membarrier; ")
      report.number(UInt(count))
      report.text(" items stay out of zone ")
      report.name(pointee.name)
      report.text("\n")
      return report.write()
    }
    destruct(items, count: count)
    release(items, count: count)
  }

  // MARK: - Out of the queue

  /// Unlinks the oldest bucket if its goal has expired, or whatever it is; its items are in no sum then.
  private func takeOldest(onlyIfExpired: Bool) -> UnsafeMutablePointer<Bucket>? {
    let deferral = pointee.deferral!
    pointee.depotLock.lock()
    defer { pointee.depotLock.unlock() }
    guard let bucket = deferral.pointee.first else { return nil }
    if onlyIfExpired && !deferral.pointee.smr.isReached(deferral.pointee.smr.goal(ofStamp: bucket.pointee.stamp)) { return nil }
    deferral.pointee.first = bucket.pointee.next
    if bucket.pointee.next == nil { deferral.pointee.last = nil }
    let count = Int(bucket.pointee.count)
    deferral.pointee.waiting -= count
    noteDepot(-count)
    pointee.workingSet.drained(count, nowHolding: pointee.depotItems)
    return bucket
  }

  /// Makes the oldest bucket ready, if its goal has expired. Never waits; asks after readers once. In a section of this thread nothing
  /// that a destructor would see: it may free other items of this context.
  @discardableResult
  func expireOldest() -> Bool {
    let deferral = pointee.deferral!
    if pointee.destructor != nil && deferral.pointee.smr.isInside { return false }
    pointee.depotLock.lock()
    guard let oldest = deferral.pointee.first else {
      pointee.depotLock.unlock()
      return false
    }
    let goal = deferral.pointee.smr.goal(ofStamp: oldest.pointee.stamp)
    pointee.depotLock.unlock()
    guard deferral.pointee.smr.poll(goal), let bucket = takeOldest(onlyIfExpired: true) else { return false }
    destruct(bucket.items, count: Int(bucket.pointee.count))
    if isWaitedFor { empty(bucket) } else { putBucket(bucket) }
    return true
  }

  private func expireAll() {
    sealFilling()
    guard hasQueueNow else { return }
    while expireOldest() {}
    guard hasQueueNow else { return }
    zones.pointee.smr!.takePlacesBack()
    while expireOldest() {}
  }

  /// Without the lock: whether it is worth another try.
  var hasQueueNow: Bool { pointee.deferral!.pointee.first != nil }

  func sealFilling() {
    pointee.depotLock.lock()
    seal()
    pointee.depotLock.unlock()
  }

  /// No bucket is to be had for what is freed: the oldest, empty, after a wait for all that is in it. Nil if there is none.
  private func waitForBucket() -> UnsafeMutablePointer<Bucket>? {
    guard let bucket = takeOldest(onlyIfExpired: false) else { return nil }
    let smr = pointee.deferral!.pointee.smr
    let isExpired = smr.poll(smr.goal(ofStamp: bucket.pointee.stamp), wait: true)
    if isExpired {
      destruct(bucket.items, count: Int(bucket.pointee.count))
      release(bucket.items, count: Int(bucket.pointee.count))
      bucket.pointee.count = 0
      return bucket
    }
    putBack(bucket)
    return nil
  }

  private func putBack(_ bucket: UnsafeMutablePointer<Bucket>) {
    let deferral = pointee.deferral!
    pointee.depotLock.lock()
    bucket.pointee.next = deferral.pointee.first
    deferral.pointee.first = bucket
    if bucket.pointee.next == nil { deferral.pointee.last = bucket }
    deferral.pointee.waiting += Int(bucket.pointee.count)
    noteDepot(Int(bucket.pointee.count))
    pointee.workingSet.added(nowHolding: pointee.depotItems)
    pointee.depotLock.unlock()
  }

  private func destruct(_ items: UnsafeMutablePointer<UInt>, count: Int) {
    guard let destructor = pointee.destructor else { return }
    FutexLock.enterHook(maySleep: false)
    for index in 0..<count { destructor(UnsafeMutableRawPointer(bitPattern: items[index])!, pointee.size, pointee.argument) }
    FutexLock.leaveHook(maySleep: false)
  }

  // MARK: - Cells, and the end

  private func boundDeferredCells() {
    let most = Deferral.cellCapacity(bucketSize: Bucket.desiredCapacity(itemBytes: pointee.keg.pointee.layout.itemBytes), limit: limit)
    if pointee.allocationCell != 0 { CPUCache.noteMost(pointee.allocationCell, most) }
    if pointee.freeCell != 0 { CPUCache.noteMost(pointee.freeCell, most) }
    emptyCells(pointee.allocationCell, isResized: true) { release($0, count: $1) }
    emptyCells(pointee.freeCell, isResized: true) { postpone($0, count: $1) }
  }

  /// Empties a cell on every CPU, by way of the stack. `isResized`: it has another capacity from then on.
  private func emptyCells(_ cell: Int, isResized: Bool = false, into body: (UnsafeMutablePointer<UInt>, Int) -> Void) {
    guard cell != 0 else { return }
    var buffer = InlineArray<64, UInt>(repeating: 0)
    withUnsafeMutablePointer(to: &buffer) { raw in
      let items = UnsafeMutableRawPointer(raw).assumingMemoryBound(to: UInt.self)
      for cpu in 0..<Int(root.pointee.cpuCount) {
        guard let cells = CPUCache.cells(of: cpu) else { continue }
        var isOld = isResized
        while isOld || cells[cell].word & 0xffff != 0 {
          var count = 0
          let isDone = CPUCache.withExclusiveCells(of: cpu) { cells in
            // All that such a cell has slots for.
            count = (cells + cell).takeTop(into: items, count: 64)
            if isOld { CPUCache.useFirstSlots(cell, of: cells) }
          }
          guard isDone else { break }
          isOld = false
          if count > 0 { body(items, count) }
        }
      }
    }
  }

  /// Nobody uses the zone any more. What the system does not let us prove to be nobody's stays out.
  private func endDeferral() {
    let deferral = pointee.deferral!
    emptyCells(pointee.allocationCell) { release($0, count: $1) }
    // Until nothing comes any more: a destructor may free other items of the zone.
    while true {
      emptyCells(pointee.freeCell) { postpone($0, count: $1) }
      sealFilling()
      guard deferral.pointee.first != nil else { break }
      let isOver = deferral.pointee.smr.synchronize()
      while let bucket = takeOldest(onlyIfExpired: false) {
        if isOver {
          destruct(bucket.items, count: Int(bucket.pointee.count))
          release(bucket.items, count: Int(bucket.pointee.count))
        }
        bucket.pointee.count = 0
        Bucket.free(bucket)
      }
    }
    if let rest = deferral.pointee.filling { Bucket.free(rest) }
    // What the cells have counted stays counted.
    let counts = ZoneCounts(self)
    (pointee.directAllocations, pointee.directFrees) = (counts.allocations, counts.frees)
    if pointee.allocationCell != 0 { CPUCache.removeCell(pointee.allocationCell) }
    if pointee.freeCell != 0 { CPUCache.removeCell(pointee.freeCell) }
    (pointee.allocationCell, pointee.freeCell) = (0, 0)
    pointee.deferral = nil
    _ = stave_add_fetching(&deferral.pointee.smr.pointee.users, -1)
    if deferral.pointee.ownsSMR { deferral.pointee.smr.destroy() }
    zones.pointee.deferralKeg!.giveOne(UnsafeMutableRawPointer(deferral))
  }

  @inline(never)
  private func reportWaitInside() -> Bool {
    var report = Report("bad request")
    report.text("a wait at the limit of zone ")
    report.name(pointee.name)
    report.text(" inside a read section of its own context\n")
    report.finish()
    return false
  }

  /// At rest: the queue in order, no bucket empty, the sum as noted.
  public func checkDeferral() {
    guard let deferral = pointee.deferral else { return }
    deferral.pointee.smr.checkInvariants()
    var items = 0
    var last: UnsafeMutablePointer<Bucket>? = nil
    var next = deferral.pointee.first
    while let bucket = next {
      bucket.checkInvariants()
      precondition(bucket.pointee.count > 0, "an empty bucket in the queue")
      if let last { precondition(Int32(bitPattern: bucket.pointee.stamp &- last.pointee.stamp) > 0, "stamps out of order") }
      items += Int(bucket.pointee.count)
      (last, next) = (bucket, bucket.pointee.next)
    }
    precondition(last == deferral.pointee.last, "the end of the queue")
    if let filling = deferral.pointee.filling {
      precondition(filling.pointee.count < filling.pointee.capacity, "a full bucket without a stamp")
      items += Int(filling.pointee.count)
    }
    precondition(items == deferral.pointee.waiting && items <= pointee.depotItems, "items that wait")
  }
}
