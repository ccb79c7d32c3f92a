// SPDX-License-Identifier: BSD-2-Clause
//
// Packet headers: moved, copied, taken off, put right.

import Primitives
import Zones

extension UnsafeMutablePointer where Pointee == Mbuf {
  /// Takes over the packet header of `other`, its tags, which replace those that it had, and the flags that go with it; `other` is then an
  /// mbuf without one. This mbuf keeps its data where that is; inside it there is less room, and none of it is used yet.
  public func moveHeader(from other: MbufPointer) {
    demand(other.hasHeader, "the packet header of an mbuf that has none")
    guard other != self else { return }
    if hasHeader { deleteTags() }
    takeHeaderFlags(of: other)
    header.initialize(to: other.header.pointee)
    other.header.pointee.tags = nil
    other.flags = other.flags.subtracting(.packetHeader)
  }

  /// Gets a copy of the packet header of `other`, with tags of its own, which replace those that it had. False where there is no
  /// memory for them: then it has a header with no tags.
  public func copyHeader(from other: MbufPointer, _ wait: WaitFlags) -> Bool {
    demand(other.hasHeader, "the packet header of an mbuf that has none")
    guard other != self else { return true }
    if hasHeader { deleteTags() }
    takeHeaderFlags(of: other)
    header.initialize(to: other.header.pointee)
    header.pointee.tags = nil
    return copyTags(from: other, wait)
  }

  private func takeHeaderFlags(of other: MbufPointer) {
    demand(isExternal || length <= Mbuf.roomWithHeader, "a packet header for an mbuf that has no room for it")
    flags = other.flags.intersection(.copied).union(flags.intersection(.ofStorage)).union(.packetHeader)
    if !isExternal { pointee.data = roomStart }
  }

  /// Makes a chain one that may stand behind another: its mbufs have no packet header, no tags and no next packet. `all`: every one
  /// of them, not the first alone; and of flags only `external`, `endOfRecord`, `readOnly` and `notFreed` stay.
  public func demote(all: Bool = true) {
    var next: MbufPointer? = self
    while let mbuf = next {
      if mbuf.hasHeader {
        mbuf.deleteTags()
        mbuf.header.initialize(to: .empty)
      }
      mbuf.pointee.nextPacket = nil
      mbuf.flags = mbuf.flags.intersection(.ofStorage.union(.endOfRecord).union(.readOnly))
      next = all ? mbuf.pointee.next : nil
    }
  }

  /// The bytes of the chain.
  public var chainLength: Int {
    var sum = 0, next: MbufPointer? = self
    while let mbuf = next {
      sum += mbuf.length
      next = mbuf.pointee.next
    }
    return sum
  }

  /// Makes the packet header say how long the chain is.
  @discardableResult
  public func fixHeader() -> Int {
    demand(hasHeader, "the packet header of an mbuf that has none")
    packetLength = chainLength
    return packetLength
  }
}
