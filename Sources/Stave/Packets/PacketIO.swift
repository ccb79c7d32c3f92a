// SPDX-License-Identifier: BSD-2-Clause
//
// Packets to and from descriptors, in one system call over all pieces: readv(2), writev(2).

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif
internal import PacketBuffers

/// What the system answered to a call: its error number, as errno(3) lists them. A call that a signal interrupts is made again, so this is
/// never EINTR.
public struct PacketIOError: Error, Equatable, Sendable {
  /// As `errno` has it.
  public var number: Int32
  /// Whether the descriptor is not ready, and is one that does not block.
  public var wouldBlock: Bool { number == EAGAIN || number == EWOULDBLOCK }
  /// There was no memory for the packet: ENOBUFS.
  public static var noMemory: PacketIOError { PacketIOError(number: ENOBUFS) }
}

extension Packet {
  /// Writes the bytes, at most the first 1,024 pieces, and returns how many were written, which may be fewer. The packet keeps them. Blocks
  /// as write(2) does, and throws what that returns.
  ///
  ///     var packet = try Packet(copying: payload)
  ///     while !packet.isEmpty { packet.removeFirst(try packet.write(to: socket)) }
  public borrowing func write(to descriptor: Int32) throws(PacketIOError) -> Int {
    try withPieces { (pieces, count) throws(PacketIOError) in try repeatedly { writev(descriptor, pieces, count) } }
  }

  /// Writes all bytes and takes them off the packet; if a descriptor that does not block is not ready, waits for it in this thread. On an
  /// error the packet has the rest.
  public mutating func writeAll(to descriptor: Int32) throws(PacketIOError) {
    while !isEmpty {
      do throws(PacketIOError) {
        removeFirst(try write(to: descriptor))
      } catch {
        guard error.wouldBlock else { throw error }
        var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = try repeatedly { Int(poll(&request, 1, -1)) }
      }
    }
  }

  /// Reads what there is, at most `most` bytes, into clusters, with `leadingSpace` bytes of room for headers before it, at most 167. An
  /// empty packet is the end. Blocks as read(2) does, and throws what that returns; ENOBUFS if there is no memory, EINVAL for a number out
  /// of range: nothing is read then.
  public static func read(from descriptor: Int32, most: Int, leadingSpace: Int = 0) throws(PacketIOError) -> Packet {
    var packet = try withMemory { () throws(PacketError) in try Packet(capacity: most, leadingSpace: leadingSpace) }
    let count = try packet.withRoom(most) { (pieces, count) throws(PacketIOError) in try repeatedly { readv(descriptor, pieces, count) } }
    packet.setCount(count)
    return packet
  }

  // MARK: - Pieces

  static var mostPieces: Int { 1024 }

  /// The pieces that have bytes, as the system takes them.
  borrowing func withPieces<Failure: Error>(_ body: (UnsafePointer<iovec>, Int32) throws(Failure) -> Int) throws(Failure) -> Int {
    try withUnsafeTemporaryPieces(first, { $0.length }, { $0.pointee.data }, body)
  }

  /// The room behind the first mbuf's data start, up to `most` bytes in all.
  borrowing func withRoom<Failure: Error>(_ most: Int, _ body: (UnsafePointer<iovec>, Int32) throws(Failure) -> Int) throws(Failure) -> Int {
    var left = most
    return try withUnsafeTemporaryPieces(
      first,
      {
        let room = Swift.min(left, $0.trailingSpace)
        left -= room
        return room
      }, { $0.pointee.data + $0.length }, body)
  }

  /// The packet's bytes are the first `count` of its room, and the mbufs behind those go.
  mutating func setCount(_ count: Int) {
    guard count > 0, let first else { return removeAll() }
    var left = count, mbuf = first
    while true {
      let piece = Swift.min(left, mbuf.trailingSpace)
      mbuf.length = piece
      left -= piece
      guard left > 0, let next = mbuf.pointee.next else { break }
      mbuf = next
    }
    mbuf.pointee.next?.freeChain()
    mbuf.pointee.next = nil
    first.packetLength = count - left
  }
}

/// Calls `body` with the pieces of a chain of which `length` says that they are not empty.
private func withUnsafeTemporaryPieces<Failure: Error>(
  _ first: MbufPointer?, _ length: (MbufPointer) -> Int, _ start: (MbufPointer) -> UnsafeMutableRawPointer,
  _ body: (UnsafePointer<iovec>, Int32) throws(Failure) -> Int
) throws(Failure) -> Int {
  var count = 0, next = first
  while let mbuf = next, count <= Packet.mostPieces { (count, next) = (count + 1, mbuf.pointee.next) }
  return try withUnsafeTemporaryAllocation(of: iovec.self, capacity: Swift.max(1, count)) { (pieces) throws(Failure) -> Int in
    var used = 0, next = first
    while let mbuf = next, used < Swift.min(count, Packet.mostPieces) {
      let bytes = length(mbuf)
      if bytes > 0 {
        pieces.initializeElement(at: used, to: iovec(iov_base: start(mbuf), iov_len: bytes))
        used += 1
      }
      next = mbuf.pointee.next
    }
    return try body(UnsafePointer(pieces.baseAddress!), Int32(used))
  }
}

/// The answer of a system call that is made again where a signal interrupts it.
func repeatedly(_ call: () -> Int) throws(PacketIOError) -> Int {
  while true {
    let answer = call()
    if answer >= 0 { return answer }
    let number = errno
    if number != EINTR { throw PacketIOError(number: number) }
  }
}

/// The same for one that answers with the number itself, below zero.
func answered(system call: () -> Int) throws(PacketIOError) -> Int {
  while true {
    let answer = call()
    if answer >= 0 { return answer }
    if answer != -Int(EINTR) { throw PacketIOError(number: Int32(-answer)) }
  }
}

func withMemory<Result: ~Copyable>(_ body: () throws(PacketError) -> Result) throws(PacketIOError) -> Result {
  do throws(PacketError) { return try body() } catch { throw error == .outOfRange ? PacketIOError(number: EINVAL) : .noMemory }
}
