// SPDX-License-Identifier: BSD-2-Clause
//
// The relay of Examples/relay-swift, on each kind of buffers: what goes through it comes out as it was, by TCP and by UDP.

import Glibc
import Testing

@testable import Stave
@testable import TestSupport

extension PacketsOnRoot {
  @Suite struct RelayTests {
    /// The relay, and where it is to be reached.
    private func started(_ kind: String, to target: PacketAddress) throws -> (Started, PacketAddress)? {
      let program = Place.root.appending(path: ".build/examples/relay-swift/release/relay-swift").path
      guard access(program, X_OK) == 0 else {
        announceSkip("Examples/relay-swift: make examples builds it")
        return nil
      }
      let here = try freePort()
      let relay = try Started(program, [String(here.port), "127.0.0.1", String(target.port), kind])
      for _ in 0..<15_000 where !relay.printed.contains("relaying") { usleep(2000) }
      try #require(relay.printed.contains("relaying"), "\(relay.printed)")
      return (relay, here)
    }

    /// One that nobody has just now, of TCP or of UDP.
    private func freePort() throws -> PacketAddress {
      while true {
        let (_, address) = try Socket.bound(SOCK_STREAM), other = Socket(socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0))
        if address.withUnsafeBytes({ bind(other.number, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count)) }) == 0 { return address }
      }
    }

    @Test(arguments: ["packets", "bytebuffer", "stave-bytebuffer", "malloc"])
    func `a stream comes through as it was, both ways, and ends`(_ kind: String) throws {
      let (server, there) = try Socket.bound(SOCK_STREAM)
      try #require(listen(server.number, 4) == 0)
      guard let (relay, here) = try started(kind, to: there) else { return }
      let client = Socket(socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
      try client.connect(to: here)
      let peer = Socket(accept(server.number, nil, nil))
      let given = bytes(3_000_000), out = peer.number, end = client.number, count = Count()
      inThreads(3) { thread in
        switch thread {
        case 0:  // the client speaks
          var packet = try! Packet(copying: given)
          try! packet.writeAll(to: end)
          shutdown(end, Int32(SHUT_WR))
        case 1:  // the server gives back what it hears
          while let packet = try? Packet.read(from: out, most: 30_000), !packet.isEmpty {
            var answer = packet
            try! answer.writeAll(to: out)
          }
          shutdown(out, Int32(SHUT_WR))
        default:
          var came: [UInt8] = []
          while let packet = try? Packet.read(from: end, most: 100_000), !packet.isEmpty { came += packet.bytes() }
          if came == given { count.add() }
        }
      }
      #expect(count.value == 1)
      withExtendedLifetime(relay) {}
    }

    @Test(arguments: ["packets", "bytebuffer", "stave-bytebuffer", "malloc"])
    func `datagrams come through as they were, to whoever sent them`(_ kind: String) throws {
      let (server, there) = try Socket.bound(SOCK_DGRAM)
      guard let (relay, here) = try started(kind, to: there) else { return }
      let clients = try (0..<3).map { _ in try Socket.bound(SOCK_DGRAM) }
      for round in 0..<40 {
        for (index, client) in clients.enumerated() {
          let given = bytes(1 + (round * 37 + index * 400) % 1400, from: UInt8(index))
          try Packet(copying: given).send(to: client.0.number, address: here)
          let heard = try Packet.receive(from: server.number)
          #expect(heard.packet.bytes() == given && heard.source != client.1)
          try heard.packet.send(to: server.number, address: heard.source)
          let back = try Packet.receive(from: client.0.number)
          #expect(back.packet == heard.packet && back.source == here)
        }
      }
      withExtendedLifetime(relay) {}
    }
  }
}
