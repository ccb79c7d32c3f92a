// SPDX-License-Identifier: BSD-2-Clause
//
// # Pools
//
// Items of one size without caches between request and page: NetBSD's pool(9) on Stave's kegs. A pool promises what a zone does not: a
// limit on the items that are *out*, water marks, pages kept for its owner, and a back-end shared with other pools, which give theirs
// up when one of them cannot grow. Each operation takes one lock. Who wants speed on many CPUs takes a zone.
//
// Words
//   page       a slab: as long as the back-end says, or a multiple of that for large items
//   current    the page that the next item comes from: the first partial one, else the first empty one, else there is none
//   empty      of a page: all of it is free. Such a page may go back to the back-end
//   minimum    pages that stay: those primed, and as many as the low water mark wants
//   back-end   PoolAllocator: a page source that several pools share
//   sibling    another pool on the same back-end
//   group      objects that a pool cache holds, sixteen at most (PoolCache)
//
//        get                                put                     a pool's keg
//         │ ▲                                │                       full     ■■■■ ⇄ ■■■■
//   limit? │ item                            ▼ first hole ──────►    partial  ■■□□ ⇄ ■□□■    ◄─ current
//         ▼ │                        page of its own                 empty    □□□□ ⇄ □□□□
//      current page ─none─► grow ─► back-end ─no room─► drain siblings, one after the other, until one has freed a page
//                                                       └─ none did: wait until one does, or nil
//
// Order of satisfaction: the current page; a new page, made by one thread at a time; what the pool's caches and its owner's drain hook
// give back; pages of siblings that have long been idle, then any idle page of theirs. A put into a full page makes that page
// current, so that holes are filled before other pages are begun. With `wait` a request that finds nothing sleeps until something is
// put, or a page goes back to the back-end; at the limit, until something is put. Nil: with `noWait`, and with `limitFail` at the limit.
//
// A page is on exactly one of the keg's three lists and goes from one to the other in a few stores; empty pages are in the order in
// which they became empty. An item's page is found by one load from the owner map, or by rounding down. Only where the back-end's
// memory is unknown to the owner map, and the header not in the page, a balanced tree is searched. So get and put look at one page,
// whatever their number, and at 2 log2 n nodes of the tree at most (V1); `steps` counts them.
//
// Locks: the keg's lock is the pool's, for its caches too, so whatever holds kegs at fork holds pools (Pool+Wait). The siblings' list
// is under the zone list's lock, and one that is visited stays, by the `walks` of its zone. No lock is held over the back-end, hooks,
// reports or a sleep (L36), so a drain hook may put; it may not wait. Those who drain begin with a pool only where nobody has its lock
// at that moment, or is about to give it up; what they have taken out they put back as everybody does.
//
// Costs: get and put some 20 ns each, uncontended (Documentation/Zones.md), longer where the page is in no processor cache; a get looks at
// one page however many there are (Documentation/pool-cost.svg). A pool is a zone, a keg and this structure, some 1,100 bytes; each page
// has 48 bytes more than a zone's slab. Zones' tables show pools like zones: allocations are gets, frees are puts.
//
// Weak points, known: one lock a pool, so threads wait for each other; the shared back-end's page is a unit of 64 KiB, of which a pool
// with few items uses a part; while item checks are on, what a pool cache held before stays held until it is asked for.
//
//   pool(9)                          ours
//   pool_init, pool_destroy          makePool, destroy
//   pool_get: PR_WAITOK, PR_NOWAIT   get(.wait), get(.noWait)
//   PR_LIMITFAIL                     get(.wait.union(.limitFail))
//   PR_URGENT                        none: who used it copes (K9)
//   PR_NOTOUCH                       noTouch; ours besides: offPage, notPage
//   pool_put                         put
//   pool_prime                       prime
//   pool_setlowat, pool_sethiwat     setLow, setHigh
//   pool_sethardlimit                setLimit
//   pool_set_drain_hook              setDrainHook
//   pool_reclaim, pool_drain         reclaim, drainNextPool
//   pool_allocator                   PoolAllocator: makePoolAllocator
//   pool_cache_init, _destroy        makePoolCache, destroy
//   pool_cache_get, _put             get, put of a PoolCachePointer
//   pool_cache_invalidate            invalidate
//   pr_nget, pr_nfail, pr_nput …     counts
//   wchan                            the name

import CPlatform
import Pages
import Primitives

public struct Pool: ~Copyable {
  let zone: ZonePointer
  let keg: KegPointer
  let allocator: PoolAllocatorPointer
  /// Siblings, by rising number. Under the zone list's lock.
  var next: PoolPointer?
  let number: UInt

  // What follows is under the keg's lock.

  public internal(set) var lowItems = 0
  var lowPages = 0
  var primedPages = 0
  public internal(set) var highPages = Int.max
  public internal(set) var limit = Int.max
  /// Ends with a zero byte; its owner's.
  var limitMessage: UnsafePointer<UInt8>? = nil
  var limitInterval: Int64 = 0
  var limitSaid: Int64? = nil
  public internal(set) var mostPages = 0
  var isGrowing = false
  /// The growth is one for the low water mark.
  var isForMark = false
  /// The last growth passed a sibling by whose lock another thread had.
  var hasMetBusy = false
  /// What requests sleep on (Pool+Wait).
  var returned = PoolEvent()
  var grown = PoolEvent()
  public internal(set) var caches: PoolCachePointer? = nil
  var drainHook: PoolDrainHook? = nil
  var drainArgument: UnsafeMutableRawPointer? = nil
  /// 1 while a thread is in the drain hook, which may ask other pools, and they this one.
  var isDraining: UInt32 = 0
  /// Pages looked at by gets, puts and reclaims.
  var pageSteps = 0

  /// Requests that wait for the back-end; changed with atomic additions.
  var wanting: Int64 = 0
  /// Pages given back so far, and times that it has grown; likewise.
  var pagesFreed: Int64 = 0
  var growths: Int64 = 0
}

public typealias PoolPointer = UnsafeMutablePointer<Pool>
/// Gives back items of the pool that its owner can do without. Called without locks; may not wait.
public typealias PoolDrainHook = @convention(c) (_ argument: UnsafeMutableRawPointer?, _ wait: Int32) -> Void

/// What pools have in common, part of the zones' state.
public struct PoolsState {
  var poolKeg: KegPointer?
  var allocatorKeg: KegPointer?
  var cacheKeg: KegPointer?
  var groupKeg: KegPointer?
  var shared: PoolAllocatorPointer?
  var lastNumber: UInt
  var lastDrained: UInt
  /// Nanoseconds that never go back, for idle times and the interval of messages; nil: the system's, coarsely.
  public var clock: (@convention(c) () -> Int64)?
  /// Nanoseconds after which a request that waits for the back-end asks it again; 0 for a second, negative for never.
  var pause: Int64
  /// How often this process is a fork's child.
  public internal(set) var forks: UInt32

  /// How long a page or a group is left alone after its last use, in nanoseconds.
  public static var inactivity: Int64 { 10_000_000_000 }

  var now: Int64 { clock?() ?? stave_coarse_nanoseconds() }
}

/// Makes a pool of items of `size` bytes, each with its byte `offset` at a multiple of `alignMask + 1`. Nil when memory or kegs run
/// out, for absurd sizes, and for an alignment that the back-end's pages do not have. `flags`: noTouch, offPage, notPage. Nil for an
/// allocator means one that all such pools share, of 64 KiB of the arena. Takes no page yet.
public func makePool(
  name: FixedName, size: Int, alignMask: Int = 7, offset: Int = 0, flags: ZoneFlags = .none, allocator given: PoolAllocatorPointer? = nil
) -> PoolPointer? {
  guard let kegs = zones.poolKegs(), let allocator = given ?? zones.sharedPoolAllocator() else { return nil }
  guard let layout = allocator.layout(size: size, alignMask: alignMask, offset: offset, flags: flags) else { return nil }
  guard let raw = kegs.pools.takeOne() else { return nil }
  let pool = raw.assumingMemoryBound(to: Pool.self)
  guard
    let zone = makeZone(
      name: name, layout: layout, alignMask: alignMask, flags: flags.union(.noBucket).union(.pool), hooks: ZoneHooks(),
      source: pool.source, cellCapacity: 0, bucketSize: 1, reciprocal: ~0)
  else {
    kegs.pools.giveOne(raw)
    return nil
  }
  let keg = zone.pointee.keg
  let list = zones
  list.pointee.listLock.lock()
  list.pointee.pools.lastNumber += 1
  pool.initialize(to: Pool(zone: zone, keg: keg, allocator: allocator, next: nil, number: list.pointee.pools.lastNumber))
  allocator.add(pool)
  // Walks over zones find the pool by the list's lock, who drains the keg by the keg's.
  keg.pointee.lock.lock()
  keg.pointee.colours = layout.colours(alignMask: alignMask)
  keg.pointee.pool = pool
  keg.pointee.reclaimPool = { $0.assumingMemoryBound(to: Pool.self).reclaim(isUrgent: $1) }
  keg.pointee.lock.unlock()
  list.pointee.listLock.unlock()
  return pool
}

extension UnsafeMutablePointer where Pointee == Pool {
  /// Destroys the pool and its caches; all items should be back. What is still out is reported by name, items and pages, and its
  /// memory is lost, not freed (L16). Nothing may use the pool any more, or while this runs; not to be called from its own hooks.
  /// Returns the number of items lost.
  @discardableResult
  public func destroy() -> Int {
    let zone = pointee.zone, keg = pointee.keg, allocator = pointee.allocator, list = zones
    while let cache = pointee.caches { cache.destroy() }
    list.pointee.listLock.lock()
    zone.pointee.flags.insert(.dying)
    while zone.pointee.walks > 0 {
      list.pointee.listLock.unlock()
      _ = stave_yield()
      list.pointee.listLock.lock()
    }
    allocator.remove(self)
    list.pointee.listLock.unlock()
    // From here on the keg is a zone's: all its free pages go back, through this pool's source still.
    keg.pointee.lock.lock()
    keg.pointee.reclaimPool = nil
    keg.pointee.pool = nil
    keg.pointee.lock.unlock()
    let lost = zone.destroy()
    allocator.release()
    zones.pointee.pools.poolKeg!.giveOne(UnsafeMutableRawPointer(self))
    return lost
  }

  /// Items in the hands of those who asked for them, objects in caches among them. Takes the lock.
  public var itemsOut: Int {
    pointee.keg.pointee.lock.lock()
    defer { pointee.keg.pointee.lock.unlock() }
    return pointee.keg.outstanding
  }
  /// How often it has got a page: who looks before and after a request knows whether that was for one.
  public var growthCount: UInt64 { stave_load64(&pointee.growths) }
  /// Its pages, those that stay.
  var pages: Int { pointee.keg.pointee.slabCount }
  var minimum: Int { Swift.max(pointee.lowPages, pointee.primedPages) }
  /// Pages that hold so many items; 0 for none.
  func pages(for items: Int) -> Int {
    let each = pointee.keg.pointee.layout.items
    return items / each + (items % each > 0 ? 1 : 0)
  }
}

extension UnsafeMutablePointer where Pointee == ZonesState {
  /// The kegs of what pools consist of, made when first asked for; nil if memory is not to be had.
  func poolKegs() -> (pools: KegPointer, allocators: KegPointer, caches: KegPointer, groups: KegPointer)? {
    pointee.listLock.lock()
    defer { pointee.listLock.unlock() }
    func make(_ keg: inout KegPointer?, _ name: StaticString, _ size: Int) -> KegPointer? {
      if keg == nil { keg = makeInternalKeg(name: name, size: size) }
      return keg
    }
    guard let pools = make(&pointee.pools.poolKeg, "POOLS", MemoryLayout<Pool>.stride),
      let allocators = make(&pointee.pools.allocatorKeg, "POOL ALLOCATORS", MemoryLayout<PoolAllocator>.stride),
      let caches = make(&pointee.pools.cacheKeg, "POOL CACHES", MemoryLayout<PoolCache>.stride),
      let groups = make(&pointee.pools.groupKeg, "POOL GROUPS", MemoryLayout<PoolGroup>.stride)
    else { return nil }
    return (pools, allocators, caches, groups)
  }
}
