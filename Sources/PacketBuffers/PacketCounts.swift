// SPDX-License-Identifier: BSD-2-Clause
//
// What netstat -m shows. Figures of zones are sums over CPUs that are taken while they change: none is negative, and all agree
// when nobody is at work.

import Accounting
import Zones

/// Of mbufs or clusters: in use, free and kept, at most (0 for no limit).
public struct PacketFigures {
  public var current = 0
  public var cache = 0
  public var most = 0
  public var total: Int { current + cache }
}

public struct PacketCounts {
  /// With those that have clusters from the packet zone.
  public var mbufs: PacketFigures
  /// A cluster that waits in the packet zone is free.
  public var clusters: PacketFigures
  public var packets: PacketFigures
  public var pages: PacketFigures
  public var nines: PacketFigures
  public var sixteens: PacketFigures
  public var bytes: PacketFigures

  /// Requests that were refused, and that had to wait.
  public struct Requests {
    public var mbufs: Int64 = 0
    public var clusters: Int64 = 0
    public var packets: Int64 = 0
    public var pages: Int64 = 0
    public var nines: Int64 = 0
    public var sixteens: Int64 = 0
  }
  public var denied: Requests
  public var delayed: Requests

  /// Times that cached packets gave their clusters back, copies and prepends that failed, pull-ups that failed: as mbstat has them.
  public var drains: Int64
  public var failedCopies: Int64
  public var failedPullUps: Int64

  /// Of packet buffers that have started.
  public init(_ state: UnsafeMutablePointer<PacketState>) {
    let mbufZone = state.pointee.mbufZone!, packetZone = state.pointee.packetZone!, clusterZone = state.pointee.clusterZone!
    let pageZone = state.pointee.pageZone!, nineZone = state.pointee.nineZone!, sixteenZone = state.pointee.sixteenZone!
    packets = figures(packetZone, withKeg: false)
    mbufs = figures(mbufZone)
    mbufs.current += packets.current
    mbufs.cache += packets.cache
    let attached = figures(clusterZone)
    clusters = attached
    clusters.current = max(0, attached.current - packets.cache)
    clusters.cache += packets.cache
    pages = figures(pageZone)
    nines = figures(nineZone)
    sixteens = figures(sixteenZone)
    bytes = PacketFigures()
    bytes.current =
      mbufs.current * Mbuf.size + clusters.current * Cluster.size + pages.current * Cluster.page + nines.current * Cluster.nine
      + sixteens.current * Cluster.sixteen + (state.pointee.tagType.map { Int(TypeTotals($0).usedBytes) } ?? 0)
    bytes.cache =
      mbufs.cache * Mbuf.size + clusters.cache * Cluster.size + pages.cache * Cluster.page + nines.cache * Cluster.nine
      + sixteens.cache * Cluster.sixteen
    denied = Requests(
      mbufs: mbufZone.pointee.failures, clusters: clusterZone.pointee.failures, packets: packetZone.pointee.failures,
      pages: pageZone.pointee.failures, nines: nineZone.pointee.failures, sixteens: sixteenZone.pointee.failures)
    delayed = Requests(
      mbufs: mbufZone.pointee.sleeps, clusters: clusterZone.pointee.sleeps, packets: packetZone.pointee.sleeps,
      pages: pageZone.pointee.sleeps, nines: nineZone.pointee.sleeps, sixteens: sixteenZone.pointee.sleeps)
    drains = state.pointee.drains
    failedCopies = state.pointee.failedCopies
    failedPullUps = state.pointee.failedPullUps
  }
}

/// Of one zone; with the items that are free in its keg, which are counted for the keg's first zone alone.
private func figures(_ zone: ZonePointer, withKeg: Bool = true) -> PacketFigures {
  let counts = ZoneCounts(zone)
  let free = Int(counts.cached) + zone.pointee.depotItems + (withKeg ? zone.pointee.keg.pointee.freeItems : 0)
  return PacketFigures(current: max(0, Int(counts.used)), cache: max(0, free), most: zone.limit)
}
