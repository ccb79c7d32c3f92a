// SPDX-License-Identifier: BSD-2-Clause
//
// A session on half a page, as Markdown for the project's README: what Stave lost first, then the means and memory at rest.

import Foundation

struct Highlights {
  var session: Session
  var time = Measure.wall

  /// More than so many times the best peer is a loss.
  private let loss = 1.10

  private var names: [String] { session.allocators.map(\.name) }
  private var report: Report { Report(session: session, time: time) }

  /// `pictures` is the path of the two pictures as the reader of the text sees it, without their endings.
  func markdown(pictures: String) -> String {
    let scale = ScalePicture(session: session).svg == nil ? [] : ["![ns per operation against scale](\(pictures)-scale.svg)"]
    let picture = "![time and peak memory of every workload, relative to the best peer](\(pictures).svg)"
    return ([about, lost, ahead, table] + [picture] + scale).filter { !$0.isEmpty }.joined(separator: "\n\n") + "\n"
  }

  private var about: String {
    let versions = session.allocators.filter(\.isPeer).map { "\($0.name) \($0.version)" }.joined(separator: ", ")
    return report.about.split(separator: "\n").prefix(2).joined(separator: "; ") + ". Peers: \(versions). 1.00 is the best peer of each workload."
  }

  private var lost: String {
    let items: [(String, String)] = [
      ("time", timed(time)), ("time in the mean", means(time, ahead: false)), ("ns for replacing a random block (`scale/`)", costs),
      ("peak memory in the mean", means(.peak, ahead: false)), ("peak memory", timed(.peak)),
    ]
    let lines = items.filter { !$0.1.isEmpty }.map { "- \($0.0): \($0.1)" }
    return lines.isEmpty ? "" : "Lost, with those who did better in brackets (workloads: beyond \(fixed(loss, 2)), and the best):\n\n" + lines.joined(separator: "\n")
  }

  private var ahead: String {
    let items = [("time", means(time, ahead: true)), ("peak memory", means(.peak, ahead: true))].filter { !$0.1.isEmpty }
    return items.isEmpty ? "" : "Ahead of every peer in the mean (with the next): " + items.map { "\($0.0): \($0.1)" }.joined(separator: "; ") + "."
  }

  /// Stave's means where it is ahead or where it is not, each with the peers' that are less, or else their least.
  private func means(_ measure: Measure, ahead: Bool) -> String {
    Group.allCases.filter(\.isTimed).compactMap { group in
      let means = session.means(session.comparisons(group, measure))
      let peers = session.allocators.filter(\.isPeer).compactMap { peer in means[peer.name].map { (name: peer.name, mean: $0) } }
      guard let stave = means["stave"], let least = peers.map(\.mean).min(), (stave < least) == ahead else { return nil }
      let shown = peers.filter { $0.mean == least || $0.mean < stave }.sorted { $0.mean < $1.mean }
      let others = shown.map { "\($0.name) \(fixed($0.mean, 3))" }.joined(separator: ", ")
      return "\(group.heading.lowercased()) \(fixed(stave, 3)) (\(others))"
    }.joined(separator: "; ")
  }

  private func timed(_ measure: Measure) -> String {
    losses(Group.allCases.filter(\.isTimed).flatMap { session.comparisons($0, measure) }.map { comparison in
      (comparison.measurement.title, comparison.ratios)
    })
  }

  private var costs: String {
    losses(session.measurements.filter { $0.group == .scale }.compactMap { row in
      var costs: [String: Double] = [:]
      for name in names { costs[name] = row.cost(name) }
      guard let best = session.allocators.filter(\.isPeer).compactMap({ costs[$0.name] }).min(), best > 0 else { return nil }
      return (row.title, costs.mapValues { $0 / best })
    })
  }

  /// Worst first.
  private func losses(_ rows: [(title: String, ratios: [String: Double])]) -> String {
    let peers = session.allocators.filter(\.isPeer).map(\.name)
    let lost = rows.filter { ($0.ratios["stave"] ?? 0) > loss }.sorted { $0.ratios["stave"]! > $1.ratios["stave"]! }
    return lost.map { row in
      let best = peers.min { row.ratios[$0] ?? .infinity < row.ratios[$1] ?? .infinity } ?? ""
      return "\(row.title) \(fixed(row.ratios["stave"]!, 2)) (\(best))"
    }.joined(separator: ", ")
  }

  private var table: String {
    func line(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }
    var lines = [line([""] + names), "|---|" + String(repeating: "---:|", count: names.count)]
    for measure in [time, .peak] {
      for group in Group.allCases where group.isTimed {
        let means = session.means(session.comparisons(group, measure))
        guard !means.isEmpty else { continue }
        let label = "\(measure == .peak ? "peak memory" : "time"), \(group.heading.lowercased())"
        lines.append(line([label] + cells(names.map { means[$0] }, places: 2)))
      }
    }
    for row in session.measurements where row.group == .memory {
      let resident = names.map { row.figure("resident_kib", $0).map { $0 * 1024 / 1e6 } }
      let live = names.lazy.compactMap { row.figure("live_kib", $0) }.first ?? 0
      let held = live > 0 ? ", \(fixed(live * 1024 / 1e6, 0)) MB live" : ""
      lines.append(line(["MB at rest, \(row.title)\(held)"] + cells(resident, places: 0)))
    }
    return lines.joined(separator: "\n")
  }

  /// With the least in bold.
  private func cells(_ values: [Double?], places: Int) -> [String] {
    let least = values.compactMap { $0 }.min()
    return values.map { value in
      guard let value else { return "failed" }
      return value == least ? "**\(fixed(value, places))**" : fixed(value, places)
    }
  }

  /// Puts the text between the two marks of `file`. `json` is where the session came from, its pictures beside it.
  func write(into file: URL, json: URL) throws { try Self.write(into: file, json: json, markdown) }

  /// `text` is given the pictures' path without endings, as a reader of `file` sees it.
  static func write(into file: URL, json: URL, _ markdown: (_ pictures: String) -> String) throws {
    let start = "<!-- measured -->\n", end = "<!-- end of measured -->"
    guard let text = try? String(contentsOf: file, encoding: .utf8), let from = text.range(of: start), let to = text.range(of: end),
      from.upperBound <= to.lowerBound
    else { throw Complaint("\(file.lastPathComponent) has no marks \(start.dropLast()) and \(end)") }
    // From the folder of `file` up to the one that both are in, and down again.
    var folder = file.standardizedFileURL.deletingLastPathComponent(), up = ""
    let base = json.standardizedFileURL.deletingPathExtension().path
    while folder.path != "/" && !base.hasPrefix(folder.path + "/") { (folder, up) = (folder.deletingLastPathComponent(), up + "../") }
    let pictures = folder.path == "/" ? base : up + base.dropFirst(folder.path.count + 1)
    let new = text[..<from.upperBound] + "\n" + markdown(pictures) + "\n" + text[to.lowerBound...]
    try String(new).write(to: file, atomically: true, encoding: .utf8)
  }
}
