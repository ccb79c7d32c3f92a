// SPDX-License-Identifier: BSD-2-Clause
//
// Cost against scale: nanoseconds per operation over how many there are of something, a line for each allocator. Both axes
// are logarithmic and a tenfold has the same width in all panels, so equal slopes mean equal growth, and flat means none.

import Foundation

struct ScalePicture {
  var session: Session

  /// The scenarios scale/NAME-N for all N.
  private struct Panel {
    var name, title, unit: String
    var rows: [(at: Double, measurement: Measurement)] = []
    var left = 0.0, width = 0.0

    var first: Double { log10(rows.first!.at) }
    func x(_ at: Double) -> Double { left + (log10(at) - first) * ScalePicture.decade }
  }

  private static let decade = 76.0  // the width of a tenfold
  private let top = 84.0, height = 300.0, margin = 44.0, gap = 34.0, inset = 10.0

  /// The panels that the session has figures for, laid out from left to right.
  private var panels: [Panel] {
    var panels = [
      Panel(name: "live", title: "live blocks, up to 128 bytes", unit: "blocks"),
      Panel(name: "threads", title: "threads, blocks up to 1 KiB", unit: "threads, CPU time of all"),
      Panel(name: "large", title: "large blocks, 32 to 64 KiB", unit: "blocks"),
    ]
    var left = margin
    for index in panels.indices {
      panels[index].rows = session.measurements.filter { $0.group == .scale }.compactMap { row in
        let parts = row.title.split(separator: "-")
        guard parts.count == 2, parts[0] == panels[index].name, let at = Double(parts[1]) else { return nil }
        return session.allocators.contains { row.cost($0.name) != nil } ? (at, row) : nil
      }.sorted { $0.at < $1.at }
      guard let last = panels[index].rows.last else { continue }
      panels[index].left = left + inset
      panels[index].width = max(log10(last.at) - panels[index].first, 1) * Self.decade
      left += panels[index].width + 2 * inset + gap
    }
    return panels.filter { !$0.rows.isEmpty }
  }

  /// nil if nothing of scale/ was measured.
  var svg: String? {
    let panels = panels, costs = panels.flatMap(\.rows).flatMap { row in session.allocators.compactMap { row.measurement.cost($0.name) } }
    guard let last = panels.last, let least = costs.min(), let greatest = costs.max(), least > 0 else { return nil }
    let drawing = Drawing(session: session, width: max(last.left + last.width + inset, 640))
    let ticks = Self.ticks(from: least, to: greatest), low = log10(ticks.first!), high = log10(ticks.last!)
    func y(_ cost: Double) -> Double { top + height * (high - log10(cost)) / (high - low) }

    var body = drawing.text(margin, 20, "cost against scale: ns for replacing a random block (less is better; flat: the cost does not grow)", "heading")
    body += drawing.legend(margin + 6, 46)
    for tick in ticks { body += drawing.text(margin - 6, y(tick) + 4, Self.grouped(tick), "label end") }
    for panel in panels {
      body += drawing.text(panel.left - inset, top - 10, panel.title, "label strong")
      for tick in ticks {
        let isDecade = log10(tick).rounded() == log10(tick)
        let from = Point(x: panel.left - inset, y: y(tick)), to = Point(x: panel.left + panel.width + inset, y: y(tick))
        body += drawing.rule(from, to, isDecade ? "grid" : "faint")
      }
      for exponent in stride(from: panel.first.rounded(.up), through: log10(panel.rows.last!.at), by: 1) {
        let at = pow(10, exponent)
        body += drawing.rule(Point(x: panel.x(at), y: top), Point(x: panel.x(at), y: top + height), "grid")
        body += drawing.text(panel.x(at), top + height + 16, Self.power(Int(exponent)), "label middle")
      }
      body += drawing.text(panel.left + panel.width / 2, top + height + 32, panel.unit, "label middle")
      body += curves(panel, drawing, y)
    }
    let note = drawing.source + " · " + (samples == 1 ? "one sample of each" : "least of \(samples) samples")
    return drawing.document(height: top + height + 64, body + drawing.text(margin - inset, top + height + 56, note, "label"))
  }

  /// Stave comes first in the list and is drawn last, above the others.
  private func curves(_ panel: Panel, _ drawing: Drawing, _ y: (Double) -> Double) -> String {
    session.allocators.enumerated().reversed().map { index, allocator in
      let points = panel.rows.compactMap { row in
        row.measurement.cost(allocator.name).map { (at: row.at, cost: $0, point: Point(x: panel.x(row.at), y: y($0))) }
      }
      let marks = points.map { drawing.mark(index, $0.point, title: "\(allocator.name): \(fixed($0.cost, 1)) ns at \(fixed($0.at, 0))") }
      return drawing.line(index, points.map(\.point)) + marks.joined()
    }.joined()
  }

  private var samples: Int {
    session.measurements.filter { $0.group == .scale }.flatMap { $0.samples.values.map(\.count) }.max() ?? 0
  }

  /// 1, 2, 5, 10, …: the least run of them that holds both.
  static func ticks(from least: Double, to greatest: Double) -> [Double] {
    let all = (0...9).flatMap { exponent in [1, 2, 5].map { $0 * pow(10, Double(exponent)) } }
    let first = all.lastIndex { $0 <= least } ?? 0, last = all.firstIndex { $0 >= greatest } ?? all.count - 1
    return Array(all[first...max(last, first + 1)])
  }

  static func grouped(_ number: Double) -> String {
    number < 1000 ? fixed(number, 0) : fixed(number / 1000, 0) + ",000"
  }

  private static func power(_ exponent: Int) -> String {
    switch exponent {
    case ...3: grouped(pow(10, Double(exponent)))
    default: "10" + String(exponent).map { String(Array("⁰¹²³⁴⁵⁶⁷⁸⁹")[Int(String($0))!]) }.joined()
    }
  }
}
