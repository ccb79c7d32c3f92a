// SPDX-License-Identifier: BSD-2-Clause
//
// More bytes: before a chain, behind it, over it and beyond.

import Primitives
import Zones

extension UnsafeMutablePointer where Pointee == Mbuf {
  /// Makes room for `count` bytes before the data, and counts them in the packet's length: in the first mbuf if it has leading room,
  /// else in a new one. The new first mbuf; nil, and the whole chain is freed, where none is to be had or `count` is negative, or more
  /// than one holds.
  @inline(__always)
  public func prepend(_ count: Int, _ wait: WaitFlags = .noWait) -> MbufPointer? {
    let first: MbufPointer
    if UInt(bitPattern: count) <= UInt(bitPattern: leadingSpace) {
      pointee.data -= count
      length += count
      first = self
    } else {
      guard let new = prependMbuf(count, wait) else { return nil }
      first = new
    }
    if first.hasHeader { first.packetLength += count }
    return first
  }

  /// The same always with a new mbuf, and without counting: the packet header goes to it, and its bytes are the last that it has
  /// room for.
  public func prependMbuf(_ count: Int, _ wait: WaitFlags = .noWait) -> MbufPointer? {
    let fits = count >= 0 && count <= (hasHeader ? Mbuf.roomWithHeader : Mbuf.room)
    guard fits, let new = packets.get(wait, type: type, flags: hasHeader ? .packetHeader : .none) else {
      if fits { packets.noteFailedCopy() }
      freeChain()
      return nil
    }
    if hasHeader {
      new.moveHeader(from: self)
      new.flags = new.flags.subtracting(.readOnly)
    }
    new.align(count)
    new.length = count
    new.pointee.next = self
    return new
  }

  /// Writes bytes behind the chain's, into the last mbuf's room and new mbufs. False where memory ran out: what was written before
  /// stays, and the packet's length counts it. False, and nothing is written, for a negative count, or more than a packet can have.
  @discardableResult
  public func append(_ count: Int, from bytes: UnsafeRawPointer) -> Bool {
    guard count >= 0, count <= Mbuf.mostBytes - (hasHeader ? packetLength : 0) else { return false }
    var mbuf = last, done = 0
    while done < count {
      if mbuf.trailingSpace == 0 {
        guard let new = packets.get(.noWait, type: type) else { break }
        mbuf.pointee.next = new
        mbuf = new
      }
      let piece = Swift.min(mbuf.trailingSpace, count - done)
      mbuf.take(piece, from: bytes + done)
      done += piece
    }
    if hasHeader { packetLength += done }
    return done == count
  }

  /// Writes bytes over the chain's from `offset` on. The chain grows where it must, with zeros between its end and `offset`, and the
  /// packet's length with it. How many bytes were written: it ends early where memory does, or where data must not be changed
  /// because it is shared or read-only (see `unshare`). None for a negative bound, or an end where no packet can have one.
  @discardableResult
  public func copyBack(_ offset: Int, _ count: Int, from bytes: UnsafeRawPointer) -> Int {
    guard offset >= 0, count >= 0, offset <= Mbuf.mostBytes, count <= Mbuf.mostBytes - offset else { return 0 }
    var reached = 0, done = 0, mbuf = self
    // `reached` bytes lie before `mbuf`, whose data is filled up, where it is the last, as far as the bytes go.
    while true {
      let wanted = offset + count - reached
      if mbuf.pointee.next == nil && wanted > mbuf.length {
        let more = Swift.min(wanted - mbuf.length, mbuf.trailingSpace)
        mbuf.end.initializeMemory(as: UInt8.self, repeating: 0, count: more)
        mbuf.length += more
      }
      let place = offset + done - reached
      if done < count && place < mbuf.length {
        guard mbuf.isWritable else { break }
        let piece = Swift.min(mbuf.length - place, count - done)
        (mbuf.pointee.data + place).copyMemory(from: bytes + done, byteCount: piece)
        done += piece
      }
      if done == count && wanted <= mbuf.length { break }
      if mbuf.pointee.next == nil { mbuf.pointee.next = packets.get(.noWait, type: mbuf.type) }
      guard let next = mbuf.pointee.next else { break }
      reached += mbuf.length
      mbuf = next
    }
    if hasHeader { packetLength = Swift.max(packetLength, reached + mbuf.length) }
    return done
  }

  /// Puts another chain behind this one: small pieces into the room behind the last data, the rest as it is. A packet header of
  /// `other` goes. This packet's length stays as it is (see `concatenatePacket`).
  public func concatenate(_ other: MbufPointer) {
    if other.hasHeader { other.demote(all: false) }
    let end = last
    var next: MbufPointer? = other
    while let piece = next, piece.length <= end.trailingSpace, !end.flags.contains(.endOfRecord) {
      end.take(piece.length, from: piece.pointee.data)
      end.flags.insert(piece.flags.intersection(.endOfRecord))
      next = piece.free()
    }
    end.pointee.next = next
  }

  /// The same for two packets: the length is that of both.
  public func concatenatePacket(_ other: MbufPointer) {
    demand(hasHeader && other.hasHeader, "packets are put together that have no header")
    demand(other.packetLength <= Mbuf.mostBytes - packetLength, "packets are put together that are longer than one can be")
    packetLength += other.packetLength
    other.demote()
    concatenate(other)
  }
}
