// SPDX-License-Identifier: BSD-2-Clause
//
// Pools for Swift: NetBSD's pool(9) on Stave's kegs (Zones/Pool.swift has the essay). Its making, its marks and its limit; requests are in
// Pool+Items, objects that stay made in PoolCache.

internal import Heap
internal import Own
internal import Pages
internal import Primitives
internal import Zones

/// Memory for values of one type behind one lock, with a limit on how many are out, marks that say how many pages are kept, and pages
/// that pools share and give back to each other. Where a ``Zone`` is fast, a pool is exact: nothing lies in caches, the limit counts what
/// is in use and nothing else, and pages that are free go back when it is told so.
///
/// ```swift
/// struct Connection { var number: Int }
/// let connections = try Pool<Connection>("connections", limit: 100, primed: 10)
/// connections.setWarning("raise the limit of connections", every: .seconds(60))
/// if let connection = connections.item(Connection(number: 1)) {
///   print(connection.value.number, connections.itemsInUse)   // 1 1
/// }                                                           // returns itself here
/// ```
///
/// A request costs some 20 ns (Documentation/Zones.md) and one lock, longer where the page is in no processor cache; a get looks at one
/// page however many there are. Pages are coloured: items of different pages begin at different offsets as far as there is room. Any thread
/// may use a pool, and return what others have got; no signal handler may. `stave zones` shows pools among zones. A pool lives as long as
/// its items do; memory that was allocated without an owner and is not returned by then is lost, and reported on standard error.
///
/// Two pools and more on the same pages: ``SharedPages``.
public final class Pool<Element: ~Copyable>: Sendable {
  @usableFromInline let core: PoolCore
  /// As it was given, up to 31 bytes.
  public let name: String

  /// A new pool. Some microseconds, and no page but for those that are primed.
  ///
  /// - Parameters:
  ///   - name: What the tools show: of its UTF-8, 31 bytes.
  ///   - limit: How many items there may be in use; 0 for any number. See ``limit``.
  ///   - primed: Pages for so many items are made now, and stay. See ``prime(_:)``.
  ///   - flags: ``ZoneFlags/noTouch`` and ``ZoneFlags/offPage`` are possible.
  ///   - pages: Where its pages come from; nil for pages of 64 KiB that all such pools share.
  /// - Throws: ``ZoneError/impossible`` for other flags, and for elements that are too large or aligned more strictly than pages;
  ///   ``ZoneError/outOfMemory``.
  public init(
    _ name: String, limit: Int = 0, primed: Int = 0, flags: ZoneFlags = [], pages: SharedPages? = nil
  ) throws(ZoneError) {
    guard flags.isSubset(of: [.noTouch, .offPage]), MemoryLayout<Element>.alignment <= pages?.alignment ?? 65_536 else { throw .impossible }
    guard Heap.startOwn(), let allocator = pages?.allocator ?? zones.sharedPoolAllocator() else { throw .outOfMemory }
    HomesGivenUp.sweep()
    let size = max(1, MemoryLayout<Element>.size), alignMask = max(8, MemoryLayout<Element>.alignment) - 1
    guard allocator.layout(size: size, alignMask: alignMask, flags: flags.core) != nil else { throw .impossible }
    let fixed = name.withCString { FixedName(cString: $0) }
    guard let made = makePool(name: fixed, size: size, alignMask: alignMask, flags: flags.core, allocator: allocator) else {
      throw .outOfMemory
    }
    self.name = String(decoding: (0..<fixed.count).map { fixed.bytes[$0] }, as: UTF8.self)
    core = PoolCore(made, pages)
    if limit > 0 { core.limit = limit }
    if primed > 0, !made.prime(primed) { throw .outOfMemory }
  }

  /// Items that may be in use at a time; 0 for any number. Who wants one more gets nil or waits; objects that caches of this pool hold are
  /// called back first. At any time: what is in use stays, and who waits goes on if there is room now. Setting it sets the high water
  /// mark, too: pages for more than so many items go back as they become free.
  ///
  /// ```swift
  /// let slots = try Pool<Int>("slots", limit: 1)
  /// let held = slots.item(1)
  /// print(held != nil, slots.item(2) == nil)   // true true
  /// slots.limit = 2
  /// print(slots.item(2) != nil)                // true
  /// ```
  public var limit: Int {
    get { core.limit }
    set { core.limit = newValue }
  }

  /// What is said on standard error when a request meets the limit, once in `interval` at most: of its UTF-8, 500 bytes. Limit and marks
  /// stay as they are.
  ///
  /// ```swift
  /// let sockets = try Pool<Int32>("sockets", limit: 1000)
  /// sockets.setWarning("more sockets than anybody thought of", every: .seconds(300))
  /// ```
  ///
  /// Each call makes a copy of the text, which stays in memory as long as the program runs.
  public func setWarning(_ text: String, every interval: Duration) { core.setWarning(text, interval) }

  /// The low water mark: where a request leaves fewer free items than `items`, the pool grows at once, so that the next ones need not wait
  /// for pages. Where there are none that is no failure. Pages for so many items stay. 0 as at first: none.
  ///
  /// ```swift
  /// let urgent = try Pool<(Int, Int)>("urgent")
  /// urgent.setLowWater(100)
  /// print(urgent.figures.itemsFree >= 100)   // true
  /// ```
  public func setLowWater(_ items: Int) { core.tellingOfGrowth { core.pool.setLow(items) } }

  /// The high water mark: a page that becomes free goes back at once where there are pages for more than so many items. Nil as at
  /// first: none goes back before ``reclaim(urgently:)``, or before another pool on the same pages needs it.
  ///
  /// ```swift
  /// let bursts = try Pool<(Int, Int, Int)>("bursts")
  /// bursts.setHighWater(1000)
  /// ```
  public func setHighWater(_ items: Int?) { core.pool.setHigh(items ?? .max) }

  /// Makes pages for `items` more now, which stay as long as the pool. False where there are none; what has been made stays then.
  ///
  /// ```swift
  /// let events = try Pool<Int>("events")
  /// print(events.prime(500), events.figures.itemsFree >= 500)   // true true
  /// ```
  @discardableResult
  public func prime(_ items: Int) -> Bool { core.tellingOfGrowth { core.pool.prime(items) } }

  /// What is done when the pool cannot serve a request, before it waits or fails, and when pages are asked back: it ends items of this
  /// pool that can be spared. In the thread that asks, which may be any; one at a time, and who comes meanwhile does without. It may not
  /// wait, ask this pool, or keep it.
  ///
  /// ```swift
  /// let lines = try Pool<Int>("lines", limit: 1)
  /// let held = lines.item(1)
  /// lines.atShortage { print("lines are short") }
  /// print(held != nil, lines.item(2) == nil)   // lines are short, true true
  /// ```
  public func atShortage(_ action: (@Sendable () -> Void)?) {
    core.hook.set(action)
    core.pool.setDrainHook(CalledClosure.hook, argument: Unmanaged.passUnretained(core.hook).toOpaque())
  }

  /// Gives back pages that have been free for ten seconds; with `urgently` all that are free; never those that are primed or that the low
  /// water mark keeps. True exactly if a page went back. Where another thread has the pool's lock, and keeps it for more than a moment,
  /// nothing goes.
  ///
  /// ```swift
  /// let jobs = try Pool<Int>("jobs")
  /// _ = jobs.item(1)
  /// print(jobs.reclaim(), jobs.reclaim(urgently: true))   // false true
  /// ```
  @discardableResult
  public func reclaim(urgently: Bool = false) -> Bool { core.pool.reclaim(isUrgent: urgently) }

  /// Items in use; objects in caches of the pool are among them. Takes the lock.
  public var itemsInUse: Int { core.pool.itemsOut }

  /// What the pool has counted, all at one moment. Takes the lock.
  public var figures: PoolFigures { PoolFigures(core.pool.counts) }

  /// What must hold when no thread is in the pool: for tests. Ends the process where it does not.
  public func checkInvariants() { core.pool.checkInvariants() }
}

/// Gives back pages of one pool, each time of the next: what ``Pool/reclaim(urgently:)`` does, for who needs memory and does not know
/// where it lies. True if a page went back: else there may be more in other pools.
///
/// ```swift
/// let some = try Pool<Int>("some")
/// _ = some.item(1)
/// print(reclaimNextPool())   // false: nothing has been free for ten seconds
/// ```
@discardableResult
public func reclaimNextPool() -> Bool { Heap.startOwn() && drainNextPool() }

/// What a ``Pool`` has counted.
///
/// ```swift
/// let counted = try Pool<Int>("counted")
/// let item = counted.item(1)
/// print(item != nil, counted.figures.requests, counted.figures.itemsInUse)   // true 1 1
/// ```
public struct PoolFigures: Hashable, Sendable {
  /// Requests that got an item.
  public let requests: Int
  /// Requests that got nothing.
  public let failures: Int
  /// Items that came back.
  public let returns: Int
  /// How often a thread slept, or a task began to wait.
  public let waits: Int
  /// Items that somebody has, or a cache of the pool.
  public let itemsInUse: Int
  /// Items of the pages that there are which are not in use.
  public let itemsFree: Int
  /// Pages that the pool has.
  public let pages: Int
  /// Pages that are wholly free.
  public let pagesFree: Int
  /// Pages that it has ever asked for and got.
  public let pagesMade: Int
  /// Those that it has given back.
  public let pagesReturned: Int
  /// The most pages that there were at a time.
  public let mostPages: Int

  init(_ counts: PoolCounts) {
    requests = Int(counts.gets)
    failures = Int(counts.failures)
    returns = Int(counts.puts)
    waits = Int(counts.sleeps)
    itemsInUse = counts.itemsOut
    itemsFree = counts.freeItems
    pages = counts.pages
    pagesFree = counts.idlePages
    pagesMade = counts.pagesMade
    pagesReturned = counts.pagesFreed
    mostPages = counts.mostPages
  }
}

/// How a request of a pool behaves. The default: nil rather than waiting.
///
/// ```swift
/// let zeros = try Pool<Int>("zeros")
/// let number = zeros.allocate([.wait, .zero])!
/// print(number.pointee)   // 0
/// zeros.free(number)
/// ```
public struct PoolRequest: OptionSet, Sendable {
  public let rawValue: Int32
  @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }

  /// Blocks this thread until something is returned that serves the request. Not in asynchronous code, which has
  /// ``Pool/itemWhenFree(_:)``.
  @inlinable public static var wait: PoolRequest { PoolRequest(rawValue: 1) }
  /// With `wait`: nil at the limit all the same; it is for pages that is waited.
  @inlinable public static var failAtLimit: PoolRequest { PoolRequest(rawValue: 2) }
  /// The memory is zero.
  @inlinable public static var zero: PoolRequest { PoolRequest(rawValue: 4) }

  var core: WaitFlags {
    var flags: WaitFlags = contains(.wait) ? .wait : .noWait
    if contains(.failAtLimit) { flags.insert(.limitFail) }
    if contains(.zero) { flags.insert(.zero) }
    return flags
  }
}
