// SPDX-License-Identifier: BSD-2-Clause
//
// Reading and finding. Nothing here changes a chain, or can fail but for what the caller knows: a range beyond the chain's end
// ends the process.

import Primitives

/// A place in a chain.
public struct ChainPlace {
  public var mbuf: MbufPointer
  /// From the start of the mbuf's data.
  public var offset: Int
}

extension UnsafeMutablePointer where Pointee == Mbuf {
  /// Where the byte at `offset` lies; at the chain's end, behind the last mbuf's data. Nil beyond that.
  public func locate(_ offset: Int) -> ChainPlace? {
    var left = offset, mbuf = self
    while left >= mbuf.length {
      left -= mbuf.length
      guard let next = mbuf.pointee.next else { return left == 0 ? ChainPlace(mbuf: mbuf, offset: mbuf.length) : nil }
      mbuf = next
    }
    return ChainPlace(mbuf: mbuf, offset: left)
  }

  /// Calls `body` with each piece of a range, in order, until it answers other than 0; the last answer.
  @inline(__always)
  public func apply(_ offset: Int, _ count: Int, _ body: (_ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int32) -> Int32 {
    demand(offset >= 0 && count >= 0, "a range of a chain with a negative bound")
    var place = offset, left = count, next: MbufPointer? = self
    while let mbuf = next, place >= mbuf.length {
      place -= mbuf.length
      next = mbuf.pointee.next
    }
    while left > 0 {
      guard let mbuf = next else { endProcess("a range reaches beyond the end of a chain") }
      let piece = Swift.min(mbuf.length - place, left)
      if piece > 0 {
        let answer = body(mbuf.pointee.data + place, piece)
        if answer != 0 { return answer }
      }
      left -= piece
      place = 0
      next = mbuf.pointee.next
    }
    return 0
  }

  /// Copies a range to `buffer`.
  public func copyData(_ offset: Int, _ count: Int, to buffer: UnsafeMutableRawPointer) {
    var to = buffer
    _ = apply(offset, count) { bytes, count in
      to.copyMemory(from: bytes, byteCount: count)
      to += count
      return 0
    }
  }
}
