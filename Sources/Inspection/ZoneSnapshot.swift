// SPDX-License-Identifier: BSD-2-Clause
//
// A zone in a look. Zones that share a keg (secondary ones, and the one that the keg was made with) have its slabs together: the keg's
// figures are the primary's alone, so that nothing counts twice, and what such a zone has in use is what it has counted.

/// A zone's cache on one CPU.
public struct CPUCounts: Equatable, Sendable {
  /// The system's number of it.
  public var cpu = 0
  /// Operations that this cache served since the start.
  public var allocations: Int64 = 0
  public var frees: Int64 = 0
  /// Items in it.
  public var cached = 0

  public init() {}
}

/// What a zone is, by what its users meet.
public enum ZoneKind: String, Sendable {
  case plain = "zone"
  /// On the keg of another.
  case secondary
  /// Nothing but caches.
  case cacheOnly = "cache"
  /// Of items that each CPU has a copy of.
  case perCPU = "percpu"
  /// Of items that are reused when readers have left.
  case deferred = "smr"
  case pool
}

/// One zone.
public struct ZoneSnapshot: Sendable {
  /// The copy of Stave that it is of, where that is not the first of several.
  public var root = ""
  public var name = ""
  /// Distinguishes zones of one name.
  public var instance = 0
  /// Bytes of an item, and the distance between items.
  public var size = 0
  public var itemBytes = 0
  public var slabBytes = 0
  public var itemsPerSlab = 0
  public var isOffPage = false
  public var flags: UInt32 = 0
  /// The number of the malloc type that it belongs to; 0 for none.
  public var type: UInt32 = 0
  /// Whether malloc's memory comes from it, with a type or without.
  public var isMalloc = false
  public var bucketSize = 0
  /// The fewest bytes that a request served here asks for; the most are `size`.
  public var leastRequest = 0
  /// Items allocated and freed since the start, and requests that failed or slept.
  public var allocations: Int64 = 0
  public var frees: Int64 = 0
  public var failures: Int64 = 0
  public var sleeps: Int64 = 0
  /// Of these, the ones that happened while the zone was read. Zero at rest.
  public var allocationsMeanwhile: Int64 = 0
  public var freesMeanwhile: Int64 = 0
  /// Whether anything of the zone, also its caches, changed while it was read.
  public var isChanging = false
  /// Items that the target's threads can have in hand at most; what is beyond it in a changing zone is due to time alone.
  public var mostInTransit = Int.max
  /// Slabs, and items of theirs that are free in the keg, by the keg's own count.
  public var slabs = 0
  public var freeItems = 0
  /// The same, found by walking the slabs, and the slabs of them in which all is free.
  public var walkedSlabs = 0
  public var walkedFreeItems = 0
  public var walkedFreeSlabs = 0
  /// The cells of CPUs that have any, in order of their numbers.
  public var perCPU: [CPUCounts] = []
  /// Operations that went round the cells; `allocations` and `frees` have those and the cells'.
  public var directAllocations: Int64 = 0
  public var directFrees: Int64 = 0
  public var cachedInDepot = 0
  /// In items: what the depot holds at most, how many it needed lately, the most and fewest it held in this period, and the fewest
  /// since the last new maximum.
  public var depotLimit = 0
  public var workingSet = 0
  public var depotMost = 0
  public var depotLeast = 0
  public var depotBottom = 0
  /// Alignment of items less one; free items kept for urgent requests; slabs in which all is free, by the keg's count.
  public var alignMask = 0
  public var reserve = 0
  public var freeSlabs = 0

  // MARK: Kinds of zones

  public var kind = ZoneKind.plain
  /// The zone that its keg was made with, by its label; empty for one without memory of its own, and where that zone has gone.
  public var kegName = ""
  /// It has slabs: those of a secondary zone are another's, and one that is nothing but caches has none.
  public var ownsKeg = true
  /// Its slabs lie in the arena, and not where a page source of the program's has put them.
  public var isInArena = true
  /// So many copies of each item, one for each CPU; 1 for other kinds.
  public var copies = 1
  /// Items that there may be, 0 for no limit: of a pool, those that are out; else all that are made, cached ones too.
  public var limit = 0
  /// The items that count against it, whether it is set or not, as far as they are counted.
  public var limited = 0
  /// Threads that wait for an item.
  public var waiters = 0
  /// Of the items in caches those that are freed and wait for readers.
  public var deferred = 0
  /// Of a pool: objects that its pool caches hold, free items below which it grows, pages above which empty ones go back (nil: none
  /// do), the most that there were.
  public var cachedInGroups = 0
  public var lowWater = 0
  public var highWater: Int?
  public var mostSlabs = 0

  /// Of a zone over several memory domains: what is in each; and items freed on another domain than theirs.
  public var domains: [DomainCounts] = []
  public var crossFrees: Int64 = 0

  /// Where the target has what a zone over several domains shares with its parts, whether it is a part, and of which domain (ZoneParts).
  var domainsPlace: UInt = 0
  var isPart = false
  var domain = 0
  /// `allocations` before it is made to fit `frees`.
  var taken: Int64 = 0
  /// Where the target has it, its kegs, and the first of those of a zone with several.
  var place: UInt = 0
  var kegs: [UInt] = []
  /// It shares a keg. Of the zones that do, one, the first with slabs, stands for all (SnapshotReader+Families): what the others hold of the
  /// slabs, and have counted of them.
  var sharesKeg = false
  var standsForFamily = false
  var heldByFamily = 0

  public init() {}

  /// The name, behind that of its root where that is not the first.
  public var fullName: String { root.isEmpty ? name : "\(root)/\(name)" }
  /// The same, made unique among zones of one name.
  public var label: String { instance > 0 ? "\(fullName)_\(instance)" : fullName }
  public var cachedPerCPU: [Int] { perCPU.map(\.cached) }
  public var cached: Int { perCPU.reduce(0) { $0 + $1.cached } + cachedInDepot + cachedInGroups }
  /// Operations while the zone was read: how far apart the counts before and after the walk over the slabs are.
  public var changing: Int { Int(min(allocationsMeanwhile, 1 << 61) + min(freesMeanwhile, 1 << 61)) }
  /// Items in callers' hands, from the counts after the walk. Never negative.
  public var counted: Int { max(0, Int(max(0, allocations - frees)) - cachedInGroups) }
  /// Items in callers' hands, from the slabs: those that are neither free there nor cached. Never negative.
  /// Of zones that share a keg one has what all others have not counted.
  public var usedBySlabs: Int {
    sharesKeg && !standsForFamily || !ownsKeg ? counted : max(0, walkedSlabs * itemsPerSlab - walkedFreeItems - cached - heldByFamily)
  }
  /// Items that a thread has in hand between two places: those that the slabs lack and that no count within the bracket
  /// explains. Zero at rest, never negative.
  public var inTransit: Int {
    let missing = max(0, usedBySlabs - counted - Int(freesMeanwhile))  // the most by any counts: allocations after, frees before
    return isChanging ? min(missing, mostInTransit) : missing
  }
  /// Items in callers' hands: what the slabs say, less what is in transit. Equal to `counted` at rest.
  public var used: Int { usedBySlabs - inTransit }
  /// Of the cached items those that the slabs know of: caches and slabs of a busy process are not read at one time.
  var cachedInSlabs: Int { sharesKeg || !ownsKeg ? cached : min(cached, max(0, walkedSlabs * itemsPerSlab - walkedFreeItems)) }
  /// Everything that is not in callers' hands; what is free in a keg that zones share is the primary's.
  public var free: Int { sharesKeg || !ownsKeg ? freeItems + cached : max(0, slabs * itemsPerSlab - used) }
  /// Memory that an item takes: 0 where it is the program's own.
  public var bytesEach: Int { kind == .cacheOnly ? 0 : size * copies }
  public var usedBytes: Int { used * bytesEach }
  public var cachedBytes: Int { cached * bytesEach }
  public var totalBytes: Int { walkedSlabs * slabBytes }
  /// Bytes of slabs that the keg keeps though all their items are free.
  public var purgeableBytes: Int { walkedFreeSlabs * slabBytes }
  /// Free items of slabs that hold others.
  public var holes: Int { max(0, walkedFreeItems - walkedFreeSlabs * itemsPerSlab) }
}

// MARK: - Trust

extension ZoneSnapshot {
  /// Whether the figures can be of a zone, so that products and sums of them cannot overflow. A look at a busy process passes.
  var isPlausible: Bool {
    let items = 0...1 << 44
    func fits(_ count: Int, _ each: Int, _ parts: Int = 1) -> Bool {
      let (whole, isTooLarge) = each.multipliedReportingOverflow(by: parts)
      let (bytes, overflow) = count.multipliedReportingOverflow(by: whole)
      return !isTooLarge && !overflow && bytes <= Snapshot.most
    }
    return items ~= size && items ~= itemBytes && items ~= slabBytes && 0...1 << 20 ~= itemsPerSlab && 0...1 << 20 ~= bucketSize
      && items ~= slabs && items ~= freeItems && items ~= walkedSlabs && items ~= walkedFreeItems && items ~= cachedInDepot
      && walkedFreeSlabs <= walkedSlabs
      && 0...1 << 44 ~= allocationsMeanwhile && 0...1 << 44 ~= freesMeanwhile && fits(changing, size)
      && -(1 << 40)...1 << 62 ~= frees && frees...1 << 62 ~= allocations && allocations - frees <= 1 << 44
      && fits(Int(allocations - frees), size) && fits(cached, max(size, itemBytes)) && fits(slabs, max(slabBytes, itemsPerSlab))
      && 1...1 << 16 ~= copies && items ~= cachedInGroups && heldByFamily.magnitude <= 1 << 44 && items ~= bytesEach
      && fits(Int(allocations - frees), bytesEach) && fits(cached, bytesEach) && fits(changing, bytesEach)
      && fits(walkedSlabs, slabBytes) && fits(walkedSlabs, max(size, bytesEach, 1), itemsPerSlab) && fits(walkedFreeItems, itemBytes)
      && fits(usedBySlabs, max(size, bytesEach))
  }
}
