// SPDX-License-Identifier: BSD-2-Clause
//
// What both pictures share: paper, text, and the colour and mark that each allocator has in all of them. SVG that stands
// alone and follows the reader's light or dark theme.

import Foundation

/// A point in user units of the SVG, y growing downwards.
struct Point {
  var x, y: Double
  var text: String { "\(fixed(x, 1)) \(fixed(y, 1))" }
}

struct Drawing {
  var session: Session
  var width: Double

  private static let colours = [
    "#8a8f98", "#c2813a", "#3f8fd2", "#4ea36b", "#a56cc9", "#cf5b7c", "#2aa5a0", "#7a6a4f", "#5566c4", "#9aa83a",
  ]

  func isStave(_ index: Int) -> Bool { session.allocators[index].name.hasPrefix("stave") }

  private func colour(_ index: Int) -> String { Self.colours[index % Self.colours.count] }

  /// The class of `stave` itself, or of another build of it.
  private func staveClass(_ index: Int) -> String { session.allocators[index].name == "stave" ? "stave" : "other" }

  /// An allocator's mark: a diamond for Stave, a dot for a peer, an arrow for what lies beyond the right edge.
  func mark(_ index: Int, _ at: Point, title: String, beyond: Bool = false) -> String {
    let shape: String
    if isStave(index) {
      shape = "<path class=\"\(staveClass(index))\" d=\"M\(Point(x: at.x - 6, y: at.y).text)l6 -6l6 6l-6 6z\">"
    } else if beyond {
      shape = "<path fill=\"\(colour(index))\" d=\"M\(Point(x: at.x - 2, y: at.y - 4).text)l7 4l-7 4z\">"
    } else {
      shape = "<circle cx=\"\(fixed(at.x, 1))\" cy=\"\(fixed(at.y, 1))\" r=\"3.6\" fill=\"\(colour(index))\">"
    }
    return shape + "<title>\(escaped(title))</title></\(shape.hasPrefix("<circle") ? "circle" : "path")>\n"
  }

  /// An allocator's line through `points`.
  func line(_ index: Int, _ points: [Point]) -> String {
    guard points.count > 1 else { return "" }
    let style = isStave(index) ? "class=\"\(staveClass(index))-line\"" : "stroke=\"\(colour(index))\" stroke-width=\"1.6\""
    return "<path fill=\"none\" stroke-linejoin=\"round\" \(style) d=\"M\(points.map(\.text).joined(separator: "L"))\"/>\n"
  }

  /// A line of the grid. `style` is `grid`, `faint` or `one`.
  func rule(_ from: Point, _ to: Point, _ style: String) -> String {
    "<line class=\"\(style)\" x1=\"\(fixed(from.x, 1))\" x2=\"\(fixed(to.x, 1))\" y1=\"\(fixed(from.y, 1))\" y2=\"\(fixed(to.y, 1))\"/>\n"
  }

  func text(_ x: Double, _ y: Double, _ content: String, _ style: String) -> String {
    "<text x=\"\(fixed(x, 1))\" y=\"\(fixed(y, 1))\" class=\"\(style)\">\(escaped(content))</text>\n"
  }

  func legend(_ x: Double, _ y: Double) -> String {
    var at = x, marks = ""
    for (index, allocator) in session.allocators.enumerated() {
      let label = "\(allocator.name) \(allocator.version.prefix(13))"
      marks += mark(index, Point(x: at, y: y - 4), title: allocator.name) + text(at + 9, y, label, "label")
      at += 24 + 6.2 * Double(label.count)
    }
    return marks
  }

  var source: String {
    "\(session.date) · \(session.machine.processor), \(session.machine.cpus) CPUs · Linux \(session.machine.kernelVersion)"
  }

  /// `body` on paper.
  func document(height: Double, _ body: String) -> String {
    """
    <svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 0 \(fixed(width + 24, 0)) \(fixed(height, 0))" width="\(fixed(width + 24, 0))" \
    font-family="system-ui, sans-serif" font-size="11">
    <style>
      .paper { fill: #ffffff } .label { fill: #555b63 } .heading, .strong { fill: #16191d; font-weight: 600 }
      .grid { stroke: #e3e5e8 } .faint { stroke: #f1f2f4 } .one { stroke: #9aa0a8 }
      .stave { fill: #d6281f; stroke: #ffffff } .stave-line { stroke: #d6281f; stroke-width: 2.4 }
      .other { fill: none; stroke: #d6281f } .other-line { stroke: #d6281f; stroke-dasharray: 4 3 }
      .end { text-anchor: end } .middle { text-anchor: middle }
      @media (prefers-color-scheme: dark) {
        .paper { fill: #0f1216 } .label { fill: #a3abb5 } .heading, .strong { fill: #eceff3 }
        .grid { stroke: #262b32 } .faint { stroke: #191d23 } .one { stroke: #6b737d }
        .stave { fill: #ff5a4f; stroke: #0f1216 } .stave-line { stroke: #ff5a4f }
        .other { stroke: #ff5a4f } .other-line { stroke: #ff5a4f }
      }
    </style>
    <rect class="paper" x="-12" width="100%" height="100%"/>
    \(body)</svg>

    """
  }

  private func escaped(_ text: String) -> String {
    text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;")
  }
}
