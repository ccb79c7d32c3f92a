// SPDX-License-Identifier: BSD-2-Clause
//
// Where a map's entries come from. A map that finds room for everything else must not ask any of that for its own
// entries, or growth would call itself for ever; a fixed table, the other classical answer, runs out. So: a small
// bootstrap block for the first entries, then whole pages straight from a provider that needs no map (the system, or a
// frame allocator). The provider is called before the map changes anything, and must not call back into the map.
//
// Order of tries: a returned entry of a page, the untouched rest of the newest page, a returned bootstrap entry, the
// untouched rest of the bootstrap block, a new page. Pages are kept until `releasePages`. An entry's flag tells which
// supply it returns to. Several maps may share a supply if one lock covers them all.

/// Gives `bytes` of zeroed or dirty memory, aligned for pointers, or nil. It may not allocate from the map it serves.
public typealias PageProvider = @convention(c) (
  _ context: UnsafeMutableRawPointer?, _ bytes: Int
) -> UnsafeMutableRawPointer?

/// Takes back what a `PageProvider` gave.
public typealias PageTaker = @convention(c) (
  _ context: UnsafeMutableRawPointer?, _ page: UnsafeMutableRawPointer, _ bytes: Int
) -> Void

/// The first words of each page of entries. Pages are chained, newest first.
@frozen public struct EntryPageHeader {
  public var older: UnsafeMutablePointer<EntryPageHeader>?
  public var bytes: Int
}

/// One run of entries not yet handed out for the first time, and the list of those that came back.
@frozen public struct EntryPool {
  public internal(set) var free: EntryPointer?  // through `next`
  public internal(set) var freshNext: UnsafeMutableRawPointer?
  public internal(set) var freshLeft: Int  // entries behind freshNext that were never touched
  public internal(set) var freeCount: Int  // on the list and fresh together

  init() {
    free = nil
    freshNext = nil
    freshLeft = 0
    freeCount = 0
  }

  /// The caller has used up the fresh entries before.
  mutating func add(_ base: UnsafeMutableRawPointer, entries: Int) {
    freshNext = base
    freshLeft = entries
    freeCount += entries
  }

  mutating func take(tag: UInt8) -> EntryPointer? {
    let entry: EntryPointer
    if let top = free {
      free = top.pointee.next
      entry = top
    } else if freshLeft > 0, let base = freshNext {
      // Fresh memory is not threaded into a list beforehand: that would touch a whole page for its first entry.
      entry = base.bindMemory(to: MapEntry.self, capacity: 1)
      freshNext = base + MemoryLayout<MapEntry>.stride
      freshLeft -= 1
    } else {
      return nil
    }
    freeCount -= 1
    entry.initialize(to: MapEntry())
    entry.pointee.flags = tag | MapEntry.live
    return entry
  }

  mutating func put(_ entry: EntryPointer) {
    entry.pointee.flags &= ~MapEntry.live
    entry.pointee.next = free
    free = entry
    freeCount += 1
  }
}

@frozen public struct EntrySupply {
  public internal(set) var pages: EntryPool
  public internal(set) var bootstrap: EntryPool
  public internal(set) var newestPage: UnsafeMutablePointer<EntryPageHeader>?
  public internal(set) var pageBytes: Int  // what the provider is asked for each time
  public internal(set) var provider: PageProvider?
  public internal(set) var context: UnsafeMutableRawPointer?
  public internal(set) var inUse: Int  // entries handed out
  public internal(set) var pagesTaken: Int
  public internal(set) var failures: Int  // times the provider gave nothing

  /// Entries in a page begin here: one cache line, and what 4096 leaves over after 42 entries.
  @inlinable public static var headerBytes: Int { 64 }

  /// A supply that begins with the block given (may be empty) and then asks `provider` (may be nil) for `pageBytes` at
  /// a time. The block must be aligned for pointers and outlive the supply.
  public init(
    bootstrap block: UnsafeMutableRawPointer?, bytes: Int,
    provider: PageProvider?, context: UnsafeMutableRawPointer?, pageBytes: Int = 4096
  ) {
    precondition(pageBytes >= Self.headerBytes + MemoryLayout<MapEntry>.stride, "entry supply: a page must hold an entry")
    pages = EntryPool()
    bootstrap = EntryPool()
    newestPage = nil
    self.pageBytes = pageBytes
    self.provider = provider
    self.context = context
    inUse = 0
    pagesTaken = 0
    failures = 0
    if let block, bytes > 0 { bootstrap.add(block, entries: bytes / MemoryLayout<MapEntry>.stride) }
  }

  /// Makes sure that the next `count` calls of `take` succeed. False: the provider has no memory now, nothing is lost.
  public mutating func reserve(_ count: Int) -> Bool {
    while pages.freeCount + bootstrap.freeCount < count {
      // `EntryPool.add` holds one fresh run, so the rest of an older page goes to the list before a new page comes.
      threadFresh()
      guard let page = provider?(context, pageBytes) else {
        failures += 1
        return false
      }
      let header = page.bindMemory(to: EntryPageHeader.self, capacity: 1)
      header.initialize(to: EntryPageHeader(older: newestPage, bytes: pageBytes))
      newestPage = header
      pagesTaken += 1
      pages.add(page + Self.headerBytes, entries: (pageBytes - Self.headerBytes) / MemoryLayout<MapEntry>.stride)
    }
    return true
  }

  /// A cleared entry, or nil if there is no memory for one. O(1) and, once in a page, one call of the provider.
  public mutating func take() -> EntryPointer? {
    guard reserve(1) else { return nil }
    let entry = pages.take(tag: MapEntry.fromPages) ?? bootstrap.take(tag: 0)
    inUse += 1
    return entry
  }

  /// Takes an entry back to the pool it came from. Traps if it is not one that is handed out. O(1).
  public mutating func put(_ entry: EntryPointer) {
    precondition(entry.pointee.flags & MapEntry.live != 0, "entry supply: entry returned twice")
    inUse -= 1
    if entry.pointee.flags & MapEntry.fromPages != 0 { pages.put(entry) } else { bootstrap.put(entry) }
  }

  /// Gives every page back. No entry may be in use. The bootstrap block stays, so the supply can go on being used.
  public mutating func releasePages(to taker: PageTaker) {
    precondition(inUse == 0, "entry supply: pages released while entries are in use")
    var at = newestPage
    newestPage = nil
    pagesTaken = 0
    pages = EntryPool()
    while let page = at {
      at = page.pointee.older
      taker(context, UnsafeMutableRawPointer(page), page.pointee.bytes)
    }
  }

  private mutating func threadFresh() {
    while pages.freshLeft > 0, let base = pages.freshNext {
      let entry = base.bindMemory(to: MapEntry.self, capacity: 1)
      entry.initialize(to: MapEntry())
      entry.pointee.next = pages.free
      pages.free = entry
      pages.freshNext = base + MemoryLayout<MapEntry>.stride
      pages.freshLeft -= 1
    }
  }

  /// The first rule that the supply breaks, or nil. O(free entries).
  public func invariantViolation() -> StaticString? {
    if inUse < 0 { return "supply: more entries returned than handed out" }
    return violation(in: pages, tag: MapEntry.fromPages) ?? violation(in: bootstrap, tag: 0)
  }

  private func violation(in pool: EntryPool, tag: UInt8) -> StaticString? {
    var listed = 0
    var at = pool.free
    while let entry = at {
      listed += 1
      if listed + pool.freshLeft > pool.freeCount { return "supply: the free list is longer than its count, or a cycle" }
      if entry.pointee.flags & MapEntry.live != 0 { return "supply: an entry in use is on the free list" }
      at = entry.pointee.next
    }
    return listed + pool.freshLeft == pool.freeCount ? nil : "supply: the free list is shorter than its count"
  }
}
