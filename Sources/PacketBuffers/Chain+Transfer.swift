// SPDX-License-Identifier: BSD-2-Clause
//
// Between chains and memory in pieces, as readv and writev have it; and from a device's buffer.

import Primitives
import Zones

/// A piece of memory: laid out as struct iovec.
public struct MemoryPiece {
  public var start: UnsafeMutableRawPointer?
  public var count: Int

  public init(start: UnsafeMutableRawPointer?, count: Int) { (self.start, self.count) = (start, count) }
}

/// Pieces of memory that are read or written one behind the other, and how far that has come: uio(9).
public struct Transfer {
  var piece: UnsafePointer<MemoryPiece>
  var offset = 0
  /// Bytes that are left.
  public private(set) var remaining = 0

  /// Of `count` pieces, which stay where they are. The process ends where one is negative or nowhere, or all are more than `Int.max`.
  public init(_ pieces: UnsafePointer<MemoryPiece>, count: Int) {
    piece = pieces
    demand(count >= 0, "a transfer of a negative number of pieces")
    for index in 0..<count {
      let piece = pieces[index]
      demand(piece.count == 0 || piece.count > 0 && piece.start != nil, "a transfer with a piece that is no memory")
      demand(piece.count <= Int.max - remaining, "a transfer of more bytes than there can be")
      remaining += piece.count
    }
  }

  /// The next bytes in one piece, at most `most` and at least one; they count as transferred. Some are left.
  mutating func next(_ most: Int) -> MemoryPiece {
    while offset == piece.pointee.count {
      piece += 1
      offset = 0
    }
    let count = Swift.min(most, piece.pointee.count - offset)
    let start = piece.pointee.start! + offset
    offset += count
    remaining -= count
    return MemoryPiece(start: start, count: count)
  }
}

/// Copies from a device's memory, where that is not plain reading; `from` goes on from piece to piece.
public typealias DeviceCopy = @convention(c) (_ from: UnsafeRawPointer, _ to: UnsafeMutableRawPointer, _ count: Int) -> Void

extension UnsafeMutablePointer where Pointee == PacketState {
  /// A chain with the next bytes of a transfer, `length` of them or all for 0, with `leading` bytes of room before, less than 168. A
  /// packet if the flags say so. Nil, and nothing is transferred, where memory is not to be had.
  public func gather(
    _ transfer: inout Transfer, length: Int = 0, leading: Int = 0, _ wait: WaitFlags = .noWait, flags: MbufFlags = .packetHeader
  ) -> MbufPointer? {
    let total = length > 0 ? Swift.min(length, transfer.remaining) : transfer.remaining
    guard leading >= 0, leading < Mbuf.roomWithHeader, total <= Mbuf.mostBytes,
      let chain = getChain(Swift.max(total + leading, 1), wait, flags: flags)
    else { return nil }
    chain.pointee.data += leading
    var left = total, next: MbufPointer? = chain
    while let mbuf = next, left > 0 {
      while left > 0 && mbuf.trailingSpace > 0 {
        let piece = transfer.next(Swift.min(left, mbuf.trailingSpace))
        mbuf.take(piece.count, from: piece.start!)
        left -= piece.count
      }
      next = mbuf.pointee.next
    }
    if chain.hasHeader { chain.packetLength = total }
    return chain
  }

  /// A packet with a device's bytes, `offset` bytes of room before them, at most 168; short ones leave room for a link header as
  /// well. Nil where memory is not to be had.
  public func getCopy(
    of bytes: UnsafeRawPointer, _ count: Int, offset: Int = 0, receivedOn: UInt = 0, copy: DeviceCopy? = nil
  ) -> MbufPointer? {
    guard offset >= 0, offset <= Mbuf.roomWithHeader, count >= 0, count <= Mbuf.mostBytes else { return nil }
    var copies = Copies(first: nil, last: nil), done = 0
    repeat {
      let isFirst = copies.first == nil, before = isFirst ? offset : 0, wanted = count - done + before
      let kind: MbufFlags = isFirst ? .packetHeader : .none
      let new = wanted >= Mbuf.leastForCluster ? getPacket(.noWait, flags: kind) : get(.noWait, flags: kind)
      guard let new else {
        copies.first?.freeChain()
        return nil
      }
      copies.add(new)
      if isFirst {
        new.header.pointee.receivedOn = receivedOn
        new.packetLength = count
        new.pointee.data += wanted + linkHeaderBytes <= Mbuf.roomWithHeader ? before + linkHeaderBytes : before
      }
      let piece = Swift.min(new.trailingSpace, count - done)
      if let copy { copy(bytes + done, new.pointee.data, piece) } else { new.pointee.data.copyMemory(from: bytes + done, byteCount: piece) }
      new.length = piece
      done += piece
    } while done < count
    return copies.first
  }
}

/// Room for an Ethernet header, so that what follows it is aligned.
private var linkHeaderBytes: Int { 16 }

extension UnsafeMutablePointer where Pointee == Mbuf {
  /// Copies the chain's first bytes to where a transfer is: `length` of them or all for 0, as many as the transfer has room for. How many.
  @discardableResult
  public func scatter(to transfer: inout Transfer, length: Int = 0) -> Int {
    let total = Swift.min(length > 0 ? length : .max, transfer.remaining)
    var done = 0, next: MbufPointer? = self
    while let mbuf = next, done < total {
      var offset = 0
      while offset < mbuf.length && done < total {
        let piece = transfer.next(Swift.min(mbuf.length - offset, total - done))
        piece.start!.copyMemory(from: mbuf.pointee.data + offset, byteCount: piece.count)
        offset += piece.count
        done += piece.count
      }
      next = mbuf.pointee.next
    }
    return done
  }
}
