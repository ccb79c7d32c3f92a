// SPDX-License-Identifier: BSD-2-Clause
//
// A terminal's screen as SVG: `tmux capture-pane -e -p | terminal-picture TITLE > picture.svg`. Knows the escape sequences that
// `stave` uses (bold, dim, reverse, sixteen colours). Blocks are drawn as rectangles, so that no font leaves gaps between them.
// Compile it with `swiftc -O Scripts/terminal-picture.swift`; Scripts/top-picture shows how it is used.

import Glibc

struct Look: Equatable {
  var colour: Int?
  var paper: Int?
  var isBold = false, isDim = false, isReverse = false

  mutating func apply(_ code: Int) {
    switch code {
    case 0: self = Look()
    case 1: isBold = true
    case 2: isDim = true
    case 7: isReverse = true
    case 22: (isBold, isDim) = (false, false)
    case 27: isReverse = false
    case 30...37, 90...97: colour = code
    case 39: colour = nil
    case 40...47, 100...107: paper = code - 10
    case 49: paper = nil
    default: break
    }
  }

  static let paper = "#16181d"
  static let ink = "#d7dae0"
  private static let palette = [
    30: "#3b4048", 31: "#e06c75", 32: "#6cbf6c", 33: "#e5b454", 34: "#5b9bd8", 35: "#b888d8", 36: "#4fb8c0", 37: "#d7dae0", 90: "#6b7280",
  ]
  private static func shade(_ code: Int) -> String { palette[code] ?? palette[code - 60] ?? ink }
  private var plain: String { colour.map(Look.shade) ?? (isDim ? "#8a919e" : Look.ink) }
  var foreground: String { isReverse ? Look.paper : plain }
  var background: String? { isReverse ? plain : paper.map(Look.shade) }
}

struct Run { var column: Int, text: String, look: Look }

/// A line cut where the look changes.
func runs(_ line: String) -> [Run] {
  var result: [Run] = []
  var look = Look(), column = 0, text = "", start = 0
  func flush() { if !text.isEmpty { result.append(Run(column: start, text: text, look: look)) } }
  var rest = Substring(line)
  while let character = rest.popFirst() {
    guard character == "\u{1b}" else {
      if text.isEmpty { start = column }
      text.append(character)
      column += 1
      continue
    }
    flush()
    text = ""
    guard rest.popFirst() == "[", let end = rest.firstIndex(where: \.isLetter) else { continue }
    if rest[end] == "m" {
      let codes = rest[..<end].split(separator: ";").compactMap { Int($0) }
      for code in codes.isEmpty ? [0] : codes { look.apply(code) }
    }
    rest = rest[rest.index(after: end)...]
  }
  flush()
  return result
}

/// The part of a cell that a block fills, from its lower left corner, and how strongly.
struct Block: Equatable {
  var width = 1.0, height = 1.0, strength = 1.0

  init?(_ character: Character) {
    guard let value = character.unicodeScalars.first?.value else { return nil }
    switch value {
    case 0x2591: strength = 0.5
    case 0x2581...0x2588: height = Double(value - 0x2580) / 8
    case 0x2589...0x258f: width = Double(0x2590 - value) / 8
    default: return nil
    }
  }
}

func escaped(_ text: String) -> String {
  text.reduce(into: "") { $0 += $1 == "&" ? "&amp;" : $1 == "<" ? "&lt;" : $1 == ">" ? "&gt;" : String($1) }
}

func number(_ value: Double) -> String {
  let hundredths = Int((value * 100).rounded())
  return hundredths % 100 == 0 ? "\(hundredths / 100)" : "\(Double(hundredths) / 100)"
}

var lines: [[Run]] = []
while let line = readLine() { lines.append(runs(line)) }
while lines.last?.isEmpty == true { lines.removeLast() }
let title = CommandLine.arguments.dropFirst().joined(separator: " ")
let cell = (width: 8.4, height: 18.0), margin = 16.0, bar = 34.0
let columns = lines.flatMap { $0 }.map { $0.column + $0.text.count }.max() ?? 0
let width = Double(columns) * cell.width + 2 * margin, height = Double(lines.count) * cell.height + bar + margin + 6

print("""
  <svg xmlns="http://www.w3.org/2000/svg" width="\(number(width))" height="\(number(height))" viewBox="0 0 \(number(width)) \(number(height))" role="img" aria-label="\(escaped(title))">
  <rect width="100%" height="100%" rx="9" fill="\(Look.paper)"/>
  <circle cx="20" cy="17" r="5.5" fill="#e06c75"/><circle cx="38" cy="17" r="5.5" fill="#e5b454"/><circle cx="56" cy="17" r="5.5" fill="#6cbf6c"/>
  <g shape-rendering="crispEdges" font-family="ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14" fill="\(Look.ink)">
  <text x="\(number(width / 2))" y="22" text-anchor="middle" font-size="13" fill="#8a919e">\(escaped(title))</text>
  """)
for (row, line) in lines.enumerated() {
  let top = bar + Double(row) * cell.height
  for run in line {
    let left = margin + Double(run.column) * cell.width
    let whole = Double(run.text.count) * cell.width
    let isBar = run.text.contains { Block($0) != nil }
    func rectangle(_ x: Double, _ y: Double, _ width: Double, _ height: Double, _ fill: String, _ opacity: Double = 1) {
      let shape = "<rect x=\"\(number(x))\" y=\"\(number(y))\" width=\"\(number(width))\" height=\"\(number(height))\""
      print(shape + " fill=\"\(fill)\"" + (opacity < 1 ? " opacity=\"\(opacity)\"" : "") + "/>")
    }
    let inset = isBar ? 2.0 : 0
    if let background = run.look.background { rectangle(left, top + inset, whole, cell.height - 2 * inset, background) }
    // Text and blocks take turns within a run.
    var pieces: [(start: Int, text: String)] = []
    for (index, character) in run.text.enumerated() {
      if let last = pieces.last, Block(last.text.last!) == Block(character) {
        pieces[pieces.count - 1].text.append(character)
      } else {
        pieces.append((index, String(character)))
      }
    }
    for piece in pieces {
      let from = left + Double(piece.start) * cell.width, length = Double(piece.text.count) * cell.width
      if let block = Block(piece.text.first!) {
        let full = cell.height - 4
        rectangle(from, top + 2 + full * (1 - block.height), length * block.width, full * block.height, run.look.foreground, block.strength)
      } else if piece.text.contains(where: { $0 != " " }) {
        let weight = run.look.isBold ? " font-weight=\"bold\"" : ""
        let spaces = piece.text.hasPrefix(" ") || piece.text.hasSuffix(" ") || piece.text.contains("  ") ? " xml:space=\"preserve\"" : ""
        print("<text x=\"\(number(from))\" y=\"\(number(top + 13.5))\" textLength=\"\(number(length))\" fill=\"\(run.look.foreground)\"\(weight)\(spaces)>\(escaped(piece.text))</text>")
      }
    }
  }
}
print("</g>\n</svg>")
