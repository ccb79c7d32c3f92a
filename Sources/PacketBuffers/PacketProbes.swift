// SPDX-License-Identifier: BSD-2-Clause
//
// The probes of packet buffers (Exporters/ProbeList says when each fires). One that nobody watches is a look at its semaphore.

import CPacketProbes
import Primitives
import Zones

@inline(__always)
private func word(_ address: UnsafeMutableRawPointer?) -> UInt64 { UInt64(UInt(bitPattern: address)) }
@inline(__always)
private func word(_ mbuf: MbufPointer?) -> UInt64 { UInt64(UInt(bitPattern: mbuf)) }
@inline(__always)
private func word(_ wait: WaitFlags) -> UInt64 { wait.contains(.wait) ? 2 : 1 }

enum PacketProbe {
  @inline(__always)
  static func initialized(_ mbuf: MbufPointer, _ wait: Int32) {
    stave_m_init_probe(word(mbuf), word(WaitFlags(rawValue: wait)), UInt64(mbuf.type.rawValue), UInt64(mbuf.flags.rawValue))
  }

  @inline(__always)
  static func got(_ mbuf: MbufPointer?, _ wait: WaitFlags, _ type: MbufType, _ flags: MbufFlags) {
    if flags.contains(.packetHeader) {
      stave_m_gethdr_probe(word(wait), UInt64(type.rawValue), word(mbuf))
    } else {
      stave_m_get_probe(word(wait), UInt64(type.rawValue), word(mbuf))
    }
  }

  @inline(__always)
  static func gotPacket(_ mbuf: MbufPointer?, _ wait: WaitFlags, _ type: MbufType, _ flags: MbufFlags) {
    stave_m_getcl_probe(word(wait), UInt64(type.rawValue), UInt64(flags.rawValue), word(mbuf))
  }

  @inline(__always)
  static func gotJumbo(_ mbuf: MbufPointer?, _ size: Int, _ wait: WaitFlags, _ type: MbufType, _ flags: MbufFlags) {
    stave_m_getjcl_probe(word(wait), UInt64(type.rawValue), UInt64(flags.rawValue), UInt64(size), word(mbuf))
  }

  @inline(__always)
  static func attached(_ mbuf: MbufPointer, _ wait: WaitFlags, isDone: Bool) { stave_m_clget_probe(word(mbuf), word(wait), isDone ? 1 : 0) }

  @inline(__always)
  static func gotCluster(_ cluster: UnsafeMutableRawPointer?, _ size: Int, _ wait: WaitFlags, for mbuf: MbufPointer?) {
    stave_m_cljget_probe(word(mbuf), word(wait), UInt64(size), word(cluster))
  }

  @inline(__always)
  static func set(_ mbuf: MbufPointer, _ cluster: UnsafeMutableRawPointer, _ size: Int) { stave_m_cljset_probe(word(mbuf), word(cluster), UInt64(size)) }

  @inline(__always)
  static func frees(_ mbuf: MbufPointer) { stave_m_free_probe(word(mbuf)) }

  @inline(__always)
  static func freesChain(_ mbuf: MbufPointer) { stave_m_freem_probe(word(mbuf)) }
}
