// SPDX-License-Identifier: BSD-2-Clause
//
// The tables of a session: for each timed group, time and peak memory relative to the best peer, Stave's losses first;
// then figures of memory at rest and of scale; then how Stave stands.

struct Report {
  var session: Session
  var time = Measure.wall

  var names: [String] { session.allocators.map(\.name) }
  private var hasStave: Bool { names.contains("stave") }

  var about: String {
    let machine = session.machine
    var lines = [
      "\(session.date), \(session.rounds) rounds" + (session.scale == 1 ? "" : ", work × \(fixed(session.scale, 2)) (not to be quoted)"),
      "\(machine.processor), \(machine.cpus) CPUs, \(machine.memoryMiB) MiB, Linux \(machine.kernelVersion)",
    ]
    lines.append(session.allocators.map { "\($0.name) \($0.version)" }.joined(separator: ", "))
    return lines.joined(separator: "\n")
  }

  var tables: [Table] {
    let timed = Group.allCases.filter(\.isTimed).flatMap { [relative($0, time), relative($0, .peak)] }
    let types = TypesReport(session: session)
    return (timed + [memory, scale, types.counting, types.callers, standing]).compactMap { $0 }
  }

  private func relative(_ group: Group, _ measure: Measure) -> Table? {
    var comparisons = session.comparisons(group, measure)
    guard !comparisons.isEmpty else { return nil }
    if hasStave { comparisons.sort { ($0.ratios["stave"] ?? 1e9) > ($1.ratios["stave"] ?? 1e9) } }
    let what = measure == .peak ? "peak memory" : measure == .cpu ? "CPU time" : "time"
    var table = Table(title: "\(group.heading): \(what), relative to the best peer", header: [group.rawValue] + names + ["best peer"])
    for comparison in comparisons {
      let cells = names.map { name in
        guard let ratio = comparison.ratios[name] else { return "failed" }
        return fixed(ratio, 2) + (measure != .peak && comparison.measurement.isDoubtful(name) ? "?" : "")
      }
      let best = measure == .peak ? "\(fixed(comparison.best / 1024, 1)) MiB" : "\(fixed(comparison.best * 1000, 0)) ms"
      table.rows.append([comparison.measurement.title] + cells + [best])
    }
    let means = session.means(comparisons)
    table.rows.append(["geometric mean"] + names.map { means[$0].map { fixed($0, 3) } ?? "" } + [""])
    table.footers = 1
    return table
  }

  private var memory: Table? {
    let rows = session.measurements.filter { $0.group == .memory }
    guard !rows.isEmpty else { return nil }
    var table = Table(title: "Memory at rest: resident MB, and beside it what the program still holds", header: ["memory"] + names + ["live"])
    for row in rows {
      let cells = names.map { name in row.figure("resident_kib", name).map { fixed($0 * 1024 / 1e6, 0) } ?? "failed" }
      let live = names.lazy.compactMap { row.figure("live_kib", $0) }.first
      table.rows.append([row.title] + cells + [live.map { fixed($0 * 1024 / 1e6, 0) } ?? "0"])
    }
    return table
  }

  private var scale: Table? {
    let rows = session.measurements.filter { $0.group == .scale }
    guard !rows.isEmpty else { return nil }
    var table = Table(title: "Cost of scale: ns for replacing a random block", header: ["scale"] + names)
    for row in rows {
      let cells = names.map { name in row.cost(name).map { fixed($0, 1) } ?? "failed" }
      table.rows.append([row.title] + cells)
    }
    return table
  }

  /// Stave against the goals: each mean beside that of the best peer, and the worst single workload.
  private var standing: Table? {
    guard hasStave else { return nil }
    let goals: [(Group, Measure)] = Group.allCases.filter(\.isTimed).flatMap { [($0, time), ($0, .peak)] }
    var table = Table(title: "How Stave stands", header: ["mean of", "stave", "best peer", "", "worst", ""])
    for (group, measure) in goals {
      let comparisons = session.comparisons(group, measure), means = session.means(comparisons)
      let peers = session.allocators.filter(\.isPeer).compactMap { peer in means[peer.name].map { (peer.name, $0) } }
      guard let stave = means["stave"], let best = peers.min(by: { $0.1 < $1.1 }) else { continue }
      let worst = comparisons.max { ($0.ratios["stave"] ?? 0) < ($1.ratios["stave"] ?? 0) }
      table.rows.append([
        "\(group.rawValue), \(measure == .peak ? "peak memory" : "time")", fixed(stave, 3), "\(best.0) \(fixed(best.1, 3))",
        stave < best.1 ? "ahead" : "behind", worst?.measurement.title ?? "", fixed(worst?.ratios["stave"] ?? 0, 2),
      ])
    }
    return table.rows.isEmpty ? nil : table
  }

  var details: Table {
    var table = Table(
      title: "Every cell: time in ms, CPU time, peak memory",
      header: ["workload", "allocator", "least", "median", "spread", "cpu", "peak MiB", "ns/op", "runs", "calm"])
    for row in session.measurements {
      for name in names {
        guard let wall = row.summary(.wall, name), let cpu = row.summary(.cpu, name), let peak = row.summary(.peak, name) else { continue }
        let middle = row.figure("ns", name).flatMap { ns in row.figure("ops", name).map { ns / max($0, 1) } }
        let perOp = row.group == .scale ? row.cost(name) : middle
        let all = row.samples[name] ?? []
        table.rows.append([
          row.name, name, fixed(wall.least * 1000, 1), fixed(wall.median * 1000, 1), "\(fixed(wall.spread * 100, 0)) %",
          fixed(cpu.median * 1000, 1), fixed(peak.median / 1024, 1), perOp.map { fixed($0, 2) } ?? "",
          String(all.count), String(all.count { $0.calm }),
        ])
      }
    }
    return table
  }

  var failures: [String] {
    session.measurements.flatMap { row in row.failures.sorted { $0.key < $1.key }.map { "\(row.name) under \($0.key): \($0.value)" } }
  }
}
