// SPDX-License-Identifier: BSD-2-Clause
//
// How many mbufs and clusters there may be: kern.ipc.nmbufs, nmbclusters and the others. Limits hold at once, for what is in use and
// what is cached together; 0 is no limit, which is what they start as. A cluster in the packet zone counts as a cluster; mbufs are
// counted without the packet zone's, of which there are no more than clusters.
//
// A cluster that waits with its mbuf in the packet zone is missing to who wants one for another mbuf. So the packet zone gives them
// back where a request meets the limit, and at each free while a request waits. What others keep is asked for by an event (Zones/Events).

import CPlatform
import Pages
import Primitives
import Zones

/// The numbers are the order of the options that set limits from outside.
public enum PacketLimit: Int32, Sendable {
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
  /// Waits while somebody else changes limits.
  public func setLimit(_ what: PacketLimit, _ items: Int) -> Bool {
    waitToLimit()
    let isDone = changeLimit(what, items)
    if isDone { events.tell(.packetLimits) }
    return isDone
  }

  private func waitToLimit() {
    var tries = 0
    while !beginLimits() {
      tries += 1
      pauseBriefly(after: tries)
    }
  }

  /// Changes of limits begin, unless somebody is at it. In a child of fork its parent's have ended.
  private func beginLimits() -> Bool {
    let own = zones.pointee.pools.forks &+ 1, holder = UInt32(bitPattern: stave_load32(&pointee.limiter))
    return holder != own && stave_replace32(&pointee.limiter, holder, own)
  }

  private func endLimits() { stave_store32(&pointee.limiter, 0) }

  /// Limits may be changed. Ends that.
  private func changeLimit(_ what: PacketLimit, _ items: Int) -> Bool {
    defer { endLimits() }
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
  /// one would be lowered, or for less than 0. Waits while somebody else changes limits.
  public func setLimits(bytes: Int) -> Bool {
    guard bytes >= 0 else { return false }
    func share(_ size: Int, _ part: Int) -> Int { bytes == 0 ? 0 : Swift.max(1, bytes / size / part) }
    let clusters = share(Cluster.size, 4), pages = share(Cluster.page, 4)
    let nines = share(Cluster.nine, 6), sixteens = share(Cluster.sixteen, 6)
    let mbufs = Swift.max(bytes / Mbuf.size / 5, clusters + pages + nines + sixteens)
    func mayBe(_ what: PacketLimit, _ items: Int) -> Bool { items == 0 || items >= limit(what) }
    waitToLimit()
    guard mayBe(.mbufs, mbufs), mayBe(.clusters, clusters), mayBe(.pages, pages), mayBe(.nines, nines), mayBe(.sixteens, sixteens) else {
      endLimits()
      return false
    }
    zone(of: .mbufs).setLimit(mbufs)
    zone(of: .clusters).setLimit(clusters)
    zone(of: .pages).setLimit(pages)
    zone(of: .nines).setLimit(nines)
    zone(of: .sixteens).setLimit(sixteens)
    endLimits()
    events.tell(.packetLimits)
    return true
  }

  /// What is said and done at limits. Readers outside have these names as controls.
  func prepareLimits() {
    warn(.mbufs, "kern.ipc.nmbufs limit reached; stave_mbuf_set_max, Packets.setLimit or stave set raises it")
    warn(.clusters, "kern.ipc.nmbclusters limit reached; stave_mbuf_set_max, Packets.setLimit or stave set raises it")
    warn(.pages, "kern.ipc.nmbjumbop limit reached; stave_mbuf_set_max, Packets.setLimit or stave set raises it")
    warn(.nines, "kern.ipc.nmbjumbo9 limit reached; stave_mbuf_set_max, Packets.setLimit or stave set raises it")
    warn(.sixteens, "kern.ipc.nmbjumbo16 limit reached; stave_mbuf_set_max, Packets.setLimit or stave set raises it")
    func act(_ limit: PacketLimit, _ relief: LimitAction?) {
      zone(of: limit).setLimitRelief(relief) { _ in events.tell(.packetShortage) }
    }
    act(.mbufs, nil)
    act(.clusters) { _ in packets.drainPackets() }
    act(.pages, nil)
    act(.nines, nil)
    act(.sixteens, nil)
    zones.pointee.limitPackets = { number, items, before in
      guard let limit = PacketLimit(rawValue: number) else { return PacketLimitOutcome.refused }
      before.pointee = packets.limit(limit)
      guard packets.beginLimits() else { return PacketLimitOutcome.busy }
      guard packets.changeLimit(limit, items) else { return PacketLimitOutcome.refused }
      // Whoever it is that asks, it is no place for an author's code.
      events.tellLater(.packetLimits)
      return PacketLimitOutcome.done
    }
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
