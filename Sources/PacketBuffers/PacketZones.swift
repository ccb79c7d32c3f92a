// SPDX-License-Identifier: BSD-2-Clause
//
// The zones behind packet buffers, and what their hooks do. An item of the mbuf keg is bare memory, an item of a cluster zone too. An
// item of the packet zone has a cluster: it gets one when it comes from the keg, and loses it when it goes back there.

import Pages
import Primitives
import Zones

extension UnsafeMutablePointer where Pointee == PacketState {
  /// Makes the zones; false, and nothing made, where memory or room for zones is not to be had. The zone system and the malloc
  /// types have started. Call once, before anything else here.
  public func start() -> Bool {
    initialize(to: PacketState())
    pointee.mbufZone = Zones.makeZone(
      name: FixedName("mbuf"), size: Mbuf.size, alignMask: Mbuf.size - 1, flags: .maxBucket,
      hooks: ZoneHooks(constructor: constructMbuf, destructor: destroyMbuf))
    pointee.clusterZone = makeClusterZone("mbuf_cluster", Cluster.size)
    pointee.pageZone = makeClusterZone("mbuf_jumbo_page", Cluster.page)
    pointee.nineZone = makeClusterZone("mbuf_jumbo_9k", Cluster.nine)
    pointee.sixteenZone = makeClusterZone("mbuf_jumbo_16k", Cluster.sixteen)
    if let mbufs = pointee.mbufZone, pointee.clusterZone != nil {
      pointee.packetZone = makeSecondaryZone(
        name: FixedName("mbuf_packet"),
        hooks: ZoneHooks(constructor: constructPacket, destructor: destroyPacket, initialize: addCluster, finish: removeCluster),
        primary: mbufs)
    }
    pointee.packetZone?.pointee.flags.insert(.hookedByUs)
    if pointee.packetZone != nil && pointee.pageZone != nil && pointee.nineZone != nil && pointee.sixteenZone != nil {
      prepareLimits()
      return true
    }
    stop()
    return false
  }

  /// Takes the zones down; all mbufs and clusters should be free. How many are not: those are reported, and lost. Nothing may be
  /// in use or come into use any more.
  @discardableResult
  public func stop() -> Int {
    // The packet zone's items hold mbufs and clusters.
    var lost = pointee.packetZone?.destroy() ?? 0
    lost += pointee.mbufZone?.destroy() ?? 0
    lost += pointee.clusterZone?.destroy() ?? 0
    lost += pointee.pageZone?.destroy() ?? 0
    lost += pointee.nineZone?.destroy() ?? 0
    lost += pointee.sixteenZone?.destroy() ?? 0
    zones.pointee.limitPackets = nil
    initialize(to: PacketState())
    return lost
  }

  private func makeClusterZone(_ name: StaticString, _ size: Int) -> ZonePointer? {
    Zones.makeZone(name: FixedName(name), size: size, hooks: ZoneHooks(constructor: constructCluster))
  }

  /// The size of the clusters of a keg; nil if it is none of theirs.
  public func clusterSize(ofKeg index: UInt32) -> Int? {
    if pointee.clusterZone!.pointee.keg.pointee.index == index { return Cluster.size }
    if pointee.pageZone!.pointee.keg.pointee.index == index { return Cluster.page }
    if pointee.nineZone!.pointee.keg.pointee.index == index { return Cluster.nine }
    return pointee.sixteenZone!.pointee.keg.pointee.index == index ? Cluster.sixteen : nil
  }

  /// Of clusters of a kind.
  func zone(of type: StorageType) -> ZonePointer {
    switch type {
    case .cluster, .packet: pointee.clusterZone!
    case .jumboPage: pointee.pageZone!
    case .jumbo9: pointee.nineZone!
    default: pointee.sixteenZone!
    }
  }
}

/// Sizes of clusters.
public enum Cluster {
  public static var size: Int { 2048 }
  public static var page: Int { pageBytes }
  public static var nine: Int { 9216 }
  public static var sixteen: Int { 16384 }

  /// The kind of clusters of a size; the process ends where there is none.
  static func type(size: Int) -> StorageType {
    if size == Self.size { return .cluster }
    if size == page { return .jumboPage }
    if size == nine { return .jumbo9 }
    demand(size == sixteen, "no cluster has the size asked for")
    return .jumbo16
  }
}

// MARK: - Hooks

/// What an mbuf's constructor is told: flags and type, as the mbuf's word has them, and a bit that tells them from none.
@inline(__always)
func mbufArgument(_ type: MbufType, _ flags: MbufFlags) -> UnsafeMutableRawPointer? {
  UnsafeMutableRawPointer(bitPattern: 1 << 32 | UInt(type.rawValue) << 24 | UInt(flags.rawValue))
}

/// For the mbuf zone's destructor: the tags are gone already.
@inline(__always)
var keepTags: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 1) }

private func constructMbuf(_ item: UnsafeMutableRawPointer, _ size: Int, _ argument: UnsafeMutableRawPointer?, _ wait: Int32) -> Int32 {
  guard !packets.isRefused else { return outOfMemory }
  let word = UInt32(truncatingIfNeeded: UInt(bitPattern: argument))
  if UInt8(word >> 24) != MbufType.uninitialized.rawValue { prepare(item, word, wait, data: nil) }
  return 0
}

private func destroyMbuf(_ item: UnsafeMutableRawPointer, _ size: Int, _ argument: UnsafeMutableRawPointer?) {
  let mbuf = item.assumingMemoryBound(to: Mbuf.self)
  if argument == keepTags { return }
  demand(!mbuf.flags.contains(.notFreed), "an mbuf that is no item of a zone is freed as one")
  if mbuf.hasHeader { mbuf.deleteTags() }
}

private func constructPacket(_ item: UnsafeMutableRawPointer, _ size: Int, _ argument: UnsafeMutableRawPointer?, _ wait: Int32) -> Int32 {
  guard !packets.isRefused else { return outOfMemory }
  let mbuf = item.assumingMemoryBound(to: Mbuf.self)
  let word = UInt32(truncatingIfNeeded: UInt(bitPattern: argument)) | MbufFlags.external.rawValue
  prepare(item, word, wait, data: mbuf.storage.pointee.buffer)
  return 0
}

private func destroyPacket(_ item: UnsafeMutableRawPointer, _ size: Int, _ argument: UnsafeMutableRawPointer?) {
  let mbuf = item.assumingMemoryBound(to: Mbuf.self)
  if mbuf.hasHeader { mbuf.deleteTags() }
  demand(mbuf.hasPristineCluster, "an mbuf of the packet zone has lost its cluster")
}

private func addCluster(_ item: UnsafeMutableRawPointer, _ size: Int, _ wait: Int32) -> Int32 {
  let mbuf = item.assumingMemoryBound(to: Mbuf.self)
  mbuf.pointee.word = 0
  let flags = WaitFlags(rawValue: wait).subtracting(.zero)
  guard packets.pointee.clusterZone!.allocate(flags, argument: item) != nil else { return outOfMemory }
  mbuf.storage.pointee.type = .packet
  return 0
}

private func removeCluster(_ item: UnsafeMutableRawPointer, _ size: Int) {
  packets.pointee.clusterZone!.free(item.assumingMemoryBound(to: Mbuf.self).storage.pointee.buffer)
}

/// Of the mbuf that it is given; a cluster for none stays bare.
private func constructCluster(_ item: UnsafeMutableRawPointer, _ size: Int, _ argument: UnsafeMutableRawPointer?, _ wait: Int32) -> Int32 {
  guard !packets.isRefused else { return outOfMemory }
  argument?.assumingMemoryBound(to: Mbuf.self).attach(item, size: size, type: Cluster.type(size: size))
  return 0
}

/// An mbuf with no data; `data` is where some may begin, for want of which it is inside.
private func prepare(_ item: UnsafeMutableRawPointer, _ word: UInt32, _ wait: Int32, data: UnsafeMutableRawPointer?) {
  let mbuf = item.assumingMemoryBound(to: Mbuf.self)
  let hasHeader = word & MbufFlags.packetHeader.rawValue != 0
  mbuf.initialize(
    to: Mbuf(
      next: nil, nextPacket: nil, data: data ?? item + (hasHeader ? Mbuf.storageOffset : Mbuf.headerOffset), bytes: 0, word: word))
  if hasHeader { mbuf.header.initialize(to: .empty) }
  PacketProbe.initialized(mbuf, wait)
}

private var outOfMemory: Int32 { 12 }

extension UnsafeMutablePointer where Pointee == Mbuf {
  /// Whether it is as its zone made it, but for what the constructor sets.
  var hasPristineCluster: Bool {
    let what = storage.pointee
    return isExternal && what.type == .packet && what.free == nil && what.argument1 == nil && what.argument2 == nil
      && what.size == Cluster.size && what.count.isOne && UInt(bitPattern: what.count).roundedDown(to: UInt(Mbuf.size)) == raw.address
  }
}
