// SPDX-License-Identifier: BSD-2-Clause
//
// Limits of mbufs and clusters: set, raised, taken away while in use; who waits for a cluster gets one that waits with its mbuf.

import CPlatform
import Foundation
import Synchronization
import Testing

@testable import PacketBuffers
@testable import Pages
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct PacketLimitTests {
    private func clusters(_ count: Int) -> [MbufPointer] {
      (0..<count).compactMap { _ in
        guard let mbuf = packets.get() else { return nil }
        if mbuf.attachCluster() { return mbuf }
        mbuf.free()
        return nil
      }
    }

    @Test func `L75 zero is no limit, a limit is raised while in use, and not lowered`() {
      // On one CPU, so that none waits in the cache of another.
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      #expect(packets.limit(.clusters) == 0)
      var held = clusters(100)
      #expect(held.count == 100)
      #expect(packets.setLimit(.clusters, 100) && packets.limit(.clusters) == 100 && PacketCounts(packets).clusters.most == 100)
      let denied = PacketCounts(packets).denied
      #expect(clusters(1).isEmpty && packets.getPacket() == nil)
      let later = PacketCounts(packets).denied
      #expect(later.clusters > denied.clusters && later.packets == denied.packets + 1)
      // Raised: as many more, exactly, with packets among them.
      #expect(packets.setLimit(.clusters, 150))
      held += clusters(30)
      while let packet = packets.getPacket() { held.append(packet) }
      #expect(held.count == 150 && packets.pointee.clusterZone!.made == 150)
      #expect(!packets.setLimit(.clusters, 149) && !packets.setLimit(.clusters, -1) && packets.limit(.clusters) == 150)
      #expect(packets.setLimit(.clusters, 0) && packets.limit(.clusters) == 0)
      held += clusters(200)
      #expect(held.count == 350)
      for mbuf in held { mbuf.free() }
    }

    @Test func `L75 where mbufs have a limit, those of clusters together stay below it`() {
      let kinds: [PacketLimit] = [.clusters, .pages, .nines, .sixteens]
      // Without a limit for mbufs there may be any number of the others.
      #expect(packets.setLimit(.clusters, 1000) && packets.setLimit(.clusters, 0))
      #expect(packets.setLimit(.mbufs, 100))
      for kind in kinds {
        #expect(!packets.setLimit(kind, 101) && !packets.setLimit(kind, .max) && packets.limit(kind) == 0)
        #expect(packets.setLimit(kind, 25))
      }
      // All that there may be: nothing is added to one of them, and mbufs stay.
      for kind in kinds { #expect(!packets.setLimit(kind, 26) && packets.limit(kind) == 25) }
      #expect(packets.setLimit(.pages, 0) && packets.setLimit(.nines, 50) && !packets.setLimit(.pages, 1))
      #expect(packets.setLimit(.mbufs, 0) && !packets.setLimit(.mbufs, 99) && packets.setLimit(.mbufs, 100))
      // Lowered by being taken away first.
      #expect(!packets.setLimit(.nines, 10) && packets.setLimit(.nines, 0) && packets.setLimit(.nines, 10))
    }

    @Test(arguments: [1, 50_000, 100_000, 1 << 20, 1 << 40, .max]) func `L75 limits for so many bytes leave no kind without one`(_ bytes: Int) {
      let all: [PacketLimit] = [.mbufs, .clusters, .pages, .nines, .sixteens]
      #expect(packets.setLimits(bytes: bytes))
      for kind in all { #expect(packets.limit(kind) > 0) }
      let limits = all.map { packets.limit($0) }
      #expect(limits[0] >= min(limits[1...].reduce(0, +), 1 << 40))
      // Refused as a whole; taken away as a whole.
      #expect(!packets.setLimits(bytes: -1) && !packets.setLimits(bytes: .min))
      if bytes == 1 << 40 { #expect(!packets.setLimits(bytes: bytes / 2)) }
      #expect(all.map { packets.limit($0) } == limits)
      #expect(packets.setLimits(bytes: 0) && all.allSatisfy { packets.limit($0) == 0 })
    }

    @Test func `limits of clusters are raised only while as many mbufs may be; all of them come from one figure`() {
      #expect(packets.setLimits(bytes: 64 << 20))
      #expect(packets.limit(.clusters) == 8192 && packets.limit(.nines) == (64 << 20) / 9216 / 6)
      let sum = packets.limit(.clusters) + packets.limit(.pages) + packets.limit(.nines) + packets.limit(.sixteens)
      #expect(packets.limit(.mbufs) == max((64 << 20) / 256 / 5, sum))
      #expect(!packets.setLimits(bytes: 32 << 20) && packets.limit(.clusters) == 8192)
      #expect(!packets.setLimit(.clusters, 1 << 30) && !packets.setLimit(.pages, 1 << 20), "fewer mbufs than clusters")
      #expect(packets.setLimit(.mbufs, 1 << 31) && packets.setLimit(.pages, 1 << 20))
    }

    @Test func `a cluster that waits in the packet zone is had at the limit by who waits for one`() {
      #expect(packets.setLimit(.clusters, 1))
      for _ in 0..<3 {
        let packet = packets.getPacket()!
        #expect(packets.getPacket() == nil)
        packet.free()
        let mbuf = packets.get()!
        // For a second.
        #expect(mbuf.attachCluster(.wait.union(.canFail)))
        mbuf.free()
      }
    }

    @Test func `a cluster that waits in the packet zone, on whatever CPU, is had at the limit by who does not wait`() {
      defer { bindToAll() }
      bind(toCPU: usableCPUs[0])
      packets.pointee.packetZone!.reclaim(.drainCPU)
      packets.pointee.clusterZone!.reclaim(.drainCPU)
      #expect(packets.setLimit(.clusters, 40))
      let held = (0..<40).compactMap { _ in packets.getPacket() }
      #expect(held.count == 40)
      for (number, packet) in held.enumerated() {
        if number == 20 { bind(toCPU: usableCPUs.last!) }
        packet.free()
      }
      let before = PacketCounts(packets)
      #expect(before.packets.cache == 40)
      let got = clusters(40)
      let after = PacketCounts(packets)
      #expect(got.count == 40 && after.packets.cache == 0 && after.drains > before.drains && after.drains <= before.drains + 2)
      // A drain that would give nothing back is none.
      #expect(clusters(5).isEmpty && PacketCounts(packets).drains == after.drains)
      for mbuf in got { mbuf.free() }
    }

    @Test func `a packet that is freed while somebody waits for a cluster leaves it to who waits, at once`() {
      #expect(packets.setLimit(.clusters, 1))
      let packet = packets.getPacket()!, clusters = packets.pointee.clusterZone!
      var waiter = ZoneWaiter()
      waiter.wake = { _ in }
      withUnsafeMutablePointer(to: &waiter) { waiter in
        clusters.wait(waiter).tell()
        #expect(waiter.pointee.isGranted == 0)
        packet.free()
        guard waiter.pointee.isGranted == 1 else {
          Issue.record("it waits with its mbuf")
          _ = clusters.giveUp(waiter)
          return
        }
        packets.freeCluster(clusters.allocateGranted()!, size: Cluster.size)
      }
    }

    /// Packets and mbufs that want clusters, by more threads than there are clusters for, all waiting: each gets its turn, though what
    /// is freed goes back with its mbuf.
    @Test func `L34 L75 who waits for a cluster gets one, though others free theirs with their mbufs`() {
      #expect(packets.setLimit(.clusters, 3))
      let rounds = 30 * Stage.scale
      inThreads(6) { thread in
        for round in 0..<rounds {
          if thread % 2 == 0 {
            guard let packet = packets.getPacket(.wait) else {
              Issue.record("no packet")
              return
            }
            if round % 8 == 0 { usleep(200) }
            packet.free()
          } else {
            let mbuf = packets.get(.wait)!
            if !mbuf.attachCluster(.wait) { Issue.record("no cluster") }
            if round % 8 == 0 { usleep(200) }
            mbuf.free()
          }
        }
      }
      #expect(packets.pointee.clusterZone!.made <= 3)
    }

    @Test func `a limit that is taken away lets who waits go on`() {
      #expect(packets.setLimit(.nines, 1))
      let held = Shared(packets.getJumbo(Cluster.nine)!)
      let sleeps = PacketCounts(packets).delayed.nines
      let got = Shared(UnsafeMutablePointer<ReferenceCount>.allocate(capacity: 1))
      got.value.initialize(to: ReferenceCount(0))
      let goesOn = Shared(UnsafeMutablePointer<Bool>.allocate(capacity: 1))
      goesOn.value.pointee = false
      inThreads(2) { thread in
        if thread == 0 {
          let mbuf = packets.getJumbo(Cluster.nine, .wait)
          mbuf?.free()
          got.value.pointee.value.wrappingAdd(mbuf == nil ? 0 : 1, ordering: .relaxed)
        } else {
          for _ in 0..<30_000 where PacketCounts(packets).delayed.nines == sleeps { usleep(1000) }
          if !packets.setLimit(.nines, 0) { Issue.record("the limit stays") }
          for _ in 0..<30_000 where !got.value.isOne { usleep(1000) }
          goesOn.value.pointee = got.value.isOne
          // Who waits all the same goes on by this.
          held.value.free()
        }
      }
      #expect(goesOn.value.pointee, "who waits does not go on")
      goesOn.value.deallocate()
      #expect(got.value.isOne && PacketCounts(packets).delayed.nines == sleeps + 1)
      got.value.deallocate()
    }
  }
}
