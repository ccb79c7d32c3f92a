// SPDX-License-Identifier: BSD-2-Clause
//
// Chains trimmed, read, transferred, and what is unsound in them found: at their edges, where memory is to be had.

import Testing

@testable import PacketBuffers
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct ChainReadTests: KnownChains {
    @Test func `bytes are trimmed off both ends, more than there are too`() {
      for count in [0, 1, 99, 100, 101, 150, 349, 350, 351, 10_000] {
        let packet = chain([100, 50, -200])
        packet.trim(by: count)
        #expect(packet.mbufs.count == 3 && packet.packetLength == max(0, 350 - count))
        expectBytes(packet, min(350, count)..<350)
        packet.freeChain()
        let other = chain([100, 50, -200])
        other.trim(by: -count)
        #expect(other.packetLength == max(0, 350 - count))
        expectBytes(other, 0..<max(0, 350 - count))
        other.freeChain()
      }
    }

    @Test func `places, ranges, and what is beyond the end`() async {
      let packet = chain([100, 0, 50])
      #expect(packet.locate(0)?.mbuf == packet && packet.locate(99)?.offset == 99 && packet.locate(100)?.mbuf == packet.last)
      #expect(packet.locate(150)?.mbuf == packet.last && packet.locate(150)?.offset == 50 && packet.locate(151) == nil)
      var pieces: [Int] = []
      #expect(packet.apply(90, 30) { pieces.append($1); return 0 } == 0 && pieces == [10, 20])
      #expect(packet.apply(0, 150) { _, _ in 7 } == 7)
      packet.freeChain()
      await #expect(processExitsWith: .failure) {
        Stage.up()
        precondition(packets.start())
        let mbuf = packets.get()!
        mbuf.length = 10
        _ = mbuf.apply(5, 6) { _, _ in 0 }
      }
      await #expect(processExitsWith: .failure) {
        Stage.up()
        precondition(packets.start())
        let mbuf = packets.get()!
        mbuf.length = 10
        _ = mbuf.copy(5, 6)
      }
    }

    @Test func `transfers go in and out of any pieces, as far as there are any`() {
      var generator = Generator(320)
      for _ in 0..<60 {
        let total = generator.below(5001), leading = generator.below(168)
        var source = bytes
        source.withUnsafeMutableBytes { memory in
          var pieces: [MemoryPiece] = [], done = 0
          while done < total {
            let count = min(total - done, generator.size(upTo: 2000) - 1)
            pieces.append(MemoryPiece(start: memory.baseAddress! + done, count: count))
            done += count
          }
          pieces.append(MemoryPiece(start: nil, count: 0))
          let wanted = generator.below(2) == 0 ? 0 : 1 + generator.below(5000)
          let expected = wanted == 0 ? total : min(wanted, total)
          var transfer = Transfer(pieces, count: pieces.count)
          let packet = packets.gather(&transfer, length: wanted, leading: leading)!
          #expect(packet.packetLength == expected && transfer.remaining == total - expected && packet.leadingSpace == leading)
          expectBytes(packet, 0..<expected)
          var target = [UInt8](repeating: 0, count: 5000)
          target.withUnsafeMutableBytes { to in
            let parts = [MemoryPiece(start: to.baseAddress!, count: 777), MemoryPiece(start: to.baseAddress! + 777, count: 5000 - 777)]
            var out = Transfer(parts, count: 2)
            #expect(packet.scatter(to: &out) == expected && out.remaining == 5000 - expected)
          }
          #expect(target[..<expected].elementsEqual(bytes[..<expected]))
          packet.freeChain()
        }
      }
      let mbuf = packets.get()!
      var none = Transfer([MemoryPiece](), count: 0)
      #expect(packets.gather(&none, leading: 168) == nil && mbuf.scatter(to: &none) == 0)
      mbuf.free()
    }

    @Test func `a device's bytes come with room before them`() {
      let reversed: DeviceCopy = { from, to, count in
        for index in 0..<count { (to + index).storeBytes(of: ~(from + index).load(as: UInt8.self), as: UInt8.self) }
      }
      for (count, offset) in [(0, 0), (60, 0), (60, 14), (150, 18), (168, 0), (169, 0), (1500, 2), (5000, 100)] {
        let packet = packets.getCopy(of: bytes, count, offset: offset, receivedOn: 3)!
        #expect(packet.packetLength == count && packet.header.pointee.receivedOn == 3 && packet.leadingSpace >= offset)
        if count + offset <= 150 { #expect(packet.leadingSpace == offset + 16) }
        expectBytes(packet, 0..<count)
        packet.freeChain()
        let other = packets.getCopy(of: bytes, count, offset: offset, copy: reversed)!
        #expect(other.content.elementsEqual(bytes[..<count].map { ~$0 }))
        other.freeChain()
      }
      #expect(packets.getCopy(of: bytes, 10, offset: 169) == nil)
    }

    @Test func `headers move, are copied, and come off`() {
      let from = chain([50]), to = packets.get()!
      from.flags.insert(.broadcast.union(.readOnly).union(.endOfRecord).union(.ofProtocol(3)))
      from.header.pointee.vlan = 12
      to.moveHeader(from: from)
      #expect(!from.hasHeader && to.hasHeader && to.header.pointee.vlan == 12 && to.packetLength == 50 && to.pointee.data == to.roomStart)
      #expect(to.flags == MbufFlags.packetHeader.union(.broadcast).union(.readOnly).union(.endOfRecord).union(.ofProtocol(3)))
      let cluster = packets.getPacket(flags: .none)!
      #expect(cluster.copyHeader(from: to, .noWait) && cluster.isExternal && cluster.header.pointee.vlan == 12 && to.hasHeader)
      cluster.demote()
      #expect(!cluster.hasHeader && cluster.flags == MbufFlags.external.union(.readOnly).union(.endOfRecord))
      for mbuf in [from, to, cluster] { mbuf.free() }
    }

    @Test func `what is not sound in a chain is found, and repaired where that can be`() {
      let packet = chain([100, 50])
      packet.packetLength = 149
      #expect(!packet.sanity() && packet.sanity(repairing: true) && packet.packetLength == 150)
      packet.last.pointee.nextPacket = packet
      #expect(!packet.sanity() && packet.sanity(repairing: true) && packet.sanity())
      let other = chain([10])
      packet.last.pointee.next = other
      packet.packetLength += 10
      #expect(!packet.sanity() && packet.sanity(repairing: true) && packet.sanity())
      packet.last.pointee.data -= 100
      #expect(!packet.sanity() && !packet.sanity(repairing: true))
      packet.last.pointee.data += 100
      packet.length += 200
      #expect(!packet.sanity(repairing: true))
      packet.length -= 200
      packet.freeChain()
    }
  }
}
