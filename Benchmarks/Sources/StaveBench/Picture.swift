// SPDX-License-Identifier: BSD-2-Clause
//
// The picture of a session: one line for each workload, a dot for each allocator at its ratio to the best peer, time on
// the left and peak memory on the right, on a logarithmic axis.

import Foundation

struct Picture {
  var session: Session

  private let rowHeight = 17.0, labelWidth = 130.0, panelWidth = 400.0, gap = 30.0, top = 84.0
  private let low = 0.25, high = 16.0  // ratios beyond are drawn at the edge, with an arrow

  private var drawing: Drawing { Drawing(session: session, width: labelWidth + 2 * panelWidth + 2 * gap) }

  /// Where a ratio lies on a panel whose left edge is at `left`.
  private func x(_ ratio: Double, _ left: Double) -> Double {
    left + panelWidth * (log2(min(max(ratio, low), high)) - log2(low)) / (log2(high) - log2(low))
  }

  private var panels: [(measure: Measure, left: Double, title: String)] {
    [(.wall, labelWidth, "time"), (.peak, labelWidth + panelWidth + gap, "peak memory")]
  }

  /// nil if nothing was timed.
  var svg: String? {
    guard session.measurements.contains(where: \.group.isTimed) else { return nil }
    var body = "", y = top
    for group in Group.allCases where group.isTimed {
      let rows = session.measurements.filter { $0.group == group }
      guard !rows.isEmpty else { continue }
      y += rowHeight
      body += drawing.text(0, y, group.heading, "heading")
      for row in rows {
        y += rowHeight
        body += drawing.text(labelWidth - 12, y, row.title, "label end")
        for panel in panels {
          guard let comparison = Comparison(row, panel.measure, session.allocators) else { continue }
          body += marks(comparison.ratios, panel.left, y)
        }
      }
      y += rowHeight
      body += drawing.text(labelWidth - 12, y, "geometric mean", "label end strong")
      for panel in panels { body += marks(session.means(session.comparisons(group, panel.measure)), panel.left, y) }
      y += rowHeight / 2
    }
    return drawing.document(height: y + 24, axes(bottom: y) + drawing.legend(labelWidth, 46) + body)
  }

  private func marks(_ ratios: [String: Double], _ left: Double, _ y: Double) -> String {
    // Stave comes first in the list and is drawn last, above the others.
    session.allocators.enumerated().reversed().compactMap { index, allocator in
      ratios[allocator.name].map {
        drawing.mark(index, Point(x: x($0, left), y: y - 4), title: "\(allocator.name) \(fixed($0, 2))", beyond: $0 > high)
      }
    }.joined()
  }

  private func axes(bottom: Double) -> String {
    var lines = ""
    for panel in panels {
      lines += drawing.text(panel.left, 20, "\(panel.title), relative to the best peer (less is better)", "heading")
      for ratio in [0.25, 0.5, 1.0, 2, 4, 8, 16] {
        let at = x(ratio, panel.left)
        lines += drawing.rule(Point(x: at, y: top - 4), Point(x: at, y: bottom), ratio == 1 ? "one" : "grid")
        lines += drawing.text(at, top - 10, ratio < 1 ? String(ratio) : fixed(ratio, 0), "label middle")
      }
    }
    return lines + drawing.text(0, bottom + 16, drawing.source, "label")
  }
}
