// SPDX-License-Identifier: BSD-2-Clause
//
// How many mbufs and clusters there may be: kern.ipc.nmbufs, nmbclusters and the others. Limits hold at once, for what is in use and
// what is cached together; 0 is no limit, which is what they start as. A cluster in the packet zone counts as a cluster; mbufs are
// counted without the packet zone's, of which there are no more than clusters.
//
// A cluster that waits with its mbuf in the packet zone is missing to who wants one for another mbuf. So the packet zone gives them
// back where a request meets the limit, and at each free while a request waits.

import CPlatform
import Pages
import Primitives
import Zones

public enum PacketLimit: Sendable {
  case mbufs, clusters, pages, nines, sixteens
}

extension UnsafeMutablePointer where Pointee == PacketState {
  func zone(of limit: PacketLimit) -> ZonePointer {
    switch limit {
    case .mbufs: pointee.mbufZone!
    case .clusters: pointee.clusterZone!
    case .pages: pointee.pageZone!
    case .nines: pointee.nineZone!
    case .sixteens: pointee.sixteenZone!
    }
  }

  public func limit(_ what: PacketLimit) -> Int { zone(of: what).limit }

  /// Sets, raises or takes away (0) a limit, at any time; who waits goes on if there is room now (L75). False, and nothing changed,
  /// for a negative one, one below the present one, and where fewer mbufs could be than the limits of all clusters allow together: EINVAL.
  /// One caller at a time.
  public func setLimit(_ what: PacketLimit, _ items: Int) -> Bool {
    guard items == 0 || items > 0 && items >= limit(what) && leavesMbufs(what, items) else { return false }
    zone(of: what).setLimit(items)
    return true
  }

  /// Whether there may be as many mbufs as clusters then. Without a limit there may be any number of the one, or of the others.
  private func leavesMbufs(_ what: PacketLimit, _ items: Int) -> Bool {
    let clusters = limit(.clusters) + limit(.pages) + limit(.nines) + limit(.sixteens)
    if what == .mbufs { return items >= clusters }
    return limit(.mbufs) == 0 || items <= limit(.mbufs) - (clusters - limit(what))
  }

  /// Sets all limits for use of about so many bytes: a quarter each in clusters of 2 KiB and of a page, a sixth each in those of 9 and
  /// 16 KiB, one of each at least, and as many mbufs as clusters at least; or with 0 takes all away. False, and nothing changed, where
  /// one would be lowered, or for less than 0. One caller at a time.
  public func setLimits(bytes: Int) -> Bool {
    guard bytes >= 0 else { return false }
    func share(_ size: Int, _ part: Int) -> Int { bytes == 0 ? 0 : Swift.max(1, bytes / size / part) }
    let clusters = share(Cluster.size, 4), pages = share(Cluster.page, 4)
    let nines = share(Cluster.nine, 6), sixteens = share(Cluster.sixteen, 6)
    let mbufs = Swift.max(bytes / Mbuf.size / 5, clusters + pages + nines + sixteens)
    func mayBe(_ what: PacketLimit, _ items: Int) -> Bool { items == 0 || items >= limit(what) }
    guard mayBe(.mbufs, mbufs), mayBe(.clusters, clusters), mayBe(.pages, pages), mayBe(.nines, nines), mayBe(.sixteens, sixteens) else {
      return false
    }
    zone(of: .mbufs).setLimit(mbufs)
    zone(of: .clusters).setLimit(clusters)
    zone(of: .pages).setLimit(pages)
    zone(of: .nines).setLimit(nines)
    zone(of: .sixteens).setLimit(sixteens)
    return true
  }

  /// What is said and done at limits. Readers outside have these names as controls, which can be read only.
  func prepareLimits() {
    warn(.mbufs, "kern.ipc.nmbufs limit reached; stave_mbuf_set_max or Packets.setLimit raises it")
    warn(.clusters, "kern.ipc.nmbclusters limit reached; stave_mbuf_set_max or Packets.setLimit raises it")
    warn(.pages, "kern.ipc.nmbjumbop limit reached; stave_mbuf_set_max or Packets.setLimit raises it")
    warn(.nines, "kern.ipc.nmbjumbo9 limit reached; stave_mbuf_set_max or Packets.setLimit raises it")
    warn(.sixteens, "kern.ipc.nmbjumbo16 limit reached; stave_mbuf_set_max or Packets.setLimit raises it")
    pointee.clusterZone!.setLimitAction { _ in packets.drainPackets() }
  }

  private func warn(_ limit: PacketLimit, _ text: StaticString) { zone(of: limit).setWarning(text.utf8Start) }

  /// Gives back the clusters that wait in the packet zone: those of its depot; those of all CPUs, too, if asked, or while somebody waits
  /// for one. False where none does.
  @discardableResult
  func drainPackets(ofAllCPUs: Bool = false) -> Bool {
    let zone = pointee.packetZone!, isWhole = ofAllCPUs || areClustersAwaited
    guard zone.depotNow > 0 || isWhole && ZoneCounts(zone).cached > 0 else { return false }
    stave_add(&pointee.drains, 1)
    zone.reclaim(isWhole ? .drainCPU : .drain)
    return true
  }

  var areClustersAwaited: Bool { pointee.clusterZone!.pointee.flags.contains(.awaited) }
}
