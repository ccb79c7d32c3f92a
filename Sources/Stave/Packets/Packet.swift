// SPDX-License-Identifier: BSD-2-Clause
//
// # Packets
//
// Network data for Swift: a sequence of bytes in pieces that are passed on, put together, cut and shared without copying. It is mbuf(9)'s
// chain with a packet header (Sources/PacketBuffers), as a value that one owner has and that gives its memory back when it ends.
//
//     var packet = try Packet(copying: payload, leadingSpace: 64)
//     try packet.prepend(header)                    // into the room before the payload: nothing is copied
//     let resend = try packet.shared()              // the same bytes, nothing copied
//     try packet.send(to: socket)                   // one writev over the pieces
//
//     piece      bytes that lie together; a packet is some pieces one behind the other
//     cluster    2 KiB, a page, 9 or 16 KiB that a piece may have; less than 225 bytes lie in the buffer itself
//     shared     bytes that two packets have are read-only for both, until one of them has gone
//
// What is refused for want of memory leaves the packet as it was, but for what says otherwise: there the packet is empty then, since the
// bytes may have been on their way. Nothing here blocks but where it says `waits`, and system calls.

internal import PacketBuffers
internal import Zones

/// Network data in pieces. A value with one owner, which may hand it to another task or thread; there is no lock in it.
///
/// Costs: a packet of up to 168 bytes is one item of a per-CPU cache, and so is one of up to 2 KiB. Not to be used in signal handlers.
public struct Packet: ~Copyable, @unchecked Sendable {
  /// Nil: a packet of no bytes and no memory.
  var first: MbufPointer?

  init(_ first: MbufPointer?) { self.first = first }

  /// No bytes, and no memory yet.
  public init() { first = nil }

  deinit { first?.freeChain() }

  /// Room for bytes, and for headers before them; no bytes yet.
  ///
  /// - Parameters:
  ///   - capacity: Bytes that there is room for.
  ///   - leadingSpace: Bytes of room for headers, at most 167.
  ///   - waits: Blocks this thread until there is memory, or room below a limit. Otherwise `.noMemory` is thrown.
  /// - Throws: `.noMemory`; `.outOfRange` for a negative number, more than 167 bytes of leading space, or a capacity above 1,000,000,000.
  public init(capacity: Int, leadingSpace: Int = 0, waits: Bool = false) throws(PacketError) {
    first = try Packet.makeChain(capacity, leadingSpace, waits)
  }

  private static func makeChain(_ capacity: Int, _ leadingSpace: Int, _ waits: Bool) throws(PacketError) -> MbufPointer {
    let state = try Packets.started()
    guard capacity >= 0, leadingSpace >= 0, leadingSpace < Mbuf.roomWithHeader, capacity <= Packet.mostBytes else { throw .outOfRange }
    // What is large comes in few large clusters, if there are any.
    var large: MbufPointer?, last: MbufPointer?, left = max(1, capacity + leadingSpace)
    while left > Cluster.nine, let new = state.getJumbo(Cluster.sixteen, flags: large == nil ? .packetHeader : .none) {
      if let last { last.pointee.next = new } else { large = new }
      last = new
      left -= Cluster.sixteen
    }
    if left > 0 {
      guard let rest = state.getChain(left, waits ? .wait : .noWait, flags: large == nil ? .packetHeader : .none, after: last) else {
        large?.freeChain()
        throw .noMemory
      }
      large = large ?? rest
    }
    guard let chain = large else { throw .noMemory }
    chain.pointee.data += leadingSpace
    return chain
  }

  /// A copy of `bytes`, behind `leadingSpace` bytes of room for headers, at most 167. With `waits` it blocks this thread until there is
  /// memory. Throws `.noMemory`, and `.outOfRange` for other leading spaces and for more than 1,000,000,000 bytes.
  ///
  ///     let packet = try Packet(copying: payload, leadingSpace: 42)
  public init(copying bytes: RawSpan, leadingSpace: Int = 0, waits: Bool = false) throws(PacketError) {
    let chain = try Packet.makeChain(bytes.byteCount, leadingSpace, waits)
    guard chain.fill(with: bytes) else {
      chain.freeChain()
      throw .noMemory
    }
    first = chain
  }

  /// The number that lengths are kept in has 31 bits.
  static var mostBytes: Int { 1_000_000_000 }

  /// Bytes. A load.
  public var count: Int { first?.packetLength ?? 0 }
  /// Whether there are no bytes. An empty packet may still have memory.
  public var isEmpty: Bool { count == 0 }

  /// The number of pieces that have bytes, which is what `writev` would be given. Walks over them.
  public var pieceCount: Int {
    var count = 0, next = first
    while let mbuf = next {
      if mbuf.length > 0 { count += 1 }
      next = mbuf.pointee.next
    }
    return count
  }

  /// Room for bytes before the first, without another buffer: 0 where the first piece is shared.
  public var leadingSpace: Int { first?.leadingSpace ?? 0 }

  /// Whether every byte may be changed in place.
  public var isWritable: Bool {
    var next = first
    while let mbuf = next {
      if mbuf.length > 0 && !mbuf.isWritable { return false }
      next = mbuf.pointee.next
    }
    return true
  }

  /// Removes all bytes and frees their memory.
  public mutating func removeAll() {
    first?.freeChain()
    first = nil
  }

  /// The chain, which is the caller's to free, for code that works on mbufs; the packet is empty then.
  mutating func takeChain() -> MbufPointer? {
    defer { first = nil }
    return first
  }

  /// Traps if the pieces do not agree with the header. For tests: walks over all of them.
  public func checkInvariants() {
    if let first { precondition(first.hasHeader && first.sanity(), "a packet whose pieces do not agree with its header") }
  }
}

/// What is known of a packet beside its bytes; it goes along with them.
extension Packet {
  /// Packets of one flow have one number. 0 in an empty packet.
  public var flow: UInt32 {
    get { first?.header.pointee.flow ?? 0 }
    set { first?.header.pointee.flow = newValue }
  }

  /// Where it came in, as the program counts its sockets or links.
  public var receivedOn: Int {
    get { first.map { Int(bitPattern: $0.header.pointee.receivedOn) } ?? 0 }
    set { first?.header.pointee.receivedOn = UInt(bitPattern: newValue) }
  }

  /// Nanoseconds, on a clock of the program's choice.
  public var received: Int64 {
    get { first?.header.pointee.received ?? 0 }
    set { first?.header.pointee.received = newValue }
  }

  /// Whatever its holder keeps there; the next holder may overwrite it.
  public var scratch: UInt {
    get { first?.header.pointee.scratch ?? 0 }
    set { first?.header.pointee.scratch = newValue }
  }
}
