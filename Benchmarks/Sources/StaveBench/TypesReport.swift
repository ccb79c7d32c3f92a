// SPDX-License-Identifier: BSD-2-Clause
//
// What counting costs, as tables: the ways of counting against the number of threads, and the values of the option `types`.
// A cell is the median of the rounds, with the least and the greatest.

import Foundation

struct TypesReport {
  var session: Session

  /// The build of Stave that is shown: the first.
  private var allocator: String { session.allocators.first { !$0.isPeer }?.name ?? "" }

  static let ways: [(key: String, label: String)] = [
    ("none", "not counted"), ("types", "per CPU: a malloc type"), ("atomic", "atomic add"), ("mutex", "under a mutex"),
  ]

  /// The numbers of threads, and for each way what a pair costs with so many.
  var threads: [Int] {
    Set(session.measurements.filter { $0.group == .counting }.compactMap { Int($0.title.split(separator: "-").last ?? "") }).sorted()
  }

  /// ns of a CPU for each pair: wall time × CPUs in use / pairs. The same for any number of threads if they do not meet.
  func counting(_ way: String, _ threads: Int) -> Summary? {
    let busy = Double(min(threads, session.machine.cpus))
    return costs("counting/\(way)-\(threads)").map { Summary(least: $0.least * busy, median: $0.median * busy, greatest: $0.greatest * busy) }
  }

  private func costs(_ name: String) -> Summary? {
    guard let row = session.measurements.first(where: { $0.name == name }), row.failures[allocator] == nil else { return nil }
    let costs = row.countedSamples(allocator).compactMap { sample -> Double? in
      guard let ns = sample.figures["ns"], let ops = sample.figures["ops"], ops > 0 else { return nil }
      return Double(ns) / Double(ops)
    }
    guard let middle = median(costs) else { return nil }
    return Summary(least: costs.min()!, median: middle, greatest: costs.max()!)
  }

  var counting: Table? {
    guard !threads.isEmpty else { return nil }
    var table = Table(
      title: "Cost of counting: ns of a CPU for a pair of 64 bytes that is counted at malloc and at free (least–greatest)",
      header: ["threads"] + Self.ways.map(\.label))
    for count in threads { table.rows.append([String(count)] + Self.ways.map { cell(counting($0.key, count)) }) }
    return table
  }

  var callers: Table? {
    let rows = session.measurements.filter { $0.group == .callers }
    guard !rows.isEmpty else { return nil }
    let kinds: [(key: String, label: String)] = [
      ("pairs", "pair of 64 bytes"), ("copies", "strdup and free"), ("live", "replacing one of 100,000"),
    ]
    var table = Table(title: "Cost of counting for callers: ns for a malloc and a free (least–greatest)", header: ["option"] + kinds.map(\.label))
    for types in ["none", "library", "site"] {
      table.rows.append(["types:\(types)"] + kinds.map { cell(costs("callers/\($0.key)-\(types)")) })
    }
    return table
  }

  private func cell(_ summary: Summary?) -> String {
    guard let summary else { return "" }
    return "\(fixed(summary.median, 2)) (\(fixed(summary.least, 2))–\(fixed(summary.greatest, 2)))"
  }

  /// `pictures` as in Highlights.
  func markdown(pictures: String) -> String {
    let machine = session.machine
    let about = "\(session.date), \(session.rounds) rounds; \(machine.processor), \(machine.cpus) CPUs, Linux \(machine.kernelVersion)."
    let picture = counting == nil ? nil : "![ns for a counted pair against the number of threads](\(pictures)-counting.svg)"
    return [about, picture, counting?.markdown, callers?.markdown].compactMap { $0 }.joined(separator: "\n\n")
  }
}
