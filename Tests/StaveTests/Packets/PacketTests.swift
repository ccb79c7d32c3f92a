// SPDX-License-Identifier: BSD-2-Clause
//
// Packets as values: bytes, room, shares, cuts; and at random against an array of bytes.

import Testing

@testable import PacketBuffers
@testable import Stave
@testable import TestSupport

func bytes(_ count: Int, from first: UInt8 = 0) -> [UInt8] { (0..<count).map { first &+ UInt8(truncatingIfNeeded: $0) } }

extension PacketsOnRoot {
  @Suite struct PacketTests {
    @Test func `a packet holds what it was given, whatever the length`() throws {
      for count in [0, 1, 167, 168, 169, 224, 2048, 2049, 5000, 70_000] {
        let given = bytes(count), packet = try Packet(copying: given, leadingSpace: 20)
        #expect(packet.count == count && packet.bytes() == given && packet.isEmpty == (count == 0))
        #expect(packet.isWritable && packet.leadingSpace == 20)
        packet.checkInvariants()
      }
      #expect(throws: PacketError.outOfRange) { _ = try Packet(capacity: -1) }
      #expect(throws: PacketError.outOfRange) { _ = try Packet(capacity: 10, leadingSpace: 168) }
    }

    @Test func `an empty packet has nothing and takes anything`() throws {
      var packet = Packet()
      #expect(packet.count == 0 && packet.pieceCount == 0 && packet.firstPiece.byteCount == 0 && packet.bytes().isEmpty && packet.flow == 0)
      packet.removeFirst(3)
      packet.removeLast(3)
      packet.removeAll()
      try packet.makeWritable()
      try packet.defragment()
      let shared = try packet.shared(), copy = try packet.copy(), part = try packet.split(at: 0)
      #expect(shared.isEmpty && copy.isEmpty && part.isEmpty && shared == copy)
      try packet.prepend([1, 2, 3])
      try packet.append([4])
      #expect(packet.bytes() == [1, 2, 3, 4])
      packet.append(Packet())
      var other = Packet()
      other.append(packet)
      #expect(other.bytes() == [1, 2, 3, 4])
    }

    @Test func `headers go into the room before the bytes, and nothing is copied`() throws {
      var packet = try Packet(copying: bytes(1000), leadingSpace: 64)
      let place = packet.firstPiece.withUnsafeBytes { $0.baseAddress! }
      try packet.prepend(bytes(42, from: 100))
      #expect(packet.pieceCount == 1 && packet.firstPiece.withUnsafeBytes { $0.baseAddress! } == place - 42)
      #expect(packet.bytes() == bytes(42, from: 100) + bytes(1000) && packet.leadingSpace == 22)
      // Beyond the room another buffer comes first.
      try packet.prepend(bytes(168))
      #expect(packet.pieceCount == 2 && packet.count == 1210)
      #expect(throws: PacketError.outOfRange) { try packet.prepend(bytes(169)) }
      #expect(packet.count == 1210)
    }

    @Test func `what is shared is read-only until one packet has gone`() throws {
      var packet = try Packet(copying: bytes(1500))
      do {
        let second = try packet.shared(), part = try packet.shared(100..<1400)
        #expect(second == packet && part.bytes() == bytes(1300, from: 100) && part.count == 1300)
        #expect(!packet.isWritable && !second.isWritable && packet.leadingSpace == 0)
        #expect(throws: PacketError.readOnly) { try packet.replaceBytes(from: 3, with: [9]) }
        #expect(throws: PacketError.readOnly) { try packet.forEachMutablePiece { _ in } }
        var own = try packet.copy()
        #expect(own.isWritable && own == packet)
        try own.replaceBytes(from: 1, with: [9])
        #expect(own.bytes(in: 0..<3) == [0, 9, 2] && packet.bytes(in: 0..<3) == [0, 1, 2])
        var third = try packet.shared()
        try third.makeWritable()
        #expect(third.isWritable && third.bytes() == bytes(1500))
      }
      #expect(packet.isWritable == true)
      try packet.forEachMutablePiece { piece in
        for index in 0..<piece.byteCount { piece.storeBytes(of: 7, toByteOffset: index, as: UInt8.self) }
      }
      #expect(packet.bytes() == [UInt8](repeating: 7, count: 1500))
    }

    @Test func `threads that share one packet at once each have a share of their own`() throws {
      let box = Box(try Packet(copying: bytes(1500)))
      inThreads(2) { _ in
        for _ in 0..<20_000 { box.shareTwice() }
      }
      #expect(box.isWritable && box.count == 1500, "a share was counted that nobody has, or not counted")
    }

    @Test func `shares of bytes inside a buffer, and of the middle, are packets too`() throws {
      var packet = try Packet(copying: bytes(100))
      packet.flow = 77
      packet.receivedOn = 5
      let whole = try packet.shared(), middle = try packet.shared(10..<20)
      #expect(whole.flow == 77 && whole.receivedOn == 5 && middle.bytes() == bytes(10, from: 10) && packet.isWritable)
      middle.checkInvariants()
      #expect(throws: PacketError.outOfRange) { _ = try packet.shared(90..<101) }
    }

    @Test func `the first bytes in one piece, with the rest where it was`() throws {
      var packet = try Packet(copying: bytes(10))
      for index in 1..<20 { packet.append(try Packet(copying: bytes(1500, from: UInt8(index)))) }
      let all = packet.bytes()
      do {
        let header = try packet.contiguous(40)
        #expect(header.byteCount == 40 && header.unsafeLoad(fromByteOffset: 9, as: UInt8.self) == 9)
      }
      #expect(packet.bytes() == all)
      #expect(throws: PacketError.outOfRange) { _ = try packet.contiguous(packet.count + 1) }
      #expect(packet.bytes() == all)
      packet.removeFirst(200)
      #expect(try packet.contiguous(0).byteCount == 0)
      try packet.defragment()
      #expect(packet.pieceCount < 20 && packet.bytes() == Array(all.dropFirst(200)))
    }

    @Test func `a cursor reads over the borders of pieces, and nothing beyond the end`() throws {
      var packet = try Packet(copying: [1, 2, 3])
      packet.append(try Packet(copying: bytes(2000, from: 4)))
      let count = packet.count
      var cursor = packet.cursor()
      #expect(cursor.read(UInt16.self) == 0x0102 && cursor.read(UInt32.self) == 0x0304_0506 && cursor.readLittleEndian(UInt16.self) == 0x0807)
      #expect(cursor.remaining == count - 8 && cursor.skip(count - 11) == count - 11)
      #expect(cursor.read(UInt32.self) == nil && cursor.remaining == 3 && cursor.piece.byteCount == 3)
      #expect(cursor.readByte() != nil && cursor.skip(10) == 2 && cursor.isAtEnd && cursor.readByte() == nil && cursor.piece.byteCount == 0)
      var late = packet.cursor(at: count)
      #expect(late.isAtEnd && late.read(UInt8.self) == nil)
    }

    @Test func `lent bytes are given back once, when the last share has gone`() throws {
      let given = bytes(3000), count = Count()
      try given.withUnsafeBytes { lent in
        var packet = try Packet(lending: lent) { count.add() }
        let share = try packet.shared()
        #expect(packet.bytes() == given && !packet.isWritable && packet.firstPiece.withUnsafeBytes { $0.baseAddress } == lent.baseAddress)
        packet.removeAll()
        #expect(count.value == 0 && share.bytes() == given)
        var own = try share.shared()
        try own.makeWritable()
        #expect(own.isWritable && own.bytes() == given)
      }
      #expect(count.value == 1)
    }

    @Test func `limits hold, and say what there is`() throws {
      try Packets.setLimit(.clusters, to: 4)
      #expect(Packets.limit(.clusters) == 4)
      var kept: [Box] = []
      while let packet = try? Packet(capacity: 2000) { kept.append(Box(packet)) }
      let counts = try #require(Packets.counts)
      #expect(kept.count >= 1 && kept.count <= 4 && counts.clusters.limit == 4 && counts.denied > 0)
      #expect(throws: PacketError.outOfRange) { try Packets.setLimit(.clusters, to: 3) }
      var packet = try Packet(copying: bytes(100))
      let before = packet.bytes()
      #expect(throws: PacketError.noMemory) { try packet.append(bytes(2000)) }
      #expect(packet.bytes() == before, "it was changed though there was no memory")
      kept = []
      try packet.append(bytes(2000))
      try Packets.setLimit(.clusters, to: 0)
    }

    @Test(arguments: [Stage.seed]) func `packets against arrays of bytes, at random`(_ seed: UInt64) throws {
      var generator = Generator(seed: seed)
      var packet = Packet(), model: [UInt8] = []
      func piece(_ most: Int) -> [UInt8] { bytes(Int.random(in: 0...most, using: &generator), from: UInt8.random(in: 0...255, using: &generator)) }
      for step in 0..<Stage.steps(4000) {
        switch Int.random(in: 0..<12, using: &generator) {
        case 0:
          let new = piece(168)
          try packet.prepend(new)
          model = new + model
        case 1, 2:
          let new = piece(5000)
          try packet.append(new)
          model += new
        case 3:
          let count = Int.random(in: 0...3000, using: &generator)
          packet.removeFirst(count)
          model.removeFirst(min(count, model.count))
        case 4:
          let count = Int.random(in: 0...3000, using: &generator)
          packet.removeLast(count)
          model.removeLast(min(count, model.count))
        case 5:
          let cut = Int.random(in: 0...model.count, using: &generator)
          let tail = try packet.split(at: cut)
          #expect(tail.bytes() == Array(model[cut...]) && packet.bytes() == Array(model[..<cut]), "STAVE_SEED=\(seed), step \(step)")
          packet.append(tail)
        case 6:
          let share = try packet.shared()
          if Bool.random(using: &generator) {
            packet = share
          } else {
            try packet.makeWritable()
          }
        case 7:
          let count = min(model.count, Int.random(in: 0...168, using: &generator))
          let isSame = try packet.contiguous(count).withUnsafeBytes { $0.elementsEqual(model.prefix(count)) }
          #expect(isSame, "STAVE_SEED=\(seed), step \(step)")
        case 8:
          let new = piece(500), offset = Int.random(in: 0...model.count, using: &generator)
          guard offset + new.count <= model.count else { continue }
          try packet.makeWritable()
          try packet.replaceBytes(from: offset, with: new)
          model.replaceSubrange(offset..<offset + new.count, with: new)
        case 9:
          try packet.defragment()
        case 10:
          var cursor = packet.cursor(at: Int.random(in: 0...model.count, using: &generator)), place = model.count - cursor.remaining
          while let number = cursor.read(UInt16.self) {
            guard number == UInt16(model[place]) << 8 | UInt16(model[place + 1]) else {
              Issue.record("STAVE_SEED=\(seed), step \(step): a cursor reads something else at \(place)")
              break
            }
            place += 2
            place += cursor.skip(Int.random(in: 0...400, using: &generator))
          }
        default:
          let from = Int.random(in: 0...model.count, using: &generator), to = Int.random(in: from...model.count, using: &generator)
          #expect(try packet.shared(from..<to).bytes() == Array(model[from..<to]), "STAVE_SEED=\(seed), step \(step)")
        }
        packet.checkInvariants()
        #expect(packet.count == model.count, "STAVE_SEED=\(seed), step \(step)")
        if step % 16 == 0 { #expect(packet.bytes() == model, "STAVE_SEED=\(seed), step \(step)") }
        if model.count > 40_000 {
          packet.removeAll()
          model = []
        }
      }
      #expect(packet.bytes() == model)
    }
  }
}

/// A packet that closures and arrays can hold.
final class Box {
  private var packet: Packet
  init(_ packet: consuming Packet) { self.packet = packet }

  var isEmpty: Bool { packet.isEmpty }
  var isWritable: Bool { packet.isWritable }
  var count: Int { packet.count }
  /// And lets go of both.
  func shareTwice() {
    let one = try? packet.shared(), two = try? packet.shared()
    withExtendedLifetime((one == nil, two == nil)) {}
  }
  func writeAll(to descriptor: Int32) { try? packet.writeAll(to: descriptor) }
}
