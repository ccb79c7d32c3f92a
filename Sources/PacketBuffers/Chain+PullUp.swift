// SPDX-License-Identifier: BSD-2-Clause
//
// Bytes in one piece, so that a structure may be read there. Where it fails, for want of memory or because the chain has fewer
// bytes, the whole chain is freed: the caller has nothing left.

import Primitives
import Zones

/// As much as is pulled up at once, lest the next protocol has to do it again.
private var mostHeaderBytes: Int { 128 }

extension UnsafeMutablePointer where Pointee == Mbuf {
  /// The chain with its first `count` bytes in its first mbuf, at most 168. Where they are that already nothing is done (T20). Else
  /// a first mbuf with external storage is left and another put before it, which can be written.
  public func pullUp(_ count: Int) -> MbufPointer? {
    guard count >= 0 else { return fail() }
    if count <= length { return self }
    if !isExternal, isWritable, count <= length + trailingSpace, let rest = pointee.next {
      return fill(count, from: rest)
    }
    guard count <= Mbuf.roomWithHeader else { return fail() }
    return copyUp(count, leading: 0)
  }

  /// The same always into a new first mbuf, with `leading` bytes of room before them; `count` and `leading` together are at most 168.
  public func copyUp(_ count: Int, leading: Int) -> MbufPointer? {
    let most = Mbuf.roomWithHeader
    guard count >= 0, leading >= 0, leading <= most, count <= most - leading, let new = packets.get(.noWait, type: type) else {
      return fail()
    }
    if hasHeader {
      new.moveHeader(from: self)
      new.flags = new.flags.subtracting(.readOnly)
    }
    new.pointee.data += leading
    return new.fill(count, from: self)
  }

  private func fail<Result>() -> Result? {
    packets.noteFailedPullUp()
    freeChain()
    return nil
  }

  /// Takes bytes from `rest`, which becomes the rest of the chain, until this mbuf has `count`; what it empties is freed.
  private func fill(_ count: Int, from rest: MbufPointer) -> MbufPointer? {
    var next: MbufPointer? = rest
    pointee.next = rest
    while let mbuf = next, length < count {
      let piece = Swift.min(Swift.max(count - length, mostHeaderBytes), Swift.min(trailingSpace, mbuf.length))
      take(piece, from: mbuf.pointee.data)
      mbuf.drop(piece)
      if mbuf.length == 0 { next = mbuf.free() }
      pointee.next = next
    }
    return length >= count ? self : fail()
  }

  /// Makes the bytes from `offset` to `offset + count`, at most 2,048, one piece, and leaves what is before them as it is. Where
  /// they are then; the chain begins with the mbuf that it began with. With `atStart` they are the first bytes of their mbuf.
  public func pullDown(_ offset: Int, _ count: Int, atStart: Bool = false) -> ChainPlace? {
    guard offset >= 0, count >= 0, count <= Cluster.size, var place = locate(offset) else { return fail() }
    // At the end of an mbuf the bytes are in the next that has any.
    while place.offset == place.mbuf.length, let next = place.mbuf.pointee.next { place = ChainPlace(mbuf: next, offset: 0) }
    let mbuf = place.mbuf, head = mbuf.length - place.offset, tail = count - head
    if tail <= 0 {
      if place.offset == 0 || !atStart { return place }
      guard let split = mbuf.splitMbuf(at: place.offset) else { return fail() }
      return ChainPlace(mbuf: split, offset: 0)
    }
    guard let rest = mbuf.pointee.next, rest.chainLength >= tail else { return fail() }
    if (place.offset == 0 || !atStart) && mbuf.trailingSpace >= tail {
      rest.copyData(0, tail, to: mbuf.end)
      mbuf.length += tail
      rest.trim(by: tail)
      return place
    }
    if rest.length >= tail && rest.leadingSpace >= head {
      rest.pointee.data -= head
      rest.length += head
      rest.pointee.data.copyMemory(from: mbuf.pointee.data + place.offset, byteCount: head)
      mbuf.length -= head
      return ChainPlace(mbuf: rest, offset: 0)
    }
    guard let new = count > Mbuf.room ? packets.getPacket(.noWait, type: type, flags: .none) : packets.get(.noWait, type: type) else {
      return fail()
    }
    new.take(head, from: mbuf.pointee.data + place.offset)
    rest.copyData(0, tail, to: new.end)
    new.length += tail
    mbuf.length -= head
    rest.trim(by: tail)
    new.pointee.next = rest
    mbuf.pointee.next = new
    return ChainPlace(mbuf: new, offset: 0)
  }
}
