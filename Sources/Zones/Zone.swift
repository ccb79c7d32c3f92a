// SPDX-License-Identifier: BSD-2-Clause
//
// A zone: its hooks, its depot, its counters; creation and destruction. What it does is in Zone+Allocate, Zone+Free and
// Zone+Reclaim.

import CPlatform
import Pages
import Primitives
import Synchronization

public struct Zone: ~Copyable {
  // What readers outside copy.
  public var next: UnsafeMutablePointer<Zone>?
  public var name: FixedName
  /// Distinguishes zones of one name: one more than the largest among them when this one was made.
  public var instance: UInt32
  public var flags: ZoneFlags
  public var keg: KegPointer
  public var size: Int
  /// Index of this zone's cells, 0 for none.
  public var cell: Int
  /// Where its cells are for who asks for an item, and for who frees one, and wants nothing else; 0 where that is not all (Zone+Quick).
  public internal(set) var quickCell: UInt64
  public internal(set) var quickFreeCell: UInt64
  /// Slots of a cell at most.
  public var cellCapacity: Int
  /// Items that a bucket of this zone holds: the present wish, its least and greatest value.
  public var bucketSize: Int
  public var bucketSizeMin: Int
  public var full: UnsafeMutablePointer<Bucket>?
  public var depotItems: Int
  public var depotLimit: Int
  public var workingSet: WorkingSet
  /// Operations that went round the cells, and failures; written with atomic additions.
  public var directAllocations: Int64
  public var directFrees: Int64
  public var failures: Int64
  public var sleeps: Int64
  /// The number of the malloc type that it belongs to; 0 for none.
  public var type: UInt32

  var depotLock: FutexLock
  /// Walks over all zones that are at this one; it is not destroyed meanwhile. Under the list lock.
  var walks: Int
  /// 1 while a walk gives back from this zone, whose author's code may begin another.
  var isReclaimed: UInt32
  var emptyBuckets: UnsafeMutablePointer<Bucket>?
  var emptyBucketCount: Int
  var constructor: Constructor?
  var destructor: Destructor?
  var zoneInit: ItemHook?
  var zoneFini: ItemFinish?
  /// 1 while requests may become guarded items; and how many of these are out (Zone+Guards).
  public var isGuarded: UInt32
  public var guardedItems: Int64
  public internal(set) var bound: ZoneBound
  /// Of a cache-only zone: where its items come from, and go to.
  var importItems: ItemImport?
  var releaseItems: ItemRelease?
  /// What these two are given, and the destructor of a zone with deferred reuse.
  public var argument: UnsafeMutableRawPointer?
  /// Kegs beside the first (Zone+Kegs), and from which one items came last: 0 is the first.
  public internal(set) var moreKegs: InlineArray<3, KegPointer?>
  public internal(set) var moreKegCount: Int32
  var latestKeg: Int32
  /// The cells of a zone with deferred reuse, which has no other: where items come from, and where they go; 0 for none.
  public var allocationCell: Int
  public var freeCell: Int
  public internal(set) var deferral: UnsafeMutablePointer<Deferral>?
  /// Of a zone over several memory domains, and of its parts (Zone+Domains).
  public internal(set) var domains: UnsafeMutablePointer<ZoneDomains>?
  /// Items that were freed by a CPU of another domain than theirs; of zones with `firstTouch`.
  public internal(set) var crossFrees: Int64
  /// When the period began that the working set is about, by the clock of pools.
  var periodBegan: Int64
}

public typealias ZonePointer = UnsafeMutablePointer<Zone>
/// `ctor`: runs at each allocation; other than 0 makes it fail.
public typealias Constructor = @convention(c) (
  _ item: UnsafeMutableRawPointer, _ size: Int, _ argument: UnsafeMutableRawPointer?, _ wait: Int32
) -> Int32
/// `dtor`: runs at each free.
public typealias Destructor = @convention(c) (
  _ item: UnsafeMutableRawPointer, _ size: Int, _ argument: UnsafeMutableRawPointer?
) -> Void

/// The hooks of a zone, each optional.
public struct ZoneHooks {
  public var constructor: Constructor?
  public var destructor: Destructor?
  public var initialize: ItemHook?
  public var finish: ItemFinish?

  public init(
    constructor: Constructor? = nil, destructor: Destructor? = nil, initialize: ItemHook? = nil, finish: ItemFinish? = nil
  ) {
    self.constructor = constructor
    self.destructor = destructor
    self.initialize = initialize
    self.finish = finish
  }
}

/// Makes a zone of items of `size` bytes at multiples of `alignMask + 1`. Nil when memory, cells or kegs run out, the size is
/// absurd, or flags contradict each other. May call the page source. `source` is the keg's.
public func makeZone(
  name: FixedName, size: Int, alignMask: Int = 7, flags: ZoneFlags = .none, hooks: ZoneHooks = ZoneHooks(),
  source: PageSource = .arena
) -> ZonePointer? {
  if flags.contains(.smr) {
    return makeSMRZone(name: name, size: size, alignMask: alignMask, flags: flags, hooks: hooks, source: source)
  }
  if flags.intersects(.ofDomains) {
    return makeZoneOfDomains(name: name, size: size, alignMask: alignMask, flags: flags, hooks: hooks, source: source)
  }
  if flags.contains(.perCPU) { memoryDomains.lookForZones() }
  guard let flags = flags.completed,
    let layout = SlabLayout.choose(
      size: size, alignMask: alignMask, flags: flags, pageBytes: pageBytes, cpuCount: Int(root.pointee.cpuCount))
  else { return nil }
  let desired = Bucket.desiredCapacity(itemBytes: layout.itemBytes)
  return makeZone(
    name: name, layout: layout, alignMask: alignMask, flags: flags, hooks: hooks, source: source,
    cellCapacity: flags.contains(.noBucket) ? 0 : desired * 2, bucketSize: desired, reciprocal: ~0)
}

/// As above for a layout chosen by the caller. `reciprocal` is the one of the push section's membership test.
public func makeZone(
  name: FixedName, layout: SlabLayout, alignMask: Int, flags: ZoneFlags, hooks: ZoneHooks, source: PageSource,
  cellCapacity: Int, bucketSize: Int, reciprocal: UInt32
) -> ZonePointer? {
  let state = zones
  var headers: KegPointer? = nil
  if layout.isOffPage {
    headers = state.headerKeg(layout, hasTails: flags.hasTails)
    guard headers != nil else { return nil }
  }
  guard let rawKeg = state.pointee.kegZone!.takeOne() else { return nil }
  let keg = rawKeg.assumingMemoryBound(to: Keg.self)
  keg.setUp(
    name: name, layout: layout, alignMask: alignMask, flags: flags, source: source, rank: LockRank.keg,
    initialize: hooks.initialize, finish: hooks.finish)
  keg.pointee.headerKeg = headers
  guard let zone = state.addZone(
    name: name, flags: flags, keg: keg, isFirst: true, constructor: hooks.constructor, destructor: hooks.destructor, cellCapacity: cellCapacity,
    bucketSize: bucketSize, reciprocal: reciprocal)
  else {
    state.pointee.kegZone!.giveOne(rawKeg)
    return nil
  }
  return zone
}

extension UnsafeMutablePointer where Pointee == ZonesState {
  /// A zone on a keg, listed. `isFirst`: the keg is new and belongs to it. Nil when memory or kegs run out.
  func addZone(
    name: FixedName, flags: ZoneFlags, keg: KegPointer, isFirst: Bool, constructor: Constructor?, destructor: Destructor?, cellCapacity: Int,
    bucketSize: Int, reciprocal: UInt32, prepare: (ZonePointer) -> Void = { _ in }
  ) -> ZonePointer? {
    guard prepareBuckets(capacity: flags.contains(.maxBucket) ? 254 : bucketSize) else { return nil }
    guard let raw = pointee.zoneZone!.takeOne() else { return nil }
    let zone = raw.assumingMemoryBound(to: Zone.self)
    if isFirst { keg.pointee.zone = zone }
    var cell = 0
    if cellCapacity > 0 && !flags.intersects(ZoneFlags.noBucket.union(.perCPU)) {
      cell = CPUCache.addCell(capacity: cellCapacity, reciprocal: reciprocal) ?? 0
    }
    // Those of deferred reuse are met there; with perCPU plain calls, which are mistakes, run no hook.
    let isHooked = (constructor != nil || destructor != nil) && !flags.intersects(ZoneFlags.smr.union(.perCPU))
    let hooked: ZoneFlags = isHooked ? .ctorDtor : .none
    // Who looks from outside may have come to this place by an older list: it leads on all the time (SnapshotReader+Zones).
    zone.initialize(
      to: Zone(
        next: listNow, name: name, instance: 0, flags: flags.union(hooked), keg: keg, size: keg.pointee.layout.size, cell: cell,
        quickCell: 0, quickFreeCell: 0, cellCapacity: cellCapacity, bucketSize: flags.contains(.maxBucket) ? Swift.max(bucketSize, 254) : bucketSize,
        bucketSizeMin: bucketSize, full: nil, depotItems: 0, depotLimit: .max, workingSet: WorkingSet(),
        directAllocations: 0, directFrees: 0, failures: 0, sleeps: 0, type: 0, depotLock: FutexLock(rank: LockRank.depot),
        walks: 0, isReclaimed: 0, emptyBuckets: nil, emptyBucketCount: 0, constructor: constructor, destructor: destructor, zoneInit: nil,
        zoneFini: nil, isGuarded: 0, guardedItems: 0, bound: ZoneBound(), importItems: nil, releaseItems: nil, argument: nil,
        moreKegs: InlineArray(repeating: nil), moreKegCount: 0, latestKeg: 0, allocationCell: 0,
        freeCell: 0, deferral: nil, domains: nil, crossFrees: 0, periodBegan: pointee.pools.now))
    prepare(zone)
    pointee.listLock.lock()
    guard !isFirst || register(keg) else {
      pointee.listLock.unlock()
      if cell != 0 { CPUCache.removeCell(cell) }
      pointee.zoneZone!.giveOne(raw)
      return nil
    }
    zone.pointee.instance = nextInstance(name)
    zone.pointee.next = pointee.first
    pointee.first = zone
    pointee.zoneCount += 1
    if !isFirst { keg.pointee.secondaries += 1 }
    zone.followGuards()
    pointee.listLock.unlock()
    return zone
  }
}

// MARK: - Zones by size class, found without a lock

public typealias ClassZones = InlineArray<72, ZonePointer?>

/// Nil if there is none yet. What was said of it before it was published holds for who finds it.
@inline(__always)
public func publishedZone(_ zones: UnsafeMutablePointer<ClassZones>, _ index: Int) -> ZonePointer? {
  stave_load_pointer(UnsafeMutableRawPointer(zones).assumingMemoryBound(to: UnsafeMutableRawPointer?.self) + index)?.assumingMemoryBound(to: Zone.self)
}

@inline(__always)
public func publish(_ zone: ZonePointer, in zones: UnsafeMutablePointer<ClassZones>, _ index: Int) {
  stave_store_pointer(UnsafeMutableRawPointer(zones).assumingMemoryBound(to: UnsafeMutableRawPointer?.self) + index, zone)
}

extension UnsafeMutablePointer where Pointee == ZonesState {
  /// Without the lock: some zone that is in the list, or was.
  private var listNow: ZonePointer? { pointee.first }

  /// With the lock; without that of malloc's classes and types, which give some of their zones other numbers.
  private func nextInstance(_ name: FixedName) -> UInt32 {
    var instance: UInt32 = 0, other = pointee.first
    while let known = other {
      if known.pointee.name.equals(name) { instance = Swift.max(instance, known.pointee.instance + 1) }
      other = known.pointee.next
    }
    return instance
  }
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// Destroys the zone; all items should be free. What is still out is reported by name, items and pages, and its memory is
  /// lost, not freed (L16). Nothing may use the zone any more, or while this runs; not to be called from its own hooks.
  /// Returns the number of items lost.
  @discardableResult
  public func destroy() -> Int {
    leaveList()
    return end()
  }

  /// No walk over all zones is at it any more, or comes to it.
  func leaveList() {
    // A part's limit was that of the zone in front of it, which has gone.
    if pointee.flags.contains(.part) { pointee.flags.remove(.limited) }
    if isInAction { demandOtherThread("ends its own") }
    zones.pointee.listLock.lock()
    pointee.depotLock.lock()
    pointee.flags.insert(.dying)
    pointee.depotLock.unlock()
    if !pointee.flags.contains(.secondary) { pointee.keg.pointee.flags.insert(.dying) }
    var tries = 0
    while pointee.walks > 0 {
      zones.pointee.listLock.unlock()
      tries += 1
      pauseBriefly(after: tries)
      zones.pointee.listLock.lock()
    }
    if zones.pointee.first == self {
      zones.pointee.first = pointee.next
    } else {
      var before = zones.pointee.first
      while let candidate = before, candidate.pointee.next != self { before = candidate.pointee.next }
      before?.pointee.next = pointee.next
    }
    zones.pointee.zoneCount -= 1
    zones.pointee.listLock.unlock()
  }

  /// The rest, when it is in no list.
  func end() -> Int {
    if let deferral = pointee.deferral { deferral.pointee.act(self, .end) }
    drainCaches()
    drainDepot(keeping: 0)
    freeEmptyBuckets()
    let keg = pointee.keg, isSecondary = pointee.flags.contains(.secondary)
    if !isSecondary {
      keg.pointee.reserve = 0
      keg.drain()
    }
    // Of a keg that several zones share, items are theirs that have asked for them. Those of a zone with parts are lost with these.
    let countsItself = isSecondary || pointee.importItems != nil || keg.pointee.secondaries > 0
    let guarded = Int(pointee.guardedItems)
    // And those of a secondary one with parts are counted in front: where an item was asked for and where it was freed may be two parts.
    let isCountedElsewhere = ownsParts || isSecondary && pointee.flags.contains(.part)
    let lost = (isCountedElsewhere ? 0 : countsItself ? Int(ZoneCounts(self).used) : keg.outstanding) + guarded
    if lost > 0 { reportLost(lost, guarded: guarded, pages: countsItself ? 0 : keg.pointee.slabCount * keg.pointee.layout.slabBytes / pageBytes) }
    if pointee.cell != 0 { CPUCache.removeCell(pointee.cell) }
    zones.pointee.listLock.lock()
    if isSecondary {
      keg.pointee.secondaries -= 1
      leaveMoreKegs()
    } else {
      keg.disown()
    }
    let isUnused = keg.pointee.zone == nil && keg.pointee.secondaries == 0
    zones.pointee.listLock.unlock()
    if isUnused { keg.drain() }
    // One with items that are guarded keeps its number, by which they name it.
    if isUnused && keg.pointee.slabCount == 0 && guarded == 0 {
      keg.giveUpRange()
      zones.pointee.listLock.lock()
      zones.unregister(keg)
      zones.pointee.listLock.unlock()
      zones.pointee.kegZone!.giveOne(UnsafeMutableRawPointer(keg))
    }
    let parts = pointee.flags.contains(.part) ? nil : pointee.domains
    // A walk that is at one gives room back to us.
    parts?.leaveLists()
    zones.pointee.zoneZone!.giveOne(UnsafeMutableRawPointer(self))
    return lost + (parts?.end(keepingNumber: guarded > 0) ?? 0)
  }

  /// Items that callers have, guarded ones too.
  public var itemsOut: Int { Int(ZoneCounts(self).used + pointee.guardedItems) }

  /// Says how many items are out of a zone whose author has given it up, and destroys it later, when they have come back.
  public func reportOut(_ items: Int) {
    var report = Report("zone given up with items out")
    report.name(pointee.name)
    report.text(": ")
    report.count(UInt(items), "item")
    report.text(", which stay good; the zone stays until they have come back\n")
    report.write()
  }

  /// `pages` are lost with the items; where others share them, none.
  private func reportLost(_ items: Int, guarded: Int, pages: Int) {
    var report = Report("zone destroyed with items out")
    report.name(pointee.name)
    report.text(": ")
    report.count(UInt(items), "item")
    report.text(", ")
    report.count(UInt(pages), "page")
    report.text(" lost")
    if guarded > 0 {
      report.text("; guarded: ")
      report.number(UInt(guarded))
    }
    report.text("\n")
    report.showsStack = guarded > 0
    if guarded > 0 { withUnsafeMutablePointer(to: &report) { zoneGuards.pointee.describe?(self, UnsafeMutableRawPointer($0)) } }
    report.conclude(next: items > guarded && isGuardedIfAll ? "STAVE_OPTIONS=memguard:1 says where they were asked for" : "")
  }

  /// Hooks between keg and zone; legal only before the first allocation.
  public func setZoneHooks(initialize: ItemHook?, finish: ItemFinish?) {
    guard demandCold("the hooks", cachesAlone: true) else { return }
    forEachPart { $0.setZoneHooks(initialize: initialize, finish: finish) }
    pointee.zoneInit = initialize
    pointee.zoneFini = finish
    pointee.keg.followTrash()
  }
}
