// SPDX-License-Identifier: BSD-2-Clause
//
// # Zones
//
// Typed object caches on slabs: FreeBSD's UMA in user space.
//
// Words
//   zone      named cache of items of one size, with hooks; owns cells, a depot, counters
//   cell      a zone's cache on one CPU: a stack of item addresses
//   bucket    an array of item addresses, the unit moved between cells and the zone
//   depot     a zone's full buckets
//   keg       the slabs behind one or more zones
//   slab      a run of pages cut into equal items, with a bitmap of the free ones
//   source    where a keg's pages come from and return to
//   pool      items behind one lock, with limits and a shared source: Pool.swift has an essay of its own
//
//   allocate ─► cell of this CPU ─► depot ─► keg: partial slab, free slab ─► source: pages
//       ▲            │  ▲  full bucket │  ▲
//       │            ▼  │              ▼  │
//     free ──────► cell full ───────► depot full ───► keg ───► source, when a slab is wholly free
//
// Order of satisfaction: the cell; a full bucket of the depot; items of the keg, enough to refill the cell; in the keg
// partial slabs come before free ones, to keep fragmentation down; a new slab from the source. What restartable sections
// or a lock do for the cell is CPUCache's business; a zone does not know which it is.
//
// Locks, outermost first: reclaim, region, zone list, depot, keg (of headers and buckets last), then those of Pages. None is
// held over a hook, an author's page source or a sleep: the reclaim lock is taken for one zone at a time, and not for zones
// that have either. Debug builds report a request that may wait, made where waiting is wrong (Primitives/FutexLock). Buckets
// and slab headers come from internal zones that have neither caches nor off-page headers, so nothing recurses.
//
// Costs: a hit is one section of about twenty instructions; a miss takes the depot lock once per bucket, or the keg lock
// once per bucket's worth of items. A zone is one structure of some 400 bytes and 32 bytes per CPU, plus slots as used.
//
// Weak points, known: an item just over half a page wastes nearly half of it in-page; a limit on items cached, not made,
// is by bytes per cell and depot; a thread stopped between leaving the depot and filling its cell holds one bucket.

import CPlatform
import Pages
import Primitives
import Synchronization

/// What the zone system keeps in the root.
public struct ZonesState: ~Copyable {
  /// All zones, newest first, through `next`.
  public var first: UnsafeMutablePointer<Zone>?
  public var zoneCount: Int
  public var kegCount: Int
  public var regionCount: Int
  public var nextCell: Int
  var nextSlot: UInt32
  /// Reports so far of waits, and of wait flags, that are wrong.
  var badFlagReports: Int32
  /// Bytes in depots of zones that have a malloc type, about.
  var typedDepotBytes: Int64
  /// Tries without the system that caches have before them.
  var triesLeft: Int32
  /// Guards the list of zones and the keg table.
  public var listLock: FutexLock
  var regionLock: FutexLock
  var reclaimLock: FutexLock
  var kegZone: UnsafeMutablePointer<Keg>?
  var zoneZone: UnsafeMutablePointer<Keg>?
  var headerKegs: InlineArray<5, UnsafeMutablePointer<Keg>?>
  var bucketKegs: InlineArray<8, UnsafeMutablePointer<Keg>?>
  /// Of safe memory reclamation and of the zones that use it; nil until there is a context, or such a zone.
  var smr: UnsafeMutablePointer<SMRRegistry>?
  var deferralKeg: UnsafeMutablePointer<Keg>?
  public internal(set) var pools: PoolsState
  /// Of headers with reference counts.
  var countedHeaderKegs: InlineArray<2, UnsafeMutablePointer<Keg>?>
  /// Of 4, 8, 16, 32 and 64 bytes.
  var perCPUZones: InlineArray<5, UnsafeMutablePointer<Zone>?>
  /// Says in a report whose an address is that no zone here owns, and whether anybody's; nil until the heap has filled it in.
  public var describeOthers: (@convention(c) (_ address: UInt, _ report: UnsafeMutableRawPointer) -> Bool)?
  var domainsKeg: UnsafeMutablePointer<Keg>?
  /// Answers who rings, without running an author's code unless it may; nil where free() hears the bell.
  public var answerBell: (@convention(c) (_ mayRunHooks: Bool) -> Void)?
  /// Makes the thread that is the worker, which is in `work` for ever; false if the system has none. Nil where nobody makes threads.
  public var startWorker: (@convention(c) () -> Bool)?
  /// A WorkerState.
  var worker: UInt32
  /// 1 while something is due.
  var workerCalls: Int32
  var workerThread: UInt
  /// Sets a limit of packet buffers by its number, and has it told of later; the result is a PacketLimitOutcome. `before` is the limit
  /// before. Nil until there are any.
  public var limitPackets: (@convention(c) (_ number: Int32, _ items: Int, _ before: UnsafeMutablePointer<Int>) -> Int32)?
  /// Zones at their limits do not warn.
  public var isQuiet: Bool
}

/// Between two looks at what another thread is at: the processor at first, then a millisecond.
public func pauseBriefly(after tries: Int) {
  if tries < 100 {
    _ = stave_yield()
  } else {
    var never: UInt32 = 0
    _ = stave_futex_wait(&never, 0, 1_000_000)
  }
}

/// What became of a wish for another limit.
public enum PacketLimitOutcome {
  public static var done: Int32 { 0 }
  public static var refused: Int32 { 1 }
  /// Somebody else is changing limits at this moment.
  public static var busy: Int32 { 2 }
}

@inline(__always)
public var zones: UnsafeMutablePointer<ZonesState> { rootState(ZonesState.self, at: RootLayout.zonesOffset) }

extension UnsafeMutablePointer where Pointee == ZonesState {
  /// Builds the zones of kegs and of zones by hand from metadata pages; call once, before anything else here.
  public func start() -> Bool {
    pointee.listLock.rank = LockRank.zoneList
    pointee.reclaimLock.rank = LockRank.reclaim
    // The first keg cannot come from a keg: it lies at the start of a page of its own, with the second behind it.
    guard let page = metadataPages.allocate(bytes: pageBytes) else { return false }
    let first = page.assumingMemoryBound(to: Keg.self)
    guard first.setUpInternal(name: "KEGS", size: MemoryLayout<Keg>.stride) else { return false }
    guard (first + 1).setUpInternal(name: "ZONES", size: MemoryLayout<Zone>.stride) else { return false }
    // A zone that has gone stays readable, and its `next` goes on to the zones that were older, for who looks from outside.
    (first + 1).pointee.flags.insert(.noFree)
    pointee.kegZone = first
    pointee.zoneZone = first + 1
    return true
  }

  /// A new keg of the zone system, nil if memory is not to be had.
  func makeInternalKeg(name: StaticString, number: Int? = nil, size: Int) -> KegPointer? {
    guard let raw = pointee.kegZone!.takeOne() else { return nil }
    let keg = raw.assumingMemoryBound(to: Keg.self)
    guard keg.setUpInternal(name: name, size: size) else {
      pointee.kegZone!.giveOne(raw)
      return nil
    }
    if let number { keg.pointee.name = FixedName(name).appending(number: number) }
    return keg
  }

  /// The keg of off-page headers for a layout, made when first asked for.
  func headerKeg(_ layout: SlabLayout, hasTails: Bool = false) -> KegPointer? {
    let room = SlabLayout.offPageHeaderItems(layout.items + (hasTails ? SlabTail.bits : 0))
    let index = room.trailingZeroBitCount - 8
    pointee.listLock.lock()
    defer { pointee.listLock.unlock() }
    if layout.hasCounts {
      if pointee.countedHeaderKegs[index] == nil {
        pointee.countedHeaderKegs[index] = makeInternalKeg(
          name: "COUNTED HEADERS ", number: room, size: SlabLayout.offPageHeaderBytes(items: room, counted: true))
      }
      return pointee.countedHeaderKegs[index]
    }
    if pointee.headerKegs[index] == nil {
      pointee.headerKegs[index] = makeInternalKeg(
        name: "SLAB HEADERS ", number: room, size: SlabLayout.offPageHeaderBytes(items: room))
    }
    return pointee.headerKegs[index]
  }
}

extension ZonesState {
  func bucketKeg(_ index: Int) -> KegPointer? { bucketKegs[index] }
}

extension UnsafeMutablePointer where Pointee == ZonesState {
  /// Makes the zones of buckets up to the given capacity's, so that no request has to.
  func prepareBuckets(capacity: Int) -> Bool {
    pointee.listLock.lock()
    defer { pointee.listLock.unlock() }
    for index in 0...Bucket.sizeIndex(for: capacity) where pointee.bucketKegs[index] == nil {
      let room = Bucket.capacityOf(index)
      guard
        let keg = makeInternalKeg(
          name: "BUCKETS ", number: room, size: MemoryLayout<Bucket>.stride + room * MemoryLayout<UInt>.stride)
      else { return false }
      pointee.bucketKegs[index] = keg
    }
    return true
  }

  /// Gives `keg` an index; false when the table is full. The list lock is held, or nobody else exists yet.
  func register(_ keg: KegPointer) -> Bool {
    let table = stave_kegs()
    var index = 1
    while index < Int(STAVE_MAX_KEGS) && table[index] != nil { index += 1 }
    guard index < Int(STAVE_MAX_KEGS) else { return false }
    keg.pointee.index = UInt32(index)
    keg.setTrash()
    table[index] = UnsafeMutableRawPointer(keg)
    pointee.kegCount = Swift.max(pointee.kegCount, index + 1)
    return true
  }

  func unregister(_ keg: KegPointer) { stave_kegs()[Int(keg.pointee.index)] = nil }
}

extension UnsafeMutablePointer where Pointee == Keg {
  /// Makes zeroed memory a keg. Off-page layouts also get the keg of their headers.
  func setUp(
    name: FixedName, layout: SlabLayout, alignMask: Int, flags: ZoneFlags, source: PageSource, rank: UInt8,
    initialize hook: ItemHook? = nil, finish: ItemFinish? = nil
  ) {
    initialize(
      to: Keg(
        name: name, index: 0, flags: flags, layout: layout, inverse: .max / UInt64(layout.itemBytes) + 1, alignMask: alignMask, reserve: 0, slabCount: 0, freeSlabCount: 0,
        freeItems: 0, partial: SlabList(), free: SlabList(), full: SlabList(), cellOffset: 0, zone: nil,
        lock: FutexLock(rank: rank), source: source, initialize: hook, finish: finish, headerKeg: nil, slabsMade: 0,
        slabsKept: 1, trash: 0, secondaries: 0, range: nil))
  }

  /// A keg of the zone system itself: in-page headers in metadata pages.
  func setUpInternal(name: StaticString, size: Int) -> Bool {
    guard let layout = SlabLayout.choose(size: size, alignMask: 15, flags: .internal, pageBytes: pageBytes) else { return false }
    precondition(layout.lookup == .mask, "internal items are found by mask")
    setUp(
      name: FixedName(name), layout: layout, alignMask: 15, flags: ZoneFlags.internal.union(.vm), source: .metadata,
      rank: LockRank.internalKeg)
    return zones.register(self)
  }
}
