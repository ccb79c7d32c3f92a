// SPDX-License-Identifier: BSD-2-Clause
//
// The same bytes in fewer mbufs, or in mbufs that may be written.

import Primitives
import Zones

extension UnsafeMutablePointer where Pointee == Mbuf {
  /// The packet in as few clusters of 2 KiB as hold it; the original is freed. A chain without a header stays as it is. Nil, and the
  /// original is as it was, where memory is not to be had.
  public func defragment(_ wait: WaitFlags = .noWait) -> MbufPointer? {
    guard hasHeader else { return self }
    guard let new = copyBytes(chainLength, leading: 0, wait) else { return nil }
    freeChain()
    return new
  }

  /// The chain in at most `most` mbufs: first by moving bytes into the room of the mbuf before, then pairs of mbufs into clusters. The
  /// first mbuf stays the first. Nil where there is no such way, or no memory: then the chain is still whole, but some of it may
  /// have moved together.
  public func collapse(_ most: Int, _ wait: WaitFlags = .noWait) -> MbufPointer? {
    var count = 1, end = self
    while let next = end.pointee.next {
      count += 1
      end = next
    }
    let most = Swift.max(most, 0)
    while count > most {
      count -= mergeIntoRoom(atMost: count - most)
      if count <= most { break }
      guard mergePair(wait) else { return nil }
      count -= 1
    }
    return self
  }

  /// Moves mbufs' data into writable room before them; how many mbufs that saved.
  private func mergeIntoRoom(atMost most: Int) -> Int {
    var saved = 0, mbuf = self
    while saved < most, let next = mbuf.pointee.next {
      if mbuf.isWritable && next.length <= mbuf.trailingSpace {
        mbuf.take(next.length, from: next.pointee.data)
        mbuf.flags.insert(next.flags.intersection(.endOfRecord))
        mbuf.pointee.next = next.free()
        saved += 1
      } else {
        mbuf = next
      }
    }
    return saved
  }

  /// Moves the first pair behind this mbuf that a cluster holds into one; false where there is none, or no cluster.
  private func mergePair(_ wait: WaitFlags) -> Bool {
    var before = self
    while let one = before.pointee.next, let two = one.pointee.next {
      if one.length + two.length <= Cluster.size {
        guard let new = packets.getPacket(wait, type: type, flags: .none) else { return false }
        new.take(one.length, from: one.pointee.data)
        new.take(two.length, from: two.pointee.data)
        new.flags.insert(one.flags.union(two.flags).intersection(.endOfRecord))
        new.pointee.next = two.pointee.next
        before.pointee.next = new
        one.free()
        two.free()
        return true
      }
      before = one
    }
    return false
  }

  /// The chain with every mbuf writable: what is shared or read-only is copied to clusters, and small pieces move into the room before
  /// them. Nil, and the chain is freed, where memory is not to be had.
  public func unshare(_ wait: WaitFlags = .noWait) -> MbufPointer? {
    var first = self, before: MbufPointer? = nil, next: MbufPointer? = self
    while let mbuf = next {
      if let before, mbuf.length <= before.trailingSpace, !before.flags.contains(.endOfRecord) {
        before.take(mbuf.length, from: mbuf.pointee.data)
        before.flags.insert(mbuf.flags.intersection(.endOfRecord))
        before.pointee.next = mbuf.free()
        next = before.pointee.next
        continue
      }
      var own = mbuf
      if !mbuf.isWritable {
        guard let copy = mbuf.ownCopy(wait) else {
          first.freeChain()
          return nil
        }
        own = copy.last
        own.pointee.next = mbuf.free()
        if let before { before.pointee.next = copy } else { first = copy }
      }
      before = own
      next = own.pointee.next
    }
    return first
  }

  /// This mbuf's data in new ones, to which a packet header moves; nil, and it is as it was, if there are none.
  private func ownCopy(_ wait: WaitFlags) -> MbufPointer? {
    var copies = Copies(first: nil, last: nil), done = 0
    repeat {
      let isFirst = copies.first == nil && hasHeader, left = length - done
      let kind: MbufFlags = isFirst ? .packetHeader : .none, room = isFirst ? Mbuf.roomWithHeader : Mbuf.room
      guard let new = left > room ? packets.getPacket(wait, type: type, flags: kind) : packets.get(wait, type: type, flags: kind) else {
        copies.first?.freeChain()
        return nil
      }
      copies.add(new)
      let piece = Swift.min(left, new.trailingSpace)
      new.take(piece, from: pointee.data + done)
      done += piece
    } while done < length
    guard let first = copies.first, let last = copies.last else { return nil }
    if hasHeader {
      first.moveHeader(from: self)
      first.flags = first.flags.subtracting(.readOnly)
    }
    last.flags.insert(flags.intersection(.endOfRecord))
    return first
  }
}
