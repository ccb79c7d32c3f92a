// SPDX-License-Identifier: BSD-2-Clause
//
// A reader that walks through a packet's bytes, over the borders of its pieces.

internal import PacketBuffers

extension Packet {
  /// A reader that begins at `offset`; the packet cannot change while it is in use. Traps on an offset beyond the end.
  ///
  ///     let packet = try Packet(copying: header + payload)
  ///     var cursor = packet.cursor()
  ///     guard let type = cursor.read(UInt16.self), let length = cursor.read(UInt16.self) else { return }
  ///     cursor.skip(4)
  @_lifetime(borrow self)
  public borrowing func cursor(at offset: Int = 0) -> PacketCursor {
    precondition(offset >= 0 && offset <= count, "an offset beyond the end of a packet")
    var cursor = PacketCursor(first: first, count: count)
    cursor.skip(offset)
    return _overrideLifetime(cursor, borrowing: self)
  }
}

/// A place in a packet, from which bytes are read in order. What cannot be read whole is not read: the answer is nil, and the place stays.
/// It belongs to the thread that uses the packet. Nothing is allocated and no lock is taken; a read costs a few instructions, and a load
/// more where it crosses from one piece to the next.
public struct PacketCursor: ~Escapable {
  private var mbuf: MbufPointer?
  /// From the start of the mbuf's data.
  private var offset = 0
  /// Bytes from here to the end.
  public private(set) var remaining: Int

  @_lifetime(immortal)
  init(first: MbufPointer?, count: Int) {
    mbuf = first
    remaining = count
  }

  /// Whether no byte is left.
  public var isAtEnd: Bool { remaining == 0 }

  /// Goes on by `count` bytes, or to the end if there are fewer, and returns by how many. Costs a step for each piece that is passed.
  @_lifetime(self: copy self)
  @discardableResult
  public mutating func skip(_ count: Int) -> Int {
    precondition(count >= 0, "a cursor goes forward")
    let whole = min(count, remaining)
    var left = whole
    while left > 0, let mbuf {
      let piece = min(left, mbuf.length - offset)
      (offset, left, remaining) = (offset + piece, left - piece, remaining - piece)
      step()
    }
    return whole
  }

  /// To the next mbuf, if this one's data is over.
  @_lifetime(self: copy self)
  private mutating func step() {
    while let at = mbuf, offset == at.length, let next = at.pointee.next { (mbuf, offset) = (next, 0) }
  }

  /// The next byte.
  @_lifetime(self: copy self)
  public mutating func readByte() -> UInt8? {
    guard remaining > 0 else { return nil }
    step()
    guard let mbuf else { return nil }
    let byte = mbuf.pointee.data.load(fromByteOffset: offset, as: UInt8.self)
    (offset, remaining) = (offset + 1, remaining - 1)
    return byte
  }

  /// An integer in network byte order: big-endian.
  @_lifetime(self: copy self)
  public mutating func read<Number: FixedWidthInteger>(_: Number.Type = Number.self) -> Number? {
    var number: Number = 0
    let isDone = withUnsafeMutableBytes(of: &number) { read(into: $0) }
    return isDone ? Number(bigEndian: number) : nil
  }

  /// A little-endian integer.
  @_lifetime(self: copy self)
  public mutating func readLittleEndian<Number: FixedWidthInteger>(_: Number.Type = Number.self) -> Number? {
    read(Number.self)?.byteSwapped
  }

  /// Fills `target`; false, and nothing is read, if fewer bytes are left.
  @_lifetime(self: copy self)
  public mutating func read(into target: UnsafeMutableRawBufferPointer) -> Bool {
    guard target.count <= remaining else { return false }
    var done = 0
    while done < target.count {
      step()
      guard let mbuf else { return false }
      let piece = min(target.count - done, mbuf.length - offset)
      target.baseAddress!.advanced(by: done).copyMemory(from: mbuf.pointee.data + offset, byteCount: piece)
      (done, offset, remaining) = (done + piece, offset + piece, remaining - piece)
    }
    return true
  }

  /// What is left of the piece that the place is in; empty at the end. The place stays.
  public var piece: RawSpan {
    @_lifetime(copy self)
    get {
      var at = mbuf, from = offset
      while let here = at, from == here.length, let next = here.pointee.next { (at, from) = (next, 0) }
      guard let at, remaining > 0 else { return _overrideLifetime(RawSpan(), copying: self) }
      return _overrideLifetime(RawSpan(_unsafeStart: at.pointee.data + from, byteCount: at.length - from), copying: self)
    }
  }
}
