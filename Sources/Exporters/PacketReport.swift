// SPDX-License-Identifier: BSD-2-Clause
//
// The figures of netstat -m, in its order: as lines, and as JSON with the names of FreeBSD's `netstat --libxo json -m`, ours where it has
// none.

import Inspection

public enum PacketReport {
  public static func lines(_ packets: PacketSnapshot) -> [String] {
    let counts = packets.counts, denied = packets.denied, delayed = packets.delayed
    func three(_ figures: PacketSnapshot.Figures) -> String { "\(figures.current)/\(figures.cache)/\(figures.total)" }
    func four(_ figures: PacketSnapshot.Figures) -> String { three(figures) + "/\(figures.most)" }
    func kibibytes(_ bytes: Int) -> String { "\(bytes / 1024)K" }
    let page = kibibytes(packets.pageBytes)
    return [
      "\(three(counts.mbufs)) mbufs (current/cache/total)",
      "\(four(counts.clusters)) clusters of 2K (current/cache/total/max)",
      "\(counts.packets.current)/\(counts.packets.cache) of them mbufs with a cluster of the packet zone (current/cache)",
      "\(four(counts.pages)) clusters of a page, \(page) (current/cache/total/max)",
      "\(four(counts.nines)) clusters of 9K (current/cache/total/max)",
      "\(four(counts.sixteens)) clusters of 16K (current/cache/total/max)",
      "\(kibibytes(packets.bytes.current))/\(kibibytes(packets.bytes.cache))/\(kibibytes(packets.bytes.total)) of memory (current/cache/total)",
      "\(denied.mbufs)/\(denied.clusters)/\(denied.packets) requests denied (mbufs/clusters/packets)",
      "\(delayed.mbufs)/\(delayed.clusters)/\(delayed.packets) requests delayed (mbufs/clusters/packets)",
      "\(delayed.pages)/\(delayed.nines)/\(delayed.sixteens) requests for larger clusters delayed (page/9K/16K)",
      "\(denied.pages)/\(denied.nines)/\(denied.sixteens) requests for larger clusters denied (page/9K/16K)",
      "\(packets.drains) times cached packets gave their clusters back",
      "\(packets.failedCopies)/\(packets.failedPullUps) operations failed for want of memory (copies/pull-ups)",
    ]
  }

  /// Those of one copy of Stave where FreeBSD's has the kernel's, others beside it.
  public static func json(_ snapshot: Snapshot) -> JSON {
    .object([
      ("process", .number(Int(snapshot.process))), ("mbuf-statistics", snapshot.packets.first.map(json) ?? .null),
      ("others", .list(snapshot.packets.dropFirst().map(json))),
    ])
  }

  static func json(_ packets: PacketSnapshot) -> JSON {
    let counts = packets.counts
    func four(_ name: String, _ figures: PacketSnapshot.Figures) -> [(String, Int)] {
      [("\(name)-count", figures.current), ("\(name)-cache", figures.cache), ("\(name)-total", figures.total), ("\(name)-max", figures.most)]
    }
    var members: [(String, Int)] = [
      ("mbuf-current", counts.mbufs.current), ("mbuf-cache", counts.mbufs.cache), ("mbuf-total", counts.mbufs.total), ("mbuf-max", counts.mbufs.most),
      ("cluster-current", counts.clusters.current), ("cluster-cache", counts.clusters.cache), ("cluster-total", counts.clusters.total),
      ("cluster-max", counts.clusters.most), ("packet-count", counts.packets.current), ("packet-free", counts.packets.cache),
    ]
    members += four("jumbo", counts.pages) + [("jumbo-page-size", packets.pageBytes)] + four("jumbo9", counts.nines) + four("jumbo16", counts.sixteens)
    members += [("bytes-in-use", packets.bytes.current), ("bytes-in-cache", packets.bytes.cache), ("bytes-total", packets.bytes.total)]
    for (suffix, numbers) in [("failures", packets.denied), ("sleeps", packets.delayed)] {
      for (name, value) in zip(["mbuf", "cluster", "packet", "jumbop", "jumbo9", "jumbo16"], numbers.all.map(\.value)) {
        members.append(("\(name)-\(suffix)", Int(clamping: value)))
      }
    }
    members += [("drains", packets.drains), ("copy-failures", packets.failedCopies), ("pullup-failures", packets.failedPullUps)].map { ($0.0, Int(clamping: $0.1)) }
    return .object(RootTable.member(packets.root) + members.map { ($0.0, .number($0.1)) })
  }
}
