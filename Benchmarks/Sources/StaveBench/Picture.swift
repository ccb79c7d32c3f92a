// SPDX-License-Identifier: BSD-2-Clause
//
// The picture of a session: one line for each workload, a dot for each allocator at its ratio to the best peer, time on
// the left and peak memory on the right, on a logarithmic axis. A lone SVG file that follows the reader's light or dark
// theme.

import Foundation

struct Picture {
  var session: Session

  private let rowHeight = 17.0, labelWidth = 130.0, panelWidth = 400.0, gap = 30.0, top = 84.0
  private let low = 0.25, high = 16.0  // ratios beyond are drawn at the edge, with an arrow
  private static let colours = ["#8a8f98", "#c2813a", "#3f8fd2", "#4ea36b", "#a56cc9", "#cf5b7c", "#2aa5a0"]

  private var width: Double { labelWidth + 2 * panelWidth + 2 * gap }

  /// Where a ratio lies on a panel whose left edge is at `left`.
  private func x(_ ratio: Double, _ left: Double) -> Double {
    left + panelWidth * (log2(min(max(ratio, low), high)) - log2(low)) / (log2(high) - log2(low))
  }

  private var panels: [(measure: Measure, left: Double, title: String)] {
    [(.wall, labelWidth, "time"), (.peak, labelWidth + panelWidth + gap, "peak memory")]
  }

  var svg: String {
    var body = "", y = top
    for group in Group.allCases where group.isTimed {
      let rows = session.measurements.filter { $0.group == group }
      guard !rows.isEmpty else { continue }
      y += rowHeight
      body += text(0, y, group.heading, "heading")
      for row in rows {
        y += rowHeight
        body += text(labelWidth - 12, y, row.title, "label end")
        for panel in panels {
          guard let comparison = Comparison(row, panel.measure, session.allocators) else { continue }
          body += marks(comparison.ratios, panel.left, y)
        }
      }
      y += rowHeight
      body += text(labelWidth - 12, y, "geometric mean", "label end strong")
      for panel in panels { body += marks(session.means(session.comparisons(group, panel.measure)), panel.left, y) }
      y += rowHeight / 2
    }
    let height = y + 24
    return head(height) + axes(bottom: y) + legend + body + "</svg>\n"
  }

  private func marks(_ ratios: [String: Double], _ left: Double, _ y: Double) -> String {
    // Stave comes first in the list and is drawn last, above the others.
    session.allocators.enumerated().reversed().compactMap { index, allocator in
      ratios[allocator.name].map { mark(index, x($0, left), y - 4, title: "\(allocator.name) \(fixed($0, 2))", beyond: $0 > high) }
    }.joined()
  }

  private func mark(_ index: Int, _ x: Double, _ y: Double, title: String, beyond: Bool = false) -> String {
    let colour = Self.colours[index % Self.colours.count], name = session.allocators[index].name
    let shape: String
    if name.hasPrefix("stave") {
      shape = "<path class=\"\(name == "stave" ? "stave" : "other")\" d=\"M\(fixed(x - 6, 1)) \(fixed(y, 1))l6 -6l6 6l-6 6z\">"
    } else if beyond {
      shape = "<path fill=\"\(colour)\" d=\"M\(fixed(x - 2, 1)) \(fixed(y - 4, 1))l7 4l-7 4z\">"
    } else {
      shape = "<circle cx=\"\(fixed(x, 1))\" cy=\"\(fixed(y, 1))\" r=\"3.6\" fill=\"\(colour)\">"
    }
    return shape + "<title>\(escaped(title))</title></\(shape.hasPrefix("<circle") ? "circle" : "path")>\n"
  }

  private func axes(bottom: Double) -> String {
    var lines = ""
    for panel in panels {
      lines += text(panel.left, 20, "\(panel.title), relative to the best peer (less is better)", "heading")
      for ratio in [0.25, 0.5, 1.0, 2, 4, 8, 16] {
        let at = fixed(x(ratio, panel.left), 1)
        lines += "<line class=\"\(ratio == 1 ? "one" : "grid")\" x1=\"\(at)\" x2=\"\(at)\" y1=\"\(fixed(top - 4, 1))\" y2=\"\(fixed(bottom, 1))\"/>"
        lines += text(x(ratio, panel.left), top - 10, ratio < 1 ? String(ratio) : fixed(ratio, 0), "label middle")
      }
    }
    return lines + text(0, bottom + 16, "\(session.date) · \(session.machine.processor) · Linux \(session.machine.kernel)", "label")
  }

  private var legend: String {
    var at = labelWidth, marks = ""
    for (index, allocator) in session.allocators.enumerated() {
      let label = "\(allocator.name) \(allocator.version.prefix(13))"
      marks += mark(index, at, 42, title: allocator.name) + text(at + 9, 46, label, "label")
      at += 24 + 6.2 * Double(label.count)
    }
    return marks
  }

  private func head(_ height: Double) -> String {
    """
    <svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 0 \(fixed(width + 24, 0)) \(fixed(height, 0))" width="\(fixed(width + 24, 0))" \
    font-family="system-ui, sans-serif" font-size="11">
    <style>
      .paper { fill: #ffffff } .label { fill: #555b63 } .heading, .strong { fill: #16191d; font-weight: 600 }
      .grid { stroke: #e3e5e8 } .one { stroke: #9aa0a8 } .stave { fill: #d6281f; stroke: #ffffff } .other { fill: none; stroke: #d6281f }
      .end { text-anchor: end } .middle { text-anchor: middle }
      @media (prefers-color-scheme: dark) {
        .paper { fill: #0f1216 } .label { fill: #a3abb5 } .heading, .strong { fill: #eceff3 }
        .grid { stroke: #262b32 } .one { stroke: #6b737d } .stave { fill: #ff5a4f; stroke: #0f1216 } .other { stroke: #ff5a4f }
      }
    </style>
    <rect class="paper" x="-12" width="100%" height="100%"/>

    """
  }

  private func text(_ x: Double, _ y: Double, _ content: String, _ style: String) -> String {
    "<text x=\"\(fixed(x, 1))\" y=\"\(fixed(y, 1))\" class=\"\(style)\">\(escaped(content))</text>\n"
  }

  private func escaped(_ text: String) -> String {
    text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;")
  }
}
