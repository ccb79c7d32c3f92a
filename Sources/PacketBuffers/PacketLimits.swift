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
  /// for a limit below the present one; for one of clusters also while fewer mbufs may be than clusters may be already: EINVAL.
  /// One caller at a time.
  public func setLimit(_ what: PacketLimit, _ items: Int) -> Bool {
    guard items >= 0 else { return false }
    if items > 0 {
      guard items >= limit(what) else { return false }
      if what != .mbufs && limit(.mbufs) > 0 && limit(.mbufs) < allClusterLimits { return false }
    }
    zone(of: what).setLimit(items)
    return true
  }

  private var allClusterLimits: Int { limit(.clusters) + limit(.pages) + limit(.nines) + limit(.sixteens) }

  /// Sets those limits for use of about so many bytes: a quarter each in clusters of 2 KiB and of a page, a sixth each in those of 9
  /// and 16 KiB, and as many mbufs as clusters at least. False where one of them would be lowered; those before it are set.
  public func setLimits(bytes: Int) -> Bool {
    let clusters = bytes / Cluster.size / 4, pages = bytes / Cluster.page / 4
    let nines = bytes / Cluster.nine / 6, sixteens = bytes / Cluster.sixteen / 6
    let mbufs = Swift.max(bytes / Mbuf.size / 5, clusters + pages + nines + sixteens)
    return setLimit(.mbufs, mbufs) && setLimit(.clusters, clusters) && setLimit(.pages, pages) && setLimit(.nines, nines)
      && setLimit(.sixteens, sixteens)
  }

  /// What is said and done at limits.
  func prepareLimits() {
    warn(.mbufs, "kern.ipc.nmbufs limit reached")
    warn(.clusters, "kern.ipc.nmbclusters limit reached")
    warn(.pages, "kern.ipc.nmbjumbop limit reached")
    warn(.nines, "kern.ipc.nmbjumbo9 limit reached")
    warn(.sixteens, "kern.ipc.nmbjumbo16 limit reached")
    pointee.clusterZone!.setLimitAction { _ in packets.drainPackets() }
  }

  private func warn(_ limit: PacketLimit, _ text: StaticString) { zone(of: limit).setWarning(text.utf8Start) }

  /// Gives back the clusters that wait in the packet zone: those of its depot; those of all CPUs, too, while somebody waits for one.
  func drainPackets() {
    stave_add(&pointee.drains, 1)
    pointee.packetZone!.reclaim(areClustersAwaited ? .drainCPU : .drain)
  }

  var areClustersAwaited: Bool { pointee.clusterZone!.pointee.flags.contains(.awaited) }
}
