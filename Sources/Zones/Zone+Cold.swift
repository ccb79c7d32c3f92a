// SPDX-License-Identifier: BSD-2-Clause
//
// What can be set only in the cold: of a keg, before it has had a slab, where its pages come from and how many items are kept for urgent
// requests; of a zone, before it has had an item, its own hooks. Later it is reported, and if the process goes on then, nothing
// changes. A secondary zone's keg is the primary's to set.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Zone {
  /// It has no item and has had none.
  private var isCold: Bool {
    let counts = ZoneCounts(self)
    return counts.allocations == 0 && counts.cached == 0 && pointee.depotItems == 0 && pointee.guardedItems == 0
  }

  /// Whether the zone is cold, and, unless the caches alone are meant, its keg; if not there is a report that says what was to be set.
  @inline(never)
  func demandCold(_ what: StaticString, cachesAlone: Bool = false) -> Bool {
    let isKegCold = pointee.keg.pointee.slabsMade == 0 && !pointee.flags.intersects(ZoneFlags.secondary.union(.cacheOnly))
    guard !(isCold && (cachesAlone || isKegCold)) else { return true }
    var report = Report("zone in use")
    report.text(what)
    report.text(" of zone ")
    report.name(pointee.name)
    report.text(" can be set before its first allocation only\n")
    report.finish()
    return false
  }

  /// Where the zone's pages come from and return to. While it is cold. What `makeZone` says of sources holds.
  @discardableResult
  public func setSource(_ source: PageSource) -> Bool {
    var isDone = true
    if forEachPart({ if !$0.setSource(source) { isDone = false } }) { return isDone }
    guard demandCold("the page source") else { return false }
    pointee.keg.giveUpRange()
    change(to: source)
    return true
  }

  /// Addresses for `count` items, rounded up to whole slabs, that are this zone's as long as it lives; that becomes its limit, and more
  /// there cannot be, whatever limit is set later. Pages are asked for as slabs are made, and a slab is made only if it gets all of
  /// them: an item that is allocated has its memory. From then on the zone gives no slab back. While it is cold. False if there is
  /// no room for the addresses. May make system calls.
  public func reserveAddresses(for count: Int) -> Bool {
    // All of them, before anything changes.
    var ranges = InlineArray<16, ReservedRangePointer?>(repeating: nil)
    var taken = 0
    var isDone = true
    let hasParts = forEachPart { part in
      guard isDone else { return }
      ranges[taken] = part.takeRange(for: share(of: count))
      if ranges[taken] == nil { isDone = false } else { taken += 1 }
    }
    if !hasParts {
      ranges[0] = takeRange(for: count)
      isDone = ranges[0] != nil
    }
    guard isDone else {
      for index in 0..<taken { arena.giveUpRange(ranges[index]!) }
      return false
    }
    var all = 0
    taken = 0
    if hasParts {
      forEachPart { part in
        all += part.use(ranges[taken]!)
        taken += 1
      }
    } else {
      all = use(ranges[0]!)
    }
    pointee.flags.insert(.noFree)
    setLimit(all)
    return true
  }

  private func takeRange(for count: Int) -> ReservedRangePointer? {
    let layout = pointee.keg.pointee.layout
    guard demandCold("the addresses"), count > 0 else { return nil }
    return arena.reserveRange(slabs: (count - 1) / layout.items + 1, slabBytes: layout.slabBytes, domain: Int(pointee.keg.pointee.domain))
  }

  /// For how many items there are addresses then.
  private func use(_ range: ReservedRangePointer) -> Int {
    let keg = pointee.keg
    keg.giveUpRange()
    keg.pointee.range = range
    pointee.flags.insert(.noFree)
    keg.pointee.flags.insert(.noFree)
    keg.followTrash()
    change(to: .reserved(range))
    return range.pointee.places * keg.pointee.layout.items
  }

  /// The last `count` free items of the keg are for requests with `useReserve`; others have to bring new pages. Nothing is allocated for
  /// it (that is `preallocate`), and a drain leaves so many. While the zone is cold.
  public func setReserve(_ count: Int) {
    if forEachPart({ $0.setReserve(share(of: count)) }) { return }
    guard demandCold("the reserve") else { return }
    pointee.keg.pointee.reserve = Swift.max(0, count)
  }

  /// Makes slabs until there are `count` more free items, as many as fit in whole slabs. `wait` goes to the page source and to the items'
  /// init; where one of them refuses all the same the result is false, and what has been made stays. The slabs are free like any
  /// others: a drain, and the end of a period, give them back, unless the zone has a reserve or `noFree`. Holding no lock.
  @discardableResult
  public func preallocate(_ count: Int, _ flags: WaitFlags = .wait) -> Bool {
    #if STAVE_CHECK_LOCKS
    if flags.maySleep { checkMaySleep() }
    #endif
    let flags = flags.checked
    var isDone = true
    if forEachPart({ if !$0.pointee.keg.addSlabs(items: share(of: count), flags: flags) { isDone = false } }) { return isDone }
    return pointee.keg.addSlabs(items: count, flags: flags)
  }

  private func change(to source: PageSource) {
    pointee.keg.pointee.source = source
    zones.pointee.listLock.lock()
    followGuards()
    zones.pointee.listLock.unlock()
  }
}

extension UnsafeMutablePointer where Pointee == Keg {
  /// Each on the free list, where a drain finds it (L26).
  fileprivate func addSlabs(items: Int, flags: WaitFlags) -> Bool {
    guard items > 0 else { return true }
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    let slabs = (items - 1) / pointee.layout.items + 1
    var isRefused = false
    for _ in 0..<slabs {
      guard makeSlab(flags: flags, &isRefused) else { return false }
      // Frees in between do not give them back.
      pointee.slabsKept = Swift.max(pointee.slabsKept, pointee.freeSlabCount)
    }
    return true
  }

  /// No slab lies there any more.
  func giveUpRange() {
    guard let range = pointee.range else { return }
    pointee.range = nil
    arena.giveUpRange(range)
  }
}
