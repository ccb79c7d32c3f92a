// SPDX-License-Identifier: BSD-2-Clause
//
// How text may be adorned where it goes: not at all in a pipe or on a dumb terminal, without colours under NO_COLOR, without
// block characters where the locale is not UTF-8.

import Glibc

struct Style {
  let isTerminal: Bool
  let isColoured: Bool
  let hasBlocks: Bool

  init(descriptor: Int32) {
    func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 } }
    let locale = (variable("LC_ALL") ?? variable("LC_CTYPE") ?? variable("LANG") ?? "").uppercased()
    let isTerminal = isatty(descriptor) == 1 && variable("TERM") ?? "dumb" != "dumb"
    self.init(
      isTerminal: isTerminal, isColoured: isTerminal && variable("NO_COLOR") == nil,
      hasBlocks: locale.hasSuffix("UTF-8") || locale.hasSuffix("UTF8"))
  }

  init(isTerminal: Bool, isColoured: Bool, hasBlocks: Bool) {
    self.isTerminal = isTerminal
    self.isColoured = isColoured
    self.hasBlocks = hasBlocks
  }

  func bold(_ text: String) -> String { wrap(text, "1") }
  func dim(_ text: String) -> String { wrap(text, "2") }
  func reverse(_ text: String) -> String { wrap(text, "7") }

  /// One of the terminal's own colours, 30 to 37 or 90 to 97.
  func colour(_ number: Int, _ text: String) -> String { isColoured ? wrap(text, "\(number)") : text }

  private func wrap(_ text: String, _ code: String) -> String {
    isTerminal && !text.isEmpty ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text
  }

  /// A bar of `width` cells, cut among parts by their sizes. Whatever is there at all gets a cell.
  func bar(_ parts: [(mark: Mark, size: Int)], width: Int) -> String {
    Style.cells(parts.map { max(0, $0.size) }, width: width).enumerated()
      .map { draw(parts[$0].mark, count: $1) }.joined()
  }

  /// A bar of two parts; the border between them is drawn to an eighth of a cell where that is possible.
  func bar(_ first: Mark, _ second: Mark, share: Double, width: Int) -> String {
    let eighths = Int((max(0, min(1, share)) * Double(width * 8)).rounded())
    let (whole, rest) = hasBlocks && isColoured ? (eighths / 8, eighths % 8) : ((eighths + 4) / 8, 0)
    let border = rest == 0 ? "" : wrap(["▏", "▎", "▍", "▌", "▋", "▊", "▉"][rest - 1], "\(first.colour);\(second.colour + 10)")
    return draw(first, count: whole) + border + draw(second, count: width - whole - (rest == 0 ? 0 : 1))
  }

  func draw(_ mark: Mark, count: Int) -> String {
    let blocks = hasBlocks && isColoured
    return colour(mark.colour, String(repeating: blocks ? mark.block : mark.letter, count: count))
  }

  /// `sizes` in cells: rounded so that they fill `width` and none that is above zero vanishes (as far as there is room).
  static func cells(_ sizes: [Int], width: Int) -> [Int] {
    let total = sizes.reduce(0, +)
    guard total > 0, width > 0 else { return sizes.map { _ in 0 } }
    var cells = sizes.map { $0 == 0 ? 0 : max(1, Int((Double($0) / Double(total) * Double(width)).rounded())) }
    while cells.reduce(0, +) != width {
      let largest = cells.indices.max { cells[$0] < cells[$1] }!
      cells[largest] += cells.reduce(0, +) > width ? -1 : 1
    }
    return cells
  }

  /// The course of some figures as one line of blocks, newest last; empty where there are none to draw with.
  func course(_ values: [Int]) -> String {
    guard hasBlocks, let most = values.max(), most > 0 else { return "" }
    let steps = Array("▁▂▃▄▅▆▇█")
    return String(values.map { steps[min(7, $0 * 8 / (most + 1))] })
  }

  /// Cut to the width; escape sequences take no room.
  static func clip(_ line: String, _ columns: Int) -> String {
    var result = ""
    var width = 0
    var isEscape = false
    for character in line {
      if isEscape {
        result.append(character)
        if character.isLetter { isEscape = false }
      } else if character == "\u{1b}" {
        isEscape = true
        result.append(character)
      } else if width < columns {
        result.append(character)
        width += 1
      }
    }
    return result
  }
}

/// How a part of a bar is drawn: a block in a colour, or a letter where there are no colours to tell parts apart.
struct Mark {
  var colour: Int
  var letter: Character
  var block: Character = "█"

  static let used = Mark(colour: 32, letter: "#")
  static let cached = Mark(colour: 36, letter: "c")
  static let holes = Mark(colour: 33, letter: "h")
  static let transit = Mark(colour: 31, letter: "t")
  static let metadata = Mark(colour: 35, letter: "m")
  static let purgeable = Mark(colour: 34, letter: "p")
  static let returned = Mark(colour: 90, letter: ".", block: "░")
  static let free = Mark(colour: 33, letter: "-")
}

extension Double {
  /// With so many digits behind the point, as "3.40".
  func fixed(_ digits: Int) -> String {
    var scale = 1
    for _ in 0..<digits { scale *= 10 }
    guard isFinite, magnitude < 1e15 else { return "–" }
    let whole = Int((magnitude * Double(scale)).rounded())
    let rest = String(whole % scale)
    return (self < 0 ? "-" : "") + "\(whole / scale)"
      + (digits > 0 ? "." + String(repeating: "0", count: digits - rest.count) + rest : "")
  }
}

extension Int {
  /// A count in at most five characters, as in "12.3k": decimal thousands.
  var humanCount: String {
    if self < 10_000 { return String(self) }
    var value = Double(self)
    var unit = 0
    while value >= 999.5 && unit < 4 {
      value /= 1000
      unit += 1
    }
    return value.fixed(value < 99.95 ? 1 : 0) + ["", "k", "M", "G", "T"][unit]
  }
}

extension String {
  func padded(left width: Int) -> String { String(repeating: " ", count: Swift.max(0, width - count)) + self }
  func padded(right width: Int) -> String { self + String(repeating: " ", count: Swift.max(0, width - count)) }
}
