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
  var isGuarded: UInt32
  public var guardedItems: Int64
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

/// Makes a zone of items of `size` bytes at multiples of `alignMask + 1`. Nil when memory, cells or kegs run out, or
/// the size is absurd. May call the page source. `source` is the keg's; nil means the arena.
public func makeZone(
  name: FixedName, size: Int, alignMask: Int = 7, flags: ZoneFlags = .none, hooks: ZoneHooks = ZoneHooks(),
  source: PageSource = .arena
) -> ZonePointer? {
  guard let layout = SlabLayout.choose(size: size, alignMask: alignMask, flags: flags, pageBytes: pageBytes) else { return nil }
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
    headers = state.headerKeg(items: layout.items)
    guard headers != nil else { return nil }
  }
  guard state.prepareBuckets(capacity: flags.contains(.maxBucket) ? 254 : bucketSize) else { return nil }
  guard let rawKeg = state.pointee.kegZone!.takeOne() else { return nil }
  guard let rawZone = state.pointee.zoneZone!.takeOne() else {
    state.pointee.kegZone!.giveOne(rawKeg)
    return nil
  }
  let keg = rawKeg.assumingMemoryBound(to: Keg.self)
  let zone = rawZone.assumingMemoryBound(to: Zone.self)
  keg.setUp(
    name: name, layout: layout, alignMask: alignMask, flags: flags, source: source, rank: LockRank.keg,
    initialize: hooks.initialize, finish: hooks.finish)
  keg.pointee.headerKeg = headers
  keg.pointee.zone = zone
  var cell = 0
  if cellCapacity > 0 && !flags.contains(.noBucket) {
    cell = CPUCache.addCell(capacity: cellCapacity, reciprocal: reciprocal) ?? 0
  }
  let hooked: ZoneFlags = hooks.constructor != nil || hooks.destructor != nil ? .ctorDtor : .none
  // Who looks from outside may have come to this place by an older list: it leads on all the time (SnapshotReader+Zones).
  zone.initialize(
    to: Zone(
      next: state.pointee.first, name: name, instance: 0, flags: flags.union(hooked), keg: keg, size: layout.size, cell: cell,
      cellCapacity: cellCapacity, bucketSize: flags.contains(.maxBucket) ? max(bucketSize, 254) : bucketSize,
      bucketSizeMin: bucketSize, full: nil, depotItems: 0, depotLimit: .max, workingSet: WorkingSet(),
      directAllocations: 0, directFrees: 0, failures: 0, sleeps: 0, type: 0, depotLock: FutexLock(rank: LockRank.depot),
      walks: 0, isReclaimed: 0, emptyBuckets: nil, emptyBucketCount: 0, constructor: hooks.constructor,
      destructor: hooks.destructor, zoneInit: nil,
      zoneFini: nil, isGuarded: 0, guardedItems: 0))
  state.pointee.listLock.lock()
  guard state.register(keg) else {
    state.pointee.listLock.unlock()
    if cell != 0 { CPUCache.removeCell(cell) }
    state.pointee.zoneZone!.giveOne(rawZone)
    state.pointee.kegZone!.giveOne(rawKeg)
    return nil
  }
  var other = state.pointee.first
  while let known = other {
    if known.pointee.name.equals(name) { zone.pointee.instance = max(zone.pointee.instance, known.pointee.instance + 1) }
    other = known.pointee.next
  }
  zone.pointee.next = state.pointee.first
  state.pointee.first = zone
  state.pointee.zoneCount += 1
  zone.followGuards()
  state.pointee.listLock.unlock()
  return zone
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// Destroys the zone; all items should be free. What is still out is reported by name, items and pages, and its memory is
  /// lost, not freed (L16). Nothing may use the zone any more, or while this runs; not to be called from its own hooks.
  /// Returns the number of items lost.
  @discardableResult
  public func destroy() -> Int {
    zones.pointee.listLock.lock()
    pointee.flags.insert(.dying)
    pointee.keg.pointee.flags.insert(.dying)
    while pointee.walks > 0 {
      zones.pointee.listLock.unlock()
      _ = stave_yield()
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
    drainCaches()
    drainDepot(keeping: 0)
    freeEmptyBuckets()
    if pointee.cell != 0 { CPUCache.removeCell(pointee.cell) }
    let keg = pointee.keg
    keg.pointee.reserve = 0
    keg.drain()
    let guarded = Int(pointee.guardedItems), lost = keg.outstanding + guarded
    if lost > 0 {
      var report = Report("zone destroyed with items out")
      report.name(pointee.name)
      report.text(": ")
      report.number(UInt(lost))
      report.text(" items, ")
      report.number(UInt(keg.pointee.slabCount * keg.pointee.layout.slabBytes / pageBytes))
      report.text(" pages lost")
      if guarded > 0 {
        report.text("; ")
        report.number(UInt(guarded))
        report.text(" of the items are guarded")
      }
      report.text("\n")
      if guarded > 0 { withUnsafeMutablePointer(to: &report) { zoneGuards.pointee.describe?(self, UnsafeMutableRawPointer($0)) } }
      report.write()
      keg.disown()
    } else {
      zones.pointee.listLock.lock()
      zones.unregister(keg)
      zones.pointee.listLock.unlock()
      zones.pointee.kegZone!.giveOne(UnsafeMutableRawPointer(keg))
    }
    zones.pointee.zoneZone!.giveOne(UnsafeMutableRawPointer(self))
    return lost
  }

  /// Hooks between keg and zone; legal only before the first allocation.
  public func setZoneHooks(initialize: ItemHook?, finish: ItemFinish?) {
    precondition(pointee.keg.pointee.slabCount == 0, "hooks of a zone in use cannot change")
    pointee.zoneInit = initialize
    pointee.zoneFini = finish
    pointee.keg.followTrash()
  }
}
