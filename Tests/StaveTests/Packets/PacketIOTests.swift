// SPDX-License-Identifier: BSD-2-Clause
//
// Packets through pipes and sockets of this machine.

import Glibc
import Synchronization
import Testing

@testable import PacketBuffers
@testable import Stave
@testable import TestSupport

final class Count: Sendable {
  private let number = Atomic(0)
  func add() { number.add(1, ordering: .relaxed) }
  var value: Int { number.load(ordering: .relaxed) }
}

/// A socket, closed when nobody has it any more.
final class Socket {
  let number: Int32

  /// Nothing is waited for longer than a minute.
  init(_ number: Int32) {
    self.number = number
    var most = timeval(tv_sec: 60, tv_usec: 0)
    setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &most, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(number) }

  static func pair(_ kind: __socket_type = SOCK_STREAM) -> (Socket, Socket) {
    var ends: [Int32] = [0, 0]
    precondition(socketpair(AF_UNIX, Int32(kind.rawValue), 0, &ends) == 0)
    return (Socket(ends[0]), Socket(ends[1]))
  }

  /// Of UDP or TCP, bound to a port of the loopback.
  static func bound(_ kind: __socket_type) throws -> (Socket, PacketAddress) {
    let socket = Socket(Glibc.socket(AF_INET, Int32(kind.rawValue), 0)), any = PacketAddress("127.0.0.1", port: 0)!
    try #require(any.withUnsafeBytes { bind(socket.number, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count)) } == 0)
    return (socket, socket.address)
  }

  var address: PacketAddress {
    var storage = sockaddr_storage(), length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    return withUnsafeMutablePointer(to: &storage) { storage in
      _ = storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(number, $0, &length) }
      return PacketAddress(copying: UnsafeRawBufferPointer(start: storage, count: Int(length)))
    }
  }

  func connect(to address: PacketAddress) throws {
    try #require(address.withUnsafeBytes { Glibc.connect(number, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count)) } == 0)
  }
}

extension PacketsOnRoot {
  @Suite struct PacketIOTests {
    @Test func `bytes in many pieces are one writev, and come back by readv`() throws {
      let (one, two) = Socket.pair()
      var packet = try Packet(copying: bytes(100))
      for index in 0..<20 { packet.append(try Packet(copying: bytes(900, from: UInt8(index)))) }
      let all = packet.bytes()
      #expect(try packet.write(to: one.number) == all.count && packet.count == all.count)
      var came: [UInt8] = []
      while came.count < all.count {
        let part = try Packet.read(from: two.number, most: 5000, leadingSpace: 30)
        #expect(part.leadingSpace == 30 && part.isWritable)
        part.checkInvariants()
        came += part.bytes()
      }
      #expect(came == all)
      shutdown(one.number, Int32(SHUT_WR))
      #expect(try Packet.read(from: two.number, most: 100).isEmpty, "the end")
    }

    @Test func `writeAll goes on where a socket takes but a part, and more pieces than one call takes`() throws {
      let (one, two) = Socket.pair()
      #expect(fcntl(one.number, F_SETFL, O_NONBLOCK) == 0)
      var packet = Packet(), all: [UInt8] = []
      for index in 0..<1100 {
        // Two are too much for one cluster, so each is a piece.
        let new = bytes(1100, from: UInt8(truncatingIfNeeded: index))
        packet.append(try Packet(copying: new))
        all += new
      }
      #expect(packet.pieceCount > 1024)
      let box = Mutex<[UInt8]>([]), from = one.number, target = two.number, whole = Box(packet), expected = all.count
      inThreads(2) { thread in
        if thread == 0 { return whole.writeAll(to: from) }
        var came: [UInt8] = []
        while came.count < expected, let part = try? Packet.read(from: target, most: 9000), !part.isEmpty { came += part.bytes() }
        box.withLock { $0 = came }
      }
      #expect(whole.isEmpty && box.withLock { $0 } == all)
    }

    @Test func `errors are the system's, and nothing is lost`() throws {
      var packet = try Packet(copying: bytes(10))
      #expect(throws: PacketIOError(number: EBADF)) { _ = try packet.write(to: -1) }
      #expect(throws: PacketIOError(number: EBADF)) { try packet.writeAll(to: -1) }
      #expect(throws: PacketIOError(number: EBADF)) { _ = try Packet.read(from: -1, most: 10) }
      #expect(throws: PacketIOError(number: EINVAL)) { _ = try Packet.read(from: 0, most: -1) }
      let (one, two) = Socket.pair()
      #expect(fcntl(two.number, F_SETFL, O_NONBLOCK) == 0)
      do {
        _ = try Packet.read(from: two.number, most: 10)
        Issue.record("nothing was there to read")
      } catch { #expect(error.wouldBlock) }
      withExtendedLifetime(one) { #expect(packet.count == 10) }
    }

    @Test func `datagrams keep their borders and say who sent them; what is too long is cut`() throws {
      let (one, here) = try Socket.bound(SOCK_DGRAM), (two, there) = try Socket.bound(SOCK_DGRAM)
      #expect(here.port != 0 && here != there && "\(here)" == "127.0.0.1:\(here.port)")
      var packet = try Packet(copying: bytes(20))
      packet.append(try Packet(copying: bytes(1400)))
      #expect(try packet.send(to: one.number, address: there) == 1420)
      try Packet(copying: bytes(100)).send(to: one.number, address: there)
      try Packet().send(to: one.number, address: there)
      let first = try Packet.receive(from: two.number)
      #expect(first.packet == packet && first.source == here && !first.isCut)
      let second = try Packet.receive(from: two.number, most: 60)
      #expect(second.packet.bytes() == bytes(60) && second.isCut)
      #expect(try Packet.receive(from: two.number).packet.isEmpty)
    }

    @Test func `a batch goes there and back`() throws {
      let (one, here) = try Socket.bound(SOCK_DGRAM), (two, there) = try Socket.bound(SOCK_DGRAM)
      var sender = try PacketBatch(capacity: 32), echo = try PacketBatch(capacity: 24, most: 1500, leadingSpace: 8)
      for round in 0..<50 {
        for index in 0..<32 {
          var packet = try Packet(copying: bytes(index * 40, from: UInt8(round)))
          if index == 31 { packet.append(try Packet(copying: [1])) }
          let isIn = sender.append(&packet, to: there)
          #expect(isIn && packet.isEmpty)
        }
        var extra = try Packet(copying: [1])
        let isIn = sender.append(&extra, to: there), left = extra.count
        #expect(!isIn && left == 1)
        #expect(try sender.send(to: one.number) == 32 && sender.count == 0)
        var seen = 0, taken = 0
        while seen < 32 {
          seen += try echo.receive(from: two.number)
          echo.forEach { packet, source in
            #expect(source == here)
            packet.checkInvariants()
            // One is kept back, all others go with another header.
            if packet.count == 400 {
              packet = Packet()
              taken += 1
            } else {
              try? packet.prepend([0xee])
            }
          }
          try echo.send(to: two.number)
          #expect(echo.count == 0)
        }
        #expect(taken == 1)
        var back: [[UInt8]] = []
        while back.count < 31 {
          try sender.receive(from: one.number)
          sender.forEach { packet, source in back.append(packet.bytes()) }
          sender.removeAll()
        }
        let sizes = back.map(\.count).sorted(), expected = (0..<32).filter { $0 != 10 }.map { $0 * 40 + 1 + $0 / 31 }
        #expect(back.allSatisfy { $0.first == 0xee } && sizes == expected)
      }
      #expect(throws: PacketError.outOfRange) { _ = try PacketBatch(capacity: 4, most: 2048, leadingSpace: 1) }
      // What is too long is cut, and counted, in the call that took it.
      for count in [1600, 20] { try Packet(copying: bytes(count)).send(to: one.number, address: there) }
      try echo.receive(from: two.number)
      let cut = echo.cutCount, came = echo.count
      #expect(cut == 1 && came == 2)
      try Packet(copying: bytes(5)).send(to: one.number, address: there)
      try echo.receive(from: two.number)
      let later = echo.cutCount
      #expect(later == 0)
    }

    @Test func `what cannot be sent stays in the batch, in its order`() throws {
      let (one, _) = try Socket.bound(SOCK_DGRAM), (two, there) = try Socket.bound(SOCK_DGRAM)
      var batch = try PacketBatch(capacity: 8)
      for index in 0..<4 {
        var packet = try Packet(copying: bytes(index == 2 ? 70_000 : 10, from: UInt8(index)))
        _ = batch.append(&packet, to: there)
      }
      #expect(throws: PacketIOError(number: EMSGSIZE)) { try batch.send(to: one.number) }
      #expect(batch.count == 2)
      batch.forEach { packet, _ in if packet.count > 10 { packet = Packet() } }
      #expect(try batch.send(to: one.number) == 1)
      for first in [0, 1, 3] { #expect(try Packet.receive(from: two.number).packet.bytes().first == UInt8(first)) }
    }

    @Test func `packets sent without a copy are kept until the kernel has done with them`() throws {
      let (server, there) = try Socket.bound(SOCK_STREAM), client = Socket(socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0))
      try #require(listen(server.number, 1) == 0)
      try client.connect(to: there)
      let peer = Socket(accept(server.number, nil, nil))
      guard var sender = try? ZeroCopySender(client.number) else {
        announceSkip("sending without a copy: this kernel has none")
        return
      }
      var packet = Packet(), all: [UInt8] = []
      for index in 0..<30 {
        let new = bytes(2000, from: UInt8(index))
        packet.append(try Packet(copying: new))
        all += new
      }
      var came: [UInt8] = []
      while !packet.isEmpty || came.count < all.count {
        if !packet.isEmpty { try sender.send(&packet) }
        came += try Packet.read(from: peer.number, most: 70_000).bytes()
      }
      #expect(came == all)
      for _ in 0..<30_000 where sender.pending > 0 {
        try sender.reap()
        usleep(1000)
      }
      #expect(sender.pending == 0)
    }
  }
}
