// SPDX-License-Identifier: BSD-2-Clause
//
// What one look into a process yields: plain values, no address of the target needed to understand them. Every table, sum and
// metric is made from these. What a zone is in it: ZoneSnapshot.

import Accounting

/// How the process's per-CPU caches are protected.
public enum CacheModeName: String, Sendable {
  case none, restartable, locked
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
  /// For which types the probes, guard bytes and guards are, as lists that `stave set` would take; none for a use that has no list.
  public var lists: [NameUse: String] = [:]
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
  /// Packet buffers, of each copy of Stave that has some.
  public var packets: [PacketSnapshot] = []
  /// Each copy of Stave that is in the figures; more than one where all of a process are (ProcessReader). Malloc's is the first.
  public var roots: [RootSnapshot] = []
  /// Of copies that could not be read: which, and why.
  public var leftOut: [String] = []
  /// Of the kernel, for a live process.
  public var kernel: MemoryTotals?

  public init() {}

  // The sum: used + cached + holes + in transit + metadata + purgeable + returned = mapped. Each part is counted once and none
  // is negative; mapped is their sum, which at rest is the arena, the metadata and what page sources of the program's own have given.

  public var used: Int { zones.reduce(largeBytes) { $0 + $1.usedBytes } }
  public var cached: Int { zones.reduce(0) { $0 + $1.cachedInSlabs * $1.bytesEach } }
  /// While threads are inside the allocator.
  public var inTransit: Int { zones.reduce(0) { $0 + $1.inTransit * $1.bytesEach } }
  /// Free items of slabs that hold others, padding, the rest at a slab's start.
  public var holes: Int {
    max(0, slabsAtLeast - slabsKept - zones.reduce(0) { $0 + ($1.used + $1.cachedInSlabs + $1.inTransit) * $1.bytesEach })
  }
  /// Free ranges of the arena, and slabs in which all is free: what can be given back, less what never had a page.
  public var purgeable: Int { keptBytes + slabsKept }
  /// Mapped, but in nobody's hands: never used, or given back.
  public var returned: Int { max(0, arenaBytes - arenaSlabsAtLeast - largeBytes - keptBytes - foreign) }
  public var mapped: Int { used + cached + inTransit + holes + metadata + purgeable + returned }
  /// Bytes of the operations that happened while their zones were read: how far the figures may be off. Zero at rest.
  public var changing: Int { zones.reduce(0) { $0 + $1.changing * $1.bytesEach } }
  public var isChanging: Bool { zones.contains(where: \.isChanging) }

  /// By the arena's count or by the walk, which in a busy process differ.
  private var arenaSlabsAtLeast: Int { max(slabBytes, zones.reduce(0) { $0 + ($1.isInArena ? $1.totalBytes : 0) }) }
  private var slabsAtLeast: Int { arenaSlabsAtLeast + outsideBytes }
  /// Slabs that page sources of the program's own have put elsewhere.
  public var outsideBytes: Int { zones.reduce(0) { $0 + ($1.isInArena ? 0 : $1.totalBytes) } }
  private var slabsKept: Int { zones.reduce(0) { $0 + $1.purgeableBytes } }
}

// MARK: - Trust

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
      let most = max(zone.size, zone.bytesEach)
      total += max(zone.totalBytes, zone.walkedSlabs * zone.itemsPerSlab * max(most, 1), zone.counted * most, zone.cached * most, zone.usedBySlabs * most)
      total += zone.changing * most
      if total > Snapshot.most { return false }
    }
    return true
  }
}
