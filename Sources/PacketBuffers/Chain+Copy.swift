// SPDX-License-Identifier: BSD-2-Clause
//
// Copies of chains: by sharing what lies in external storage, which then is read-only for both, or of every byte. Where memory is not
// to be had the new part is freed, the original is as it was, and the answer is nil.

import Primitives
import Zones

extension UnsafeMutablePointer where Pointee == Mbuf {
  /// For `copy`: up to the chain's end.
  public static var all: Int { 1_000_000_000 }

  /// A chain with the bytes from `offset` to `offset + count`: external storage is shared, what is inside mbufs copied. From the
  /// start of a packet it is a packet, with a copy of the header. Nil also for no mbufs; a range beyond the end ends the process.
  public func copy(_ offset: Int, _ count: Int, _ wait: WaitFlags = .noWait) -> MbufPointer? {
    demand(offset >= 0 && count >= 0, "a range of a chain with a negative bound")
    let isPacket = offset == 0 && hasHeader
    var next: MbufPointer? = self, skip = offset
    while let mbuf = next, skip > 0, skip >= mbuf.length {
      skip -= mbuf.length
      next = mbuf.pointee.next
    }
    demand(skip == 0 || next != nil, "a range reaches beyond the end of a chain")
    var copies = Copies(first: nil, last: nil), left = count
    while left > 0, let mbuf = next {
      let isFirst = copies.first == nil && isPacket
      guard let new = mbuf.copyMbuf(skip, Swift.min(left, mbuf.length - skip), wait, withHeader: isFirst) else {
        copies.first?.freeChain()
        packets.noteFailedCopy()
        return nil
      }
      if isFirst && count != Self.all { new.packetLength = count }
      copies.add(new)
      left -= new.length
      skip = 0
      next = mbuf.pointee.next
    }
    demand(left == 0 || count == Self.all, "a range reaches beyond the end of a chain")
    return copies.first
  }

  /// The whole packet, as `copy` does; the first mbuf keeps its leading room.
  public func copyPacket(_ wait: WaitFlags = .noWait) -> MbufPointer? {
    guard let first = copyMbuf(0, length, wait, withHeader: hasHeader, keepsPlace: true) else {
      packets.noteFailedCopy()
      return nil
    }
    guard let rest = pointee.next else { return first }
    guard let copy = rest.copy(0, Self.all, wait) else {
      first.freeChain()
      return nil
    }
    first.pointee.next = copy
    return first
  }

  /// A mbuf with a piece of this one's data, shared or its own.
  @inline(never)
  private func copyMbuf(_ offset: Int, _ count: Int, _ wait: WaitFlags, withHeader: Bool, keepsPlace: Bool = false) -> MbufPointer? {
    guard let new = packets.get(wait, type: type) else { return nil }
    if withHeader {
      guard new.copyHeader(from: self, wait) else {
        new.free()
        return nil
      }
      new.flags = new.flags.subtracting(.readOnly)
    }
    if isExternal {
      new.share(self)
      new.pointee.data += offset
    } else {
      // Without a header there is as much room and more.
      if keepsPlace { new.pointee.data = new.roomStart + (pointee.data - roomStart) }
      new.pointee.data.copyMemory(from: pointee.data + offset, byteCount: count)
    }
    new.length = count
    return new
  }

  /// A copy of every byte of a packet, in clusters where it is long, all of it writable; the first mbuf keeps its leading room, up to
  /// 64 bytes. For packets only: nil without a header.
  public func duplicate(_ wait: WaitFlags = .noWait) -> MbufPointer? {
    guard hasHeader else { return nil }
    let leading = Swift.min(64, pointee.data - roomStart)
    return copyBytes(chainLength, leading: leading, wait)
  }

  /// A packet with this one's header and first bytes, in as few mbufs as have clusters of 2 KiB.
  func copyBytes(_ count: Int, leading: Int, _ wait: WaitFlags) -> MbufPointer? {
    var copies = Copies(first: nil, last: nil), done = 0
    while done < count || copies.first == nil {
      let isFirst = copies.first == nil, before = isFirst ? leading : 0
      let wanted = count - done + before, room = isFirst ? Mbuf.roomWithHeader : Mbuf.room
      let kind: MbufFlags = isFirst ? .packetHeader : .none
      let new = wanted > room ? packets.getPacket(wait, type: type, flags: kind) : packets.get(wait, type: type, flags: kind)
      guard let new else {
        copies.first?.freeChain()
        packets.noteFailedCopy()
        return nil
      }
      copies.add(new)
      if isFirst {
        guard new.copyHeader(from: self, wait) else {
          new.free()
          packets.noteFailedCopy()
          return nil
        }
        new.flags = new.flags.subtracting(.readOnly)
        new.packetLength = count
        new.pointee.data += before
      }
      let piece = Swift.min(count - done, new.trailingSpace)
      copyData(done, piece, to: new.pointee.data)
      new.length = piece
      done += piece
    }
    return copies.first
  }
}

/// A chain as it is made.
struct Copies {
  var first: MbufPointer?
  var last: MbufPointer?

  mutating func add(_ mbuf: MbufPointer) {
    if let last { last.pointee.next = mbuf } else { first = mbuf }
    last = mbuf
  }
}
