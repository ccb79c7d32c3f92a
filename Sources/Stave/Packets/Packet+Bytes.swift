// SPDX-License-Identifier: BSD-2-Clause
//
// Reading a packet: piece by piece, by copying, or in one piece after asking for that.

internal import PacketBuffers

extension Packet {
  /// The first piece, empty in an empty packet.
  public var firstPiece: RawSpan {
    @_lifetime(borrow self)
    get {
      var next = first
      while let mbuf = next, mbuf.length == 0 { next = mbuf.pointee.next }
      guard let next else { return _overrideLifetime(RawSpan(), borrowing: self) }
      return _overrideLifetime(next.span, borrowing: self)
    }
  }

  /// Calls `body` with each piece that has bytes, in order.
  ///
  ///     let packet = try Packet(copying: payload)
  ///     var sum = 0
  ///     packet.forEachPiece { piece in
  ///       for index in piece.byteOffsets {
  ///         sum += Int(piece.unsafeLoad(fromByteOffset: index, as: UInt8.self))
  ///       }
  ///     }
  public borrowing func forEachPiece<Failure: Error>(_ body: (RawSpan) throws(Failure) -> Void) throws(Failure) {
    var next = first
    while let mbuf = next {
      if mbuf.length > 0 { try body(mbuf.span) }
      next = mbuf.pointee.next
    }
  }

  /// The same for changing bytes in place. Throws `.readOnly`, and calls nothing, where some of them are shared.
  public mutating func forEachMutablePiece(_ body: (inout MutableRawSpan) -> Void) throws(PacketError) {
    guard isWritable else { throw .readOnly }
    var next = first
    while let mbuf = next {
      if mbuf.length > 0 {
        var span = MutableRawSpan(_unsafeStart: mbuf.pointee.data, byteCount: mbuf.length)
        body(&span)
      }
      next = mbuf.pointee.next
    }
  }

  /// Copies the bytes from `offset` on to `target`, as many as it has room for or there are, and returns how many. Traps on an offset
  /// beyond the end.
  @discardableResult
  public borrowing func copyBytes(from offset: Int = 0, to target: UnsafeMutableRawBufferPointer) -> Int {
    precondition(offset >= 0 && offset <= count, "an offset beyond the end of a packet")
    let bytes = min(target.count, count - offset)
    if bytes > 0 { first!.copyData(offset, bytes, to: target.baseAddress!) }
    return bytes
  }

  /// The bytes of a range as an array. Traps on a range beyond the end.
  public borrowing func bytes(in range: Range<Int>) -> [UInt8] {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "a range beyond the end of a packet")
    return [UInt8](unsafeUninitializedCapacity: range.count) { buffer, done in
      done = copyBytes(from: range.lowerBound, to: UnsafeMutableRawBufferPointer(buffer))
    }
  }

  /// All bytes as an array.
  public borrowing func bytes() -> [UInt8] { bytes(in: 0..<count) }

  /// The first `count` bytes in one piece; if they are not together yet, at most 168, which are copied. The rest of the packet stays in its
  /// pieces. Throws `.noMemory`, and the packet is empty then; `.outOfRange` if it has fewer bytes or `count` is too large, and it stays as
  /// it was.
  ///
  ///     var packet = try Packet(copying: header + payload)
  ///     let first = try packet.contiguous(4)
  ///     let version = first.unsafeLoad(as: UInt8.self) >> 4
  @_lifetime(&self)
  public mutating func contiguous(_ count: Int) throws(PacketError) -> RawSpan {
    guard count >= 0, count <= self.count else { throw .outOfRange }
    guard let chain = first, count > 0 else { return _overrideLifetime(RawSpan(), mutating: &self) }
    if chain.length < count {
      guard count <= Mbuf.roomWithHeader else { throw .outOfRange }
      first = nil
      guard let pulled = chain.pullUp(count) else { throw .noMemory }
      first = pulled
    }
    return _overrideLifetime(RawSpan(_unsafeStart: first!.pointee.data, byteCount: count), mutating: &self)
  }

  /// Whether both have the same bytes, however they are cut in pieces.
  public static func == (left: borrowing Packet, right: borrowing Packet) -> Bool {
    guard left.count == right.count else { return false }
    var cursor = right.cursor(), isSame = true
    left.forEachPiece { piece in
      for index in 0..<piece.byteCount where isSame {
        isSame = cursor.readByte() == piece.unsafeLoad(fromByteOffset: index, as: UInt8.self)
      }
    }
    return isSame
  }
}

extension MbufPointer {
  /// Of its data. Good as long as the mbuf.
  var span: RawSpan {
    @_lifetime(immortal)
    get { _overrideLifetime(RawSpan(_unsafeStart: pointee.data, byteCount: length), copying: ()) }
  }
}
