// SPDX-License-Identifier: BSD-2-Clause
//
// The one list of controls, in the names that BSD's sysctl has for them, ours below `stave`: for `stave get`, `stave set` and the manual.

import Accounting
import Heap
import Inspection

public enum ControlValue: Sendable, Equatable {
  case number(Int), text(String), numbers([Int])

  public var text: String {
    switch self {
    case .number(let value): String(value)
    case .text(let value): value
    case .numbers(let values): values.map(String.init).joined(separator: " ")
    }
  }

  var json: JSON {
    switch self {
    case .number(let value): .number(value)
    case .text(let value): .text(value)
    case .numbers(let values): .list(values.map(JSON.number))
    }
  }

  /// For readers.
  var type: String {
    switch self {
    case .number: "number"
    case .text: "text"
    case .numbers: "numbers"
    }
  }
}

/// What one look yields, and the longest free range if that could be found out.
public struct ControlSource {
  public var snapshot: Snapshot
  public var largestFree: Int?

  public init(_ snapshot: Snapshot, largestFree: Int?) {
    self.snapshot = snapshot
    self.largestFree = largestFree
  }
}

/// A control that a process has once.
public struct GlobalControl: Sendable {
  public let name: String
  public let meaning: String
  /// The option that `stave set` changes by it.
  public let option: Option?
  /// Nil where it cannot be told.
  let value: @Sendable (ControlSource) -> ControlValue?

  private static func number(_ name: String, _ meaning: String, _ value: @escaping @Sendable (ControlSource) -> Int?) -> GlobalControl {
    GlobalControl(name: name, meaning: meaning, option: nil) { value($0).map(ControlValue.number) }
  }

  /// The value in force of an option of the library, a number or a word.
  private static func option(_ name: String, _ option: Option, _ meaning: String) -> GlobalControl {
    GlobalControl(name: name, meaning: meaning, option: option) { source in
      guard option.rawValue < source.snapshot.options.count else { return nil }
      let value = source.snapshot.options[option.rawValue]
      if !option.takesWords { return .number(Int(value)) }
      if value == Int64(ListMode.listed), let list = option.nameUse.flatMap({ source.snapshot.lists[$0] }), !list.isEmpty { return .text(list) }
      return option.takes(value) ? .text(option.words[Int(value)].description) : nil
    }
  }

  /// A limit of packet buffers, whoever has set it: the program, the option at start, or somebody from outside.
  private static func limit(
    _ name: String, _ option: Option, _ meaning: String, _ figures: @escaping @Sendable (PacketSnapshot.Each<PacketSnapshot.Figures>) -> PacketSnapshot.Figures
  ) -> GlobalControl {
    GlobalControl(name: name, meaning: meaning, option: option) { $0.snapshot.packets.first.map { .number(figures($0.counts).most) } }
  }

  /// A member of the kernel's structure mbstat.
  private static func packets(_ name: String, _ meaning: String, _ value: @escaping @Sendable (PacketSnapshot) -> Int) -> GlobalControl {
    number("kern.ipc.mbstat.\(name)", meaning) { $0.snapshot.packets.first.map(value) }
  }

  public static let all: [GlobalControl] = [
    packets("m_mbufs", "Mbufs in use, those with a cluster among them; without packet buffers it is left out, as are the next eight.") { $0.counts.mbufs.current },
    packets("m_mclusts", "Clusters of 2 KiB in use.") { $0.counts.clusters.current },
    packets("m_drain", "Times that cached packets gave their clusters back.") { Int(clamping: $0.drains) },
    packets("m_mcfail", "Copies and prepends that failed.") { Int(clamping: $0.failedCopies) },
    packets("m_mpfail", "Pull-ups that failed.") { Int(clamping: $0.failedPullUps) },
    packets("m_msize", "Bytes of an mbuf.") { _ in PacketSnapshot.mbufBytes },
    packets("m_mclbytes", "Bytes of a cluster.") { _ in PacketSnapshot.clusterBytes },
    packets("m_mlen", "Bytes that an mbuf has room for.") { _ in PacketSnapshot.room },
    packets("m_mhlen", "The same with a packet header.") { _ in PacketSnapshot.roomWithHeader },
    limit("kern.ipc.nmbufs", .nmbufs, "The most mbufs that there may be, 0 for no limit; without packet buffers it is left out, as are the next four.") { $0.mbufs },
    limit("kern.ipc.nmbclusters", .nmbclusters, "The most clusters of 2 KiB.") { $0.clusters },
    limit("kern.ipc.nmbjumbop", .nmbjumbop, "The most clusters of a page.") { $0.pages },
    limit("kern.ipc.nmbjumbo9", .nmbjumbo9, "The most clusters of 9 KiB.") { $0.nines },
    limit("kern.ipc.nmbjumbo16", .nmbjumbo16, "The most clusters of 16 KiB.") { $0.sixteens },
    number("kern.malloc_count", "Malloc types, with the type malloc.") { $0.snapshot.types.count },
    number("vm.zone_count", "Zones.") { $0.snapshot.zones.count },
    number("vm.uma_kmem_limit", "Bytes that slabs and large blocks may take: all of the arena.") { $0.snapshot.windowBytes },
    number("vm.uma_kmem_total", "Bytes of slabs and large blocks.") { $0.snapshot.slabBytes + $0.snapshot.largeBytes },
    number("vm.kmem_size", "Bytes of addresses that the arena may use: the option kmem_size or what follows from the others, else all of its window.") {
      $0.snapshot.windowBytes
    },
    option("vm.kmem_size_min", .kmemSizeMin, "As stave.kmem_size_min."),
    option("vm.kmem_size_max", .kmemSizeMax, "As stave.kmem_size_max."),
    option("vm.kmem_size_scale", .kmemSizeScale, "As stave.kmem_size_scale."),
    number("vm.kmem_map_size", "Bytes of the arena in use, by slabs and large blocks.") { $0.snapshot.slabBytes + $0.snapshot.largeBytes },
    number("vm.kmem_map_free", "The longest run of free addresses in the arena; left out if the process changes it faster than it can be read.") {
      $0.largestFree
    },
    number("vm.kmem_free", "Bytes of the arena that are not in use.") { source in
      max(0, source.snapshot.windowBytes - source.snapshot.slabBytes - source.snapshot.largeBytes - source.snapshot.foreign)
    },
    number("vm.kmem_zmax", "The largest size that zones serve; larger blocks are in whole pages.") { _ in SizeClass.largest },
    number("vm.malloc.zone_count", "Size classes of malloc, and the 0 at the end of their list.") { _ in SizeClass.count + 1 },
    GlobalControl(name: "vm.malloc.zone_sizes", meaning: "The sizes of the classes, ended by 0.", option: nil) { _ in
      .numbers((0..<SizeClass.count).map { SizeClass.size($0) } + [0])
    },
    option("debug.malloc.failure_rate", .failureRate, "As stave.failure_rate."),
    number("debug.malloc.failure_count", "Calls that it made fail.") { Int($0.snapshot.injectedFailures) },
    option("vm.debug.divisor", .checkDivisor, "As stave.check_divisor."),
    number("vm.debug.trashed", "Free items, and large blocks kept for reuse, that item checks have filled.") { Int($0.snapshot.trashed) },
    number("vm.debug.skipped", "Freed ones that they have not filled, for the divisor or as their pages are not kept.") { Int($0.snapshot.trashSkipped) },
    number("vm.debug.checked", "Filled ones that they have looked at, when they were handed out or given back.") { Int($0.snapshot.trashChecked) },
    number("vm.debug.damaged", "Of these, those that had been written to.") { Int($0.snapshot.trashDamaged) },
    number("vm.debug.reports", "Reports of the program's mistakes.") { $0.snapshot.reports },
    number("vm.debug.stacks", "Different stacks of calls that are kept.") { $0.snapshot.stacks },
    number("vm.debug.stacks_left_out", "Stacks that were not kept, for want of room or memory.") { $0.snapshot.stacksLeftOut },
    option("debug.malloc.numzones", .numzones, "Zones for each size class, as stave.numzones."),
    option("debug.malloc.zone_offset", .zoneOffset, "As stave.zone_offset: the number that was drawn, if none was given; 0 with one zone for each class."),
    number("vm.redzone.extra_mem", "Bytes that live blocks with guard bytes take beyond their sizes.") { $0.snapshot.redZone.extraBytes },
    number("vm.redzone.blocks", "Live blocks that have guard bytes.") { $0.snapshot.redZone.blocks },
    number("vm.redzone.damaged", "Blocks whose guard bytes free or realloc found overwritten.") { $0.snapshot.redZone.damaged },
    option("vm.redzone.panic", .redZonePanic, "As stave.redzone_panic."),
    option("vm.memguard.desc", .memguardType, "Whose memory is guarded, as stave.memguard_type: of a list the names, \"?\" for one that nothing has."),
    option("vm.memguard.frequency", .memguard, "One of so many requests is guarded, 0 none, as stave.memguard."),
    option("vm.memguard.minsize", .memguardMin, "As stave.memguard_min."),
    option("vm.memguard.maxsize", .memguardMax, "As stave.memguard_max."),
    option("vm.memguard.divisor", .memguardDivisor, "As stave.memguard_divisor."),
    number("vm.memguard.options", "Bits: 1 guards beside each block, always; 2 as stave.memguard_pages; 4 as stave.memguard_nofree.") {
      let options = $0.snapshot.options
      guard options.count > Option.memguardNoFree.rawValue else { return nil }
      return 1 | (options[Option.memguardPages.rawValue] == 1 ? 2 : 0) | (options[Option.memguardNoFree.rawValue] == 1 ? 4 : 0)
    },
    number("vm.memguard.frequency_hits", "Requests that were chosen at random.") { $0.snapshot.guards.hits },
    number("vm.memguard.minsize_reject", "Requests that were smaller than minsize.") { $0.snapshot.guards.tooSmall },
    number("vm.memguard.mapsize", "Bytes of addresses reserved for guarded blocks; 0 until MemGuard is first switched on.") { $0.snapshot.guards.mapped },
    number("vm.memguard.mapstart", "Where they begin.") { $0.snapshot.guards.start },
    number("vm.memguard.maplimit", "Bytes of them that have been in use since the start; it can grow to mapsize.") { $0.snapshot.guards.opened },
    number("vm.memguard.mapused", "Bytes of them that live blocks take, with their guards.") { $0.snapshot.guards.used },
    number("vm.memguard.phys_limit", "Bytes of memory that guarded blocks may take.") { $0.snapshot.guards.limit },
    number("vm.memguard.phys_used", "Bytes of pages of live blocks.") { $0.snapshot.guards.resident },
    number("vm.memguard.wasted", "Bytes of these pages that are not the blocks'.") { $0.snapshot.guards.wasted },
    number("vm.memguard.numalloc", "Blocks that have been guarded.") { $0.snapshot.guards.guarded },
    number("vm.memguard.live", "Those of them that are not freed.") { $0.snapshot.guards.live },
    number("vm.memguard.fail_kva", "Requests that were not guarded for want of addresses, or of memory for what is kept of them.") { $0.snapshot.guards.withoutAddresses },
    number("vm.memguard.fail_pgs", "Requests that were not guarded because guarded blocks take as much memory as they may.") { $0.snapshot.guards.withoutPages },
    number("vm.memguard.fail_map", "Requests that were not guarded, and frees that could not be, because the system refused or the process's map has lines enough.") {
      $0.snapshot.guards.refused
    },
    number("vm.memguard.cursor", "The address from which on the next block is looked for.") { $0.snapshot.guards.cursor },
    number("vm.memguard.wrapcnt", "How often that began anew.") { $0.snapshot.guards.wraps },
    number("vm.memguard.reports", "Mistakes that were reported.") { $0.snapshot.guards.reports },
    GlobalControl(name: "stave.version", meaning: "The version of the library.", option: nil) { .text($0.snapshot.version) },
    GlobalControl(name: "stave.caches", meaning: "How per-CPU caches are protected: restartable or locked.", option: nil) {
      .text($0.snapshot.mode.rawValue)
    },
    number("stave.container_limit", "Bytes of memory that the process's containers leave it, as the library uses them; 0 if there is no limit, or it has not looked yet.") {
      $0.snapshot.containerLimit
    },
    number("stave.failures", "Calls that returned NULL for want of memory.") { Int($0.snapshot.failures) },
  ] + (0..<Option.count).map { Option(rawValue: $0)! }.map { option("stave." + $0.key.description, $0, $0.summary.description) }
}

/// A control that each zone has, below vm.uma and the zone's name.
public struct ZoneControl: Sendable {
  public let name: String
  public let meaning: String
  let value: @Sendable (ZoneSnapshot, Snapshot) -> ControlValue

  private static func number(_ name: String, _ meaning: String, _ value: @escaping @Sendable (ZoneSnapshot) -> Int) -> ZoneControl {
    ZoneControl(name: name, meaning: meaning) { zone, _ in .number(value(zone)) }
  }

  public static let all: [ZoneControl] = [
    number("size", "Bytes of an item.") { $0.size },
    ZoneControl(name: "flags", meaning: "The zone's flags, as a number and by name.") { zone, _ in .text(zone.flagText) },
    number("bucket_size", "Items of a bucket.") { $0.bucketSize },
    number("bucket_size_max", "Items of a bucket at most.") { $0.bucketSize },
    ZoneControl(name: "keg.name", meaning: "The zone that the keg was made with, or several; \"cache zone\" without a keg.") { zone, _ in
      .text(zone.kind == .cacheOnly ? "cache zone" : zone.kegName)
    },
    number("keg.rsize", "The distance between items.") { $0.itemBytes },
    ZoneControl(name: "keg.ppera", meaning: "Pages of a slab.") { zone, now in .number(zone.slabBytes / max(1, now.pageBytes)) },
    number("keg.ipers", "Items of a slab.") { $0.itemsPerSlab },
    number("keg.align", "The alignment of items less one.") { $0.alignMask },
    number("keg.reserve", "Free items kept for urgent requests.") { $0.reserve },
    number("keg.efficiency", "Percent of a slab that items fill.") { zone in
      // The product may be more than a number holds, of a damaged process.
      zone.slabBytes > 0 ? Int(min(1e9, 100 * Double(zone.itemsPerSlab) * Double(zone.itemBytes) / Double(zone.slabBytes))) : 0
    },
    number("limit.items", "Items that count against the limit; 0 without one.") { $0.limit > 0 ? $0.limited : 0 },
    number("limit.max_items", "The largest number of items, 0 for none.") { $0.limit },
    number("limit.sleepers", "Threads that wait for an item.") { $0.waiters },
    number("limit.sleeps", "Requests that had to wait.") { Int($0.sleeps) },
    number("limit.bucket_max", "Items that the depot holds at most; 0 for no limit.") { $0.depotLimit == .max ? 0 : $0.depotLimit },
    number("stats.current", "Items in the program's hands.") { $0.used },
    number("stats.allocs", "Allocations since the start.") { Int($0.allocations) },
    number("stats.frees", "Frees since the start.") { Int(max(0, $0.frees)) },
    number("stats.fails", "Allocations that failed.") { Int($0.failures) },
    number("stats.xdomain", "Items freed by a CPU of another memory domain than theirs, of zones that keep each near its CPU.") { Int($0.crossFrees) },
  ] + domain(0)

  /// Those of a memory domain, of which most zones have one, 0.
  static func domain(_ number: Int) -> [ZoneControl] {
    func control(_ name: String, _ meaning: String, _ value: @escaping @Sendable (DomainCounts) -> Int) -> ZoneControl {
      ZoneControl(name: name, meaning: meaning) { zone, _ in .number(value(zone.inDomain(number))) }
    }
    let keg = "keg.domain.\(number).", depot = "domain.\(number)."
    return [
      ZoneControl(name: keg + "pages", meaning: "Pages of all slabs.") { zone, now in
        .number(zone.inDomain(number).slabs.multipliedReportingOverflow(by: zone.slabBytes / max(1, now.pageBytes)).partialValue)
      },
      control(keg + "free_items", "Free items of slabs.") { $0.freeItems },
      control(keg + "free_slabs", "Slabs in which all is free.") { $0.freeSlabs },
      control(depot + "nitems", "Items in the depot.") { $0.cachedInDepot },
      control(depot + "imax", "The most of them in this period.") { $0.depotMost },
      control(depot + "imin", "The fewest of them in this period.") { $0.depotLeast },
      control(depot + "bimin", "The fewest since the last new maximum.") { $0.depotBottom },
      control(depot + "wss", "The estimate of how many are needed.") { $0.workingSet },
    ]
  }
}
