// SPDX-License-Identifier: BSD-2-Clause
//
// The operations on packet buffers.

import Stave

struct OnPackets: Operations {
  @inline(__always) private func filled(leadingSpace: Int = 0) -> Packet {
    var packet = try! Packet(capacity: roomBytes - leadingSpace, leadingSpace: leadingSpace)
    try! packet.append(payload.span.bytes)
    return packet
  }

  @inline(never) func allocate() { use(try! Packet(capacity: roomBytes).count) }
  @inline(never) func append() { use(filled().count) }

  @inline(never) func prepend() {
    var packet = filled(leadingSpace: 64)
    try! packet.prepend(header.span.bytes)
    use(packet.count)
  }

  @inline(never) func share() {
    let packet = filled(), other = try! packet.shared()
    use(packet.count)
    use(other.count)
  }

  @inline(never) func split() {
    var packet = filled()
    let rest = try! packet.split(at: payloadBytes / 2)
    use(packet.count)
    use(rest.count)
  }

  @inline(never) func hold(_ count: Int) {
    var held = PacketFIFO()
    for _ in 0..<count {
      var packet = filled()
      _ = held.append(&packet)
    }
    while let packet = held.popFirst() { use(packet.count) }
  }

  @inline(never) func pullUp() {
    var packet = try! Packet(copying: header.span.bytes)
    packet.append(filled())
    use(try! packet.contiguous(128).byteCount)
  }
}
