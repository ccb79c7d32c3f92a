// SPDX-License-Identifier: BSD-2-Clause
//
// A full-screen picture on a terminal: raw keys, the alternate screen, redrawing without flicker (each line is overwritten
// and cleared to its end; the screen is never blanked).

import Glibc

final class Terminal {
  private var saved = termios()
  private let isFull: Bool

  static var isInteractive: Bool { isatty(1) == 1 && isatty(0) == 1 }

  /// `isFull`: the alternate screen, with keys. Otherwise text is redrawn in place below the cursor.
  init(full isFull: Bool) {
    self.isFull = isFull
    guard isFull else { return }
    tcgetattr(0, &saved)
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

  var size: (rows: Int, columns: Int) {
    var window = winsize()
    guard ioctl(1, UInt(TIOCGWINSZ), &window) == 0, window.ws_row > 0 else { return (24, 80) }
    return (Int(window.ws_row), Int(window.ws_col))
  }

  /// Draws the whole screen.
  func draw(_ lines: [String]) {
    let (rows, columns) = size
    var text = "\u{1b}[H"
    for (index, line) in lines.prefix(rows).enumerated() {
      if index > 0 { text += "\r\n" }
      text += Terminal.clip(line, columns) + "\u{1b}[K"
    }
    put(text + "\u{1b}[J")
  }

  private var drawnLines = 0

  /// Draws over what the last call drew, further up on an ordinary screen.
  func redraw(_ lines: [String]) {
    let (rows, columns) = size
    let shown = lines.prefix(rows - 1)
    var text = drawnLines > 0 ? "\u{1b}[\(drawnLines)A" : ""
    for line in shown { text += "\r" + Terminal.clip(line, columns) + "\u{1b}[K\n" }
    drawnLines = shown.count
    put(text + "\u{1b}[J")
  }

  /// The next key, waiting up to so many seconds.
  func key(waiting seconds: Double) -> UInt8? {
    var wanted = pollfd(fd: 0, events: Int16(POLLIN), revents: 0)
    guard poll(&wanted, 1, Int32(seconds * 1000)) > 0 else { return nil }
    var byte: UInt8 = 0
    return read(0, &byte, 1) == 1 ? byte : nil
  }

  /// Cut to the width; escape sequences (bold, reverse) take no room.
  private static func clip(_ line: String, _ columns: Int) -> String {
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

  private func put(_ text: String) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(1, $0.baseAddress!, $0.count) }
      if count <= 0 { return }
      rest = rest.dropFirst(count)
    }
  }
}
