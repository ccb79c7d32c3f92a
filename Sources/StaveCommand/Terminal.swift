// SPDX-License-Identifier: BSD-2-Clause
//
// A picture on a terminal, redrawn without flicker (each line is overwritten and cleared to its end; the screen is never
// blanked): the whole screen with raw keys, or the lowest rows of an ordinary one.

import Glibc

final class Terminal {
  private var saved = termios()
  private let descriptor: Int32
  private let isFull: Bool
  let isTerminal: Bool

  static var isInteractive: Bool { isatty(0) == 1 && Style(descriptor: 1).isTerminal }

  /// `full`: the alternate screen, with keys. Otherwise lines are redrawn at the bottom.
  init(descriptor: Int32, full: Bool) {
    self.descriptor = descriptor
    isFull = full
    isTerminal = Style(descriptor: descriptor).isTerminal
    if full {
      tcgetattr(0, &saved)
      open()
    }
  }

  func open() {
    var raw = saved
    raw.c_lflag &= ~UInt32(ICANON | ECHO)
    withUnsafeMutableBytes(of: &raw.c_cc) {
      $0[Int(VMIN)] = 0
      $0[Int(VTIME)] = 0
    }
    tcsetattr(0, TCSANOW, &raw)
    put("\u{1b}[?1049h\u{1b}[?25l")
  }

  func close() {
    guard isFull else { return }
    put("\u{1b}[?25h\u{1b}[?1049l")
    tcsetattr(0, TCSANOW, &saved)
  }

  /// 24 × 80 where there is no terminal, or one that does not know.
  var size: (rows: Int, columns: Int) {
    var window = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &window) == 0, window.ws_row > 0, window.ws_col > 0 else { return (24, 80) }
    return (Int(window.ws_row), Int(window.ws_col))
  }

  /// Draws the whole screen.
  func draw(_ lines: [String]) {
    let (rows, columns) = size
    var text = "\u{1b}[H"
    for (index, line) in lines.prefix(rows).enumerated() {
      if index > 0 { text += "\r\n" }
      text += Style.clip(line, columns) + "\u{1b}[K"
    }
    put(text + "\u{1b}[J")
  }

  /// Where lines are drawn below a program that prints to the same terminal: rows that are taken from the part that scrolls.
  private var footer: (rows: Int, columns: Int, height: Int)?

  /// Draws lines at the bottom, over what the last call drew there; what others print goes on above. Nothing elsewhere.
  func redraw(_ lines: [String]) {
    guard isTerminal else { return }
    let (rows, columns) = size
    let height = min(lines.count, rows - 4)
    if height <= 0 { return eraseFooter() }
    var text = ""
    if let old = footer, old.rows != rows || old.columns != columns || old.height < height { eraseFooter() }
    if footer == nil {
      // Room below the cursor; then the rest scrolls alone. Setting margins moves the cursor, so it is kept meanwhile.
      text += String(repeating: "\n", count: height) + "\u{1b}[\(height)A\u{1b}7\u{1b}[1;\(rows - height)r\u{1b}8"
      footer = (rows, columns, height)
    }
    let first = rows - (footer?.height ?? height)
    text += "\u{1b}7"
    for row in first..<rows {
      let line = row - first < lines.count ? Style.clip(lines[row - first], columns) : ""
      text += "\u{1b}[\(row + 1);1H" + line + "\u{1b}[K"
    }
    put(text + "\u{1b}8")
  }

  /// All rows scroll again.
  private func eraseFooter() {
    guard footer != nil else { return }
    footer = nil
    put("\u{1b}7\u{1b}[r\u{1b}8\u{1b}[J")
  }

  enum Key: Equatable {
    case letter(UInt8), up, down, pageUp, pageDown
    /// The terminal is gone.
    case end
  }

  private var typed: [UInt8] = []

  /// The next key, waiting up to so many seconds; nil if none came, or a signal did.
  func key(waiting seconds: Double) -> Key? {
    if typed.isEmpty {
      var wanted = pollfd(fd: 0, events: Int16(POLLIN), revents: 0)
      guard poll(&wanted, 1, Int32(max(0, min(seconds, 4000)) * 1000)) > 0 else { return nil }
      var bytes = [UInt8](repeating: 0, count: 64)
      let count = read(0, &bytes, 64)
      if count <= 0 { return count < 0 && errno == EINTR ? nil : .end }
      typed = Array(bytes[..<count])
    }
    let first = typed.removeFirst()
    guard first == 27, let second = typed.first, second == 91 || second == 79 else { return .letter(first) }
    // The rest of an escape sequence: parameters, then a letter or tilde.
    let rest = typed.dropFirst().prefix { $0 < 64 }
    let sequence = Array(typed.dropFirst().prefix(rest.count + 1))
    typed.removeFirst(min(typed.count, sequence.count + 1))
    switch sequence {
    case [65]: return .up
    case [66]: return .down
    case [53, 126]: return .pageUp
    case [54, 126]: return .pageDown
    default: return nil
    }
  }

  private func put(_ text: String) { _ = writeAll(text, to: descriptor) }
}
