// SPDX-License-Identifier: BSD-2-Clause
//
// The relay on packet buffers.

import Stave

final class OnPackets: RelayBuffers {
  private var batch = try! PacketBatch(capacity: 64)

  init() {}

  func receive(from socket: Int32, _ queue: (PacketAddress) -> Queue) -> Bool {
    guard let came = try? batch.receive(from: socket), came > 0 else { return false }
    batch.forEach { packet, source in queue(source).append(&packet) }
    batch.removeAll()
    return true
  }

  final class Queue: RelayQueue {
    private var waiting = PacketFIFO()
    private var batch = try! PacketBatch(capacity: 64)
    /// Where a packet of a connected socket goes does not matter.
    private let anywhere = PacketAddress("0.0.0.0", port: 0)!

    init() {}

    func append(_ packet: inout Packet) { _ = waiting.append(&packet) }

    func send(to socket: Int32, _ address: PacketAddress?) {
      while var packet = waiting.popFirst() {
        _ = batch.append(&packet, to: address ?? anywhere)
        guard batch.count == batch.capacity || waiting.isEmpty else { continue }
        _ = try? batch.send(to: socket, connected: address == nil)
        batch.removeAll()
      }
    }
  }

  final class Stream: RelayStream {
    private var waiting = Packet()

    init() {}

    var byteCount: Int { waiting.count }

    func fill(from socket: Int32) -> Outcome {
      do {
        let packet = try Packet.read(from: socket, most: readBytes)
        guard !packet.isEmpty else { return .ended }
        waiting.append(packet)
        return .moved
      } catch { return error.wouldBlock ? .blocked : .ended }
    }

    func drain(to socket: Int32) -> Outcome {
      while !waiting.isEmpty {
        do { waiting.removeFirst(try waiting.write(to: socket)) } catch { return error.wouldBlock ? .blocked : .ended }
      }
      return .moved
    }
  }
}
