// SPDX-License-Identifier: BSD-2-Clause
//
// The tables of a session of zones.

import Foundation

extension ZonesReport {
  /// Pairs against the fastest other malloc, Stave's own, and objects of a class.
  var goals: Table? {
    let rows = rows(.pair).filter { bestPeer($0) != nil }
    guard !rows.isEmpty else { return nil }
    var table = Table(
      title: "Ratios of pairs (of the least): below 1 is faster than the best other malloc; an object is to cost 3 zone's pairs",
      header: ["bytes", "best malloc"] + ["zone, Swift", "zone, C", "item, Swift", "libstave"]
        + ["class / zone, Swift", "class / zone, C", "class / item"])
    for row in rows {
      let peer = bestPeer(row)!
      let toPeer = ["stave-zone-swift", "stave-zone-c", "stave-item", "stave"].map { both(row, $0, peer, 2) }
      let ofClass = ["stave-zone-swift", "stave-zone-c", "stave-item"].map { both(row, "class", $0, 1) }
      table.rows.append([row.title, peer] + toPeer + ofClass)
    }
    return table
  }

  func costs(_ group: Group) -> Table {
    let ways = ways(group)
    var table = Table(
      title: "\(group.heading): \(group.unit), median (least–greatest)", header: [group.rawValue] + ways + ["best, ratio"])
    for row in rows(group) {
      let best = ways.filter { isSubject($0, group) }.compactMap { way in row.costs(way).map { (way, $0.median) } }.min { $0.1 < $1.1 }?.0
      var ratioText = ""
      if let best, let peer = bestPeer(row) { ratioText = "\(text(ratio(row, best, to: peer))) (\(peer))" }
      table.rows.append([row.title] + ways.map { cell(row, $0) } + [ratioText])
    }
    return table
  }

  /// Throughput and memory of the relay, beside its costs.
  var relayed: Table? {
    guard !rows(.relay).isEmpty else { return nil }
    let ways = ways(.relay)
    var table = Table(
      title: "The relay: thousands of datagrams, or MB, per second; datagrams lost; peak memory in MiB", header: ["relay"] + ways)
    for row in rows(.relay) {
      let scale = row.title == "tcp" ? 1.0 : 1000
      table.rows.append(["\(row.title), per second"] + ways.map { way in
        row.figure("per_second", way).map { fixed($0 / scale, scale == 1 ? 0 : 1) } ?? "failed"
      })
      if scale > 1 {
        table.rows.append(["\(row.title), lost %"] + ways.map { way in
          row.figure("came", way).flatMap { came in row.figure("ops", way).map { fixed(100 * (came - $0) / came, 1) } } ?? ""
        })
      }
      table.rows.append(["\(row.title), peak"] + ways.map { row.summary(.peak, $0).map { fixed($0.median / 1024, 1) } ?? "" })
    }
    return table
  }

  /// Calls of malloc, and items of zones, for each packet.
  func calls(_ group: Group) -> Table? {
    let ways = ways(group).filter { way in rows(group).contains { $0.figure("calls_x100", way) != nil } }
    guard !ways.isEmpty else { return nil }
    let title = "Calls of malloc for each packet" + (group == .relay ? ", and items of zones" : "")
    var table = Table(title: title, header: [group.rawValue] + ways)
    for row in rows(group) where ways.contains(where: { row.figure("calls_x100", $0) != nil }) {
      table.rows.append([row.title] + ways.map { way in
        guard let calls = row.figure("calls_x100", way) else { return "" }
        let items = row.figure("items_x100", way) ?? 0
        return fixed(calls / 100, 2) + (items > 0 ? " + \(fixed(items / 100, 2))" : "")
      })
    }
    return table
  }

  /// What a process has at most with one packet of some bytes, and with 8,000.
  var held: Table? {
    guard let one = rows(.packet).first(where: { $0.title == "append" }), let many = rows(.packet).first(where: { $0.title == "hold" })
    else { return nil }
    let ways = ways(.packet).filter { many.summary(.peak, $0) != nil }
    var table = Table(title: "Peak memory of the process, MiB", header: ["packets at once"] + ways)
    for (title, row) in [("1", one), ("8,000", many)] {
      table.rows.append([title] + ways.map { way in row.summary(.peak, way).map { fixed($0.median / 1024, 1) } ?? "" })
    }
    return table
  }

  /// Bytes that an item takes with and without spreading.
  var spreading: Table? {
    let rows = rows(.walk).filter { $0.figure("bytes", "stave-spread") != nil }
    guard !rows.isEmpty else { return nil }
    var table = Table(
      title: "Cache-line spreading: cost with it to without, and bytes of pages for an item", header: ["bytes", "ratio", "spread", "plain"])
    for row in rows {
      let bytes = ["stave-spread", "stave-plain"].map { way in row.figure("bytes", way).map { fixed($0, 0) } ?? "" }
      table.rows.append([row.title, text(ratio(row, "stave-spread", to: "stave-plain"))] + bytes)
    }
    return table
  }

  private func cell(_ row: Measurement, _ way: String) -> String {
    guard row.failures[way] == nil else { return "failed" }
    guard let costs = row.costs(way) else { return "" }
    let places = costs.median < 100 ? 1 : 0
    return "\(fixed(costs.median, places)) (\(fixed(costs.least, places))–\(fixed(costs.greatest, places)))"
  }

  private func both(_ row: Measurement, _ way: String, _ other: String, _ places: Int) -> String {
    guard let ratio = ratio(row, way, to: other), let least = leastRatio(row, way, to: other) else { return "" }
    return "\(fixed(ratio, places)) (\(fixed(least, places)))"
  }

  private func text(_ ratio: Double?, _ places: Int = 2) -> String { ratio.map { fixed($0, places) } ?? "" }
}
