// SPDX-License-Identifier: BSD-2-Clause
//
// Freeing: the cell, a bucket for the depot, the keg; and the depot itself.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Zone {
  /// Frees an item of this zone. Null does nothing. Never sleeps.
  @inline(__always)
  public func free(_ item: UnsafeMutableRawPointer?, argument: UnsafeMutableRawPointer? = nil) {
    guard let item else { return }
    if zoneGuards.holds(item.address) { return freeGuarded(item, argument) }
    if pointee.flags.intersects(.freesAside) {
      if let destructor = pointee.destructor {
        if CPUCache.isPassedBy && !demandTaken(item) { return }
        FutexLock.enterHook(maySleep: false)
        destructor(item, pointee.size, argument)
        FutexLock.leaveHook(maySleep: false)
      }
      if pointee.flags.contains(.awaited) {
        freeRoundCells(item)
        return
      }
    }
    if pointee.cell != 0 {
      switch CPUCache.push(pointee.cell, item) {
      case .pushed: return
      case .again: return reportDoubleFree(item.address, keg: pointee.keg)
      case .full: break
      }
    }
    freeSlow(item)
  }

  /// The item is destructed and known to be this zone's. Makes room in the cell, or goes round it. False if it is known to be free
  /// already, and the process goes on. `stack`: of the free.
  @inline(never) @discardableResult
  public func freeSlow(_ item: UnsafeMutableRawPointer, stack: UInt32 = 0) -> Bool {
    hearBell(mayRunHooks: false)
    guard !pointee.flags.intersects(.freesElsewhere) else { return freeElsewhere(item, stack: stack) }
    // Before an author's fini sees it.
    if CPUCache.isPassedBy && pointee.zoneFini != nil && !demandTaken(item) { return false }
    if pointee.cell != 0 && !CPUCache.isPassedBy && !CPUCache.isClosed(pointee.cell) {
      CPUCache.prepare()
      var tries = 0
      while tries < 4 {
        switch CPUCache.push(pointee.cell, item) {
        case .pushed: return true
        case .again:
          reportDoubleFree(item.address, keg: pointee.keg)
          return false
        case .full: if pointee.importItems != nil && fillCell(item) { return true }
        }
        if !CPUCache.grow(pointee.cell) && !flushOneBucket() { break }
        tries += 1
      }
    }
    return freeRoundCells(item, stack: stack)
  }

  /// What comes from an author need be no address, and to the test of a push looks like no item where its low 16 bits are all ones.
  @inline(never)
  private func fillCell(_ item: UnsafeMutableRawPointer) -> Bool {
    var address = item.address
    guard CPUCache.fill(pointee.cell, from: &address, count: 1) == 1 else { return false }
    stave_add(&pointee.directFrees, 1)
    return true
  }

  /// Of a zone that has no cell of its own for it.
  private func freeElsewhere(_ item: UnsafeMutableRawPointer, stack: UInt32) -> Bool {
    if pointee.flags.contains(.divided) { return pointee.domains!.pointee.free(UnsafeMutableRawPointer(self), item, stack) }
    reportBadFree("free without deferral", item.address, keg: pointee.keg)
    return false
  }

  /// Straight to the keg, or to where a cache-only zone's items go: an item that is destructed.
  @inline(never) @discardableResult
  public func freeRoundCells(_ item: UnsafeMutableRawPointer, stack: UInt32 = 0) -> Bool {
    guard !pointee.flags.contains(.perCPU) else {
      refuseKind("free")
      return false
    }
    guard !pointee.flags.contains(.divided) else { return freeElsewhere(item, stack: stack) }
    stave_add(&pointee.directFrees, 1)
    var address = item.address
    return release(&address, count: 1, stack: stack) == 1
  }

  /// Whether it is out, for all that slabs know; where it is not there is a report. Of an author's own items nothing is known.
  private func demandTaken(_ item: UnsafeMutableRawPointer) -> Bool {
    pointee.importItems != nil || ownerKeg(of: item.address).demandTaken(item.address, "double free")
  }

  /// Moves a bucketful from this CPU's cell to the depot. False if there is no bucket or nothing to move.
  private func flushOneBucket() -> Bool {
    guard let bucket = takeEmptyBucket() else { return false }
    let count = CPUCache.flush(pointee.cell, to: bucket.items, count: Swift.min(pointee.bucketSize, Int(bucket.pointee.capacity)))
    bucket.pointee.count = UInt16(count)
    if count == 0 {
      putEmptyBucket(bucket)
      return false
    }
    putBucket(bucket)
    return true
  }

  /// Back to the keg, with the zone's fini: how many it took. `stack`: of the free.
  @discardableResult
  func release(_ items: UnsafeMutablePointer<UInt>, count: Int, stack: UInt32 = 0) -> Int {
    if let zoneFini = pointee.zoneFini {
      FutexLock.enterHook(maySleep: false)
      for index in 0..<count { zoneFini(UnsafeMutableRawPointer(bitPattern: items[index])!, pointee.size) }
      FutexLock.leaveHook(maySleep: false)
    }
    return giveBack(items, count: count, stack: stack)
  }

  /// The same without fini.
  @discardableResult
  func giveBack(_ items: UnsafeMutablePointer<UInt>, count: Int, stack: UInt32 = 0) -> Int {
    if pointee.importItems != nil {
      releaseImported(items, count: count)
    } else {
      let given = pointee.moreKegCount == 0 ? pointee.keg.give(items, count: count, stack: stack) : giveToKegs(items, count: count, stack: stack)
      // What is refused was counted as a free and is none.
      if given < count { stave_add(&pointee.directFrees, Int64(given - count)) }
      giveRoom(given)
      return given
    }
    giveRoom(count)
    return count
  }

  // MARK: - The depot

  /// So many items have come, or gone. The depot's lock is held.
  @inline(__always)
  func noteDepot(_ items: Int) {
    pointee.depotItems += items
    if pointee.type != 0 { stave_add(&zones.pointee.typedDepotBytes, Int64(items * pointee.size)) }
  }

  /// Buckets go to the depots of its parts: of a front with `roundRobin` (Zone+Domains).
  private var spreadsBuckets: Bool { pointee.domains != nil && !pointee.flags.intersects(ZoneFlags.divided.union(.part)) }

  /// A look without the lock: who comes too early or too late for a bucket goes to the keg.
  var mayHoldBuckets: Bool { pointee.full != nil }

  /// A full bucket, nil if the depot is empty.
  func takeBucket() -> UnsafeMutablePointer<Bucket>? {
    guard mayHoldBuckets else { return spreadsBuckets ? pointee.domains!.depot(of: self, isTaking: true).takeBucket() : nil }
    pointee.depotLock.lock()
    defer { pointee.depotLock.unlock() }
    guard let bucket = pointee.full else { return nil }
    pointee.full = bucket.pointee.next
    noteDepot(-Int(bucket.pointee.count))
    pointee.workingSet.removed(nowHolding: pointee.depotItems)
    return bucket
  }

  /// Puts a bucket with items on the depot, or its items back to the keg if the depot holds enough.
  func putBucket(_ bucket: UnsafeMutablePointer<Bucket>) {
    if spreadsBuckets { return pointee.domains!.depot(of: self, isTaking: false).putBucket(bucket) }
    pointee.depotLock.lock()
    if pointee.depotItems + Int(bucket.pointee.count) <= pointee.depotLimit && !pointee.flags.contains(.dying) && !CPUCache.isPassedBy {
      bucket.pointee.next = pointee.full
      pointee.full = bucket
      noteDepot(Int(bucket.pointee.count))
      pointee.workingSet.added(nowHolding: pointee.depotItems)
      pointee.depotLock.unlock()
      return
    }
    pointee.depotLock.unlock()
    empty(bucket)
  }

  /// Gives a bucket's items to the keg and keeps the bucket.
  func empty(_ bucket: UnsafeMutablePointer<Bucket>) {
    release(bucket.items, count: Int(bucket.pointee.count))
    bucket.pointee.count = 0
    putEmptyBucket(bucket)
  }

  /// An empty bucket of the present size: one kept from before, else a new one (L38), for which neither a request with `noVM`
  /// nor a zone of the page source asks the system (L37).
  func takeEmptyBucket(_ flags: WaitFlags = .noWait) -> UnsafeMutablePointer<Bucket>? {
    pointee.depotLock.lock()
    if let bucket = pointee.emptyBuckets {
      pointee.emptyBuckets = bucket.pointee.next
      pointee.emptyBucketCount -= 1
      pointee.depotLock.unlock()
      return bucket
    }
    pointee.depotLock.unlock()
    let isBound = flags.contains(.noVM) || pointee.flags.contains(.vm)
    return Bucket.allocate(capacity: pointee.bucketSize, flags: isBound ? WaitFlags.noWait.union(.noVM) : .noWait)
  }

  func putEmptyBucket(_ bucket: UnsafeMutablePointer<Bucket>) {
    pointee.depotLock.lock()
    if pointee.emptyBucketCount < 2 && !pointee.flags.contains(.dying) {
      bucket.pointee.next = pointee.emptyBuckets
      pointee.emptyBuckets = bucket
      pointee.emptyBucketCount += 1
      pointee.depotLock.unlock()
      return
    }
    pointee.depotLock.unlock()
    Bucket.free(bucket)
  }

  func freeEmptyBuckets() {
    pointee.depotLock.lock()
    var rest = pointee.emptyBuckets
    pointee.emptyBuckets = nil
    pointee.emptyBucketCount = 0
    pointee.depotLock.unlock()
    while let bucket = rest {
      rest = bucket.pointee.next
      Bucket.free(bucket)
    }
  }
}
