// SPDX-License-Identifier: BSD-2-Clause
//
// A session of zones: what Stave's ways lost first, then the goals that a pair of allocate and free has, then each group's costs. A cost is
// CPU or wall time for one operation; a cell the median of the rounds, with the least and the greatest. A ratio is the
// median of the rounds' ratios, each of two runs that follow each other, so that what the machine did meanwhile met both.

import Foundation

struct ZonesReport {
  var session: Session

  /// More than so many times the best other way is a loss.
  private let loss = 1.10

  var groups: [Group] { Group.allCases.filter { group in session.measurements.contains { $0.group == group } && group.isOfZones } }
  func rows(_ group: Group) -> [Measurement] { session.measurements.filter { $0.group == group } }

  /// The ways of a group, Stave's first, else in the order of the session.
  func ways(_ group: Group) -> [String] {
    let ways = session.allocators.map(\.name).filter { way in rows(group).contains { $0.samples[way] != nil || $0.failures[way] != nil } }
    return ways.filter { $0.hasPrefix("stave-") } + ways.filter { !$0.hasPrefix("stave-") }
  }

  var failures: [String] {
    session.measurements.flatMap { row in row.failures.sorted { $0.key < $1.key }.map { "\(row.name), \($0.key): \($0.value)" } }
  }

  // MARK: - Ratios

  /// Of one way to another, by rounds.
  func ratio(_ row: Measurement, _ way: String, to other: String) -> Double? {
    let others = Dictionary((row.samples[other] ?? []).map { ($0.round, $0) }) { first, _ in first }
    return median((row.samples[way] ?? []).compactMap { sample in
      guard let one = row.cost(of: sample), let two = others[sample.round].flatMap(row.cost(of:)), two > 0 else { return nil }
      return one / two
    })
  }

  /// The best of the ways that are not Stave's.
  func bestPeer(_ row: Measurement) -> String? {
    let costs = session.allocators.filter(\.isPeer).compactMap { way in row.costs(way.name).map { (way.name, $0.median) } }
    return costs.min { $0.1 < $1.1 }?.0
  }

  /// What a way is measured against: NIO's ByteBuffer on Stave's memory is NIO's, and the rest the best that there is.
  private func peer(_ row: Measurement, of way: String) -> String? {
    way == "stave-bytebuffer" ? (row.costs("bytebuffer") == nil ? nil : "bytebuffer") : bestPeer(row)
  }

  /// Whether it is for this way that the group is measured, and not for comparison.
  private func isSubject(_ way: String, _ group: Group) -> Bool {
    way.hasPrefix("stave-") && way != "stave-plain" && !(group == .pool && way == "stave-zone")
  }

  var losses: [(name: String, way: String, ratio: Double, peer: String)] {
    groups.flatMap { group in
      rows(group).flatMap { row -> [(name: String, way: String, ratio: Double, peer: String)] in
        ways(group).filter { isSubject($0, group) }.compactMap { way in
          guard let peer = peer(row, of: way), let ratio = ratio(row, way, to: peer), ratio > loss else { return nil }
          return (row.name, way, ratio, peer)
        }
      }
    }.sorted { $0.ratio > $1.ratio }
  }

  // MARK: - Tables

  /// Pairs against the fastest other malloc, Stave's own, and objects of a class.
  var goals: Table? {
    let rows = rows(.pair).filter { bestPeer($0) != nil }
    guard !rows.isEmpty else { return nil }
    var table = Table(
      title: "Ratios of pairs: less than 1 is faster than the best other malloc; an object is to cost 3 times a zone's pair at least",
      header: ["bytes", "best malloc", "zone, Swift", "zone, C", "item, Swift", "libstave", "class / zone, Swift", "class / zone, C", "class / item"])
    for row in rows {
      let peer = bestPeer(row)!
      let toPeer = ["stave-zone-swift", "stave-zone-c", "stave-item", "stave"].map { text(ratio(row, $0, to: peer)) }
      let ofClass = ["stave-zone-swift", "stave-zone-c", "stave-item"].map { text(ratio(row, "class", to: $0), 1) }
      table.rows.append([row.title, peer] + toPeer + ofClass)
    }
    return table
  }

  func costs(_ group: Group) -> Table {
    let ways = ways(group)
    var table = Table(title: "\(group.heading): \(group.unit), median (least–greatest)", header: [group.rawValue] + ways + ["best, ratio"])
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
    var table = Table(title: "The relay: thousands of datagrams, or MB, per second; datagrams lost; peak memory in MiB", header: ["relay"] + ways)
    for row in rows(.relay) {
      let scale = row.title == "tcp" ? 1.0 : 1000
      table.rows.append(["\(row.title), per second"] + ways.map { row.figure("per_second", $0).map { fixed($0 / scale, scale == 1 ? 0 : 1) } ?? "failed" })
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
    var table = Table(title: "Calls of malloc for each packet" + (group == .relay ? ", and items of zones" : ""), header: [group.rawValue] + ways)
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
    guard let one = rows(.packet).first(where: { $0.title == "append" }), let many = rows(.packet).first(where: { $0.title == "hold" }) else { return nil }
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
    var table = Table(title: "Cache-line spreading: cost with it to without, and bytes of pages for an item", header: ["bytes", "ratio", "spread", "plain"])
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

  private func text(_ ratio: Double?, _ places: Int = 2) -> String { ratio.map { fixed($0, places) } ?? "" }

  // MARK: - Text

  private var tables: [Table] {
    groups.flatMap { group -> [Table?] in
      switch group {
      case .pair: [goals, costs(group)]
      case .walk: [spreading, costs(group)]
      case .packet: [costs(group), held, calls(group)]
      case .relay: [costs(group), relayed, calls(group)]
      default: [costs(group)]
      }
    }.compactMap { $0 }
  }

  private var about: String {
    let machine = session.machine
    let others = session.othersShare ?? 0
    let calm = others < 0.05 ? "" : " The machine was shared: \(fixed(others * 100, 0)) % of its CPU time went to others, so take the ratios, and those with care."
    let versions = session.allocators.filter { !$0.version.isEmpty }.map { "\($0.name) \($0.version)" }.joined(separator: ", ")
    return "\(session.date), \(session.rounds) rounds; \(machine.processor), \(machine.cpus) CPUs, Linux \(machine.kernel). \(versions).\(calm)"
  }

  private var lost: [String] {
    losses.map { "\($0.name) \($0.way) \(fixed($0.ratio, 2)) (\($0.peer))" }
  }

  var text: String {
    let lines = lost.isEmpty ? "nothing lost" : "lost, worst first: " + lost.joined(separator: ", ")
    return ([about, lines] + tables.map(\.text)).joined(separator: "\n")
  }

  /// `pictures` as in Highlights.
  func markdown(pictures: String) -> String {
    let lines = lost.isEmpty ? "Nothing lost beyond \(fixed(loss, 2))." : "Lost beyond \(fixed(loss, 2)), worst first, with what did better in brackets:\n\n" + lost.map { "- \($0)" }.joined(separator: "\n")
    let sections = groups.map { group -> String in
      let picture = WaysPicture(session: session, group: group).svg == nil ? nil : "![\(group.heading): \(group.unit)](\(pictures)-\(group.rawValue).svg)"
      let own = ZonesReport(session: session.only(group)).tables.map(\.markdown)
      return (["## \(group.heading)", group.explanation, picture].compactMap { $0 } + own).joined(separator: "\n\n")
    }
    return ([about, lines] + sections).joined(separator: "\n\n")
  }
}

extension Session {
  func only(_ group: Group) -> Session {
    var session = self
    session.measurements = measurements.filter { $0.group == group }
    return session
  }
}

extension Measurement {
  /// ns for one operation: CPU time, but of lookups, which may wait for each other.
  func cost(of sample: Sample) -> Double? {
    guard let ns = group == .lookup ? sample.figures["ns"] : sample.figures["cpu_ns"] ?? sample.figures["ns"], let ops = sample.figures["ops"], ops > 0
    else { return nil }
    return Double(ns) / Double(ops)
  }

  func costs(_ way: String) -> Summary? {
    guard failures[way] == nil else { return nil }
    let costs = (samples[way] ?? []).compactMap(cost(of:))
    guard let middle = median(costs) else { return nil }
    return Summary(least: costs.min()!, median: middle, greatest: costs.max()!)
  }
}
