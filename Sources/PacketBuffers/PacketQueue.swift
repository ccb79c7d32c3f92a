// SPDX-License-Identifier: BSD-2-Clause
//
// A queue of packets, through `nextPacket`, with a greatest length. It has no lock: its owner sees to that.

public struct PacketQueue {
  public private(set) var first: MbufPointer?
  public private(set) var last: MbufPointer?
  public private(set) var count = 0
  /// Packets at most; 0 for no limit.
  public var most: Int

  public init(most: Int = 0) { self.most = most }

  public var isFull: Bool { most > 0 && count >= most }

  /// False where the queue is full: then the packet is still the caller's.
  public mutating func enqueue(_ packet: MbufPointer) -> Bool {
    guard !isFull else { return false }
    packet.pointee.nextPacket = nil
    if let last { last.pointee.nextPacket = packet } else { first = packet }
    last = packet
    count += 1
    return true
  }

  public mutating func dequeue() -> MbufPointer? {
    guard let packet = first else { return nil }
    first = packet.pointee.nextPacket
    if first == nil { last = nil }
    packet.pointee.nextPacket = nil
    count -= 1
    return packet
  }

  /// Puts a packet first, also where the queue is full: it was there before.
  public mutating func prepend(_ packet: MbufPointer) {
    packet.pointee.nextPacket = first
    first = packet
    if last == nil { last = packet }
    count += 1
  }

  /// Moves all packets of another queue behind these, whatever the limit.
  public mutating func concatenate(_ other: inout PacketQueue) {
    guard let others = other.first else { return }
    if let last { last.pointee.nextPacket = others } else { first = others }
    last = other.last
    count += other.count
    _ = other.flush()
  }

  /// Takes all packets out, linked through `nextPacket`.
  public mutating func flush() -> MbufPointer? {
    let packets = first
    (first, last, count) = (nil, nil, 0)
    return packets
  }

  /// Frees all packets.
  public mutating func drain() {
    while let packet = dequeue() { packet.freeChain() }
  }
}
