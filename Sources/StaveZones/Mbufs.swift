// SPDX-License-Identifier: BSD-2-Clause
//
// stave_mbuf.h: one mbuf, its parts and its packet header; tags.

import PacketBuffers
import Primitives
import Zones

@_silgen_name("stave_m_data")
public func mData(_ mbuf: MbufPointer) -> UnsafeMutableRawPointer { mbuf.pointee.data }

@_silgen_name("stave_m_len")
public func mLength(_ mbuf: MbufPointer) -> Int { mbuf.length }

@_silgen_name("stave_m_set_data")
public func mSetData(_ mbuf: MbufPointer, _ data: UnsafeMutableRawPointer, _ length: Int) { mbuf.setData(data, length) }

@_silgen_name("stave_m_next")
public func mNext(_ mbuf: MbufPointer) -> MbufPointer? { mbuf.pointee.next }

@_silgen_name("stave_m_set_next")
public func mSetNext(_ mbuf: MbufPointer, _ next: MbufPointer?) { mbuf.pointee.next = next }

@_silgen_name("stave_m_nextpkt")
public func mNextPacket(_ mbuf: MbufPointer) -> MbufPointer? { mbuf.pointee.nextPacket }

@_silgen_name("stave_m_last")
public func mLast(_ chain: MbufPointer) -> MbufPointer { chain.last }

@_silgen_name("stave_m_flags")
public func mFlags(_ mbuf: MbufPointer) -> UInt32 { mbuf.flags.rawValue }

/// What says where data lies, and whether there is a header, stays.
@_silgen_name("stave_m_set_flags")
public func mSetFlags(_ mbuf: MbufPointer, _ set: UInt32, _ clear: UInt32) {
  let fixed = MbufFlags.external.union(.packetHeader).union(.notFreed).rawValue
  mbuf.flags = MbufFlags(rawValue: mbuf.flags.rawValue & ~(clear & ~fixed) | set & ~fixed & 0xff_ffff)
}

@_silgen_name("stave_m_type")
public func mType(_ mbuf: MbufPointer) -> Int32 { Int32(mbuf.type.rawValue) }

@_silgen_name("stave_m_start")
public func mStart(_ mbuf: MbufPointer) -> UnsafeMutableRawPointer { mbuf.roomStart }

@_silgen_name("stave_m_size")
public func mSize(_ mbuf: MbufPointer) -> Int { mbuf.room }

@_silgen_name("stave_m_writable")
public func mIsWritable(_ mbuf: MbufPointer) -> Int32 { mbuf.isWritable ? 1 : 0 }

@_silgen_name("stave_m_leadingspace")
public func mLeadingSpace(_ mbuf: MbufPointer) -> Int { mbuf.leadingSpace }

@_silgen_name("stave_m_trailingspace")
public func mTrailingSpace(_ mbuf: MbufPointer) -> Int { mbuf.trailingSpace }

@_silgen_name("stave_m_align")
public func mAlign(_ mbuf: MbufPointer, _ count: Int) { mbuf.align(count) }

// MARK: - Packet headers

@_silgen_name("stave_m_pkthdr")
public func mHeader(_ mbuf: MbufPointer) -> UnsafeMutablePointer<PacketHeader>? { mbuf.hasHeader ? mbuf.header : nil }

@_silgen_name("stave_m_move_pkthdr")
public func mMoveHeader(_ to: MbufPointer, _ from: MbufPointer) { to.moveHeader(from: from) }

@_silgen_name("stave_m_dup_pkthdr")
public func mCopyHeader(_ to: MbufPointer, _ from: MbufPointer, _ how: Int32) -> Int32 {
  to.copyHeader(from: from, WaitFlags(rawValue: how)) ? 1 : 0
}

@_silgen_name("stave_m_demote")
public func mDemote(_ chain: MbufPointer, _ all: Int32) { chain.demote(all: all != 0) }

@_silgen_name("stave_m_fixhdr")
public func mFixHeader(_ packet: MbufPointer) -> Int { packet.fixHeader() }

// MARK: - Tags

@_silgen_name("stave_m_tag_alloc")
public func mTagAlloc(_ cookie: UInt32, _ id: UInt32, _ length: Int, _ how: Int32) -> PacketTagPointer? {
  guard hasPackets() else { return nil }
  return packets.getTag(id: UInt16(truncatingIfNeeded: id), cookie: cookie, length: length, WaitFlags(rawValue: how))
}

@_silgen_name("stave_m_tag_free")
public func mTagFree(_ tag: PacketTagPointer?) {
  if let tag { packets.freeTag(tag) }
}

@_silgen_name("stave_m_tag_data")
public func mTagData(_ tag: PacketTagPointer) -> UnsafeMutableRawPointer { tag.bytes }

@_silgen_name("stave_m_tag_prepend")
public func mTagPrepend(_ packet: MbufPointer, _ tag: PacketTagPointer) { packet.prependTag(tag) }

@_silgen_name("stave_m_tag_locate")
public func mTagLocate(_ packet: MbufPointer, _ cookie: UInt32, _ id: UInt32, _ after: PacketTagPointer?) -> PacketTagPointer? {
  packet.findTag(id: UInt16(truncatingIfNeeded: id), cookie: cookie, after: after)
}

@_silgen_name("stave_m_tag_unlink")
public func mTagUnlink(_ packet: MbufPointer, _ tag: PacketTagPointer) { packet.unlinkTag(tag) }

@_silgen_name("stave_m_tag_delete")
public func mTagDelete(_ packet: MbufPointer, _ tag: PacketTagPointer) { packet.deleteTag(tag) }

@_silgen_name("stave_m_tag_delete_chain")
public func mTagDeleteAll(_ packet: MbufPointer) { packet.deleteTags() }

@_silgen_name("stave_m_tag_delete_nonpersistent")
public func mTagDeleteTransient(_ packet: MbufPointer) { packet.deleteTransientTags() }

@_silgen_name("stave_m_tag_copy")
public func mTagCopy(_ tag: PacketTagPointer, _ how: Int32) -> PacketTagPointer? { packets.copyTag(tag, WaitFlags(rawValue: how)) }

@_silgen_name("stave_m_tag_copy_chain")
public func mTagCopyChain(_ to: MbufPointer, _ from: MbufPointer, _ how: Int32) -> Int32 {
  to.copyTags(from: from, WaitFlags(rawValue: how)) ? 1 : 0
}
