// SPDX-License-Identifier: BSD-2-Clause
//
// Each request of each operation refused in turn, and what is left then: as stave_mbuf(3) says of each. Nothing may be
// out after that was not out before (Rig). Debug builds only.

#if STAVE_CHECK_LOCKS

import Foundation
import Testing

@testable import PacketBuffers
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct ChainFailureTests {
    /// A packet with tags, of these lengths; negative ones have clusters.
    private static func packet(_ lengths: [Int], isPacket: Bool = true) -> MbufPointer {
      var copies = Copies(first: nil, last: nil), generator = Generator(seed: 5)
      for length in lengths {
        let flags: MbufFlags = isPacket && copies.first == nil ? .packetHeader : .none
        let mbuf = length < 0 ? packets.getPacket(flags: flags)! : packets.get(flags: flags)!
        mbuf.pointee.data += length < 0 ? 30 : 4
        mbuf.take(abs(length), from: randomBytes(abs(length), &generator))
        copies.add(mbuf)
      }
      let first = copies.first!
      if isPacket {
        first.fixHeader()
        for id in 1...2 { first.prependTag(packets.getTag(id: UInt16(id), cookie: 7, length: 40 * id)!) }
      }
      return first
    }

    /// The operation answers nil when a request is refused, and then there is no chain any more.
    private func freesChain(
      _ what: Comment, atLeast: Int = 1, _ lengths: [Int], isPacket: Bool = true, sourceLocation: SourceLocation = #_sourceLocation,
      _ operation: (MbufPointer) -> MbufPointer?
    ) {
      let requests = refusingEachRequest { arm, disarm in
        let old = Self.packet(lengths, isPacket: isPacket), content = old.content
        arm()
        let new = operation(old)
        #expect(disarm() == (new == nil), what, sourceLocation: sourceLocation)
        if let new {
          #expect(new.sanity() && new.content.suffix(content.count) == content[...], what, sourceLocation: sourceLocation)
          new.freeChain()
        }
      }
      #expect(requests >= atLeast, what, sourceLocation: sourceLocation)
    }

    /// It answers nil, and the chain is what it was, to the last pointer. `consumes`: where it succeeds, the chain is the answer's.
    private func leavesChain(
      _ what: Comment, atLeast: Int = 1, _ lengths: [Int], isPacket: Bool = true, consumes: Bool = false,
      sourceLocation: SourceLocation = #_sourceLocation, _ operation: (MbufPointer) -> MbufPointer?
    ) {
      let requests = refusingEachRequest { arm, disarm in
        let old = Self.packet(lengths, isPacket: isPacket), content = old.content, shape = old.shape
        arm()
        let new = operation(old)
        #expect(disarm() == (new == nil), what, sourceLocation: sourceLocation)
        if let new {
          #expect(new.sanity(), what, sourceLocation: sourceLocation)
          new.freeChain()
          if consumes { return }
        } else {
          #expect(old.shape == shape && old.content == content && old.sanity(), what, sourceLocation: sourceLocation)
          #expect(old.isAllWritable, "nothing is shared any more")
        }
        old.freeChain()
      }
      #expect(requests >= atLeast, what, sourceLocation: sourceLocation)
    }

    @Test func `L39 T15 what puts a new mbuf first frees the chain when it fails`() {
      freesChain("prepend", [160, -500]) { $0.prepend(30) }
      freesChain("prependMbuf, no packet", [160, -500], isPacket: false) { $0.prependMbuf(200) }
      freesChain("pullUp", [-10, 20, -500]) { $0.pullUp(60) }
      freesChain("copyUp", [100, 50]) { $0.copyUp(120, leading: 40) }
      freesChain("pullDown, a new mbuf", [160, -500]) { old in old.pullDown(100, 200).map { _ in old } }
      freesChain("pullDown, a new cluster", [-2000, -900]) { old in old.pullDown(1500, 1000).map { _ in old } }
      freesChain("pullDown at the start of an mbuf", [160, -500]) { old in old.pullDown(100, 20, atStart: true).map { _ in old } }
      freesChain("pullDown in what is read-only", [50, 50]) { old in
        old.flags.insert(.readOnly)
        return old.pullDown(20, 50).map { _ in old }
      }
    }

    @Test func `L39 an unshare that fails frees the chain, and not what it shares with others`() {
      let requests = refusingEachRequest { arm, disarm in
        let old = Self.packet([100, -1000, 60, -2000, -900]), content = old.content, copy = old.copyPacket()!
        arm()
        let new = copy.unshare()
        #expect(disarm() == (new == nil))
        #expect(old.content == content && old.sanity())
        if let new {
          #expect(new.isAllWritable && new.content == content)
          new.freeChain()
        }
        #expect(old.isAllWritable)
        old.freeChain()
      }
      #expect(requests >= 3)
    }

    @Test func `T7 L39 a split that fails leaves everything as it was`() {
      for count in [0, 1, 50, 160, 161, 300, 560, 660, 661] {
        leavesChain("at \(count)", [160, -500, 1]) { $0.split(count) }
      }
      // The cut through an mbuf of which more remains than one with a header holds: two requests.
      leavesChain("internal, with more than 168 bytes behind", atLeast: 2, [60, 210]) { $0.split(70) }
      leavesChain("no packet", [200, -500], isPacket: false) { $0.split(20) }
      leavesChain("no packet, in a cluster", [200, -500], isPacket: false) { $0.split(300) }
    }

    @Test func `L39 a copy that fails frees the new part and leaves the original`() {
      leavesChain("copy", atLeast: 5, [100, -500, 200]) { $0.copy(0, MbufPointer.all) }
      leavesChain("copy of a part", atLeast: 2, [100, -500, 200]) { $0.copy(90, 600) }
      leavesChain("copyPacket", atLeast: 5, [100, -500, 200]) { $0.copyPacket() }
      leavesChain("duplicate", atLeast: 4, [-2000, -500, 200]) { $0.duplicate() }
      leavesChain("duplicate of little", atLeast: 3, [100]) { $0.duplicate() }
      leavesChain("defragment", atLeast: 4, [100, -2000, 200, -500], consumes: true) { $0.defragment() }
      leavesChain("defragment with a wrong length", atLeast: 3, [100, 60], consumes: true) { old in
        let right = old.packetLength
        old.packetLength = 1
        let new = old.defragment()
        if new == nil { old.packetLength = right }
        return new
      }
    }

    @Test func `L39 a collapse that fails leaves a whole chain with the same bytes`() {
      let requests = refusingEachRequest { arm, disarm in
        let old = Self.packet([160, 200, 200, 200, -1000, -1100, 200, 200]), content = old.content
        arm()
        let new = old.collapse(3)
        #expect(disarm() == (new == nil) && (new == nil || new == old && old.mbufs.count <= 3))
        #expect(old.content == content && old.sanity())
        old.freeChain()
      }
      #expect(requests >= 1)
    }

    @Test func `L39 what is appended or copied back stays as far as it came, and the length says so`() {
      let new = [UInt8](repeating: 0x5a, count: 2000)
      for grows in [true, false] {
        let requests = refusingEachRequest { arm, disarm in
          let old = Self.packet([100, 50]), content = old.content
          arm()
          let done: Int
          if grows {
            let isWhole = old.append(2000, from: new)
            done = old.packetLength - content.count
            #expect(isWhole == (done == 2000))
          } else {
            done = old.copyBack(600, 1400, from: Array(new[..<1400]))
          }
          #expect(disarm() == (done < (grows ? 2000 : 1400)))
          let zeros = grows ? 0 : max(0, min(450, old.packetLength - 150))
          #expect(old.sanity() && old.content == content + [UInt8](repeating: 0, count: zeros) + new[..<done])
          old.freeChain()
        }
        #expect(requests >= 6)
      }
    }

    @Test func `L39 what comes from outside is freed as far as it came, and stays where it was`() {
      var generator = Generator(seed: 6)
      var source = randomBytes(6000, &generator)
      source.withUnsafeMutableBytes { memory in
        let piece = [MemoryPiece(start: memory.baseAddress!, count: 6000)]
        _ = refusingEachRequest { arm, disarm in
          var transfer = Transfer(piece, count: 1)
          arm()
          let new = packets.gather(&transfer)
          let wasRefused = disarm()
          #expect(new != nil || wasRefused && transfer.remaining == 6000)
          new?.freeChain()
        }
        let requests = refusingEachRequest { arm, disarm in
          arm()
          let new = packets.getCopy(of: memory.baseAddress!, 6000)
          #expect(disarm() == (new == nil))
          new?.freeChain()
        }
        #expect(requests == 3)
      }
    }

    @Test func `L39 a header whose tags cannot be copied has none`() {
      let requests = refusingEachRequest { arm, disarm in
        let old = Self.packet([10]), new = Self.packet([20])
        arm()
        let isCopied = new.copyHeader(from: old, .noWait)
        #expect(disarm() == !isCopied)
        #expect((new.header.pointee.tags != nil) == isCopied && old.findTag(id: 2, cookie: 7) != nil)
        old.free()
        new.free()
      }
      #expect(requests == 2)
    }

    @Test func `L39 a tag that cannot be copied leaves all as it was`() {
      let requests = refusingEachRequest { arm, disarm in
        let packet = Self.packet([10])
        let tag = packet.findTag(id: 2, cookie: 7)!
        arm()
        let copy = packets.copyTag(tag)
        #expect(disarm() == (copy == nil))
        #expect(packet.findTag(id: 2, cookie: 7) == tag && packet.findTag(id: 2, cookie: 7, after: tag) == nil)
        if let copy {
          #expect(copy.pointee.id == 2 && copy.pointee.cookie == 7 && copy.pointee.length == 80 && memcmp(copy.bytes, tag.bytes, 80) == 0)
          packets.freeTag(copy)
        }
        packet.free()
      }
      #expect(requests == 1)
    }

    @Test func `T19 a packet is refused only where not one cluster could be had, and counts one failure`() {
      let zone = packets.pointee.packetZone!
      zone.reclaim(.drainCPU)
      let failures = zone.pointee.failures
      // The first cluster of a refill refused: none is left.
      packets.refusing = 1
      #expect(packets.getPacket() == nil && zone.pointee.failures == failures + 1)
      // A later one: those before it are there.
      packets.refusing = 2
      let packet = packets.getPacket()
      #expect(packets.refusing == 0)
      packets.refusing = 0
      if let packet { packet.free() }
      zone.reclaim(.drainCPU)
      #expect(used(packets.pointee.clusterZone!) == 0)
    }
  }
}
#endif
