// SPDX-License-Identifier: BSD-2-Clause
//
// The mbuf itself, and every way to get and free one.

import CPlatform
import Foundation
import Testing

@testable import PacketBuffers
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct MbufTests {
    private func said(_ result: ExitTest.Result?) -> String { String(decoding: result?.standardErrorContent ?? [], as: UTF8.self) }

    @Test func `sizes are those of mbuf(9)`() {
      #expect(MemoryLayout<Mbuf>.size == 32 && MemoryLayout<PacketHeader>.size == 56)
      #expect(Mbuf.headerOffset == MemoryLayout<Mbuf>.size && Mbuf.storageOffset == Mbuf.headerOffset + MemoryLayout<PacketHeader>.size)
      #expect(Mbuf.storageOffset + MemoryLayout<ExternalStorage>.size <= Mbuf.size)
      #expect(MemoryLayout<ExternalStorage>.offset(of: \.embedded) == ExternalStorage.countOffset)
      #expect(Mbuf.size == 256 && Mbuf.room == 224 && Mbuf.roomWithHeader == 168 && Mbuf.leastForCluster == 169)
      #expect(MemoryLayout<ReferenceCount>.size == 4 && MemoryLayout<MemoryPiece>.size == MemoryLayout<iovec>.size)
      #expect(MemoryLayout<PacketState>.size <= RootLayout.bytes - 8 - RootLayout.packetsOffset)
      // Flags: 24 bits, each its own; what goes with a header is all but where data lies.
      #expect(MbufFlags.copied.rawValue & MbufFlags.ofStorage.rawValue == 0)
      var all: UInt32 = 0
      let flags: [MbufFlags] = [
        .packetHeader, .endOfRecord, .readOnly, .broadcast, .multicast, .promiscuous, .vlanTag, .timed, .exactTime,
      ] + (1...11).map { .ofProtocol($0) }
      for flag in flags {
        #expect(all & flag.rawValue == 0 && flag.rawValue < 1 << 24)
        all |= flag.rawValue
      }
      #expect(MbufFlags.copied.rawValue == all)
    }

    @Test func `zones have mbuf(9)'s names and sizes, and mbufs are aligned to their size`() {
      let state = packets
      let names: [(ZonePointer, StaticString, Int)] = [
        (state.pointee.mbufZone!, "mbuf", 256), (state.pointee.packetZone!, "mbuf_packet", 256), (state.pointee.clusterZone!, "mbuf_cluster", 2048),
        (state.pointee.pageZone!, "mbuf_jumbo_page", pageBytes), (state.pointee.nineZone!, "mbuf_jumbo_9k", 9216),
        (state.pointee.sixteenZone!, "mbuf_jumbo_16k", 16384),
      ]
      for (zone, name, size) in names { #expect(zone.pointee.name.equals(FixedName(name)) && zone.pointee.size == size) }
      var all: [MbufPointer] = []
      for index in 0..<500 {
        let mbuf = index % 2 == 0 ? packets.get()! : packets.getPacket()!
        #expect(UInt(bitPattern: mbuf) % 256 == 0)
        all.append(mbuf)
      }
      for mbuf in all { mbuf.free() }
      state.pointee.packetZone!.reclaim(.drainCPU)
      for (zone, _, _) in names { check(zone, holding: 0) }
    }

    @Test func `a new mbuf is empty, with its data at the start of its room, whatever it was before`() {
      for kind in 0..<7 {
        for isFirst in [false, true] {
          for _ in 0..<3 {
            let mbuf = makeMbuf(kind, isFirst: isFirst)
            #expect(mbuf.length == 0 && mbuf.pointee.next == nil && mbuf.pointee.nextPacket == nil && mbuf.type == .data)
            #expect(mbuf.hasHeader == isFirst && mbuf.isExternal == (kind > 0) && mbuf.isWritable)
            let room = [isFirst ? 168 : 224, 2048, 2048, pageBytes, 9216, 16384, 3000][kind]
            #expect(mbuf.pointee.data == mbuf.roomStart && mbuf.room == room && mbuf.leadingSpace == 0 && mbuf.trailingSpace == room)
            if isFirst { #expect(mbuf.packetLength == 0 && mbuf.header.pointee.tags == nil && mbuf.header.pointee.flow == 0) }
            // Leave dirt behind.
            memset(mbuf.pointee.data, 0xee, room)
            mbuf.length = room
            mbuf.flags.insert(.broadcast)
            if isFirst { mbuf.header.pointee.flow = 77 }
            mbuf.free()
          }
        }
      }
      #expect(Lent.out == 0)
      let other = packets.get(.noWait, type: .control)!
      #expect(other.type == .control)
      other.free()
    }

    @Test func `the smallest mbuf that fits, and none beyond a page`() {
      for (size, flags, room) in [
        (0, MbufFlags.none, 224), (168, .packetHeader, 168), (169, .packetHeader, 2048), (224, .none, 224), (225, .none, 2048), (2048, .none, 2048),
        (2049, .packetHeader, pageBytes), (pageBytes, .none, pageBytes),
      ] {
        let mbuf = packets.getFitting(size, flags: flags)!
        #expect(mbuf.room == room && mbuf.hasHeader == (flags == .packetHeader), "\(size)")
        mbuf.free()
      }
      #expect(packets.getFitting(pageBytes + 1) == nil)
    }

    @Test func `clusters for nobody are attached later, or freed`() {
      for size in [Cluster.size, Cluster.page, Cluster.nine, Cluster.sixteen] {
        let bare = packets.getCluster(size, for: nil)!
        packets.freeCluster(bare, size: size)
        let cluster = packets.getCluster(size, for: nil)!
        let mbuf = packets.get()!
        mbuf.attachCluster(cluster, size: size)
        #expect(mbuf.room == size && mbuf.pointee.data == cluster)
        mbuf.free()
      }
    }

    @Test func `a chain for so many bytes: jumbo pages, clusters, an mbuf; a header and a mark only where asked for`() {
      for length in [1, 100, 168, 169, 224, 2048, 2049, 5000, 20_000] {
        for flags in [MbufFlags.none, .packetHeader, .endOfRecord, .packetHeader.union(.endOfRecord).union(.broadcast)] {
          let chain = packets.getChain(length, flags: flags)!
          let mbufs = chain.mbufs
          #expect(mbufs.reduce(0) { $0 + $1.room } >= length && mbufs.dropLast().reduce(0) { $0 + $1.room } < length)
          #expect(mbufs.allSatisfy { $0.length == 0 && !$0.flags.contains(.broadcast) })
          #expect(mbufs.map { $0.hasHeader } == mbufs.indices.map { $0 == 0 && flags.contains(.packetHeader) })
          #expect(mbufs.map { $0.flags.contains(.endOfRecord) } == mbufs.indices.map { $0 == mbufs.count - 1 && flags.contains(.endOfRecord) })
          // Behind another: no header, and the mark moves.
          let mark = packets.getChain(10, flags: .endOfRecord, after: chain)!
          #expect(mark == chain && chain.mbufs.count == mbufs.count + 1 && chain.mbufs.filter { $0.flags.contains(.endOfRecord) } == [chain.last])
          #expect(!chain.last.hasHeader)
          chain.freeChain()
        }
      }
    }

    @Test func `T8 a chain for no bytes is what was given, with a mark asked for too`() {
      for flags in [MbufFlags.none, .endOfRecord, .packetHeader.union(.endOfRecord)] {
        #expect(packets.getChain(0, flags: flags) == nil)
        let chain = packets.get()!
        #expect(packets.getChain(0, flags: flags, after: chain) == chain && chain.pointee.next == nil && !chain.flags.contains(.endOfRecord))
        chain.freeChain()
      }
    }

    @Test func `L76 a packet from the cache leaves the cluster zone alone`() {
      // So that this CPU's cell has some.
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      let some = (0..<20).map { _ in packets.getPacket()! }
      for mbuf in some { mbuf.free() }
      let clusters = ZoneCounts(packets.pointee.clusterZone!), mbufs = ZoneCounts(packets.pointee.mbufZone!)
      for _ in 0..<1000 {
        let one = packets.getPacket()!, two = packets.getPacket()!
        #expect(one.hasPristineCluster && one.storage.pointee.buffer != two.storage.pointee.buffer)
        one.pointee.next = two
        one.freeChain()
      }
      let later = ZoneCounts(packets.pointee.clusterZone!), laterMbufs = ZoneCounts(packets.pointee.mbufZone!)
      #expect(later.allocations == clusters.allocations && later.frees == clusters.frees)
      #expect(laterMbufs.allocations == mbufs.allocations && laterMbufs.frees == mbufs.frees)
      // mbuf and cluster one by one do not.
      let mbuf = packets.getHeader()!
      #expect(mbuf.attachCluster())
      mbuf.free()
      #expect(ZoneCounts(packets.pointee.clusterZone!).allocations == clusters.allocations + 1)
    }

    @Test func `a packet zone that is drained gives its clusters back`() {
      let all = (0..<300).map { _ in packets.getPacket()! }
      for mbuf in all { mbuf.free() }
      packets.pointee.packetZone!.reclaim(.drainCPU)
      #expect(used(packets.pointee.clusterZone!) == 0 && packets.pointee.packetZone!.pointee.depotItems == 0)
      packets.pointee.clusterZone!.reclaim(.drainCPU)
      packets.pointee.mbufZone!.reclaim(.drainCPU)
      #expect(packets.pointee.clusterZone!.pointee.keg.outstanding == 0 && packets.pointee.mbufZone!.pointee.keg.outstanding == 0)
    }

    @Test func `a cluster of a size that there is not, and a packet that lost its cluster, end the process`() async {
      var result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        Stage.up()
        precondition(packets.start())
        _ = packets.getJumbo(3000)
      }
      #expect(said(result).contains("no cluster has the size asked for"))
      result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        Stage.up()
        precondition(packets.start())
        let packet = packets.getPacket()!
        packet.storage.pointee.size = 1024
        packet.free()
      }
      #expect(said(result).contains("has lost its cluster"))
    }

    #if STAVE_CHECK_LOCKS
    @Test func `L39 each request refused: nil, and nothing is left behind`() {
      var requests = 0
      let ways: [() -> MbufPointer?] = [
        { packets.get() }, { packets.getHeader() }, { packets.getPacket() }, { packets.getJumbo(Cluster.nine) }, { packets.getFitting(3000) },
        { packets.getChain(10_000) }, { packets.getChain(300, flags: .none) },
        {
          // In front of what is there already, which stays.
          let first = packets.get()
          guard let first, packets.getChain(9000, after: first) == nil else { return first }
          #expect(first.pointee.next == nil)
          first.free()
          return nil
        },
      ]
      for way in ways {
        requests += refusingEachRequest { arm, disarm in
          arm()
          let mbuf = way()
          // A jumbo page that is refused is made up for by clusters.
          if !disarm() { #expect(mbuf != nil) }
          mbuf?.freeChain()
        }
      }
      #expect(requests >= 12)
    }

    @Test func `a cluster that is refused makes the packet zone give some back, and is tried for once more`() {
      let mbuf = packets.get()!
      packets.pointee.packetZone!.reclaim(.drainCPU)
      let drains = packets.pointee.drains
      packets.refusing = 1
      #expect(!mbuf.attachCluster() && packets.pointee.drains == drains, "none is there to give back")
      packets.getPacket()!.free()
      packets.refusing = 1
      #expect(mbuf.attachCluster() && mbuf.isExternal && packets.pointee.drains == drains + 1)
      mbuf.free()
    }

    @Test func `L2 a prepend that may wait, made while a lock is held, is reported`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        precondition(packets.start())
        var packet = packets.getHeader()!
        packet = packet.prepend(20, .wait)!
        zones.pointee.reclaimLock.lock()
        packet = packet.prepend(20, .noWait)!
        packet = packet.prepend(168, .wait)!
        zones.pointee.reclaimLock.unlock()
        packet.freeChain()
      }
      let reports = said(result).split(separator: "\n").filter { $0.contains("blocking request") }
      #expect(reports.count == 1 && reports[0].contains("zone mbuf that may wait"), "\(reports)")
    }
    #endif
  }
}
