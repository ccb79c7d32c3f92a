// SPDX-License-Identifier: BSD-2-Clause
//
// What one look into a process yields: plain values, no address of the target needed to understand them. Every table, sum,
// and later every metric, is made from these.

/// How the process's per-CPU caches are protected.
public enum CacheModeName: String, Sendable {
  case none, restartable, locked
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
  public var bucketSize = 0
  /// Items allocated and freed since the start, and requests that failed or slept.
  public var allocations: Int64 = 0
  public var frees: Int64 = 0
  public var failures: Int64 = 0
  public var sleeps: Int64 = 0
  /// Slabs, and items of theirs that are free in the keg, by the keg's own count.
  public var slabs = 0
  public var freeItems = 0
  /// The same, found by walking the slabs.
  public var walkedSlabs = 0
  public var walkedFreeItems = 0
  var kegIndex = 0
  /// Items in each CPU's cell, and in the depot.
  public var cachedPerCPU: [Int] = []
  public var cachedInDepot = 0

  public init() {}

  /// The name, made unique among zones of one name.
  public var label: String { instance > 0 ? "\(name)_\(instance)" : name }
  public var cached: Int { cachedPerCPU.reduce(0, +) + cachedInDepot }
  /// Items in callers' hands, from the counts. Never negative.
  public var used: Int { Int(max(0, allocations - frees)) }
  /// Items in callers' hands, from the slabs: those that are neither free there nor cached. Never negative.
  public var usedBySlabs: Int { max(0, walkedSlabs * itemsPerSlab - walkedFreeItems - cached) }
  /// Items that a thread has in hand between two places. Zero at rest.
  public var inTransit: Int { usedBySlabs - used }
  /// Everything that is not in callers' hands.
  public var free: Int { max(0, slabs * itemsPerSlab - used) }
  public var totalBytes: Int { walkedSlabs * slabBytes }
}

/// One look into a process or a core file.
public struct Snapshot: Sendable {
  public var target = ""
  public var process: Int32 = 0
  /// Monotonic nanoseconds of this machine when it was taken.
  public var taken: Int64 = 0
  public var mode = CacheModeName.none
  public var pageBytes = 4096
  public var zones: [ZoneSnapshot] = []
  public var largeBlocks = 0
  public var largeBytes = 0
  /// Bytes of ranges of the arena.
  public var arenaBytes = 0
  public var slabBytes = 0
  public var purgeable = 0
  public var foreign = 0
  public var purgedTotal = 0
  public var metadata = 0
  /// Of the kernel, for a live process.
  public var kernel: MemoryTotals?

  public init() {}

  // The sum: used + cached + holes + in transit + metadata + purgeable + returned = mapped.

  public var used: Int { zones.reduce(largeBytes) { $0 + $1.used * $1.size } }
  public var cached: Int { zones.reduce(0) { $0 + $1.cached * $1.size } }
  /// Negative while a thread is between taking an item and being counted for it.
  public var inTransit: Int { zones.reduce(0) { $0 + $1.inTransit * $1.size } }
  /// Free items of slabs, padding, the rest at a slab's start.
  public var holes: Int { slabBytes - zones.reduce(0) { $0 + ($1.used + $1.cached + $1.inTransit) * $1.size } }
  /// Mapped, but without pages: never touched, or given back.
  public var returned: Int { arenaBytes - slabBytes - largeBytes - purgeable - foreign }
  public var mapped: Int { arenaBytes - foreign + metadata }
}

// MARK: - Trust

extension ZoneSnapshot {
  /// Whether the figures can be of a zone, so that products and sums of them cannot overflow. A look at a busy process passes.
  var isPlausible: Bool {
    let items = 0...1 << 44
    func fits(_ count: Int, _ each: Int) -> Bool {
      let (bytes, overflow) = count.multipliedReportingOverflow(by: each)
      return !overflow && bytes <= 1 << 50
    }
    return items ~= size && items ~= itemBytes && items ~= slabBytes && 0...1 << 20 ~= itemsPerSlab && 0...1 << 20 ~= bucketSize
      && items ~= slabs && items ~= freeItems && items ~= walkedSlabs && items ~= walkedFreeItems && items ~= cachedInDepot
      && -(1 << 40)...1 << 62 ~= frees && frees...1 << 62 ~= allocations && allocations - frees <= 1 << 44
      && fits(Int(allocations - frees), size) && fits(cached, max(size, itemBytes)) && fits(slabs, max(slabBytes, itemsPerSlab))
      && fits(walkedSlabs, max(slabBytes, itemsPerSlab * max(size, 1))) && fits(walkedFreeItems, itemBytes)
  }
}

extension Snapshot {
  /// Whether the figures can be of a process: what a damaged or hostile one says is not to end the reader in a trap (T13).
  var isPlausible: Bool {
    let bytes = 0...1 << 50
    return pageBytes > 0 && bytes ~= arenaBytes && bytes ~= slabBytes && bytes ~= largeBytes && bytes ~= largeBlocks && bytes ~= purgeable
      && bytes ~= foreign && purgedTotal >= 0 && bytes ~= metadata && zones.allSatisfy(\.isPlausible)
  }
}
