// SPDX-License-Identifier: BSD-2-Clause
//
// Allocation: the cell, the depot, the keg, in this order.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Zone {
  /// An item, or nil: with `noWait` when memory is not to be had, with either when a hook refuses. `argument` goes to the
  /// constructor. A hit costs one section; a miss takes the depot's or the keg's lock. Not to be called from a signal
  /// handler that may have interrupted an allocator call of the same thread. Without `isCounted` as `allocateSlow`.
  @inline(__always)
  public func allocate(
    _ flags: WaitFlags = .noWait, argument: UnsafeMutableRawPointer? = nil, isCounted: Bool = true
  ) -> UnsafeMutableRawPointer? {
    let flags = flags.checked
    #if STAVE_CHECK_LOCKS
    if flags.maySleep { checkMaySleep() }
    #endif
    if pointee.isGuarded != 0 {
      var isRefused = false
      if let item = allocateGuarded(flags, argument, &isRefused) { return item }
      if isRefused { return nil }
    }
    if pointee.cell != 0, let item = CPUCache.pop(pointee.cell) { return hand(item, flags, argument) }
    return allocateSlow(flags, argument: argument, isCounted: isCounted)
  }

  /// Behind the cell. Who asks without `isCounted` may try again, and says `noteFailure` when giving up.
  @inline(never)
  public func allocateSlow(_ flags: WaitFlags, argument: UnsafeMutableRawPointer?, isCounted: Bool = true) -> UnsafeMutableRawPointer? {
    guard !pointee.flags.contains(.smr) else { return refusePlainRequest() }
    guard !pointee.flags.contains(.perCPU) else {
      refuseKind("allocate")
      return nil
    }
    let flags = flags.checked
    guard let item = takeItem(flags, isCounted: isCounted) else { return nil }
    return hand(item, flags, argument)
  }

  /// An item that is counted as allocated and not constructed.
  func takeItem(_ flags: WaitFlags, isCounted: Bool = true) -> UnsafeMutableRawPointer? {
    var isRefused = false
    if let item = refill(flags, &isRefused) ?? waitForMemory(flags, &isRefused) { return item }
    if isCounted { noteFailure() }
    return nil
  }

  /// An item whose constructor refuses: without destructor it goes all the way back, and was neither allocated nor freed (T1).
  func takeBack(_ item: UnsafeMutableRawPointer) {
    var address = item.address
    release(&address, count: 1)
    stave_add(&pointee.directAllocations, -1)
    noteFailure()
  }

  /// A request has failed.
  public func noteFailure() {
    stave_add(&pointee.failures, 1)
    stave_zone_fail_probe(shownName, UInt64(pointee.size), stave_load64(&pointee.failures))
  }

  /// Constructs and zeroes as the zone and the request want it.
  @inline(__always)
  func hand(
    _ item: UnsafeMutableRawPointer, _ flags: WaitFlags, _ argument: UnsafeMutableRawPointer?
  ) -> UnsafeMutableRawPointer? {
    if pointee.flags.contains(.ctorDtor), let constructor = pointee.constructor {
      FutexLock.enterHook(maySleep: flags.maySleep)
      let isRefused = constructor(item, pointee.size, argument, flags.rawValue) != 0
      FutexLock.leaveHook(maySleep: flags.maySleep)
      if isRefused {
        takeBack(item)
        return nil
      }
    }
    if flags.contains(.zero) { item.initializeMemory(as: UInt8.self, repeating: 0, count: pointee.size) }
    return item
  }

  /// One item for the caller, counted as allocated, and as many more for this CPU's cell as are at hand. `isRefused`
  /// becomes true if it was the zone's init that left none: waiting would not help.
  func refill(_ flags: WaitFlags, _ isRefused: inout Bool) -> UnsafeMutableRawPointer? {
    hearBell(mayRunHooks: flags.maySleep)
    if pointee.flags.contains(.divided) { return pointee.domains!.pointee.refill(UnsafeMutableRawPointer(self), flags.rawValue, &isRefused) }
    let cell = cellToFill
    if cell != 0 && !CPUCache.isPassedBy {
      if !flags.contains(.noVM) { CPUCache.prepare() }
      if let item = CPUCache.pop(cell) { return item }
      CPUCache.noteEmpty(cell)
    }
    if let bucket = takeBucket() { return refill(from: bucket) }
    return refillFromKeg(flags, &isRefused)
  }

  /// Where allocations come from.
  private var cellToFill: Int { pointee.cell != 0 ? pointee.cell : pointee.allocationCell }

  func refill(from bucket: UnsafeMutablePointer<Bucket>) -> UnsafeMutableRawPointer {
    let items = bucket.items
    let count = Int(bucket.pointee.count) - 1
    let item = items[count]
    stave_add(&pointee.directAllocations, 1)
    let cell = cellToFill
    let filled = cell == 0 ? 0 : CPUCache.fill(cell, from: items, count: count)
    if filled < count {
      // Somebody else has filled the cell, or it has shrunk: the rest stays a bucket.
      for index in filled..<count { items[index - filled] = items[index] }
      bucket.pointee.count = UInt16(count - filled)
      putBucket(bucket)
    } else {
      bucket.pointee.count = 0
      putEmptyBucket(bucket)
    }
    return UnsafeMutableRawPointer(bitPattern: item)!
  }

  private func refillFromKeg(_ flags: WaitFlags, _ isRefused: inout Bool) -> UnsafeMutableRawPointer? {
    // On the stack, not in a bucket: a refill that needs no bucket cannot fail for want of one.
    var buffer = InlineArray<64, UInt>(repeating: 0)
    return withUnsafeMutablePointer(to: &buffer) { raw -> UnsafeMutableRawPointer? in
      let items = UnsafeMutableRawPointer(raw).assumingMemoryBound(to: UInt.self)
      let cell = cellToFill
      // Room that an author's import has while it makes one item is missing elsewhere: under a limit it is asked for one at a time.
      let isSpare = pointee.importItems == nil || !pointee.flags.contains(.limited)
      let wanted = cell == 0 || CPUCache.isPassedBy || CPUCache.isClosed(cell) || !isSpare ? 1 : Swift.min(pointee.bucketSize, 64)
      let room = takeRoom(wanted, flags)
      guard room > 0 else {
        isRefused = true
        return nil
      }
      let fetched = fetch(into: items, count: room, flags)
      var count = Swift.max(0, fetched)
      giveRoom(room - count)
      // Whoever items are imported from has waited for what there is to wait for.
      if fetched == KegPointer.refused || count == 0 && pointee.importItems != nil { isRefused = true }
      if count > 0, let zoneInit = pointee.zoneInit {
        count = initialize(items, count: count, zoneInit, flags)
        isRefused = count == 0
      }
      guard count > 0 else { return nil }
      stave_add(&pointee.directAllocations, 1)
      let rest = count - 1
      let filled = rest == 0 ? 0 : CPUCache.fill(cell, from: items, count: rest)
      if filled < rest { store(items + filled, count: rest - filled, flags) }
      return UnsafeMutableRawPointer(bitPattern: items[rest])
    }
  }

  /// From the keg, or from where an author's items come from; how many, or as `Keg.take`.
  func fetch(into items: UnsafeMutablePointer<UInt>, count: Int, _ flags: WaitFlags) -> Int {
    if pointee.importItems != nil { return importInto(items, count: count, flags) }
    return pointee.moreKegCount == 0 ? pointee.keg.take(into: items, count: count, flags: flags) : takeFromKegs(items, count: count, flags)
  }

  /// Runs the zone's init; items from the first refusal on go back without fini. How many are left.
  func initialize(_ items: UnsafeMutablePointer<UInt>, count: Int, _ hook: ItemHook, _ flags: WaitFlags) -> Int {
    var flags = flags
    for index in 0..<count {
      // With one in hand no more is waited for: what others wait for would be kept from them meanwhile.
      if index == 1 { flags = flags.subtracting(WaitFlags.wait.union(.canFail)).union(.noWait) }
      FutexLock.enterHook(maySleep: flags.maySleep)
      let isRefused = hook(UnsafeMutableRawPointer(bitPattern: items[index])!, pointee.size, flags.rawValue) != 0
      FutexLock.leaveHook(maySleep: flags.maySleep)
      if isRefused {
        giveBack(items + index, count: count - index)
        return index
      }
    }
    return count
  }

  /// Items that found no room in the cell: a bucket of the depot, or back to the keg.
  private func store(_ items: UnsafeMutablePointer<UInt>, count: Int, _ flags: WaitFlags) {
    guard let bucket = takeEmptyBucket(flags) else {
      release(items, count: count)
      return
    }
    guard Int(bucket.pointee.capacity) >= count else {
      putEmptyBucket(bucket)
      release(items, count: count)
      return
    }
    for index in 0..<count { bucket.items[index] = items[index] }
    bucket.pointee.count = UInt16(count)
    putBucket(bucket)
  }

  /// A request begins to wait for memory. A part's are those of the zone in front of it.
  public func noteSleep() {
    if pointee.flags.contains(.part) { return pointee.domains!.pointee.front!.noteSleep() }
    stave_add(&pointee.sleeps, 1)
    stave_zone_sleep_probe(shownName, UInt64(pointee.size), stave_load64(&pointee.sleeps))
  }

  /// `wait`: gives back what the caches of all zones hold, then tries again, each time a little later. Holding no lock: the code of other
  /// zones' authors may run, as it may wherever somebody waits for memory.
  @inline(never)
  func waitForMemory(_ flags: WaitFlags, _ isRefused: inout Bool) -> UnsafeMutableRawPointer? {
    guard flags.contains(.wait), !flags.contains(.noVM), !isRefused else { return nil }
    var pause: Int64 = 1_000_000
    noteSleep()
    let start = stave_nanoseconds()
    while true {
      // Its own too where walks over all pass it by.
      if pointee.flags.contains(.unmanaged) { reclaim(.drainCPU) }
      // An author's source, or addresses that were reserved, may be short of something else.
      if pointee.keg.pointee.source.isOurs { events.tellShortage() }
      reclaimAll(.drainCPU)
      if let item = refill(flags, &isRefused) { return item }
      if isRefused || flags.contains(.canFail) && stave_nanoseconds() - start > WaitFlags.patience { return nil }
      var never: UInt32 = 0
      _ = stave_futex_wait(&never, 0, pause)
      hearBell(mayRunHooks: true)
      pause = Swift.min(pause * 2, 100_000_000)
    }
  }
}

#if STAVE_CHECK_LOCKS
extension UnsafeMutablePointer where Pointee == Zone {
  /// Reports a request that may wait and is made where waiting is wrong: while the thread holds a lock of ours, or in a hook
  /// that may not sleep, which is any of a request that may not, and whatever runs at a free (L2).
  func checkMaySleep() {
    let rank = FutexLock.newestRank
    guard rank != 0, zones.pointee.badFlagReports < 10 else { return }
    zones.pointee.badFlagReports += 1
    var report = Report("blocking request")
    report.text("a request of zone ")
    report.name(pointee.name)
    report.text(" that may wait is made ")
    if rank == LockRank.noSleep {
      report.text("in a hook that may not sleep\n")
    } else {
      report.text("while a lock of rank ")
      report.number(UInt(rank))
      report.text(" is held\n")
    }
    report.conclude(next: "")
  }
}
#endif

extension WaitFlags {
  /// Exactly one of `wait` and `noWait`; anything else is reported (the first ten times) and means `wait` (L27, T17). Unknown
  /// bits are reported and ignored.
  public var checked: WaitFlags {
    if contains(.wait) != contains(.noWait) && rawValue & ~WaitFlags.known == 0 { return self }
    return repaired()
  }

  @inline(never)
  private func repaired() -> WaitFlags {
    if zones.pointee.badFlagReports < 10 {
      zones.pointee.badFlagReports += 1
      var report = Report("bad wait flags")
      report.address(UInt(UInt32(bitPattern: rawValue)))
      report.text("; exactly one of STAVE_NOWAIT and STAVE_WAITOK must be given, else it waits; unknown bits are ignored\n")
      report.conclude(next: "")
    }
    let flags = WaitFlags(rawValue: rawValue & WaitFlags.known)
    return contains(.wait) == contains(.noWait) ? flags.union(.wait).subtracting(.noWait) : flags
  }
}
