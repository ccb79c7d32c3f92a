// SPDX-License-Identifier: BSD-2-Clause
//
// The packet buffers of this program: brought up at the first use, limits, and what there is of them.

internal import CPlatform
internal import Own
internal import PacketBuffers
internal import Zones
internal import Heap

/// What every packet comes from: zones of mbufs and clusters that belong to this program, and that `stave mbufs PID` shows.
///
///     try Packets.setLimit(.clusters, to: 25_600)   // at most 50 MiB in clusters of 2 KiB
///     if let counts = Packets.counts { print(counts.clusters.current) }
///
/// All of it may be called from any thread, but not from a signal handler.
public enum Packets {
  /// A kind of memory that has a limit, as `sysctl kern.ipc` has them.
  public enum Kind: Sendable, CaseIterable {
    /// Buffers of 256 bytes: nmbufs.
    case mbufs
    /// Clusters of 2 KiB: nmbclusters.
    case clusters
    /// Clusters of a page: nmbjumbop.
    case pages
    /// Clusters of 9 KiB: nmbjumbo9.
    case nines
    /// Clusters of 16 KiB: nmbjumbo16.
    case sixteens

    var limit: PacketLimit {
      switch self {
      case .mbufs: .mbufs
      case .clusters: .clusters
      case .pages: .pages
      case .nines: .nines
      case .sixteens: .sixteens
      }
    }
  }

  /// How many there are of a kind: in packets, free and kept, at most (0: no limit).
  public struct Figures: Sendable, Equatable {
    /// In packets.
    public var current: Int
    /// Free and kept.
    public var cached: Int
    /// What both together may come to; 0 for no limit.
    public var limit: Int

    init(_ figures: PacketFigures) { (current, cached, limit) = (figures.current, figures.cache, figures.most) }
  }

  /// What `netstat -m` shows, for this program.
  public struct Counts: Sendable {
    /// Buffers of 256 bytes.
    public var mbufs: Figures
    /// Clusters of 2 KiB.
    public var clusters: Figures
    /// Clusters of a page.
    public var pages: Figures
    /// Clusters of 9 KiB.
    public var nines: Figures
    /// Clusters of 16 KiB.
    public var sixteens: Figures
    /// Bytes, of all of them.
    public var bytes: Figures
    /// Requests for mbufs, and for clusters of any size, that were refused.
    public var denied: Int64
    /// Those that waited.
    public var delayed: Int64
  }

  nonisolated(unsafe) private static var isUp: Int32 = 0

  /// Brought up at the first use; nil where there is no memory for it. No lazy value: a child of a fork during that would wait for ever.
  static var state: UnsafeMutablePointer<PacketState>? { stave_load32(&isUp) != 0 || bringUp() ? packets : nil }

  @inline(never)
  private static func bringUp() -> Bool {
    guard Heap.startOwn() else { return false }
    return Heap.alone {
      // The tests of what is below bring them up themselves.
      if stave_load32(&isUp) == 0 && (packets.pointee.packetZone != nil || packets.start()) {
        Heap.limitPackets()
        _ = stave_exchange32(&isUp, 1)
      }
      return stave_load32(&isUp) != 0
    }
  }

  /// Brings packet buffers up before the first packet: some ten zones, and what the first of each needs. False where there is no memory.
  @discardableResult
  public static func start() -> Bool { state != nil }

  static func started() throws(PacketError) -> UnsafeMutablePointer<PacketState> {
    guard let state else { throw .noMemory }
    return state
  }

  /// Sets a limit on how many there may be in packets and cached, together; 0 for none. It holds at once, and wakes those who wait and can
  /// go on now. A limit can be raised or removed, but not lowered: `.outOfRange` for one below the present limit. The same, if mbufs have a
  /// limit, where the limits of all kinds of clusters together would exceed it; kinds without a limit do not count.
  public static func setLimit(_ kind: Kind, to count: Int) throws(PacketError) {
    let state = try started()
    guard state.setLimit(kind.limit, count) else { throw .outOfRange }
  }

  /// The limit of a kind; 0 for none.
  public static func limit(_ kind: Kind) -> Int { state?.limit(kind.limit) ?? 0 }

  /// Sums over all CPUs, taken while they change. Nil only where packets cannot be had at all.
  public static var counts: Counts? {
    guard let state else { return nil }
    let counts = PacketCounts(state), denied = counts.denied, delayed = counts.delayed
    return Counts(
      mbufs: Figures(counts.mbufs), clusters: Figures(counts.clusters), pages: Figures(counts.pages), nines: Figures(counts.nines),
      sixteens: Figures(counts.sixteens), bytes: Figures(counts.bytes),
      denied: denied.mbufs + denied.clusters + denied.packets + denied.pages + denied.nines + denied.sixteens,
      delayed: delayed.mbufs + delayed.clusters + delayed.packets + delayed.pages + delayed.nines + delayed.sixteens)
  }
}

/// Why an operation on a packet was not done.
public enum PacketError: Error, Sendable {
  /// Memory is not to be had, or a limit is reached.
  case noMemory
  /// The packet has fewer bytes, or the number is none that there can be.
  case outOfRange
  /// Some of the bytes are shared with another packet, or lent for reading: ``Packet/makeWritable(waits:)`` makes a copy of those.
  case readOnly
}
