// SPDX-License-Identifier: BSD-2-Clause
//
// What Stave's options cost real programs: each mode (`stave+memguard:1000`) against Stave without, round by round, so that what the
// machine did meanwhile met both. A cell is the median of the rounds' ratios, with the lower and the upper quartile.

import Foundation

struct ModesReport {
  var session: Session

  private var modes: [String] { session.allocators.map(\.name).filter { $0.hasPrefix("stave+") } }

  /// Of a mode to Stave without, one for each round that has both.
  private func ratios(_ row: Measurement, _ mode: String, _ measure: Measure) -> [Double] {
    guard row.failures[mode] == nil else { return [] }
    let plain = Dictionary((row.samples["stave"] ?? []).map { ($0.round, measure.value($0)) }) { first, _ in first }
    return (row.samples[mode] ?? []).compactMap { sample in plain[sample.round].map { measure.value(sample) / $0 } }
  }

  private static func share(_ ratio: Double) -> String { (ratio < 1 ? "−" : "+") + fixed(abs(ratio - 1) * 100, 1) }

  private func cell(_ row: Measurement, _ mode: String, _ measure: Measure) -> String {
    let all = ratios(row, mode, measure).sorted()
    guard let middle = median(all) else { return row.failures[mode] == nil ? "" : "failed" }
    return "\(Self.share(middle)) (\(Self.share(all[all.count / 4]))…\(Self.share(all[all.count * 3 / 4])))"
  }

  private func mean(_ mode: String, _ measure: Measure) -> String {
    geometricMean(session.measurements.compactMap { median(ratios($0, mode, measure)) }).map(Self.share) ?? ""
  }

  /// The geometric mean of the programs' ratios, of all rounds' sums or, where `least`, of the round that was disturbed least; and between
  /// what it lies in nine of ten draws of the rounds.
  private func overall(_ mode: String, _ measure: Measure, least: Bool = false) -> String {
    let pairs = session.measurements.map { row -> [(Double, Double)] in
      let plain = Dictionary((row.samples["stave"] ?? []).map { ($0.round, measure.value($0)) }) { first, _ in first }
      return row.failures[mode] == nil ? (row.samples[mode] ?? []).compactMap { sample in plain[sample.round].map { ($0, measure.value(sample)) } } : []
    }.filter { !$0.isEmpty }
    func mean(_ pick: ([(Double, Double)]) -> [(Double, Double)]) -> Double? {
      geometricMean(pairs.map(pick).map { rounds in
        least ? rounds.map(\.1).min()! / rounds.map(\.0).min()! : rounds.reduce(0) { $0 + $1.1 } / rounds.reduce(0) { $0 + $1.0 }
      })
    }
    guard let all = mean({ $0 }) else { return "" }
    // The same draws each time.
    var state: UInt64 = 1
    func draw(below count: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % count
    }
    let drawn = (0..<2000).compactMap { _ in mean { rounds in rounds.map { _ in rounds[draw(below: rounds.count)] } } }.sorted()
    return "\(Self.share(all)) (\(Self.share(drawn[100]))…\(Self.share(drawn[1900])))"
  }

  func table(_ measure: Measure, _ title: String) -> Table {
    var table = Table(title: title, header: ["program"] + modes.map { String($0.dropFirst("stave+".count)).replacingOccurrences(of: "+", with: ",") })
    for row in session.measurements { table.rows.append([row.title] + modes.map { cell(row, $0, measure) }) }
    table.rows.append(["geometric mean"] + modes.map { mean($0, measure) })
    table.rows.append(["of sums (nine draws of ten)"] + modes.map { overall($0, measure) })
    if session.rounds >= 20 { table.rows.append(["of the least (nine draws of ten)"] + modes.map { overall($0, measure, least: true) }) }
    return table
  }

  var tables: [Table] {
    [table(.cpu, "CPU time beyond Stave's without options, per cent: median (quartiles)"), table(.peak, "Peak resident memory, likewise")]
  }

  var markdown: String {
    let machine = session.machine
    let about = "\(session.date), \(session.rounds) rounds; \(machine.processor), \(machine.cpus) CPUs, Linux \(machine.kernelVersion)."
    return ([about] + tables.map(\.markdown)).joined(separator: "\n\n")
  }
}

extension Session {
  var hasModes: Bool { allocators.contains { $0.name.hasPrefix("stave+") } }
}
