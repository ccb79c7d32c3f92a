// SPDX-License-Identifier: BSD-2-Clause
//
// A chain in two, and bytes taken off its ends.

import Primitives
import Zones

extension UnsafeMutablePointer where Pointee == Mbuf {
  /// Cuts the chain after `count` bytes. The tail; if this is a packet the tail is one, both lengths are right, and the tail says where
  /// the whole was received. Where the cut is inside external storage both share it. Nil, and everything is as it was (T7), where
  /// memory is not to be had, or the chain has fewer bytes; nil also where a chain without a header has nothing behind the cut.
  public func split(_ count: Int, _ wait: WaitFlags = .noWait) -> MbufPointer? {
    guard count >= 0 else { return nil }
    var mbuf = self, offset = count
    while offset > mbuf.length {
      offset -= mbuf.length
      guard let next = mbuf.pointee.next else { return nil }
      mbuf = next
    }
    guard hasHeader else {
      if offset < mbuf.length { return mbuf.splitMbuf(at: offset, wait, cutsChain: true) }
      let tail = mbuf.pointee.next
      mbuf.pointee.next = nil
      return tail
    }
    guard let tail = packets.getHeader(wait, type: type) else { return nil }
    let remaining = mbuf.length - offset
    if remaining > 0 && !mbuf.isExternal && remaining > Mbuf.roomWithHeader {
      // More than an mbuf with a header holds: the header goes before it, in an mbuf without data.
      guard let rest = mbuf.splitMbuf(at: offset, wait, cutsChain: true) else {
        tail.free()
        return nil
      }
      tail.pointee.next = rest
    } else if remaining > 0 {
      mbuf.cut(at: offset, into: tail)
    } else {
      tail.pointee.next = mbuf.pointee.next
      mbuf.pointee.next = nil
    }
    tail.header.pointee.receivedOn = header.pointee.receivedOn
    tail.packetLength = packetLength - count
    packetLength = count
    return tail
  }

  /// Cuts this mbuf in two; the new one is the answer, and is between this one and the rest; with `cutsChain` before the rest.
  func splitMbuf(at offset: Int, _ wait: WaitFlags = .noWait, cutsChain: Bool = false) -> MbufPointer? {
    guard let new = packets.get(wait, type: type) else { return nil }
    cut(at: offset, into: new)
    if !cutsChain { pointee.next = new }
    return new
  }

  /// Moves what is behind the cut, and the rest of the chain, to an empty mbuf, which has the room.
  private func cut(at offset: Int, into new: MbufPointer) {
    let remaining = length - offset
    if isExternal {
      new.share(self)
      new.pointee.data = pointee.data + offset
    } else {
      new.align(remaining)
      new.pointee.data.copyMemory(from: pointee.data + offset, byteCount: remaining)
    }
    new.length = remaining
    length = offset
    new.pointee.next = pointee.next
    pointee.next = nil
    if flags.contains(.endOfRecord) {
      flags = flags.subtracting(.endOfRecord)
      new.flags.insert(.endOfRecord)
    }
  }

  /// Takes bytes off: `count` at the head, which leaves emptied mbufs where they are; or, if negative, as many at the tail, where
  /// emptied mbufs are freed, but for the first. Of more than there are all go. The packet's length tells what is left.
  public func trim(by count: Int) {
    count < 0 ? trimTail(count == .min ? .max : -count) : trimHead(count)
  }

  private func trimHead(_ count: Int) {
    var left = count, next: MbufPointer? = self
    while let mbuf = next, left > 0 {
      let piece = Swift.min(left, mbuf.length)
      mbuf.drop(piece)
      left -= piece
      next = mbuf.pointee.next
    }
    if hasHeader { packetLength -= count - left }
  }

  private func trimTail(_ count: Int) {
    let whole = chainLength
    var left = Swift.max(0, whole - count), mbuf = self
    if hasHeader { packetLength -= whole - left }
    while mbuf.length < left, let next = mbuf.pointee.next {
      left -= mbuf.length
      mbuf = next
    }
    mbuf.length = Swift.min(mbuf.length, left)
    mbuf.pointee.next?.freeChain()
    mbuf.pointee.next = nil
  }
}
