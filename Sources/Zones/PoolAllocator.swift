// SPDX-License-Identifier: BSD-2-Clause
//
// A back-end that pools share: a page source, the length of its pages, and the pools that use it. Two shortages are told apart. Where
// there is no *memory* the page source itself waits, if the request may. Where there is no *room*, that is address space or a quota of
// the source's own, it returns nil; then siblings of the pool are asked, one after the other, for what is idle, until one has freed a
// page, and the source is asked again. No sibling is asked twice in a round, each round begins with another one, and the pool that
// grows is left out, and so are others that are growing. The first round takes what has been idle for long; if there is no such page, a
// second takes any idle one (V14), but not for a low water mark.

import CPlatform
import Pages
import Primitives

public struct PoolAllocator: ~Copyable {
  let source: PageSource
  let pageBytes: Int
  /// Pages begin at multiples of it.
  let alignment: Int
  /// Pages are whole units of the arena, which the owner map knows.
  let isInOwnerMap: Bool

  // Under the zone list's lock: the pools by rising number, the number from which on the next round begins, and who has the allocator.

  var first: PoolPointer?
  var nextTurn: UInt
  var references: Int

  /// Requests that wait for a page; changed with atomic additions.
  var wanting: Int64
}

public typealias PoolAllocatorPointer = UnsafeMutablePointer<PoolAllocator>

/// A back-end of pages of `pageBytes`, which begin at multiples of `alignment`, 0 for `pageBytes`. `isInOwnerMap`: the source hands out
/// whole units of the arena. Nil when memory is not to be had. Belongs to the caller until `release`, and to each pool on it.
public func makePoolAllocator(
  source: PageSource, pageBytes: Int, alignment: Int = 0, isInOwnerMap: Bool = false
) -> PoolAllocatorPointer? {
  let alignment = alignment == 0 ? pageBytes : alignment
  guard alignment > 0, UInt(alignment).isPowerOfTwo, let raw = zones.poolKegs()?.allocators.takeOne() else { return nil }
  let allocator = raw.assumingMemoryBound(to: PoolAllocator.self)
  allocator.initialize(
    to: PoolAllocator(
      source: source, pageBytes: pageBytes, alignment: alignment, isInOwnerMap: isInOwnerMap, first: nil, nextTurn: 0, references: 1, wanting: 0))
  return allocator
}

extension UnsafeMutablePointer where Pointee == PoolAllocator {
  /// How pages are divided into items of a pool; nil for what no pool can be: absurd sizes, an alignment that pages do not have.
  @inline(never)
  public func layout(size: Int, alignMask: Int, offset: Int = 0, flags: ZoneFlags = .none) -> SlabLayout? {
    guard alignMask < pointee.alignment else { return nil }
    return SlabLayout.page(
      size: size, alignMask: alignMask, offset: offset, flags: flags, pageBytes: pointee.pageBytes,
      isInOwnerMap: pointee.isInOwnerMap && !flags.contains(.notPage),
      isAligned: !flags.contains(.notPage) && pointee.alignment >= Pages.pageBytes)
  }
}

extension UnsafeMutablePointer where Pointee == ZonesState {
  /// The back-end of pools that name none: units of the arena. It stays. Nil when memory is not to be had.
  public func sharedPoolAllocator() -> PoolAllocatorPointer? {
    if let shared = pointee.pools.shared { return shared }
    guard let made = makePoolAllocator(source: .arena, pageBytes: Int(unitBytes), isInOwnerMap: true) else { return nil }
    pointee.listLock.lock()
    let shared = pointee.pools.shared ?? made
    pointee.pools.shared = shared
    pointee.listLock.unlock()
    if shared != made { made.release() }
    return shared
  }
}

extension UnsafeMutablePointer where Pointee == PoolAllocator {
  /// The caller has no more need of it; with the last pool on it, it goes.
  public func release() {
    zones.pointee.listLock.lock()
    pointee.references -= 1
    let isUnused = pointee.references == 0
    zones.pointee.listLock.unlock()
    if isUnused { zones.pointee.pools.allocatorKeg!.giveOne(UnsafeMutableRawPointer(self)) }
  }

  /// A new pool, whose number is the largest. The zone list's lock is held.
  func add(_ pool: PoolPointer) {
    pointee.references += 1
    var place = withUnsafeMutablePointer(to: &pointee.first) { $0 }
    while let other = place.pointee { place = withUnsafeMutablePointer(to: &other.pointee.next) { $0 } }
    place.pointee = pool
  }

  /// The zone list's lock is held.
  func remove(_ pool: PoolPointer) {
    var place = withUnsafeMutablePointer(to: &pointee.first) { $0 }
    while let other = place.pointee, other != pool { place = withUnsafeMutablePointer(to: &other.pointee.next) { $0 } }
    place.pointee = pool.pointee.next
  }

  /// Whether a request waits for a page to go back. The word is read afresh, behind whatever was done before.
  var isAwaited: Bool { stave_add_fetching(&pointee.wanting, 0) != 0 }

  /// A page has gone back.
  func wake() {
    zones.pointee.listLock.lock()
    var next = pointee.first
    while let pool = next {
      if stave_add_fetching(&pool.pointee.wanting, 0) != 0 {
        stave_advance32(&pool.pointee.returned.number)
        pool.returned.wake()
      }
      next = pool.pointee.next
    }
    zones.pointee.listLock.unlock()
  }

  /// Asks the siblings of a pool that cannot grow for pages. Whether one has freed any.
  func drainSiblings(of pool: PoolPointer) -> Bool {
    drainRound(for: pool, isUrgent: false) || !pool.pointee.isForMark && drainRound(for: pool, isUrgent: true)
  }

  private func drainRound(for grower: PoolPointer, isUrgent: Bool) -> Bool {
    let list = zones
    list.pointee.listLock.lock()
    defer { list.pointee.listLock.unlock() }
    var next = pointee.first
    while let pool = next, pool.pointee.number < pointee.nextTurn { next = pool.pointee.next }
    guard let start = (next ?? pointee.first)?.pointee.number else { return false }
    pointee.nextTurn = start + 1
    // From the start to the last, then from the first to the start: by numbers, since pools may come and go meanwhile.
    next = next ?? pointee.first
    var hasTurned = false
    while true {
      guard let pool = next, !(hasTurned && pool.pointee.number >= start) else {
        if hasTurned { return false }
        hasTurned = true
        next = pointee.first
        continue
      }
      if pool != grower && pool.isGrowingNow {
        // What it has is its own to use; and this may be the work of its drain hook (K23).
        grower.pointee.hasMetBusy = true
      } else if pool != grower && !pool.pointee.zone.pointee.flags.contains(.dying) {
        pool.pointee.zone.pointee.walks += 1
        list.pointee.listLock.unlock()
        let hasFreed = pool.tryReclaim(isUrgent: isUrgent)
        list.pointee.listLock.lock()
        pool.pointee.zone.pointee.walks -= 1
        if hasFreed == nil { grower.pointee.hasMetBusy = true }
        if hasFreed == true { return true }
      }
      next = pool.pointee.next
    }
  }
}

// MARK: - A pool's page source

extension UnsafeMutablePointer where Pointee == Pool {
  /// Without the pool's lock: who begins or ends to grow meanwhile is not waited for either.
  fileprivate var isGrowingNow: Bool { pointee.isGrowing }

  /// What the pool's keg has for a page source. Nothing is promised of the contents of a pool's pages, so none is zeroed.
  var source: PageSource {
    PageSource(
      allocate: { context, bytes, wait, mark in context!.assumingMemoryBound(to: Pool.self).fetchPages(bytes, wait, mark) },
      free: { context, start, bytes, mark in context!.assumingMemoryBound(to: Pool.self).returnPages(start, bytes, mark) },
      context: UnsafeMutableRawPointer(self), isZeroed: true)
  }

  private func fetchPages(_ bytes: Int, _ wait: Int32, _ mark: UnsafeMutablePointer<UInt8>) -> UnsafeMutableRawPointer? {
    let allocator = pointee.allocator
    repeat {
      if let pages = allocator.pointee.source.allocate(allocator.pointee.source.context, bytes, wait, mark) { return pages }
    } while allocator.drainSiblings(of: self)
    return nil
  }

  private func returnPages(_ start: UnsafeMutableRawPointer, _ bytes: Int, _ mark: UInt8) {
    let allocator = pointee.allocator
    allocator.pointee.source.free(allocator.pointee.source.context, start, bytes, mark)
    _ = stave_add_fetching(&pointee.pagesFreed, 1)
    if allocator.isAwaited { allocator.wake() }
  }
}
