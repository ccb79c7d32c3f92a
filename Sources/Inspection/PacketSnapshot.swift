// SPDX-License-Identifier: BSD-2-Clause
//
// Packet buffers in a look: what netstat -m shows. The figures come from those of the zones, by the rules of PacketBuffers/PacketCounts:
// a cluster that waits in the packet zone is free, and what is free in the mbufs' keg counts for the mbuf zone.

import Accounting
import PacketBuffers
import Pages

public struct PacketSnapshot: Sendable {
  /// In use, free and kept; at most (0 for no limit).
  public struct Figures: Equatable, Sendable {
    public var current = 0
    public var cache = 0
    public var most = 0
    public var total: Int { current + cache }

    init() {}

    init(_ zone: ZoneSnapshot) { (current, cache, most) = (zone.used, zone.freeItems + zone.cached, zone.limit) }
  }

  /// What there is one of each of.
  public struct Each<Value: Sendable>: Sendable {
    public var mbufs: Value
    public var clusters: Value
    /// Mbufs that have a cluster and share a cache with it.
    public var packets: Value
    /// Clusters of a page, 9 KiB and 16 KiB.
    public var pages: Value
    public var nines: Value
    public var sixteens: Value

    /// In this order, with names as labels have them.
    public var all: [(kind: String, value: Value)] {
      [("mbuf", mbufs), ("cluster", clusters), ("packet", packets), ("page", pages), ("9k", nines), ("16k", sixteens)]
    }
  }

  /// Sizes that are the same everywhere, in bytes: of an mbuf, of a cluster, of what an mbuf without and with a packet header has room for.
  public static var mbufBytes: Int { Mbuf.size }
  public static var clusterBytes: Int { Cluster.size }
  public static var room: Int { Mbuf.room }
  public static var roomWithHeader: Int { Mbuf.roomWithHeader }

  /// The copy of Stave that they are of, where that is not the first of several.
  public var root = ""
  public var counts: Each<Figures>
  public var bytes = Figures()
  /// Requests that were refused, and that had to wait.
  public var denied: Each<Int64>
  public var delayed: Each<Int64>
  /// Times that cached packets gave their clusters back; copies and prepends that failed, pull-ups that failed.
  public var drains: Int64 = 0
  public var failedCopies: Int64 = 0
  public var failedPullUps: Int64 = 0
  /// Bytes of a page, the size of the clusters named for it.
  public var pageBytes: Int

  /// `zones`: the six in their order. Their figures are plausible.
  init(_ zones: [ZoneSnapshot], tagBytes: Int, pageBytes: Int) {
    func each<Value>(_ value: (ZoneSnapshot) -> Value) -> Each<Value> {
      Each(
        mbufs: value(zones[0]), clusters: value(zones[1]), packets: value(zones[2]), pages: value(zones[3]), nines: value(zones[4]),
        sixteens: value(zones[5]))
    }
    self.pageBytes = pageBytes
    counts = each(Figures.init)
    counts.mbufs.current += counts.packets.current
    counts.mbufs.cache += counts.packets.cache
    counts.clusters.current = max(0, counts.clusters.current - counts.packets.cache)
    counts.clusters.cache += counts.packets.cache
    denied = each(\.failures)
    delayed = each(\.sleeps)
    for (zone, figures) in zip(zones, counts.all.map(\.value)).enumerated().filter({ $0.offset != 2 }).map(\.element) {
      bytes.current &+= figures.current &* zone.size
      bytes.cache &+= figures.cache &* zone.size
    }
    bytes.current &+= tagBytes
  }
}

extension SnapshotReader {
  /// Nil where packet buffers have not started. `snapshot` has its zones and types.
  func readPackets(_ root: RootCopy, _ snapshot: Snapshot, _ copies: Copies) -> PacketSnapshot? {
    let state = root.part(PacketState.self, RootLayout.packetsOffset)
    let places = [
      state.pointee.mbufZone, state.pointee.clusterZone, state.pointee.packetZone, state.pointee.pageZone, state.pointee.nineZone,
      state.pointee.sixteenZone,
    ].map { UInt(bitPattern: $0) }
    let zones = places.compactMap { place in place == 0 ? nil : snapshot.zones.first { $0.place == place } }
    guard zones.count == 6 else { return nil }
    var tagBytes = 0
    if let type = state.pointee.tagType, let record = try? copies.structure(Accounting.TypeRecord.self, at: UInt(bitPattern: type)) {
      let number = record.pointee.number
      tagBytes = snapshot.types.first { $0.number == number && number != 0 }?.usedBytes ?? 0
    }
    var packets = PacketSnapshot(zones, tagBytes: tagBytes, pageBytes: snapshot.pageBytes)
    packets.drains = max(0, state.pointee.drains)
    packets.failedCopies = max(0, state.pointee.failedCopies)
    packets.failedPullUps = max(0, state.pointee.failedPullUps)
    return packets
  }
}
