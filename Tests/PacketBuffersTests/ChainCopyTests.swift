// SPDX-License-Identifier: BSD-2-Clause
//
// Chains cut, shared, copied and made compact: at their edges, where memory is to be had.

import Testing

@testable import PacketBuffers
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct ChainCopyTests: KnownChains {
    @Test func `a split at any byte: two packets, shared where the cut is inside a cluster`() {
      for cut in 0...2060 where cut < 300 || cut % 97 == 0 || cut > 2040 {
        let packet = chain([160, 200, -1500, 200], leading: 8)
        packet.header.pointee.receivedOn = 42
        let all = Out.now
        let tail = packet.split(cut)!
        #expect(packet.packetLength == cut && tail.packetLength == 2060 - cut && tail.header.pointee.receivedOn == 42)
        expectBytes(packet, 0..<cut)
        expectBytes(tail, cut..<2060)
        if cut > 360 && cut < 1860 { #expect(packet.last.isExternal && !packet.last.isWritable && tail.storage.pointee.buffer == packet.last.storage.pointee.buffer) }
        #expect(Out.now.items[5] == all.items[5], "no cluster more")
        tail.freeChain()
        packet.freeChain()
      }
      let packet = chain([100, 100])
      let shape = packet.shape
      #expect(packet.split(201) == nil && packet.shape == shape)
      packet.freeChain()
      // Without a header nothing is made at a boundary.
      let plain = chain([100, 100], isPacket: false)
      let second = plain.pointee.next
      #expect(plain.split(100) == second && plain.split(100) == nil)
      second?.freeChain()
      plain.freeChain()
    }

    @Test func `a copy shares clusters and copies what is inside; of a packet from its start it is a packet`() {
      let packet = chain([100, -1000, 50])
      packet.header.pointee.flow = 9
      let copy = packet.copy(0, MbufPointer.all)!
      #expect(copy.packetLength == 1150 && copy.header.pointee.flow == 9)
      expectBytes(copy, 0..<1150)
      #expect(copy.mbufs[1].storage.pointee.buffer == packet.mbufs[1].storage.pointee.buffer && copy.isWritable && !copy.isAllWritable)
      // What is inside is the copy's own.
      copy.pointee.data.storeBytes(of: ~bytes[0], as: UInt8.self)
      expectBytes(packet, 0..<1150)
      copy.freeChain()
      let part = packet.copy(150, 960)!
      #expect(!part.hasHeader)
      expectBytes(part, 150..<1110)
      part.freeChain()
      let head = packet.copy(0, 120)!
      #expect(head.packetLength == 120)
      expectBytes(head, 0..<120)
      head.freeChain()
      #expect(packet.copy(1150, 0) == nil)
      packet.freeChain()
    }

    @Test func `a copied packet keeps its leading room; a duplicate is writable all through`() {
      let packet = chain([100, -1000, -900], leading: 24)
      let copy = packet.copyPacket()!
      #expect(copy.leadingSpace == 24)
      expectBytes(copy, 0..<2000)
      let twin = packet.duplicate()!
      #expect(twin.isAllWritable && twin.leadingSpace == 24 && twin.mbufs.count == 1)
      twin.pointee.data.storeBytes(of: ~bytes[0], as: UInt8.self)
      (twin.pointee.data + 1500).storeBytes(of: ~bytes[1500], as: UInt8.self)
      expectBytes(packet, 0..<2000)
      twin.freeChain()
      copy.freeChain()
      packet.freeChain()
      let plain = chain([10], isPacket: false)
      #expect(plain.duplicate() == nil)
      plain.free()
    }

    @Test func `a packet is defragmented into as few clusters as hold it; a chain that is none stays`() {
      let packet = chain([10, 20, -1000, 30, -2000, 40].map { $0 })
      let new = packet.defragment()!
      #expect(new.mbufs.count == 2 && new.mbufs[0].length == 2048)
      expectBytes(new, 0..<3100)
      new.freeChain()
      let plain = chain([10, 20], isPacket: false)
      #expect(plain.defragment() == plain && plain.mbufs.count == 2)
      plain.freeChain()
    }

    @Test func `a collapse keeps the first mbuf, uses room, then pairs, and says where there is no way`() {
      for most in 1...7 {
        let packet = chain([100, 60, -900, 100, -1000, 200, 200])
        let new = packet.collapse(most)
        if let new { #expect(new == packet && new.mbufs.count <= most) } else { #expect(most < 3) }
        expectBytes(packet, 0..<2560)
        packet.freeChain()
      }
    }

    @Test func `what is unshared is writable, and others see nothing of it`() {
      let packet = chain([100, -1000, 50, -1500, 20])
      let copy = packet.copyPacket()!
      let own = copy.unshare()!
      #expect(own.isAllWritable && own.packetLength == 2670)
      expectBytes(own, 0..<2670)
      for mbuf in own.mbufs { for index in 0..<mbuf.length { (mbuf.pointee.data + index).storeBytes(of: 0xaa, as: UInt8.self) } }
      expectBytes(packet, 0..<2670)
      own.freeChain()
      // Lent and read-only, larger than a cluster, with the header in the same mbuf.
      let lent = packets.getHeader()!
      lent.lend(Lent.buffer(6000), size: 6000, flags: .readOnly, free: Lent.free)
      bytes.withUnsafeBytes { lent.take(5000, from: $0.baseAddress!) }
      lent.packetLength = 5000
      let writable = lent.unshare()!
      #expect(writable.isAllWritable && writable.hasHeader && Lent.out == 0)
      expectBytes(writable, 0..<5000)
      writable.freeChain()
      packet.freeChain()
    }
  }
}
