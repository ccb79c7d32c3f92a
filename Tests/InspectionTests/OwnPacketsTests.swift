// SPDX-License-Identifier: BSD-2-Clause
//
// Packet buffers of the tests' own core, looked at as another process would: what the reader says of them is what they say themselves.

import Accounting
import CPlatform
import Glibc
import Testing

@testable import Exporters
@testable import Inspection
@testable import PacketBuffers
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OwnRoot {
  /// A state of packet buffers as far as both sides tell it.
  static func expectSame(_ packets: PacketSnapshot, _ counts: PacketCounts) {
    for ((kind, seen), own) in zip(
      packets.counts.all, [counts.mbufs, counts.clusters, counts.packets, counts.pages, counts.nines, counts.sixteens])
    {
      #expect(seen.current == own.current && seen.cache == own.cache && seen.most == own.most, "\(kind)")
    }
    #expect(packets.bytes.current == counts.bytes.current && packets.bytes.cache == counts.bytes.cache)
    #expect(packets.denied.all.map(\.value) == [counts.denied.mbufs, counts.denied.clusters, counts.denied.packets, counts.denied.pages, counts.denied.nines, counts.denied.sixteens])
    #expect(packets.delayed.all.map(\.value) == [counts.delayed.mbufs, counts.delayed.clusters, counts.delayed.packets, counts.delayed.pages, counts.delayed.nines, counts.delayed.sixteens])
    #expect(packets.drains == counts.drains && packets.failedCopies == counts.failedCopies && packets.failedPullUps == counts.failedPullUps)
  }
}

extension OnOwnRoot {
  @Suite struct OwnPacketsTests {
    @Test func `11.5 the report counts each mbuf and each cluster once, in the order of netstat -m`() throws {
      Stage.up()
      #expect(try OwnRoot.look().packets.isEmpty, "none have started")
      try #require(packets.start())
      defer { #expect(packets.stop() == 0) }
      #expect(packets.setLimit(.clusters, 40))
      var held: [MbufPointer] = (0..<30).map { _ in packets.getHeader()! }
      for mbuf in held[..<7] { #expect(mbuf.attachCluster()) }
      held += (0..<20).map { _ in packets.getPacket()! }
      held += [packets.getJumbo(Cluster.page)!, packets.getJumbo(Cluster.nine)!, packets.getJumbo(Cluster.nine)!, packets.getJumbo(Cluster.sixteen)!]
      held[29].prependTag(packets.getTag(id: 1, cookie: 1, length: 300)!)
      for _ in 0..<6 { held.remove(at: 40).free() }
      for _ in 0..<50 { if let more = packets.getPacket() { held.append(more) } }
      let snapshot = try OwnRoot.look(), counts = PacketCounts(packets)
      let seen = try #require(snapshot.packets.first)
      #expect(snapshot.packets.count == 1 && counts.denied.packets > 0 && counts.clusters.most == 40 && counts.clusters.total <= 40)
      OwnRoot.expectSame(seen, counts)
      let lines = PacketReport.lines(seen)
      #expect(lines[0] == "\(counts.mbufs.current)/\(counts.mbufs.cache)/\(counts.mbufs.total) mbufs (current/cache/total)")
      #expect(lines[1] == "\(counts.clusters.current)/\(counts.clusters.cache)/\(counts.clusters.total)/40 clusters of 2K (current/cache/total/max)")
      #expect(lines[4].hasPrefix("2/") && lines[7].hasPrefix("\(counts.denied.mbufs)/\(counts.denied.clusters)/\(counts.denied.packets) requests denied"))
      let json = PacketReport.json(snapshot).description
      #expect(json.contains("\"cluster-total\":\(counts.clusters.total),\"cluster-max\":40") && json.contains("\"jumbo9-count\":2"))
      let metrics = OpenMetrics.text(snapshot)
      #expect(metrics.contains("stave_mbuf_used_items{kind=\"cluster\"} \(counts.clusters.current)\n") && metrics.contains("stave_mbuf_denied_requests_total{kind=\"packet\"} \(counts.denied.packets)\n"))
      let tree = ControlTree(ControlSource(snapshot, largestFree: nil))
      #expect(try tree.find("kern.ipc").map { "\($0.name)=\($0.value.text)" }.contains("kern.ipc.nmbclusters=40"))
      let mbstat = Dictionary(uniqueKeysWithValues: try tree.find("kern.ipc.mbstat").map { ($0.name.dropFirst("kern.ipc.mbstat.".count), $0.value.text) })
      #expect(mbstat.count == 9 && mbstat["m_msize"] == "256" && mbstat["m_mclbytes"] == "2048" && mbstat["m_mhlen"] == "168", "\(mbstat)")
      #expect(mbstat["m_mclusts"] == "\(counts.clusters.current)" && mbstat["m_mbufs"] == "\(counts.mbufs.current)", "\(mbstat)")
      // Zones are in the one list, and a keg's figures in it once.
      #expect(try snapshot.zone("mbuf_packet").kegName == "mbuf" && snapshot.zone("mbuf_packet").slabs == 0)
      #expect(snapshot.parts == snapshot.mapped && snapshot.mapped == snapshot.arenaBytes - snapshot.foreign + snapshot.metadata + snapshot.outsideBytes)
      for mbuf in held { mbuf.free() }
      let after = try OwnRoot.look()
      OwnRoot.expectSame(try #require(after.packets.first), PacketCounts(packets))
      #expect(after.packets[0].counts.all.allSatisfy { $0.value.current == 0 } && after.packets[0].bytes.current == 0)
    }

    @Test func `T13 whatever the root says of packet buffers, a look ends, and says nothing or what could be`() throws {
      Stage.up()
      try #require(packets.start())
      defer { #expect(packets.stop() == 0) }
      let held = (0..<10).map { _ in packets.getPacket()! }
      let own = try OwnRoot.reader(), inner = try LiveProcess(process: getpid())
      let state = own.location.address + UInt(RootLayout.packetsOffset)
      let zones = try (0..<6).map { try inner.read(UInt64.self, at: state + UInt($0) * 8) }
      var generator = Generator(41)
      var none = 0
      for _ in 0..<24 {
        let target = Altered(inner)
        target.words[state + UInt(generator.below(12)) * 8] = [0, 1, .max, generator.next(), zones[generator.below(6)]][generator.below(5)]
        guard let packets = try? SnapshotReader(target, own.location).look().packets else { continue }
        none += packets.isEmpty ? 1 : 0
        for one in packets {
          #expect(one.counts.all.allSatisfy { $0.value.current >= 0 && $0.value.cache >= 0 } && one.drains >= 0 && one.bytes.total >= 0)
          _ = PacketReport.lines(one)
        }
      }
      #expect(none > 0, "a state without one of its zones is none")
      for packet in held { packet.free() }
    }
  }
}
