// SPDX-License-Identifier: BSD-2-Clause
//
// Requests of zones with deferred reuse. An item that is freed may still be looked at by readers who are in a section of the zone's
// context; what it says stays until the last of them has left. Then the destructor runs, and the item is handed out again (Deferral).
//
// Such a zone takes these two calls alone. A plain request or free of it is reported, and does nothing. MemGuard leaves it alone, and
// item checks know of a second free only once the first has come to a slab; writes to items that wait are not noticed at all, nor
// meant to be mistakes. What lies free in slabs is filled and looked at as in any zone.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Zone {
  /// The context whose sections hold up reuse; nil for a plain zone.
  public var smr: SMRPointer? { pointee.deferral?.pointee.smr }

  /// As `allocate`, of a zone with deferred reuse. Asks after readers when this CPU has nothing ready, and never waits for them; only with
  /// `wait`, for memory or at the limit. May be called in a section, but for a wait at the limit: what is freed meanwhile would not be
  /// ready before that section's end. Such a request is reported, and is nil.
  @inline(__always)
  public func allocateSMR(_ flags: WaitFlags = .noWait) -> UnsafeMutableRawPointer? {
    let flags = flags.checked
    #if STAVE_CHECK_LOCKS
    if flags.maySleep { checkMaySleep() }
    #endif
    if pointee.allocationCell != 0, let item = CPUCache.pop(pointee.allocationCell) { return handReady(item, flags) }
    return allocateSMRSlow(flags)
  }

  /// Frees an item that no reader can find from here on. Null does nothing. One store in this CPU's cell as a rule; where no bucket is to
  /// be had it waits for readers, once for a bucket's worth of items. So not to be called in a section of the same context: debug builds
  /// report each such free, others those that find the cell full, one of 64; the item stays out then.
  @inline(__always)
  public func freeSMR(_ item: UnsafeMutableRawPointer?) {
    guard let item else { return }
    #if STAVE_CHECK_LOCKS
    if let smr, smr.isInside { return reportFreeInside(item) }
    #endif
    if pointee.freeCell != 0 && CPUCache.push(pointee.freeCell, item) == .pushed { return }
    freeSMRSlow(item)
  }

  @inline(never)
  func allocateSMRSlow(_ given: WaitFlags) -> UnsafeMutableRawPointer? {
    guard pointee.deferral != nil else { return refusePlainRequest() }
    let flags = given.checked
    if !mayHoldBuckets { if isExhausted { collectFreed(flags) } else { expireOldest() } }
    var isRefused = false
    var item = refill(flags, &isRefused)
    if item == nil && !isRefused {
      collectFreed(flags)
      item = refill(flags, &isRefused)
    }
    guard let item = item ?? waitForMemory(flags, &isRefused) else {
      noteFailure()
      return nil
    }
    return handReady(item, flags)
  }

  /// There is nothing else to be had: the oldest bucket becomes ready, if readers have left. Where none waits, that is what lies in this
  /// CPU's cell and in a bucket that is not full. Waits for nobody.
  private func collectFreed(_ flags: WaitFlags) {
    if expireOldest() || hasQueueNow { return }
    if pointee.freeCell != 0, let bucket = takeEmptyBucket(flags) {
      bucket.pointee.count = UInt16(CPUCache.flush(pointee.freeCell, to: bucket.items, count: Swift.min(64, Int(bucket.pointee.capacity))))
      postpone(bucket)
    }
    sealFilling()
    expireOldest()
  }

  @inline(__always)
  private func handReady(_ item: UnsafeMutableRawPointer, _ flags: WaitFlags) -> UnsafeMutableRawPointer? {
    if let constructor = pointee.constructor {
      FutexLock.enterHook(maySleep: flags.maySleep)
      let isRefused = constructor(item, pointee.size, nil, flags.rawValue) != 0
      FutexLock.leaveHook(maySleep: flags.maySleep)
      if isRefused {
        // No reader has seen it, so it need not wait.
        var address = item.address
        release(&address, count: 1)
        stave_add(&pointee.directAllocations, -1)
        noteFailure()
        return nil
      }
    }
    if flags.contains(.zero) { item.initializeMemory(as: UInt8.self, repeating: 0, count: pointee.size) }
    return item
  }

  @inline(never)
  func freeSMRSlow(_ item: UnsafeMutableRawPointer) {
    guard let smr else { return reportBadFree("deferred free", item.address, keg: pointee.keg) }
    if smr.isInside { return reportFreeInside(item) }
    hearBell(mayRunHooks: false)
    if CPUCache.isPassedBy && !pointee.keg.demandTaken(item.address, "double free") { return }
    if pointee.freeCell != 0 && !CPUCache.isPassedBy {
      CPUCache.prepare()
      for _ in 0..<4 {
        switch CPUCache.push(pointee.freeCell, item) {
        case .pushed: return
        case .again: return reportDoubleFree(item.address, keg: pointee.keg)
        case .full: break
        }
        if !postponeCell() { break }
      }
    }
    stave_add(&pointee.directFrees, 1)
    var address = item.address
    postpone(&address, count: 1)
  }

  /// Moves what this CPU's cell holds into the filling bucket. False if that is nothing.
  private func postponeCell() -> Bool {
    var buffer = InlineArray<64, UInt>(repeating: 0)
    return withUnsafeMutablePointer(to: &buffer) { raw in
      let items = UnsafeMutableRawPointer(raw).assumingMemoryBound(to: UInt.self)
      let count = CPUCache.flush(pointee.freeCell, to: items, count: 64)
      if count > 0 { postpone(items, count: count) }
      return count > 0
    }
  }

  @inline(never)
  private func reportFreeInside(_ item: UnsafeMutableRawPointer) {
    reportBadFree("free inside a read section of the zone's own context", item.address, keg: pointee.keg)
  }

  /// A request that this kind of zone does not take.
  @inline(never)
  func refusePlainRequest() -> UnsafeMutableRawPointer? {
    var report = Report("bad request")
    report.text(pointee.flags.contains(.smr) ? "a plain one of zone " : "a deferred one of zone ")
    report.name(pointee.name)
    report.text(pointee.flags.contains(.smr) ? ", whose reuse is deferred\n" : ", whose reuse is not\n")
    report.finish()
    return nil
  }
}
