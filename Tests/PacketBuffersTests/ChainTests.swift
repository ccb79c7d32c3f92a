// SPDX-License-Identifier: BSD-2-Clause
//
// What each operation on chains does where memory is to be had, at its edges.

import Testing

@testable import PacketBuffers
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct ChainTests {
    let bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 8) }

    /// Mbufs of these lengths, of which negative ones have clusters; `leading` bytes of room before each.
    private func chain(_ lengths: [Int], leading: Int = 0, isPacket: Bool = true) -> MbufPointer {
      var copies = Copies(first: nil, last: nil), done = 0
      for (index, length) in lengths.enumerated() {
        let flags: MbufFlags = isPacket && index == 0 ? .packetHeader : .none
        let mbuf = length < 0 ? packets.getPacket(flags: flags)! : packets.get(flags: flags)!
        mbuf.pointee.data += leading
        bytes.withUnsafeBytes { mbuf.take(abs(length), from: $0.baseAddress! + done) }
        done += abs(length)
        copies.add(mbuf)
      }
      if isPacket { copies.first!.fixHeader() }
      return copies.first!
    }

    private func expectBytes(_ chain: MbufPointer, _ range: Range<Int>, sourceLocation: SourceLocation = #_sourceLocation) {
      #expect(chain.content == Array(bytes[range]), sourceLocation: sourceLocation)
      #expect(chain.sanity(), sourceLocation: sourceLocation)
    }

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
