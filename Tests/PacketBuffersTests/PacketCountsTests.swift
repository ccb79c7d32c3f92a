// SPDX-License-Identifier: BSD-2-Clause
//
// The figures of netstat -m; tags; queues.

import Accounting
import CPlatform
import Synchronization
import Testing

@testable import PacketBuffers
@testable import Pages
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct PacketCountsTests {
    @Test func `a cluster that waits with its mbuf is free, one that is in use is counted once`() {
      let before = PacketCounts(packets)
      let mbufs = (0..<10).map { _ in packets.get()! }, held = (0..<7).map { _ in packets.getPacket()! }
      for mbuf in mbufs[..<3] { #expect(mbuf.attachCluster()) }
      let jumbos = [packets.getJumbo(Cluster.page)!, packets.getJumbo(Cluster.nine)!, packets.getJumbo(Cluster.nine)!, packets.getJumbo(Cluster.sixteen)!]
      held[0].prependTag(packets.getTag(id: 1, cookie: 1, length: 100)!)
      let counts = PacketCounts(packets)
      #expect(counts.mbufs.current == 10 + 7 + 4 && counts.packets.current == 7 && counts.clusters.current == 3 + 7)
      #expect(counts.pages.current == 1 && counts.nines.current == 2 && counts.sixteens.current == 1)
      #expect(counts.bytes.current == 21 * 256 + 10 * 2048 + pageBytes + 2 * 9216 + 16384 + 128)
      #expect(counts.clusters.cache >= counts.packets.cache && counts.mbufs.total == counts.mbufs.current + counts.mbufs.cache)
      for mbuf in mbufs + held + jumbos { mbuf.free() }
      let after = PacketCounts(packets)
      #expect(after.mbufs.current == 0 && after.clusters.current == 0 && after.packets.current == 0 && after.bytes.current == 0)
      #expect(after.packets.cache >= 7 && after.clusters.cache >= after.packets.cache + 3)
      #expect(after.denied.mbufs == before.denied.mbufs && after.delayed.packets == before.delayed.packets)
      // What is cached is all that the zones have.
      let state = packets
      #expect(after.clusters.total == state.pointee.clusterZone!.pointee.keg.pointee.slabCount * state.pointee.clusterZone!.pointee.keg.pointee.layout.items)
    }

    #if STAVE_CHECK_LOCKS
    @Test func `a request that is refused is denied, of its own zone`() {
      let before = PacketCounts(packets)
      packets.refusing = 1
      #expect(packets.get() == nil)
      packets.refusing = 2
      #expect(packets.getJumbo(Cluster.nine) == nil)
      let cluster = packets.getCluster(Cluster.size, for: nil)!
      packets.freeCluster(cluster, size: Cluster.size)
      packets.refusing = 1
      #expect(packets.getCluster(Cluster.size, for: nil) == nil)
      let kept = packets.getPacket()!
      packets.refusing = 1
      #expect(packets.getPacket() == nil || packets.refusing == 0)
      packets.refusing = 0
      kept.free()
      let after = PacketCounts(packets)
      #expect(after.denied.mbufs == before.denied.mbufs + 1 && after.denied.nines == before.denied.nines + 1)
      #expect(after.denied.clusters == before.denied.clusters + 1 && after.denied.packets == before.denied.packets + 1)
      // Copies and pull-ups that fail are counted as mbstat does.
      let packet = packets.getHeader()!
      packet.append(20, from: [UInt8](repeating: 0, count: 20))
      packets.refusing = 1
      #expect(packet.copyPacket() == nil && packet.pullUp(21) == nil)
      let last = PacketCounts(packets)
      #expect(last.failedCopies == after.failedCopies + 1 && last.failedPullUps == after.failedPullUps + 1)
    }
    #endif

    @Test func `T21 figures that are taken while threads work are never negative, and exact at rest`() {
      let running = Shared(UnsafeMutablePointer<ReferenceCount>.allocate(capacity: 1))
      running.value.initialize(to: ReferenceCount(3))
      inThreads(4) { thread in
        guard thread > 0 else {
          while running.value.pointee.value.load(ordering: .acquiring) > 0 {
            let counts = PacketCounts(packets)
            for figures in [counts.mbufs, counts.clusters, counts.packets, counts.pages, counts.nines, counts.sixteens, counts.bytes]
            where figures.current < 0 || figures.cache < 0 { Issue.record("negative figures") }
            _ = stave_yield()
          }
          return
        }
        var generator = Generator(UInt64(340 + thread)), held: [MbufPointer] = []
        for _ in 0..<20_000 * Stage.scale {
          if generator.below(2) == 0 && held.count < 100 {
            held.append(makeMbuf(generator.below(4), isFirst: true))
          } else if !held.isEmpty {
            held.remove(at: generator.below(held.count)).free()
          }
        }
        for mbuf in held { mbuf.free() }
        running.value.pointee.value.wrappingSubtract(1, ordering: .releasing)
      }
      running.value.deallocate()
      let counts = PacketCounts(packets)
      #expect(counts.mbufs.current == 0 && counts.clusters.current == 0 && counts.bytes.current == 0, "STAVE_SEED=\(Stage.seed)")
    }

    nonisolated(unsafe) static var tagsFreed = 0

    @Test func `tags are found by who and what, go with the header, and go with the packet`() {
      let packet = packets.getHeader()!
      for (id, cookie) in [(1, 7), (2, 7), (1, 8), (1, 7), (0x803, 7)] as [(UInt16, UInt32)] {
        let tag = packets.getTag(id: id, cookie: cookie, length: Int(id & 15) * 100)!
        tag.bytes.initializeMemory(as: UInt8.self, repeating: UInt8(id & 15), count: Int(tag.pointee.length))
        packet.prependTag(tag)
      }
      let newest = packet.findTag(id: 1, cookie: 7)!, oldest = packet.findTag(id: 1, cookie: 7, after: newest)!
      #expect(newest != oldest && packet.findTag(id: 1, cookie: 7, after: oldest) == nil && packet.findTag(id: 3, cookie: 7) == nil)
      packet.deleteTag(oldest)
      #expect(packet.findTag(id: 1, cookie: 7, after: newest) == nil)
      // A copy has its own, in the same order, in place of what it had.
      let copy = packets.getHeader()!
      copy.prependTag(packets.getTag(id: 9, cookie: 9, length: 10)!)
      #expect(copy.copyHeader(from: packet, .noWait) && copy.findTag(id: 9, cookie: 9) == nil)
      let twin = copy.findTag(id: 0x803, cookie: 7)!
      #expect(twin != packet.findTag(id: 0x803, cookie: 7) && twin.pointee.length == 300 && (twin.bytes + 299).load(as: UInt8.self) == 3)
      // A header that moves takes them along.
      let moved = packets.get()!
      moved.moveHeader(from: copy)
      copy.free()
      #expect(moved.findTag(id: 1, cookie: 8) != nil)
      moved.deleteTransientTags()
      #expect(moved.findTag(id: 1, cookie: 8) == nil && moved.findTag(id: 0x803, cookie: 7) == twin)
      // One with a free of its own is freed by that.
      Self.tagsFreed = 0
      twin.pointee.free = { tag in
        OnRoot.PacketCountsTests.tagsFreed += 1
        packets.freeTag(tag.assumingMemoryBound(to: PacketTag.self))
      }
      moved.free()
      #expect(Self.tagsFreed == 1)
      let loose = packet.findTag(id: 2, cookie: 7)!
      packet.unlinkTag(loose)
      packets.freeTag(loose)
      packet.free()
      #expect(Out.now.items.last == 0 && packets.getTag(id: 1, cookie: 1, length: -1) == nil && packets.getTag(id: 1, cookie: 1, length: 40_000) == nil)
    }

    @Test func `a queue holds packets in order, to its limit`() {
      var queue = PacketQueue(most: 3), other = PacketQueue()
      let all = (0..<6).map { _ in packets.getHeader()! }
      for packet in all[..<3] {
        let isIn = queue.enqueue(packet)
        #expect(isIn)
      }
      let isInToo = queue.enqueue(all[3])
      #expect(queue.isFull && !isInToo && queue.first == all[0] && queue.last == all[2] && queue.count == 3)
      let one = queue.dequeue()
      #expect(one == all[0] && all[0].pointee.nextPacket == nil)
      queue.prepend(all[0])
      for packet in all[3...] { _ = other.enqueue(packet) }
      queue.concatenate(&other)
      let none = other.dequeue(), two = [queue.dequeue(), queue.dequeue()]
      #expect(queue.count == 4 && other.count == 0 && none == nil && queue.last == all[5] && two == [all[0], all[1]])
      let chain = queue.flush()
      #expect(chain == all[2] && queue.count == 0 && queue.last == nil && all[2].pointee.nextPacket == all[3])
      for packet in all[..<3] {
        packet.pointee.nextPacket = nil
        packet.free()
      }
      for packet in all[3...] { _ = queue.enqueue(packet) }
      queue.drain()
      #expect(queue.count == 0 && Out.now.items.allSatisfy { $0 == 0 })
    }
  }
}
