// SPDX-License-Identifier: BSD-2-Clause
//
// What holds of every chain, looked at.

import Primitives

extension UnsafeMutablePointer where Pointee == Mbuf {
  /// Whether the chain is sound: data within its storage, nothing of a packet's in later mbufs, and the packet's length that of its
  /// mbufs. With `repairing` what can be put right is: later headers and next packets go, the packet's length becomes the chain's;
  /// true then, too.
  public func sanity(repairing: Bool = false) -> Bool {
    var total = 0, next: MbufPointer? = self
    while let mbuf = next {
      let data = mbuf.pointee.data, start = mbuf.roomStart
      guard mbuf.length >= 0, data >= start, mbuf.length <= mbuf.room, data - start <= mbuf.room - mbuf.length else { return false }
      if mbuf.isExternal && mbuf.storage.pointee.count.isNone { return false }
      if mbuf != self && (mbuf.pointee.nextPacket != nil || mbuf.hasHeader) {
        guard repairing else { return false }
        mbuf.demote(all: false)
      }
      total += mbuf.length
      next = mbuf.pointee.next
    }
    guard hasHeader, packetLength != total else { return true }
    if repairing { packetLength = total }
    return repairing
  }

  /// For tests: ends the process where `sanity` finds something.
  public func checkInvariants() {
    demand(sanity(), "a chain is not sound")
  }
}
