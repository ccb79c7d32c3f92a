// SPDX-License-Identifier: BSD-2-Clause
//
// A session of zones: what Stave's ways lost first, then the goals that a pair of allocate and free has, then each group's costs. A cost is
// CPU or wall time for one operation; a cell the median of the rounds, with the least and the greatest. A ratio is the
// median of the rounds' ratios, each of two runs that follow each other, so that what the machine did meanwhile met both; beside it stands
// that of the least costs, which others on the machine disturb less.

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

  /// Of the least costs: of runs that nothing disturbed, if there were such.
  func leastRatio(_ row: Measurement, _ way: String, to other: String) -> Double? {
    guard let one = row.costs(way)?.least, let two = row.costs(other)?.least, two > 0 else { return nil }
    return one / two
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
  func isSubject(_ way: String, _ group: Group) -> Bool {
    way.hasPrefix("stave-") && way != "stave-plain" && !(group == .pool && way == "stave-zone")
  }

  struct Loss {
    var row: Measurement
    var way: String
    var ratio: Double
    var peer: String
  }

  var losses: [Loss] {
    groups.flatMap { group in
      rows(group).flatMap { row -> [Loss] in
        ways(group).filter { isSubject($0, group) }.compactMap { way in
          guard let peer = peer(row, of: way), let ratio = ratio(row, way, to: peer), ratio > loss else { return nil }
          return Loss(row: row, way: way, ratio: ratio, peer: peer)
        }
      }
    }.sorted { $0.ratio > $1.ratio }
  }

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
    let calm =
      others < 0.05
      ? "" : " The machine was shared: \(fixed(others * 100, 0)) % of its CPU time went to others, so take the ratios, and those with care."
    let versions = session.allocators.filter { !$0.version.isEmpty }.map { "\($0.name) \($0.version)" }.joined(separator: ", ")
    let what = "\(session.date), \(session.rounds) rounds; \(machine.processor), \(machine.cpus) CPUs, Linux \(machine.kernelVersion)"
    return "\(what). \(versions).\(calm)"
  }

  private var lost: [String] {
    losses.map { loss in
      let least = leastRatio(loss.row, loss.way, to: loss.peer).map { ", of the least \(fixed($0, 2))" } ?? ""
      return "\(loss.row.name) \(loss.way): \(fixed(loss.ratio, 2))\(least) (\(loss.peer))"
    }
  }

  var text: String {
    let lines = lost.isEmpty ? "nothing lost" : "lost, worst first: " + lost.joined(separator: ", ")
    return ([about, lines] + tables.map(\.text)).joined(separator: "\n")
  }

  /// `pictures` as in Highlights.
  func markdown(pictures: String) -> String {
    let beyond = "Lost beyond \(fixed(loss, 2)), worst first, with what did better in brackets:\n\n"
    let lines = lost.isEmpty ? "Nothing lost beyond \(fixed(loss, 2))." : beyond + lost.map { "- \($0)" }.joined(separator: "\n")
    let sections = groups.map { group -> String in
      let isDrawn = WaysPicture(session: session, group: group).svg != nil
      let picture = isDrawn ? "![\(group.heading): \(group.unit)](\(pictures)-\(group.rawValue).svg)" : nil
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
    let cpu = group == .lookup ? nil : sample.figures["cpu_ns"]
    guard let ns = cpu ?? sample.figures["ns"], let ops = sample.figures["ops"], ops > 0 else { return nil }
    return Double(ns) / Double(ops)
  }

  func costs(_ way: String) -> Summary? {
    guard failures[way] == nil else { return nil }
    let costs = (samples[way] ?? []).compactMap(cost(of:))
    guard let middle = median(costs) else { return nil }
    return Summary(least: costs.min()!, median: middle, greatest: costs.max()!)
  }
}
