// SPDX-License-Identifier: BSD-2-Clause
//
// More bytes before, behind and over a chain, and bytes in one piece: at their edges, where memory is to be had.

import Testing

@testable import PacketBuffers
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct ChainGrowTests: KnownChains {
    @Test func `a prepend uses leading room, else a new first mbuf whose last bytes they are`() {
      var packet = chain([100], leading: 30)
      let old = packet
      packet = packet.prepend(30)!
      #expect(packet == old && packet.packetLength == 130 && packet.leadingSpace == 0)
      packet.header.pointee.flow = 5
      packet = packet.prepend(20)!
      #expect(packet != old && packet.pointee.next == old && packet.hasHeader && !old.hasHeader && packet.header.pointee.flow == 5)
      #expect(packet.packetLength == 150 && packet.length == 20 && packet.trailingSpace < 8 && packet.sanity())
      // The low function does not count.
      packet = packet.prependMbuf(8)!
      #expect(packet.packetLength == 150)
      packet.freeChain()
      // No more than an mbuf holds, shared or not.
      #expect(chain([50]).prepend(169) == nil)
      #expect(chain([50], isPacket: false).prepend(225) == nil)
    }

    @Test func `T20 a pull-up of what is in one piece copies nothing, in a cluster too`() {
      for lengths in [[100], [-1500, 100]] {
        let packet = chain(lengths)
        let shape = packet.shape, all = Out.now
        #expect(packet.pullUp(lengths[0] < 0 ? 1500 : 100) == packet && packet.shape == shape && Out.now == all)
        packet.freeChain()
      }
    }

    @Test func `a pull-up moves bytes into the first mbuf, or leaves its cluster for a new one`() {
      var packet = chain([10, 20, 0, 30, 100], leading: 20)
      let first = packet
      packet = packet.pullUp(50)!
      #expect(packet == first && packet.length >= 50)
      expectBytes(packet, 0..<160)
      packet.freeChain()
      // Beyond what the first has room for behind its data: a new one.
      packet = chain([100, 100], leading: 60)
      let small = packet
      packet = packet.pullUp(150)!
      #expect(packet != small && packet.length >= 150 && packet.hasHeader)
      expectBytes(packet, 0..<200)
      packet.freeChain()
      packet = chain([-10, -1000])
      let cluster = packet
      packet = packet.pullUp(100)!
      #expect(packet != cluster && !packet.isExternal && packet.isWritable && packet.length >= 100)
      expectBytes(packet, 0..<1010)
      packet.freeChain()
      #expect(chain([-10, -1000]).pullUp(169) == nil)
      #expect(chain([10, 20]).pullUp(31) == nil)
    }

    @Test func `a copy-up leaves room before the bytes`() {
      var packet = chain([10, 20, 400].map { $0 > 200 ? -$0 : $0 })
      packet = packet.copyUp(40, leading: 64)!
      #expect(packet.leadingSpace == 64 && packet.length >= 40 && packet.hasHeader)
      expectBytes(packet, 0..<430)
      packet.freeChain()
      #expect(chain([200 - 40]).copyUp(100, leading: 69) == nil)
    }

    @Test func `a pull-down makes a range one piece and leaves what is before it where it is`() {
      for (offset, count) in [(0, 10), (5, 90), (50, 100), (99, 2), (100, 200), (130, 400), (150, 2048), (0, 2048), (700, 900), (2400, 10), (2410, 0)] {
        for atStart in [false, true] {
          let packet = chain([100, 50, -1600, 60, -600], leading: 8)
          let before = Array(packet.content[..<offset])
          let place = packet.pullDown(offset, count, atStart: atStart)!
          #expect(place.mbuf.length >= place.offset + count && (!atStart || place.offset == 0), "\(offset) \(count) \(atStart)")
          #expect((0..<count).allSatisfy { (place.mbuf.pointee.data + place.offset + $0).load(as: UInt8.self) == bytes[offset + $0] })
          #expect(Array(packet.content[..<offset]) == before)
          expectBytes(packet, 0..<2410)
          packet.freeChain()
        }
      }
      #expect(chain([100, 100]).pullDown(50, 151) == nil)
      #expect(chain([-2000, -2000]).pullDown(0, 2049) == nil)
      #expect(chain([10]).pullDown(11, 0) == nil)
    }

    @Test func `T15 a pull-down does not write into an mbuf that is read-only, wherever its data lies`() {
      for lengths in [[50, 100], [-50, 100], [50, -100]] {
        for marked in 0..<2 {
          let packet = chain(lengths, leading: 60)
          let mbuf = packet.mbufs[marked]
          mbuf.flags.insert(.readOnly)
          let start = mbuf.roomStart, before = (0..<200).map { (start + $0).load(as: UInt8.self) }
          let place = packet.pullDown(20, 80)!
          #expect((0..<(mbuf.isExternal ? 200 : 168)).allSatisfy { (start + $0).load(as: UInt8.self) == before[$0] })
          #expect(place.mbuf != mbuf || place.mbuf.length == abs(lengths[marked]))
          expectBytes(packet, 0..<150)
          packet.freeChain()
        }
      }
      // Nor does any other operation count on room there.
      let packet = chain([50, 20], leading: 60)
      packet.flags.insert(.readOnly)
      #expect(packet.leadingSpace == 0 && packet.trailingSpace == 0 && packet.copyBack(0, 1, from: [1]) == 0)
      let longer = packet.prepend(4)!
      #expect(longer != packet && longer.isWritable)
      longer.freeChain()
    }

    @Test func `chains are put together, small pieces into room, and only the packet function counts`() {
      let one = chain([50]), two = packets.get()!
      bytes.withUnsafeBytes { two.take(100, from: $0.baseAddress! + 50) }
      one.concatenate(two)
      #expect(one.mbufs.count == 1 && one.packetLength == 50 && one.length == 150)
      one.fixHeader()
      expectBytes(one, 0..<150)
      let three = packets.getPacket()!
      bytes.withUnsafeBytes { three.take(1000, from: $0.baseAddress! + 150) }
      three.fixHeader()
      _ = three.header
      one.concatenatePacket(three)
      #expect(one.packetLength == 1150 && one.mbufs.count == 2 && !one.last.hasHeader)
      expectBytes(one, 0..<1150)
      one.freeChain()
      // A record's end is not buried.
      let record = chain([10])
      record.flags.insert(.endOfRecord)
      record.concatenate(chain([10], isPacket: false))
      #expect(record.mbufs.count == 2)
      record.freeChain()
    }

    @Test func `a write beyond the end puts zeros between`() {
      for (offset, count) in [(0, 50), (90, 20), (150, 10), (400, 3000), (150, 0), (700, 0)] {
        let packet = chain([100, 50])
        var model = Array(bytes[..<150])
        let new = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 3 + 1) }
        #expect(packet.copyBack(offset, count, from: new) == count)
        model += [UInt8](repeating: 0, count: max(0, offset + count - model.count))
        model.replaceSubrange(offset..<offset + count, with: new)
        #expect(packet.content == model && packet.packetLength == model.count && packet.sanity(), "\(offset) \(count)")
        packet.freeChain()
      }
    }

    @Test func `a write stops where data is shared`() {
      let packet = chain([100, -1000])
      let copy = packet.copyPacket()!
      #expect(packet.copyBack(50, 100, from: [UInt8](repeating: 0xee, count: 100)) == 50)
      expectBytes(copy, 0..<1100)
      #expect(packet.content[50..<100].allSatisfy { $0 == 0xee } && packet.content[100...].elementsEqual(bytes[100..<1100]))
      copy.freeChain()
      packet.freeChain()
    }
  }
}
