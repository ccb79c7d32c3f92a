// SPDX-License-Identifier: BSD-2-Clause
//
// Bytes before, behind and over a packet's; packets in two, and put together.

internal import PacketBuffers
internal import Zones

extension Packet {
  /// Puts `bytes` before the packet's: in the room there, or in another buffer; at most 168. With `waits` it blocks this thread until there
  /// is memory; otherwise, if there is none, `.noMemory` is thrown, and the packet is empty then. Throws `.outOfRange`, and the packet
  /// stays as it was, for more than 168 bytes or if the packet would exceed 1,000,000,000 bytes.
  public mutating func prepend(_ bytes: RawSpan, waits: Bool = false) throws(PacketError) {
    guard bytes.byteCount <= Mbuf.roomWithHeader, bytes.byteCount <= Packet.mostBytes - count else { throw .outOfRange }
    guard bytes.byteCount > 0 else { return }
    if first == nil { self = try Packet(capacity: 0, leadingSpace: Mbuf.roomWithHeader - 8) }
    let chain = first!
    first = nil
    guard let new = chain.prepend(bytes.byteCount, waits ? .wait : .noWait) else { throw .noMemory }
    bytes.withUnsafeBytes { new.pointee.data.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
    first = new
  }

  /// Puts `bytes` behind the packet's: in the room there, and in new buffers. Throws `.noMemory`, and `.outOfRange` if the packet would
  /// exceed 1,000,000,000 bytes; it stays as it was then.
  public mutating func append(_ bytes: RawSpan) throws(PacketError) {
    guard bytes.byteCount <= Packet.mostBytes - count else { throw .outOfRange }
    if first == nil { self = try Packet(capacity: bytes.byteCount) }
    guard first!.fill(with: bytes) else { throw .noMemory }
  }

  /// Writes `bytes` over the packet's from `offset` on. Throws `.outOfRange` if the packet has fewer bytes there, `.readOnly` if some are
  /// shared; the bytes before those may have been written then.
  public mutating func replaceBytes(from offset: Int, with bytes: RawSpan) throws(PacketError) {
    guard offset >= 0, bytes.byteCount <= count - offset else { throw .outOfRange }
    guard bytes.byteCount > 0 else { return }
    let done = bytes.withUnsafeBytes { first!.copyBack(offset, $0.count, from: $0.baseAddress!) }
    if done < bytes.byteCount { throw .readOnly }
  }

  /// Takes bytes off the front, all of them if there are fewer than `count`. Cannot fail.
  public mutating func removeFirst(_ count: Int = 1) {
    precondition(count >= 0, "a number of bytes below zero")
    guard let first else { return }
    first.trim(by: min(count, self.count))
    // The header's mbuf stays; what is emptied behind it goes.
    while let next = first.pointee.next, first.length == 0, next.length == 0 { first.pointee.next = next.free() }
  }

  /// Takes bytes off the end, all of them if there are fewer than `count`. Cannot fail.
  public mutating func removeLast(_ count: Int = 1) {
    precondition(count >= 0, "a number of bytes below zero")
    first?.trim(by: -min(count, self.count))
  }

  /// Cuts the packet after `count` bytes and returns the rest; a piece that is cut is shared by both. Throws `.outOfRange` if the packet
  /// has fewer bytes, `.noMemory` if there is no memory; the packet stays as it was then.
  public mutating func split(at count: Int, waits: Bool = false) throws(PacketError) -> Packet {
    guard count >= 0, count <= self.count else { throw .outOfRange }
    guard let first else { return Packet() }
    guard let tail = first.split(count, waits ? .wait : .noWait) else { throw .noMemory }
    return Packet(tail)
  }

  /// Puts the bytes of `other` behind these, without copying its pieces, except small ones. What `other` had beside its bytes, such as
  /// ``flow``, is dropped. Cannot fail. Traps if the two together exceed 1,000,000,000 bytes.
  public mutating func append(_ other: consuming Packet) {
    precondition(other.count <= Packet.mostBytes - count, "a packet of more than 1,000,000,000 bytes")
    guard let rest = other.takeChain() else { return }
    if let first { first.concatenatePacket(rest) } else { first = rest }
  }
}

// The same for arrays of bytes.
extension Packet {
  /// A copy of the bytes of an array, behind `leadingSpace` bytes of room for headers, at most 167. Throws `.noMemory`, and `.outOfRange`
  /// for other leading spaces and for more than 1,000,000,000 bytes.
  public init(copying bytes: [UInt8], leadingSpace: Int = 0, waits: Bool = false) throws(PacketError) {
    try self.init(copying: bytes.span.bytes, leadingSpace: leadingSpace, waits: waits)
  }

  /// Puts the bytes of an array before the packet's: at most 168. If there is no memory, `.noMemory` is thrown, and the packet is empty
  /// then; `.outOfRange` for more bytes, or if the packet would exceed 1,000,000,000.
  public mutating func prepend(_ bytes: [UInt8], waits: Bool = false) throws(PacketError) { try prepend(bytes.span.bytes, waits: waits) }
  /// Puts the bytes of an array behind the packet's. Throws `.noMemory`, and `.outOfRange` if the packet would exceed 1,000,000,000 bytes;
  /// it stays as it was then.
  public mutating func append(_ bytes: [UInt8]) throws(PacketError) { try append(bytes.span.bytes) }
  /// Writes the bytes of an array over the packet's from `offset` on. Throws `.outOfRange` if the packet has fewer bytes there, `.readOnly`
  /// if some are shared; the bytes before those may have been written then.
  public mutating func replaceBytes(from offset: Int, with bytes: [UInt8]) throws(PacketError) {
    try replaceBytes(from: offset, with: bytes.span.bytes)
  }
}

extension MbufPointer {
  /// Puts bytes behind a packet's data: into the room that its mbufs have, then into more. False, and nothing is done, where memory
  /// is not to be had.
  func fill(with bytes: RawSpan) -> Bool {
    guard bytes.byteCount > 0 else { return true }
    let start = lastWithData
    var room = 0, next: MbufPointer? = start
    while let mbuf = next {
      room += mbuf.trailingSpace
      next = mbuf.pointee.next
    }
    if room < bytes.byteCount && packets.getChain(bytes.byteCount - room, flags: .none, after: self) == nil { return false }
    bytes.withUnsafeBytes { buffer in
      var done = 0, next: MbufPointer? = start
      while done < buffer.count, let mbuf = next {
        let piece = min(buffer.count - done, mbuf.trailingSpace)
        if piece > 0 { (mbuf.pointee.data + mbuf.length).copyMemory(from: buffer.baseAddress! + done, byteCount: piece) }
        mbuf.length += piece
        done += piece
        next = mbuf.pointee.next
      }
    }
    packetLength += bytes.byteCount
    return true
  }

  /// The last mbuf that has data, or the first.
  private var lastWithData: MbufPointer {
    var found = self, next = pointee.next
    while let mbuf = next {
      if mbuf.length > 0 { found = mbuf }
      next = mbuf.pointee.next
    }
    return found
  }
}
