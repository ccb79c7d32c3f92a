// SPDX-License-Identifier: BSD-2-Clause
//
// A group's costs: a panel for each range or number of threads, cases from left to right, ns upwards on a logarithmic axis. A mark is the
// median, the stroke through it goes from the least to the greatest. Lines join cases that differ by a number only.

import Foundation

struct WaysPicture {
  var session: Session
  var group: Group

  private struct Panel {
    var title: String
    var rows: [(label: String, row: Measurement)] = []
  }

  private let left = 64.0, top = 96.0, height = 280.0, gap = 30.0

  /// By what stands before the last dash of a title, of groups that have such.
  private var panels: [Panel] {
    var panels: [Panel] = []
    for row in session.measurements where row.group == group {
      let parts = group == .pool || group == .lookup ? row.title.split(separator: "-") : [Substring(row.title)]
      let title = parts.count == 2 ? (group == .lookup ? "\(parts[0]) thread\(parts[0] == "1" ? "" : "s")" : String(parts[0])) : ""
      if panels.last?.title != title { panels.append(Panel(title: title)) }
      panels[panels.count - 1].rows.append((String(parts.last!) + (group == .lookup ? " %" : ""), row))
    }
    return panels
  }

  /// nil if nothing of the group was measured.
  var svg: String? {
    let panels = panels, report = ZonesReport(session: session), ways = report.ways(group)
    let all = panels.flatMap(\.rows).flatMap { row in ways.compactMap { row.row.costs($0) } }
    guard let least = all.map(\.least).min(), let greatest = all.map(\.greatest).max(), least > 0 else { return nil }
    let columns = Double(panels.map(\.rows.count).reduce(0, +))
    let step = max(84, (640 - left - gap * Double(panels.count - 1)) / columns)
    let widths = panels.map { Double($0.rows.count) * step }
    let width = max(left + widths.reduce(0, +) + gap * Double(panels.count - 1), 640)
    // Stave's first way has Stave's mark, its second the open one; all others have colours.
    var shown = session
    let own = ways.filter { $0.hasPrefix("stave-") }
    shown.allocators = ways.map {
      AllocatorRecord(name: $0 == own.first ? "stave" : $0 == own.dropFirst().first ? "stave-2" : "peer", version: "", file: "")
    }
    let drawing = Drawing(session: shown, width: width)
    let ticks = ScalePicture.ticks(from: least, to: greatest), low = log10(ticks.first!), high = log10(ticks.last!)
    func y(_ cost: Double) -> Double { top + height * (high - log10(max(cost, ticks.first!))) / (high - low) }

    var body = drawing.text(left, 20, "\(group.heading.lowercased()): \(group.unit) (less is better)", "heading")
    body += legend(drawing, ways, width)
    for tick in ticks { body += drawing.text(left - 6, y(tick) + 4, ScalePicture.grouped(tick), "label end") }
    var from = left
    for (panel, panelWidth) in zip(panels, widths) {
      body += drawing.text(from, top - 10, panel.title, "label strong")
      for tick in ticks {
        let isDecade = log10(tick).rounded() == log10(tick)
        body += drawing.rule(Point(x: from, y: y(tick)), Point(x: from + panelWidth, y: y(tick)), isDecade ? "grid" : "faint")
      }
      for (index, row) in panel.rows.enumerated() {
        body += drawing.text(from + (Double(index) + 0.5) * step, top + height + 16, row.label, "label middle")
      }
      body += marks(drawing, ways, panel, from: from, step: step, y)
      from += panelWidth + gap
    }
    let note = drawing.source + " · median of \(session.rounds) rounds, least to greatest"
    return drawing.document(height: top + height + 52, body + drawing.text(left, top + height + 42, note, "label"))
  }

  private func legend(_ drawing: Drawing, _ ways: [String], _ width: Double) -> String {
    var at = Point(x: left + 6, y: 40), body = ""
    for (index, way) in ways.enumerated() {
      let room = 34 + 6.2 * Double(way.count)
      if at.x + room > width { at = Point(x: left + 6, y: at.y + 16) }
      body += drawing.mark(index, at, title: way) + drawing.text(at.x + 9, at.y + 4, way, "label")
      at.x += room
    }
    return body
  }

  /// Each way a little beside the next, so that none hides another. Stave's lie above the others.
  private func marks(
    _ drawing: Drawing, _ ways: [String], _ panel: Panel, from: Double, step: Double, _ y: (Double) -> Double
  ) -> String {
    ways.enumerated().reversed().map { index, way in
      let shift = (Double(index) - Double(ways.count - 1) / 2) * step * 0.7 / Double(ways.count)
      let points = panel.rows.enumerated().compactMap { place, row in
        row.row.costs(way).map { (x: from + (Double(place) + 0.5) * step + shift, costs: $0, label: row.label) }
      }
      var body = group == .packet || group == .relay ? "" : drawing.line(index, points.map { Point(x: $0.x, y: y($0.costs.median)) })
      for point in points {
        body += drawing.line(index, [Point(x: point.x, y: y(point.costs.least)), Point(x: point.x, y: y(point.costs.greatest))])
        let title = "\(way), \(point.label): \(fixed(point.costs.median, 1)) ns, \(fixed(point.costs.least, 1)) to \(fixed(point.costs.greatest, 1))"
        body += drawing.mark(index, Point(x: point.x, y: y(point.costs.median)), title: title)
      }
      return body
    }.joined()
  }
}
