// SPDX-License-Identifier: BSD-2-Clause
//
// Zones with a limit: how many items there may be, in callers' hands and in caches. A request that meets it gets nil, or waits until
// it is its turn: who came first is served first, and none who comes later is before (L34).
//
//   refill ─► room? ─► keg                         free ─► somebody waits? ─► keg ─► room ─► the first who waits
//               │ no                                          │ no
//               ▼                                             ▼
//     warning, action due ─► noWait: nil                     cell
//                        wait: into the queue, then what all CPUs cache goes back, then sleep
//
// The item that makes room is not handed over itself: who waits is granted one in the word, and fetches it from the keg. A free that
// read the zone's flags just before somebody began to wait puts its item into a cache once more; so who waits looks into the caches
// again, after 10 ms, and ever more rarely.
//
// Cost: nothing on the fast path. One compare-and-set for each refill from the keg and each return to it.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Zone {
  var bound: UnsafeMutablePointer<ZoneBound> { withUnsafeMutablePointer(to: &pointee.bound) { $0 } }

  /// Lets the zone have at most `items` items, which are made or cached; 0 takes the limit away (L75). At any time: what is out
  /// stays; who waits is served if there is room now. Caches are made so small that what they hold is little beside the limit:
  /// a membarrier for each CPU. Items that others ask for or free at this very moment may be counted or not; for an exact limit set it
  /// before the zone is used. Returns the limit; a zone that already has items out when it gets its first limit counts these.
  @discardableResult
  public func setLimit(_ items: Int) -> Int {
    let items = Swift.max(0, Swift.min(items, 1 << 40))
    let cells = pointee.flags.contains(.divided) ? pointee.domains!.pointee.partCount : 1
    let cache = items == 0 ? nil : CacheBound(limit: items, cpus: Int(root.pointee.cpuCount), domains: cells)
    pointee.depotLock.lock()
    if items > 0 && !pointee.flags.contains(.limited) {
      let counts = ZoneCounts(self)
      pointee.bound.word = Swift.max(0, counts.used + counts.cached + Int64(depotItemsInAll) + pointee.guardedItems)
      change(.limited, isOn: true)
    }
    pointee.bound.items = Int64(items)
    boundCaches(cache, depots: 1)
    let granted = bound.grant()
    settle()
    pointee.depotLock.unlock()
    ZoneWaiterPointer.wakeAll(granted)
    boundCells(cache)
    forEachPart { part in
      part.pointee.depotLock.lock()
      if items > 0 { part.change(.limited, isOn: true) }
      part.boundCaches(cache, depots: cells > 1 ? 1 : pointee.domains!.pointee.partCount)
      part.pointee.depotLock.unlock()
      part.boundCells(cache)
    }
    // What is cached beyond it may not be handed out any more.
    if items > 0 && pointee.bound.made > items { reclaim(.drainCPU) }
    return items
  }

  /// The depot's lock is held.
  private func boundCaches(_ cache: CacheBound?, depots: Int) {
    pointee.depotLimit = cache.map { $0.depot / depots } ?? .max
    pointee.bucketSizeMin = Swift.min(Bucket.desiredCapacity(itemBytes: pointee.keg.pointee.layout.itemBytes), cache?.bucket ?? .max)
    pointee.bucketSize = Swift.max(1, pointee.bucketSizeMin)
  }

  private func boundCells(_ cache: CacheBound?) {
    if let deferral = pointee.deferral { deferral.pointee.act(self, .boundCells) }
    if pointee.cell != 0 { boundCells(cache.map { Swift.min($0.cell, pointee.cellCapacity) } ?? pointee.cellCapacity) }
  }

  /// Items made, out or cached; exact only for zones that have a limit.
  public var made: Int { pointee.flags.contains(.limited) ? Int(pointee.bound.made) : Int(ZoneCounts(self).used) }
  public var limit: Int { Int(pointee.bound.items) }
  /// Whether the next request that no cache serves meets the limit.
  public var isExhausted: Bool { pointee.bound.items > 0 && (pointee.bound.waiters > 0 || pointee.bound.made >= pointee.bound.items) }

  /// What is reported when a request meets the limit, once in five minutes at most; nil for nothing. The text stays its owner's.
  public func setWarning(_ text: UnsafePointer<UInt8>?) { pointee.bound.warning = text }
  /// What runs then, each time, unless it is due already: soon after, in the worker, with no lock held. It may neither end the zone nor wait
  /// at a limit that has an action. The first action of a process makes a thread. With `waits` no call of the former one is under way at
  /// the return, unless it is that which calls.
  public func setLimitAction(_ action: LimitAction?, waits: Bool = true) {
    if action != nil { zones.wantWorker() }
    zones.pointee.listLock.lock()
    pointee.bound.action = action
    zones.pointee.listLock.unlock()
    var tries = 0
    while waits && isInAction && !zones.isWorker {
      tries += 1
      pauseBriefly(after: tries)
    }
  }

  /// Whether that runs at this moment.
  public var isInAction: Bool { UInt32(bitPattern: stave_load32(&pointee.bound.actionState)) >= ActionState.running }

  /// What of the core's own runs before that, in the thread that asks; it may not ask this zone. `action`: as above, and there is no worker
  /// for its sake.
  public func setLimitRelief(_ relief: LimitAction?, action: LimitAction) {
    pointee.bound.relief = relief
    pointee.bound.action = action
  }

  /// Returns when an item could be had.
  public func waitForItem() { free(allocate(.wait)) }

  // MARK: - Taking and giving

  /// How many of `wanted` items may be made; 0 if none, also for who waits: then the time is over that `flags` allow.
  func takeRoom(_ wanted: Int, _ flags: WaitFlags) -> Int {
    guard pointee.flags.contains(.limited) else { return wanted }
    guard !pointee.flags.contains(.part) else { return pointee.domains!.pointee.front!.takeRoom(wanted, flags) }
    let granted = bound.take(wanted)
    if granted > 0 { return granted }
    warn()
    act(flags)
    let second = bound.take(1)
    if second > 0 { return second }
    return flags.contains(.wait) && !flags.contains(.noVM) ? waitForRoom(flags) : 0
  }

  /// Room for one item at once.
  func takeRoomNow() -> Bool { !pointee.flags.contains(.limited) || bound.take(1) == 1 }

  /// So many items are no more.
  func giveRoom(_ count: Int) {
    guard count > 0, pointee.flags.contains(.limited) else { return }
    guard !pointee.flags.contains(.part) else { return pointee.domains!.pointee.front!.giveRoom(count) }
    guard bound.give(count) else { return }
    pointee.depotLock.lock()
    let granted = bound.grant()
    settle()
    pointee.depotLock.unlock()
    ZoneWaiterPointer.wakeAll(granted)
  }

  private func waitForRoom(_ flags: WaitFlags) -> Int {
    if pointee.bound.action != nil { demandOtherThread("waits at the limit of") }
    if let deferral = pointee.deferral, !deferral.pointee.act(self, .demandOutside) { return 0 }
    var waiter = ZoneWaiter()
    return withUnsafeMutablePointer(to: &waiter) { waiter in
      func isGranted() -> Bool { stave_load32(waiter) != 0 }
      let start = stave_nanoseconds()
      ZoneWaiterPointer.wakeAll(enqueue(waiter))
      if !isGranted() { noteSleep() }
      var pause: Int64 = 10_000_000
      while !isGranted() {
        // With no lock: on their way to the keg items come by `giveRoom`. What can be spared may have come since the last look.
        act(flags)
        reclaim(.drainCPU)
        if flags.contains(.canFail) {
          let left = start + WaitFlags.patience - stave_nanoseconds()
          if left <= 0 && giveUp(waiter) { return 0 }
          pause = Swift.max(1, Swift.min(pause, left))
        }
        _ = stave_futex_wait(waiter, 0, pause)
        // It may be who raises the limit.
        hearBell(mayRunHooks: true)
        // Of deferred reuse no free tells who waits.
        pause = Swift.min(pause * 2, pointee.flags.contains(.smr) ? 10_000_000 : 1_000_000_000)
      }
      return 1
    }
  }

  /// Puts a waiter at the end of the queue, and serves whom there is room for: those who are to be told then.
  func enqueue(_ waiter: ZoneWaiterPointer) -> ZoneWaiterPointer? {
    pointee.depotLock.lock()
    defer { pointee.depotLock.unlock() }
    bound.enqueue(waiter)
    let granted = bound.grant()
    settle()
    return granted
  }

  /// Takes a waiter out of the queue. False if it has been granted an item meanwhile, which it has to take (`allocateGranted`).
  public func giveUp(_ waiter: ZoneWaiterPointer) -> Bool {
    pointee.depotLock.lock()
    defer { pointee.depotLock.unlock() }
    let isGone = bound.remove(waiter)
    settle()
    return isGone
  }

  /// Frees go round the cells while somebody waits. The depot's lock is held.
  private func settle() {
    change(.awaited, isOn: isAwaited)
    settleQuickly()
  }

  /// Of deferred reuse a free cannot help at once: who waits looks into the queue.
  private var isAwaited: Bool { pointee.bound.first != nil && !pointee.flags.contains(.smr) }

  private func change(_ flag: ZoneFlags, isOn: Bool) {
    if isOn { pointee.flags.insert(flag) } else { pointee.flags.remove(flag) }
  }

  /// At rest.
  public func checkLimit() {
    pointee.depotLock.lock()
    bound.checkInvariants()
    let isAwaited = self.isAwaited
    pointee.depotLock.unlock()
    precondition(pointee.flags.contains(.awaited) == isAwaited, "frees do not know that somebody waits")
    guard pointee.flags.contains(.limited), !pointee.flags.contains(.part) else { return }
    let counts = ZoneCounts(self)
    precondition(
      pointee.bound.made == counts.used + counts.cached + Int64(depotItemsInAll) + pointee.guardedItems, "items of a limit are counted wrongly")
  }

  /// In the child of a fork.
  func forgetWaiters() {
    bound.forgetWaiters()
    settle()
  }

  // MARK: - At the limit

  private func warn() {
    guard let text = pointee.bound.warning, !zones.pointee.isQuiet else { return }
    let now = stave_nanoseconds(), before = Int64(bitPattern: stave_load64(&pointee.bound.warnedAt))
    guard before == 0 || now - before >= ZoneBound.quiet, stave_replace64(&pointee.bound.warnedAt, before, now) else { return }
    var report = Report("limit of a zone")
    report.name(pointee.name)
    report.text(": ")
    report.text(endingAtZero: text)
    report.text("\n")
    report.write()
  }

  func act(_ flags: WaitFlags) {
    if let relief = pointee.bound.relief, stave_claim(&pointee.bound.isRelieved) {
      FutexLock.enterHook(maySleep: flags.maySleep)
      relief(UnsafeMutableRawPointer(self))
      FutexLock.leaveHook(maySleep: flags.maySleep)
      stave_store32(&pointee.bound.isRelieved, 0)
    }
    if pointee.bound.action != nil { zones.makeDue(self) }
  }
}
