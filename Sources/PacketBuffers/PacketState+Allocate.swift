// SPDX-License-Identifier: BSD-2-Clause
//
// New mbufs, and chains of them. All are nil where memory is not to be had, which may not be with `.wait`; and then what was got on
// the way has been freed. Lengths are 0; the data pointer is at the start of the room.

import Pages
import Primitives
import Zones

extension UnsafeMutablePointer where Pointee == PacketState {
  /// An mbuf with room for 224 bytes; with the flag `packetHeader` for 168.
  @inline(__always)
  public func get(_ wait: WaitFlags = .noWait, type: MbufType = .data, flags: MbufFlags = .none) -> MbufPointer? {
    let mbuf = pointee.mbufZone!.allocate(wait, argument: mbufArgument(type, flags))?.assumingMemoryBound(to: Mbuf.self)
    PacketProbe.got(mbuf, wait, type, flags)
    return mbuf
  }

  /// The first mbuf of a packet.
  @inline(__always)
  public func getHeader(_ wait: WaitFlags = .noWait, type: MbufType = .data) -> MbufPointer? {
    get(wait, type: type, flags: .packetHeader)
  }

  /// An mbuf with a cluster, which is found in one cache, the cluster attached (L76): better than `get` and `attachCluster`.
  @inline(__always)
  public func getPacket(_ wait: WaitFlags = .noWait, type: MbufType = .data, flags: MbufFlags = .packetHeader) -> MbufPointer? {
    let mbuf = pointee.packetZone!.allocate(wait, argument: mbufArgument(type, flags))?.assumingMemoryBound(to: Mbuf.self)
    PacketProbe.gotPacket(mbuf, wait, type, flags)
    return mbuf
  }

  /// An mbuf with a cluster of one of the sizes in `Cluster`; the process ends where there is no such size.
  public func getJumbo(_ size: Int, _ wait: WaitFlags = .noWait, type: MbufType = .data, flags: MbufFlags = .packetHeader) -> MbufPointer? {
    let mbuf = size == Cluster.size ? getPacket(wait, type: type, flags: flags) : composeJumbo(size, wait, type, flags)
    PacketProbe.gotJumbo(mbuf, size, wait, type, flags)
    return mbuf
  }

  private func composeJumbo(_ size: Int, _ wait: WaitFlags, _ type: MbufType, _ flags: MbufFlags) -> MbufPointer? {
    guard let mbuf = get(wait, type: type, flags: flags) else { return nil }
    guard getCluster(size, wait, for: mbuf) != nil else {
      mbuf.free()
      return nil
    }
    return mbuf
  }

  /// The smallest mbuf that holds so many bytes in one piece; nil also where that is more than a page.
  public func getFitting(_ size: Int, _ wait: WaitFlags = .noWait, type: MbufType = .data, flags: MbufFlags = .none) -> MbufPointer? {
    if size <= (flags.contains(.packetHeader) ? Mbuf.roomWithHeader : Mbuf.room) { return get(wait, type: type, flags: flags) }
    if size <= Cluster.size { return getPacket(wait, type: type, flags: flags) }
    return size <= Cluster.page ? getJumbo(Cluster.page, wait, type: type, flags: flags) : nil
  }

  /// A cluster, attached to `mbuf`, which has no storage yet; or for nobody (see `MbufPointer.attachCluster`, `freeCluster`).
  public func getCluster(_ size: Int, _ wait: WaitFlags = .noWait, for mbuf: MbufPointer?) -> UnsafeMutableRawPointer? {
    let cluster = takeCluster(size, wait, for: mbuf)
    PacketProbe.gotCluster(cluster, size, wait, for: mbuf)
    return cluster
  }

  fileprivate func takeCluster(_ size: Int, _ wait: WaitFlags, for mbuf: MbufPointer?) -> UnsafeMutableRawPointer? {
    let zone = zone(of: Cluster.type(size: size))
    if let mbuf { demand(!mbuf.isExternal, "a cluster for an mbuf that has storage") }
    return zone.allocate(wait, argument: mbuf.map { $0.raw })
  }

  /// Frees a cluster that was got for nobody.
  public func freeCluster(_ cluster: UnsafeMutableRawPointer, size: Int) { zone(of: Cluster.type(size: size)).free(cluster) }

  /// Mbufs for `length` bytes behind `chain`; without one a new chain. Of the flags `packetHeader` counts for a new chain, and
  /// `endOfRecord`, which goes on the last mbuf and is taken from what was last. Nil where any of them is refused: then `chain` is
  /// as it was; so for a negative length, and one that no packet can have. For no bytes the answer is `chain` (T8).
  public func getChain(
    _ length: Int, _ wait: WaitFlags = .noWait, type: MbufType = .data, flags: MbufFlags = .packetHeader, after chain: MbufPointer? = nil
  ) -> MbufPointer? {
    guard length >= 0, length <= Mbuf.mostBytes else { return nil }
    var first: MbufPointer? = nil, last: MbufPointer? = nil
    var left = length
    var kind: MbufFlags = chain == nil && flags.contains(.packetHeader) ? .packetHeader : .none
    while left > 0 {
      // A jumbo cluster is a wish, the rest a must.
      var new = left > Cluster.size ? getJumbo(Cluster.page, .noWait, type: type, flags: kind) : nil
      if new == nil { new = left >= Mbuf.leastForCluster ? getPacket(wait, type: type, flags: kind) : get(wait, type: type, flags: kind) }
      guard let new else {
        first?.freeChain()
        return nil
      }
      left -= new.room
      if let last { last.pointee.next = new } else { first = new }
      last = new
      kind = .none
    }
    guard let first, let last else { return chain }
    if flags.contains(.endOfRecord) { last.flags.insert(.endOfRecord) }
    guard let chain else { return first }
    let before = chain.last
    before.pointee.next = first
    if flags.contains(.endOfRecord) { before.flags = before.flags.subtracting(.endOfRecord) }
    return chain
  }
}

extension UnsafeMutablePointer where Pointee == Mbuf {
  /// Gives an mbuf that has no storage a cluster of 2 KiB. Where there is none, those that wait in the packet zone, on whatever CPU, are
  /// given back first: a membarrier for each CPU that has some.
  public func attachCluster(_ wait: WaitFlags = .noWait) -> Bool {
    var isDone = packets.takeCluster(Cluster.size, wait, for: self) != nil
    if !isDone && !wait.maySleep && packets.drainPackets(ofAllCPUs: true) {
      isDone = packets.takeCluster(Cluster.size, wait, for: self) != nil
    }
    PacketProbe.attached(self, wait, isDone: isDone)
    return isDone
  }

  /// Gives it a cluster that was got for nobody.
  public func attachCluster(_ cluster: UnsafeMutableRawPointer, size: Int) {
    demand(!isExternal, "a cluster for an mbuf that has storage")
    attach(cluster, size: size, type: Cluster.type(size: size))
    PacketProbe.set(self, cluster, size)
  }

  /// Frees this mbuf; the rest of the chain is the answer: nil where item checks know that it is free, and the process goes on.
  @discardableResult
  public func free() -> MbufPointer? {
    PacketProbe.frees(self)
    guard !itemChecks.isOn || isHeld() else { return nil }
    let next = pointee.next
    if hasHeader { deleteTags() }
    if isExternal {
      releaseStorage()
    } else if !flags.contains(.notFreed) {
      packets.pointee.mbufZone!.free(self, argument: keepTags)
    }
    return next
  }

  /// While item checks are on a free mbuf is filled, and nothing may be done by what it says: whether somebody has it, as its slab knows;
  /// if not there is a report. MemGuard knows its own by itself. Neither a fill nor what an item was has the flag of what is no item.
  @inline(never)
  private func isHeld() -> Bool {
    if raw.address &- zoneGuards.pointee.start < zoneGuards.pointee.bytes { return true }
    let keg = packets.pointee.mbufZone!.pointee.keg
    return keg.isTaken(raw.address) || flags.contains(.notFreed) || keg.demandTaken(raw.address, "double free")
  }

  /// Frees the chain. Never waits, and may call who lent storage.
  public func freeChain() {
    PacketProbe.freesChain(self)
    var next: MbufPointer? = self
    while let mbuf = next { next = mbuf.free() }
  }
}
