// SPDX-License-Identifier: BSD-2-Clause
//
// What one look into a process yields: plain values, no address of the target needed to understand them. Every table, sum and
// metric is made from these.

/// How the process's per-CPU caches are protected.
public enum CacheModeName: String, Sendable {
  case none, restartable, locked
}

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

/// One zone.
public struct ZoneSnapshot: Sendable {
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

  public init() {}

  /// The name, made unique among zones of one name.
  public var label: String { instance > 0 ? "\(name)_\(instance)" : name }
  public var cachedPerCPU: [Int] { perCPU.map(\.cached) }
  public var cached: Int { perCPU.reduce(0) { $0 + $1.cached } + cachedInDepot }
  /// Operations while the zone was read: how far apart the counts before and after the walk over the slabs are.
  public var changing: Int { Int(min(allocationsMeanwhile, 1 << 61) + min(freesMeanwhile, 1 << 61)) }
  /// Items in callers' hands, from the counts after the walk. Never negative.
  public var counted: Int { Int(max(0, allocations - frees)) }
  /// Items in callers' hands, from the slabs: those that are neither free there nor cached. Never negative.
  public var usedBySlabs: Int { max(0, walkedSlabs * itemsPerSlab - walkedFreeItems - cached) }
  /// Items that a thread has in hand between two places: those that the slabs lack and that no count within the bracket
  /// explains. Zero at rest, never negative.
  public var inTransit: Int {
    let missing = max(0, usedBySlabs - counted - Int(freesMeanwhile))  // the most by any counts: allocations after, frees before
    return isChanging ? min(missing, mostInTransit) : missing
  }
  /// Items in callers' hands: what the slabs say, less what is in transit. Equal to `counted` at rest.
  public var used: Int { usedBySlabs - inTransit }
  /// Of the cached items those that the slabs know of: caches and slabs of a busy process are not read at one time.
  var cachedInSlabs: Int { min(cached, max(0, walkedSlabs * itemsPerSlab - walkedFreeItems)) }
  /// Everything that is not in callers' hands.
  public var free: Int { max(0, slabs * itemsPerSlab - used) }
  public var totalBytes: Int { walkedSlabs * slabBytes }
  /// Bytes of slabs that the keg keeps though all their items are free.
  public var purgeableBytes: Int { walkedFreeSlabs * slabBytes }
  /// Free items of slabs that hold others.
  public var holes: Int { max(0, walkedFreeItems - walkedFreeSlabs * itemsPerSlab) }
}

/// One look into a process or a core file.
public struct Snapshot: Sendable {
  public var target = ""
  public var process: Int32 = 0
  /// Monotonic nanoseconds when the target's allocator started: another program of the same process has another.
  public var started: Int64 = 0
  /// Monotonic nanoseconds of this machine when it was taken.
  public var taken: Int64 = 0
  public var mode = CacheModeName.none
  public var pageBytes = 4096
  public var zones: [ZoneSnapshot] = []
  public var types: [TypeSnapshot] = []
  public var largeBlocks = 0
  public var largeBytes = 0
  /// What is mapped of the arena.
  public var arenaBytes = 0
  public var slabBytes = 0
  /// Freed ranges of the arena that are kept for use.
  public var keptBytes = 0
  public var foreign = 0
  public var purgedTotal = 0
  public var metadata = 0
  /// Addresses that the arena may use in all, and CPU numbers below which there may be caches.
  public var windowBytes = 0
  /// Memory that the target's containers leave it; 0 if there is no limit, or the target has not looked.
  public var containerLimit = 0
  public var cpuLimit = 0
  /// Of the library, as "0.1.0".
  public var version = ""
  /// Of the program's mistakes.
  public var reports = 0
  /// Different stacks that are kept, and how often there was no room for one.
  public var stacks = 0
  public var stacksLeftOut = 0
  /// The values of the library's options in force, in the order of its list.
  public var options: [Int64] = []
  /// Calls that returned NULL for want of memory, and those that the option failure_rate made fail.
  public var failures: Int64 = 0
  public var injectedFailures: Int64 = 0
  /// Of item checks since the start: free items that were filled, or passed over; looked at, and of these written to.
  public var trashed: Int64 = 0
  public var trashSkipped: Int64 = 0
  public var trashChecked: Int64 = 0
  public var trashDamaged: Int64 = 0
  public var redZone = RedZoneFigures()
  public var guards = GuardSnapshot()
  /// Of the kernel, for a live process.
  public var kernel: MemoryTotals?

  public init() {}

  // The sum: used + cached + holes + in transit + metadata + purgeable + returned = mapped. Each part is counted once and none
  // is negative; mapped is their sum, which at rest is the arena and the metadata.

  public var used: Int { zones.reduce(largeBytes) { $0 + $1.used * $1.size } }
  public var cached: Int { zones.reduce(0) { $0 + $1.cachedInSlabs * $1.size } }
  /// While threads are inside the allocator.
  public var inTransit: Int { zones.reduce(0) { $0 + $1.inTransit * $1.size } }
  /// Free items of slabs that hold others, padding, the rest at a slab's start.
  public var holes: Int {
    max(0, slabsAtLeast - slabsKept - zones.reduce(0) { $0 + ($1.used + $1.cachedInSlabs + $1.inTransit) * $1.size })
  }
  /// Free ranges of the arena, and slabs in which all is free: what can be given back, less what never had a page.
  public var purgeable: Int { keptBytes + slabsKept }
  /// Mapped, but in nobody's hands: never used, or given back.
  public var returned: Int { max(0, arenaBytes - slabsAtLeast - largeBytes - keptBytes - foreign) }
  public var mapped: Int { used + cached + inTransit + holes + metadata + purgeable + returned }
  /// Bytes of the operations that happened while their zones were read: how far the figures may be off. Zero at rest.
  public var changing: Int { zones.reduce(0) { $0 + $1.changing * $1.size } }
  public var isChanging: Bool { zones.contains(where: \.isChanging) }

  /// By the arena's count or by the walk, which in a busy process differ.
  private var slabsAtLeast: Int { max(slabBytes, zones.reduce(0) { $0 + $1.totalBytes }) }
  private var slabsKept: Int { zones.reduce(0) { $0 + $1.purgeableBytes } }
}

// MARK: - Trust

extension ZoneSnapshot {
  /// Whether the figures can be of a zone, so that products and sums of them cannot overflow. A look at a busy process passes.
  var isPlausible: Bool {
    let items = 0...1 << 44
    func fits(_ count: Int, _ each: Int) -> Bool {
      let (bytes, overflow) = count.multipliedReportingOverflow(by: each)
      return !overflow && bytes <= Snapshot.most
    }
    return items ~= size && items ~= itemBytes && items ~= slabBytes && 0...1 << 20 ~= itemsPerSlab && 0...1 << 20 ~= bucketSize
      && items ~= slabs && items ~= freeItems && items ~= walkedSlabs && items ~= walkedFreeItems && items ~= cachedInDepot
      && walkedFreeSlabs <= walkedSlabs
      && 0...1 << 44 ~= allocationsMeanwhile && 0...1 << 44 ~= freesMeanwhile && fits(changing, size)
      && -(1 << 40)...1 << 62 ~= frees && frees...1 << 62 ~= allocations && allocations - frees <= 1 << 44
      && fits(Int(allocations - frees), size) && fits(cached, max(size, itemBytes)) && fits(slabs, max(slabBytes, itemsPerSlab))
      && fits(walkedSlabs, max(slabBytes, itemsPerSlab * max(size, 1))) && fits(walkedFreeItems, itemBytes)
  }
}

extension Snapshot {
  /// No address space has as many bytes.
  static var most: Int { 1 << 50 }

  /// Whether the figures can be of a process: what a damaged or hostile one says is not to end the reader in a trap (T13).
  var isPlausible: Bool {
    let bytes = 0...Snapshot.most
    guard pageBytes > 0 && bytes ~= arenaBytes && bytes ~= slabBytes && bytes ~= largeBytes && bytes ~= largeBlocks && bytes ~= keptBytes
      && bytes ~= foreign && purgedTotal >= 0 && bytes ~= metadata && zones.allSatisfy(\.isPlausible)
    else { return false }
    // Each zone fits: so must all of them together. At most 65,536 of them times 2^50 would overflow, so stop before.
    var total = 0
    for zone in zones {
      total += max(zone.totalBytes, zone.walkedSlabs * zone.itemsPerSlab * max(zone.size, 1), zone.counted * zone.size, zone.cached * zone.size)
      total += zone.changing * zone.size
      if total > Snapshot.most { return false }
    }
    return true
  }
}
