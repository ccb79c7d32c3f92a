// SPDX-License-Identifier: BSD-2-Clause
//
// The same bytes twice: shared, or copied; and bytes that others lend.

internal import PacketBuffers
internal import Zones

extension Packet {
  /// Another packet with the same bytes. Those in clusters are shared, and read-only for both until one packet has gone; those inside
  /// buffers, up to 224, are copied. Throws `.noMemory`; this packet stays as it is in any case.
  public borrowing func shared(waits: Bool = false) throws(PacketError) -> Packet {
    guard let first else { return Packet() }
    guard let copy = first.copyPacket(waits ? .wait : .noWait) else { throw .noMemory }
    return Packet(copy)
  }

  /// Another packet with the bytes of a range, shared as by ``shared(waits:)``. Throws `.outOfRange` if the packet has fewer bytes,
  /// and `.noMemory`.
  public borrowing func shared(_ range: Range<Int>, waits: Bool = false) throws(PacketError) -> Packet {
    guard range.lowerBound >= 0, range.upperBound <= count else { throw .outOfRange }
    guard !range.isEmpty, let first else { return Packet() }
    guard var copy = first.copy(range.lowerBound, range.count, waits ? .wait : .noWait) else { throw .noMemory }
    if !copy.hasHeader {
      guard let state = Packets.state, let header = state.getHeader(waits ? .wait : .noWait) else {
        copy.freeChain()
        throw .noMemory
      }
      header.pointee.next = copy
      header.fixHeader()
      copy = header
    }
    return Packet(copy)
  }

  /// A copy of every byte, writable, in as few clusters as hold it, with the room before it that this one has, up to 64 bytes.
  public borrowing func copy(waits: Bool = false) throws(PacketError) -> Packet {
    guard let first else { return Packet() }
    guard let copy = first.duplicate(waits ? .wait : .noWait) else { throw .noMemory }
    return Packet(copy)
  }

  /// Copies what is shared or only lent for reading, and nothing else, so that every byte may be changed in place. If there is no memory,
  /// `.noMemory` is thrown, and the packet is empty then.
  public mutating func makeWritable(waits: Bool = false) throws(PacketError) {
    guard let chain = takeChain() else { return }
    guard let own = chain.unshare(waits ? .wait : .noWait) else { throw .noMemory }
    first = own
  }

  /// Moves the bytes to as few clusters as hold them. Throws `.noMemory`; the packet stays as it was then.
  public mutating func defragment(waits: Bool = false) throws(PacketError) {
    guard let chain = first else { return }
    guard let new = chain.defragment(waits ? .wait : .noWait) else { throw .noMemory }
    first = new
  }

  /// A packet of bytes that are lent to it, without copying them. They must stay valid and unchanged until `release` is called, which
  /// happens once, when the last packet that shares them has gone, in whatever thread that is. It must not wait, and is kept in memory of
  /// the program's malloc until then. With `isReadOnly` no packet changes the bytes in place; without it the owner of the only packet may.
  /// Throws `.noMemory`, and `.outOfRange` without a base address or above 1,000,000,000 bytes; then `release` is not called.
  ///
  ///     let text: StaticString = "memory that stays"
  ///     let lent = UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  ///     let packet = try Packet(lending: lent) { print("nobody has it any more") }
  public init(
    lending bytes: UnsafeRawBufferPointer, isReadOnly: Bool = true, release: @escaping @Sendable () -> Void
  ) throws(PacketError) {
    let state = try Packets.started()
    guard bytes.count <= Packet.mostBytes, let start = bytes.baseAddress else { throw .outOfRange }
    guard let mbuf = state.getHeader() else { throw .noMemory }
    let lender = Unmanaged.passRetained(Lender(release)).toOpaque()
    mbuf.lend(
      UnsafeMutableRawPointer(mutating: start), size: bytes.count, flags: isReadOnly ? .readOnly : .none,
      free: { _, lender, _ in Unmanaged<Lender>.fromOpaque(lender!).takeRetainedValue().release() }, lender)
    mbuf.length = bytes.count
    mbuf.packetLength = bytes.count
    first = mbuf
  }
}

private final class Lender: Sendable {
  let release: @Sendable () -> Void
  init(_ release: @escaping @Sendable () -> Void) { self.release = release }
}
