// SPDX-License-Identifier: BSD-2-Clause
//
// Packets that wait, one behind the other.

internal import PacketBuffers

/// Packets in the order in which they came: mbufq(9). A value with one owner, like a packet, without a lock: to be used by one thread at a
/// time. The packets are linked to each other, so nothing is allocated; each operation takes a few loads and stores, however many wait.
///
///     var queue = PacketFIFO(limit: 1000), dropped = 0
///     var packet = try Packet(copying: payload)
///     if !queue.append(&packet) { dropped += 1 }
///     while let packet = queue.popFirst() { try packet.send(to: socket) }
public struct PacketFIFO: ~Copyable, @unchecked Sendable {
  private var queue: PacketQueue
  /// Bytes of all of them.
  public private(set) var byteCount = 0

  /// `limit`: packets at most; 0 for no limit.
  public init(limit: Int = 0) { queue = PacketQueue(most: limit) }

  deinit {
    var queue = queue
    queue.drain()
  }

  /// Packets that wait.
  public var count: Int { queue.count }
  /// Whether none does.
  public var isEmpty: Bool { queue.count == 0 }
  /// Whether ``append(_:)`` would refuse another.
  public var isFull: Bool { queue.isFull }

  /// Takes the packet over; false if the queue is full, and the packet is still the caller's. An empty packet is not kept.
  public mutating func append(_ packet: inout Packet) -> Bool {
    guard !queue.isFull else { return false }
    byteCount += packet.count
    if let chain = packet.takeChain() { _ = queue.enqueue(chain) }
    return true
  }

  /// Puts a packet back at the front, even if the queue is full.
  public mutating func prepend(_ packet: consuming Packet) {
    byteCount += packet.count
    if let chain = packet.takeChain() { queue.prepend(chain) }
  }

  /// Takes the first packet out; nil if there is none.
  public mutating func popFirst() -> Packet? {
    guard let chain = queue.dequeue() else { return nil }
    byteCount -= chain.packetLength
    return Packet(chain)
  }
}
