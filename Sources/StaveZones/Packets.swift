// SPDX-License-Identifier: BSD-2-Clause
//
// stave_mbuf.h: the start of packet buffers, mbufs and clusters got and freed, limits, figures.

import CPlatform
import Heap
import Own
import PacketBuffers
import Zones

/// 1 when the six zones have been made, at the first request.
nonisolated(unsafe) private var hasZones: Int32 = 0

@inline(__always)
func hasPackets() -> Bool { stave_load32(&hasZones) != 0 || startPackets() }

/// One thread starts, others wait for it. A failed start is tried again by the next request.
@inline(never)
private func startPackets() -> Bool {
  guard isReady() else { return false }
  return Heap.alone {
    if stave_load32(&hasZones) == 0 && packets.start() {
      Heap.limitPackets()
      _ = stave_exchange32(&hasZones, 1)
    }
    return stave_load32(&hasZones) != 0
  }
}

@inline(__always)
private func kind(_ type: Int32) -> MbufType { MbufType(rawValue: UInt8(truncatingIfNeeded: type)) }

/// Where data lies is not for the caller to say.
@inline(__always)
func settable(_ flags: UInt32) -> MbufFlags { MbufFlags(rawValue: flags & 0xff_fefe) }

// MARK: - Mbufs

@_silgen_name("stave_m_get")
public func mGet(_ how: Int32, _ type: Int32) -> MbufPointer? {
  hasPackets() ? packets.get(WaitFlags(rawValue: how), type: kind(type)) : nil
}

@_silgen_name("stave_m_gethdr")
public func mGetHeader(_ how: Int32, _ type: Int32) -> MbufPointer? {
  hasPackets() ? packets.getHeader(WaitFlags(rawValue: how), type: kind(type)) : nil
}

@_silgen_name("stave_m_getcl")
public func mGetCluster(_ how: Int32, _ type: Int32, _ flags: UInt32) -> MbufPointer? {
  hasPackets() ? packets.getPacket(WaitFlags(rawValue: how), type: kind(type), flags: settable(flags)) : nil
}

@_silgen_name("stave_m_getjcl")
public func mGetJumbo(_ how: Int32, _ type: Int32, _ flags: UInt32, _ size: Int) -> MbufPointer? {
  hasPackets() ? packets.getJumbo(size, WaitFlags(rawValue: how), type: kind(type), flags: settable(flags)) : nil
}

@_silgen_name("stave_m_get2")
public func mGetFitting(_ size: Int, _ how: Int32, _ type: Int32, _ flags: UInt32) -> MbufPointer? {
  size >= 0 && hasPackets() ? packets.getFitting(size, WaitFlags(rawValue: how), type: kind(type), flags: settable(flags)) : nil
}

@_silgen_name("stave_m_getm2")
public func mGetChain(_ chain: MbufPointer?, _ length: Int, _ how: Int32, _ type: Int32, _ flags: UInt32) -> MbufPointer? {
  hasPackets() ? packets.getChain(length, WaitFlags(rawValue: how), type: kind(type), flags: settable(flags), after: chain) : nil
}

@_silgen_name("stave_m_getm")
public func mGetPacketChain(_ chain: MbufPointer?, _ length: Int, _ how: Int32, _ type: Int32) -> MbufPointer? {
  mGetChain(chain, length, how, type, MbufFlags.packetHeader.rawValue)
}

@_silgen_name("stave_m_free")
public func mFree(_ mbuf: MbufPointer?) -> MbufPointer? { mbuf?.free() }

@_silgen_name("stave_m_freem")
public func mFreeChain(_ chain: MbufPointer?) { chain?.freeChain() }

// MARK: - Clusters and storage of others

@_silgen_name("stave_m_clget")
public func mAttachCluster(_ mbuf: MbufPointer, _ how: Int32) -> Int32 { mbuf.attachCluster(WaitFlags(rawValue: how)) ? 1 : 0 }

@_silgen_name("stave_m_cljget")
public func mGetClusterOfSize(_ mbuf: MbufPointer?, _ how: Int32, _ size: Int) -> UnsafeMutableRawPointer? {
  hasPackets() ? packets.getCluster(size, WaitFlags(rawValue: how), for: mbuf) : nil
}

@_silgen_name("stave_m_cljset")
public func mSetCluster(_ mbuf: MbufPointer, _ cluster: UnsafeMutableRawPointer, _ size: Int) { mbuf.attachCluster(cluster, size: size) }

@_silgen_name("stave_m_cljfree")
public func mFreeCluster(_ cluster: UnsafeMutableRawPointer?, _ size: Int) {
  if let cluster { packets.freeCluster(cluster, size: size) }
}

/// Who takes storage back; the process ends where nobody does.
private func lender(_ free: StorageFree?) -> StorageFree {
  guard let free else { endProcess("storage lent that nobody takes back") }
  return free
}

@c(stave_m_extadd)
public func mExtAdd(
  _ mbuf: UnsafeMutableRawPointer, _ buffer: UnsafeMutableRawPointer, _ size: UInt32, _ free: StorageFree?,
  _ argument1: UnsafeMutableRawPointer?, _ argument2: UnsafeMutableRawPointer?, _ flags: UInt32, _ type: Int32
) {
  mbuf.assumingMemoryBound(to: Mbuf.self).lend(
    buffer, size: Int(size), type: StorageType(rawValue: UInt8(truncatingIfNeeded: type)), flags: settable(flags), free: lender(free),
    argument1, argument2)
}

@c(stave_m_extaddref)
public func mExtAddReferenced(
  _ mbuf: UnsafeMutableRawPointer, _ buffer: UnsafeMutableRawPointer, _ size: UInt32, _ count: UnsafeMutableRawPointer,
  _ free: StorageFree?, _ argument1: UnsafeMutableRawPointer?, _ argument2: UnsafeMutableRawPointer?, _ flags: UInt32
) {
  mbuf.assumingMemoryBound(to: Mbuf.self).lend(
    buffer, size: Int(size), count: count.assumingMemoryBound(to: ReferenceCount.self), flags: settable(flags), free: lender(free),
    argument1, argument2)
}

@_silgen_name("stave_m_dupcl")
public func mShare(_ mbuf: MbufPointer, _ other: MbufPointer) { mbuf.share(other) }

// MARK: - Limits and figures

private func limit(_ number: Int32) -> PacketLimit? {
  switch number {
  case 1: .mbufs
  case 2: .clusters
  case 3: .pages
  case 4: .nines
  case 5: .sixteens
  default: nil
  }
}

@_silgen_name("stave_mbuf_set_max")
public func mbufSetLimit(_ which: Int32, _ items: Int) -> Int32 {
  guard let limit = limit(which) else { return orInvalid(false) }
  guard hasPackets() else { return orNoMemory(false) }
  return orInvalid(packets.setLimit(limit, items))
}

@_silgen_name("stave_mbuf_get_max")
public func mbufLimit(_ which: Int32) -> Int {
  guard let limit = limit(which), hasPackets() else { return 0 }
  return packets.limit(limit)
}

@_silgen_name("stave_mbuf_set_max_bytes")
public func mbufSetLimits(_ bytes: Int) -> Int32 {
  hasPackets() ? orInvalid(packets.setLimits(bytes: bytes)) : orNoMemory(false)
}

@_silgen_name("stave_mbuf_get_stat")
public func mbufGetStatistics(_ result: UnsafeMutablePointer<PacketCounts>) -> Int32 {
  guard hasPackets() else { return orNoMemory(false) }
  result.initialize(to: PacketCounts(packets))
  return 0
}
