// SPDX-License-Identifier: BSD-2-Clause
//
// `stave top` and `stave run --watch` on a terminal: what they draw, that keys and signals end them, and that the terminal is
// afterwards as it was.

import Foundation
import Testing

@testable import TestSupport

/// A program with a terminal of its own, and what it has drawn.
final class OnTerminal {
  let id: pid_t
  private let main: Int32
  private(set) var drawn = ""
  private var ended: Int32?
  private let before: termios

  init(_ arguments: [String], rows: UInt16 = 24, columns: UInt16 = 80) throws {
    main = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)
    var locked: Int32 = 0, number: Int32 = 0
    _ = ioctl(main, 0x4004_5431 /* TIOCSPTLCK */, &locked)
    _ = ioctl(main, 0x8004_5430 /* TIOCGPTN */, &number)
    let name = "/dev/pts/\(number)"
    // Open here as well, so that the terminal outlives the program and can be asked afterwards.
    let side = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)
    defer { close(side) }
    var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
    _ = ioctl(side, UInt(TIOCSWINSZ), &size)
    var state = termios()
    tcgetattr(side, &state)
    before = state
    id = try spawn(
      Built.command, arguments, ["TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "STAVE_LIBRARY": Built.library], files: [(name, O_RDWR), (name, O_RDWR), (name, O_RDWR)],
      newSession: true)
  }

  deinit {
    if ended == nil {
      kill(id, SIGKILL)
      waitpid(id, nil, 0)
    }
    close(main)
  }

  func type(_ text: String) { _ = text.withCString { write(main, $0, strlen($0)) } }

  func resize(rows: UInt16, columns: UInt16) {
    var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
    _ = ioctl(main, UInt(TIOCSWINSZ), &size)
  }

  /// Waits until it has drawn this since the last call; false after half a minute.
  func draws(_ text: String) -> Bool {
    for _ in 0..<3000 {
      take()
      if let place = drawn.range(of: text) {
        drawn = String(drawn[place.upperBound...])
        return true
      }
      usleep(10_000)
    }
    return false
  }

  /// Its status, as shells have it; nil if it does not end within half a minute.
  func end() -> Int32? {
    var status: Int32 = 0
    for _ in 0..<3000 {
      take()
      if waitpid(id, &status, WNOHANG) == id {
        ended = status
        take()
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
      }
      usleep(10_000)
    }
    return nil
  }

  /// Whether lines are edited and shown by the terminal as they were.
  var isAsBefore: Bool {
    var now = termios()
    tcgetattr(main, &now)
    return now.c_lflag == before.c_lflag && now.c_iflag == before.c_iflag && now.c_oflag == before.c_oflag
  }

  private func take() {
    var bytes = [UInt8](repeating: 0, count: 65536)
    while case let count = read(main, &bytes, bytes.count), count > 0 { drawn += String(decoding: bytes[..<count], as: UTF8.self) }
  }
}

@Suite(.serialized, .enabled(if: Built.hasLibrary, "make builds the library")) struct TerminalTests {
  static let leaving = "\u{1b}[?25h\u{1b}[?1049l"

  @Test func `top draws, takes keys, follows the size, and q leaves the terminal as it was`() throws {
    try withSleeper { process in
      let top = try OnTerminal(["top", "-w", "0.1", "\(process)"])
      #expect(top.draws("\u{1b}[?1049h"))
      #expect(top.draws("process \(process) (sleep)") && top.draws("▾MEMORY"))
      #expect(!top.isAsBefore)
      top.type("n")
      #expect(top.draws("ZONE▾"))
      top.type("w")
      #expect(top.draws("XDOMAIN"))
      top.type("wp")
      #expect(top.draws(" paused "))
      top.resize(rows: 12, columns: 100)
      #expect(top.draws("\u{1b}[7mZONE▾") && top.draws("used and free") && top.draws("order: m memory"))
      top.type("\u{1b}[B\u{1b}[5~q")
      #expect(top.end() == 0)
      #expect(top.drawn.hasSuffix(TerminalTests.leaving) && top.isAsBefore)
    }
  }

  @Test(arguments: [SIGINT, SIGTERM, SIGHUP]) func `a signal leaves the terminal as it was`(_ number: Int32) throws {
    try withSleeper { process in
      let top = try OnTerminal(["top", "\(process)"])
      #expect(top.draws("ZONE"))
      kill(top.id, number)
      #expect(top.end() == 0)
      #expect(top.drawn.hasSuffix(TerminalTests.leaving) && top.isAsBefore)
    }
  }

  @Test func `Ctrl-Z gives the terminal back, and continuing takes it again`() throws {
    try withSleeper { process in
      let top = try OnTerminal(["top", "\(process)"])
      #expect(top.draws("ZONE"))
      kill(top.id, SIGTSTP)
      #expect(top.draws(TerminalTests.leaving))
      #expect(wait { (try? String(contentsOfFile: "/proc/\(top.id)/stat", encoding: .utf8))?.contains(") T ") ?? false })
      #expect(top.isAsBefore)
      kill(top.id, SIGCONT)
      #expect(top.draws("\u{1b}[?1049h") && top.draws("ZONE"))
      top.type("q")
      #expect(top.end() == 0)
    }
  }

  @Test func `top follows its process into the program that it executes`() throws {
    let folder = Folder()
    try withProcess(["sh", "-c", "while ! test -e \(folder.file("now")); do sleep 0.02; done; exec sleep 60"]) { process in
      let top = try OnTerminal(["top", "-w", "0.1", "\(process)"], columns: 100)
      #expect(top.draws("process \(process) (sh)"))
      _ = folder.write("", "now")
      #expect(top.draws("process \(process) (sleep)") && top.draws("process \(process) (sh) has become process \(process) (sleep)"))
      top.type("q")
      #expect(top.end() == 0)
    }
  }

  @Test func `top ends with its process and says so`() throws {
    let top = try withSleeper { process in
      let top = try OnTerminal(["top", "-w", "0.1", "\(process)"])
      #expect(top.draws("ZONE"))
      return top
    }
    #expect(top.end() == 0)
    #expect(top.drawn.contains("(sleep) has ended"))
  }

  @Test func `watching draws below what the program prints, and cleans up`() throws {
    let run = try OnTerminal(["run", "--watch", "0.1", "--rows", "3", "--", "sh", "-c", "sleep 3; echo a line; sleep 1; exit 4"])
    #expect(run.draws("\u{1b}[1;13r"))
    #expect(run.draws("ZONE"))
    #expect(run.draws("a line\r\n"))
    #expect(run.draws("\u{1b}[r"))
    #expect(run.end() == 4)
    #expect(run.drawn.contains("Zones that held most") && !run.drawn.contains("\u{1b}[?1049h"))
  }

  @Test func `Ctrl-C reaches a watched program from the terminal, not a second time from the command`() throws {
    let trapping = ["sh", "-c", "trap 'echo caught' INT; echo ready; sleep 5; sleep 1; exit 3"]
    for (words, times) in [(trapping, 1), (["setsid"] + trapping, 0)] {
      // In a session of its own the program is out of the terminal's reach, and would be without the command.
      let run = try OnTerminal(["run", "--watch", "9", "--"] + words)
      #expect(run.draws("ready"))
      run.type("\u{3}")
      #expect(run.end() == 3)
      #expect(run.drawn.components(separatedBy: "caught").count == times + 1, "\(run.drawn)")
    }
  }
}
