// SPDX-License-Identifier: BSD-2-Clause
//
// stave_mbuf.h: chains, transfers and queues.

import PacketBuffers
import Zones

@_silgen_name("stave_m_prepend")
public func mPrepend(_ chain: MbufPointer, _ count: Int, _ how: Int32) -> MbufPointer? { chain.prepend(count, WaitFlags(rawValue: how)) }

@_silgen_name("stave_m_pullup")
public func mPullUp(_ chain: MbufPointer, _ count: Int) -> MbufPointer? { chain.pullUp(count) }

@_silgen_name("stave_m_copyup")
public func mCopyUp(_ chain: MbufPointer, _ count: Int, _ leading: Int) -> MbufPointer? { chain.copyUp(count, leading: leading) }

/// Without a place for the offset the bytes are to begin an mbuf.
@_silgen_name("stave_m_pulldown")
public func mPullDown(_ chain: MbufPointer, _ offset: Int, _ count: Int, _ result: UnsafeMutablePointer<Int>?) -> MbufPointer? {
  guard let place = chain.pullDown(offset, count, atStart: result == nil) else { return nil }
  result?.pointee = place.offset
  return place.mbuf
}

@_silgen_name("stave_m_split")
public func mSplit(_ chain: MbufPointer, _ count: Int, _ how: Int32) -> MbufPointer? { chain.split(count, WaitFlags(rawValue: how)) }

@_silgen_name("stave_m_copym")
public func mCopy(_ chain: MbufPointer, _ offset: Int, _ count: Int, _ how: Int32) -> MbufPointer? {
  chain.copy(offset, count, WaitFlags(rawValue: how))
}

@_silgen_name("stave_m_copypacket")
public func mCopyPacket(_ packet: MbufPointer, _ how: Int32) -> MbufPointer? { packet.copyPacket(WaitFlags(rawValue: how)) }

@_silgen_name("stave_m_dup")
public func mDuplicate(_ packet: MbufPointer, _ how: Int32) -> MbufPointer? { packet.duplicate(WaitFlags(rawValue: how)) }

@_silgen_name("stave_m_defrag")
public func mDefragment(_ packet: MbufPointer, _ how: Int32) -> MbufPointer? { packet.defragment(WaitFlags(rawValue: how)) }

@_silgen_name("stave_m_collapse")
public func mCollapse(_ chain: MbufPointer, _ how: Int32, _ most: Int) -> MbufPointer? {
  // More mbufs than a chain can have are any number.
  chain.collapse(most < 0 ? .max : most, WaitFlags(rawValue: how))
}

@_silgen_name("stave_m_unshare")
public func mUnshare(_ chain: MbufPointer, _ how: Int32) -> MbufPointer? { chain.unshare(WaitFlags(rawValue: how)) }

@_silgen_name("stave_m_adj")
public func mTrim(_ chain: MbufPointer, _ count: Int) { chain.trim(by: count) }

@_silgen_name("stave_m_cat")
public func mConcatenate(_ chain: MbufPointer, _ other: MbufPointer) { chain.concatenate(other) }

@_silgen_name("stave_m_catpkt")
public func mConcatenatePacket(_ packet: MbufPointer, _ other: MbufPointer) { packet.concatenatePacket(other) }

@_silgen_name("stave_m_copydata")
public func mCopyData(_ chain: MbufPointer, _ offset: Int, _ count: Int, _ buffer: UnsafeMutableRawPointer) {
  chain.copyData(offset, count, to: buffer)
}

/// What is called gets its argument, the piece, and its length.
public typealias MbufVisitor = @convention(c) (
  _ argument: UnsafeMutableRawPointer?, _ data: UnsafeMutableRawPointer, _ length: Int
) -> Int32

@_silgen_name("stave_m_apply")
public func mApply(
  _ chain: MbufPointer, _ offset: Int, _ count: Int, _ visitor: MbufVisitor, _ argument: UnsafeMutableRawPointer?
) -> Int32 {
  chain.apply(offset, count) { visitor(argument, $0, $1) }
}

@_silgen_name("stave_m_getptr")
public func mLocate(_ chain: MbufPointer, _ offset: Int, _ result: UnsafeMutablePointer<Int>) -> MbufPointer? {
  guard offset >= 0, let place = chain.locate(offset) else { return nil }
  result.pointee = place.offset
  return place.mbuf
}

@_silgen_name("stave_m_length")
public func mChainLength(_ chain: MbufPointer?) -> Int { chain?.chainLength ?? 0 }

@_silgen_name("stave_m_copyback")
public func mCopyBack(_ chain: MbufPointer, _ offset: Int, _ count: Int, _ bytes: UnsafeRawPointer) -> Int {
  chain.copyBack(offset, count, from: bytes)
}

@_silgen_name("stave_m_append")
public func mAppend(_ chain: MbufPointer, _ count: Int, _ bytes: UnsafeRawPointer) -> Int32 {
  chain.append(count, from: bytes) ? 1 : 0
}

@_silgen_name("stave_m_sanity")
public func mSanity(_ chain: MbufPointer, _ repairing: Int32) -> Int32 { chain.sanity(repairing: repairing != 0) ? 1 : 0 }

// MARK: - Transfers

@_silgen_name("stave_m_devget")
public func mGetCopy(_ bytes: UnsafeRawPointer, _ count: Int, _ offset: Int, _ receivedOn: UInt, _ copy: DeviceCopy?) -> MbufPointer? {
  hasPackets() ? packets.getCopy(of: bytes, count, offset: offset, receivedOn: receivedOn, copy: copy) : nil
}

@_silgen_name("stave_m_uio_init")
public func mTransferInit(_ transfer: UnsafeMutablePointer<Transfer>, _ pieces: UnsafePointer<MemoryPiece>, _ count: Int) {
  transfer.initialize(to: Transfer(pieces, count: count))
}

@_silgen_name("stave_m_uiotombuf")
public func mGather(
  _ transfer: UnsafeMutablePointer<Transfer>, _ how: Int32, _ length: Int, _ leading: Int, _ flags: UInt32
) -> MbufPointer? {
  guard hasPackets() else { return nil }
  return packets.gather(&transfer.pointee, length: length, leading: leading, WaitFlags(rawValue: how), flags: settable(flags))
}

@_silgen_name("stave_m_mbuftouio")
public func mScatter(_ transfer: UnsafeMutablePointer<Transfer>, _ chain: MbufPointer, _ length: Int) -> Int {
  chain.scatter(to: &transfer.pointee, length: length)
}

// MARK: - Queues

@_silgen_name("stave_mbufq_init")
public func queueInit(_ queue: UnsafeMutablePointer<PacketQueue>, _ most: Int) { queue.initialize(to: PacketQueue(most: most)) }

@_silgen_name("stave_mbufq_first")
public func queueFirst(_ queue: UnsafeMutablePointer<PacketQueue>) -> MbufPointer? { queue.pointee.first }

@_silgen_name("stave_mbufq_last")
public func queueLast(_ queue: UnsafeMutablePointer<PacketQueue>) -> MbufPointer? { queue.pointee.last }

@_silgen_name("stave_mbufq_len")
public func queueCount(_ queue: UnsafeMutablePointer<PacketQueue>) -> Int { queue.pointee.count }

@_silgen_name("stave_mbufq_full")
public func queueIsFull(_ queue: UnsafeMutablePointer<PacketQueue>) -> Int32 { queue.pointee.isFull ? 1 : 0 }

/// 0, or ENOBUFS.
@_silgen_name("stave_mbufq_enqueue")
public func queueEnqueue(_ queue: UnsafeMutablePointer<PacketQueue>, _ packet: MbufPointer) -> Int32 {
  queue.pointee.enqueue(packet) ? 0 : 105
}

@_silgen_name("stave_mbufq_dequeue")
public func queueDequeue(_ queue: UnsafeMutablePointer<PacketQueue>) -> MbufPointer? { queue.pointee.dequeue() }

@_silgen_name("stave_mbufq_prepend")
public func queuePrepend(_ queue: UnsafeMutablePointer<PacketQueue>, _ packet: MbufPointer) { queue.pointee.prepend(packet) }

@_silgen_name("stave_mbufq_concat")
public func queueConcatenate(_ queue: UnsafeMutablePointer<PacketQueue>, _ other: UnsafeMutablePointer<PacketQueue>) {
  queue.pointee.concatenate(&other.pointee)
}

@_silgen_name("stave_mbufq_flush")
public func queueFlush(_ queue: UnsafeMutablePointer<PacketQueue>) -> MbufPointer? { queue.pointee.flush() }

@_silgen_name("stave_mbufq_drain")
public func queueDrain(_ queue: UnsafeMutablePointer<PacketQueue>) { queue.pointee.drain() }
