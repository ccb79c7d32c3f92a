// SPDX-License-Identifier: BSD-2-Clause
//
// The one list of metrics: for the text that Prometheus reads (OpenMetrics.swift), for swift-metrics (StaveMetrics) and for the manual.
// Names follow OpenMetrics: the unit is a suffix, counters end in _total; a metric of zones has the label `zone`, one of malloc types
// the label `type`. Names and meanings are stable.

import Inspection

public struct Metric: Sendable {
  public enum Kind: String, Sendable { case gauge, counter, info }

  public struct Sample: Sendable {
    public var labels: [(name: String, value: String)] = []
    public var value: Int
  }

  /// Without the suffix that the kind asks for.
  let family: String
  public let kind: Kind
  /// Empty where the metric counts things.
  public let unit: String
  public let meaning: String
  /// None where the target does not tell: a core file has nothing resident.
  public let samples: @Sendable (Snapshot) -> [Sample]

  /// As it stands in the text.
  public var name: String {
    switch kind {
    case .gauge: family
    case .counter: family + "_total"
    case .info: family + "_info"
    }
  }

  private static func one(
    _ family: String, kind: Kind = .gauge, unit: String = "bytes", _ meaning: String, _ value: @escaping @Sendable (Snapshot) -> Int?
  ) -> Metric {
    Metric(family: family, kind: kind, unit: unit, meaning: meaning) { snapshot in value(snapshot).map { [Sample(value: $0)] } ?? [] }
  }

  private static func zones(
    _ family: String, kind: Kind = .gauge, unit: String, _ meaning: String, _ value: @escaping @Sendable (ZoneSnapshot) -> Int
  ) -> Metric {
    Metric(family: family, kind: kind, unit: unit, meaning: meaning) { snapshot in
      zip(uniqueNames(snapshot.zones), snapshot.zones).map { Sample(labels: [("zone", $0)], value: value($1)) }
    }
  }

  /// Of zones that have a limit.
  private static func limits(
    _ family: String, unit: String = "items", _ meaning: String, _ value: @escaping @Sendable (ZoneSnapshot) -> Int
  ) -> Metric {
    Metric(family: family, kind: .gauge, unit: unit, meaning: meaning) { snapshot in
      zip(uniqueNames(snapshot.zones), snapshot.zones).filter { $1.limit > 0 }.map { Sample(labels: [("zone", $0)], value: value($1)) }
    }
  }

  private static func types(
    _ family: String, kind: Kind = .gauge, unit: String, _ meaning: String, _ value: @escaping @Sendable (TypeSnapshot) -> Int
  ) -> Metric {
    Metric(family: family, kind: kind, unit: unit, meaning: meaning) { snapshot in
      zip(uniqueNames(snapshot.types.map(\.label)), snapshot.types).map { Sample(labels: [("type", $0)], value: value($1)) }
    }
  }

  /// Of packet buffers, with the label `kind`; and `root` where they are of another copy of Stave than the first.
  private static func packets(
    _ family: String, kind: Kind = .gauge, unit: String, _ meaning: String, _ values: @escaping @Sendable (PacketSnapshot) -> [(kind: String, value: Int)]
  ) -> Metric {
    Metric(family: family, kind: kind, unit: unit, meaning: meaning) { snapshot in
      snapshot.packets.flatMap { packets in
        values(packets).map { Sample(labels: [("kind", $0.kind)] + (packets.root.isEmpty ? [] : [("root", packets.root)]), value: $0.value) }
      }
    }
  }

  public static let all: [Metric] = [
    Metric(family: "stave", kind: .info, unit: "", meaning: "Which library the process has, how its caches are protected, and which process it is.") {
      [Sample(labels: [("version", $0.version), ("caches", $0.mode.rawValue), ("target", $0.target), ("pid", "\($0.process)")], value: 1)]
    },
    one("stave_used_bytes", "Memory in the program's hands.") { $0.used },
    one("stave_cached_bytes", "Free items in per-CPU caches and depots.") { $0.cached },
    one("stave_holes_bytes", "Free items and padding in slabs that hold others.") { $0.holes },
    one("stave_in_transit_bytes", "Items in a thread's hand between two places; 0 at rest.") { $0.inTransit },
    one("stave_metadata_bytes", "Stave's own structures.") { $0.metadata },
    one("stave_purgeable_bytes", "Free memory that is kept for use; of it, what has pages can be given back.") { $0.purgeable },
    one("stave_returned_bytes", "Free memory that is not kept: given back, or never used.") { $0.returned },
    one("stave_mapped_bytes", "The sum of the seven before.") { $0.mapped },
    one("stave_arena_size_bytes", "Addresses that the arena may use: its limit, else its window.") { $0.windowBytes },
    one("stave_container_limit_bytes", "Memory that the process's containers leave it; left out if there is no limit, or the library has not looked yet.") {
      $0.containerLimit > 0 ? $0.containerLimit : nil
    },
    one("stave_resident_bytes", "Resident memory of the whole process, as the kernel counts it.") { $0.kernel.map { Int(clamping: $0.resident) } },
    one("stave_swapped_bytes", "Memory of the whole process that is swapped out, as the kernel counts it.") { $0.kernel.map { Int(clamping: $0.swap) } },
    one("stave_purged_bytes", kind: .counter, "Memory given back to the system since the start.") { $0.purgedTotal },
    one("stave_large_blocks", unit: "", "Blocks of more than 32 KiB, which are in no zone.") { $0.largeBlocks },
    one("stave_large_bytes", "Memory of these blocks.") { $0.largeBytes },
    one("stave_failures", kind: .counter, unit: "", "Calls that returned NULL for want of memory.") { Int($0.failures) },
    one("stave_injected_failures", kind: .counter, unit: "", "Calls that the option failure_rate made fail.") { Int($0.injectedFailures) },
    zones("stave_zone_used_bytes", unit: "bytes", "Items in the program's hands, in bytes.") { $0.usedBytes },
    zones("stave_zone_used_items", unit: "items", "Items in the program's hands.") { $0.used },
    zones("stave_zone_free_items", unit: "items", "All other items that the zone has room for, in slabs and caches.") { $0.free },
    zones("stave_zone_cached_bytes", unit: "bytes", "Free items in per-CPU caches and the depot, in bytes.") { $0.cachedBytes },
    zones("stave_zone_slabs", unit: "", "Slabs.") { $0.walkedSlabs },
    zones("stave_zone_slab_bytes", unit: "bytes", "Memory of all slabs.") { $0.totalBytes },
    zones("stave_zone_requests", kind: .counter, unit: "", "Allocations since the start.") { Int($0.allocations) },
    zones("stave_zone_frees", kind: .counter, unit: "", "Frees since the start.") { Int(max(0, $0.frees)) },
    zones("stave_zone_failures", kind: .counter, unit: "", "Allocations that failed.") { Int($0.failures) },
    zones("stave_zone_sleeps", kind: .counter, unit: "", "Allocations that had to wait.") { Int($0.sleeps) },
    limits("stave_zone_limit_items", "The most items that a zone may have, in use and cached; of a pool, in use. Left out if it has no limit.") { $0.limit },
    limits("stave_zone_limit_current_items", "Items that count against the limit.") { $0.limited },
    limits("stave_zone_waiting_requests", unit: "requests", "Requests that wait for an item at this moment.") { $0.waiters },
    packets("stave_mbuf_used_items", unit: "items", "Packet buffers in use: mbuf, cluster (of 2 KiB), packet (mbufs of the packet zone), page, 9k, 16k. Left out without packet buffers.") {
      $0.counts.all.map { ($0.kind, $0.value.current) }
    },
    packets("stave_mbuf_cached_items", unit: "items", "Those that are free and kept.") { $0.counts.all.map { ($0.kind, $0.value.cache) } },
    packets("stave_mbuf_limit_items", unit: "items", "The most that there may be, 0 for no limit.") { $0.counts.all.map { ($0.kind, $0.value.most) } },
    packets("stave_mbuf_memory_bytes", unit: "bytes", "Memory of packet buffers: used, with tags, and cached.") { [("used", $0.bytes.current), ("cached", $0.bytes.cache)] },
    packets("stave_mbuf_denied_requests", kind: .counter, unit: "requests", "Requests of packet buffers that were refused.") {
      $0.denied.all.map { ($0.kind, Int(clamping: $0.value)) }
    },
    packets("stave_mbuf_delayed_requests", kind: .counter, unit: "requests", "Requests of packet buffers that had to wait.") {
      $0.delayed.all.map { ($0.kind, Int(clamping: $0.value)) }
    },
    types("stave_type_memory_bytes", unit: "bytes", "Memory that a malloc type holds, in bytes of classes and whole pages.") { $0.usedBytes },
    types("stave_type_blocks", unit: "", "Blocks that a malloc type holds.") { $0.used },
    types("stave_type_requests", kind: .counter, unit: "", "Allocations of a malloc type since the start.") { Int($0.allocations) },
    types("stave_type_failures", kind: .counter, unit: "", "Allocations of a malloc type that failed.") { Int($0.failures) },
  ]
}
