// SPDX-License-Identifier: BSD-2-Clause
//
// `stave top`: the zones of a process on the whole screen, with keys.

import ArgumentParser
import Exporters
import Glibc
import Inspection

struct Top: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Watch a process's zones on the full screen.",
    discussion: "Keys: m memory, u used, r rate, q requests, n name, s size: order. w wide. p or space: pause. x or Ctrl-C: end.")

  @OptionGroup var target: TargetArguments

  @Option(name: [.short, .customLong("wait")], help: "Seconds between two looks.")
  var wait = 1.0

  @Option(name: [.short, .customLong("count")], help: "How many looks; without end if not given.")
  var count: Int?

  func run() throws {
    guard Terminal.isInteractive else {
      throw InspectionError.usage("stave top wants a terminal; use `stave zones -w \(wait)` in a pipe")
    }
    let reader = try SnapshotReader(target.open())
    let screen = Terminal(full: true)
    isInterrupted = false
    signal(SIGINT) { _ in isInterrupted = true }
    signal(SIGTERM) { _ in isInterrupted = true }
    var view = TopView()
    var failure: InspectionError?
    var looks = 0
    do throws(InspectionError) {
      while !isInterrupted && looks < count ?? .max {
        if !view.isPaused {
          view.add(try look(reader))
          looks += 1
        }
        screen.draw(view.lines(size: screen.size))
        if let key = screen.key(waiting: wait), !view.take(key) { break }
      }
    } catch { failure = error }
    screen.close()
    if let failure {
      if case .noSuchProcess = failure { print("the process has ended") } else { throw failure }
    }
  }
}

private nonisolated(unsafe) var isInterrupted = false

/// What the screen shows, and how keys change it.
struct TopView {
  var table = ZoneTable()
  var isPaused = false
  private var now: Snapshot?
  private var before: Snapshot?

  init() { table.order = .memory }

  mutating func add(_ snapshot: Snapshot) {
    before = now
    now = snapshot
  }

  /// False ends.
  mutating func take(_ key: UInt8) -> Bool {
    switch key {
    case UInt8(ascii: "m"): table.order = .memory
    case UInt8(ascii: "u"): table.order = .used
    case UInt8(ascii: "r"): table.order = .rate
    case UInt8(ascii: "q"): table.order = .requests
    case UInt8(ascii: "n"): table.order = .name
    case UInt8(ascii: "s"): table.order = .size
    case UInt8(ascii: "w"): table.isWide.toggle()
    case UInt8(ascii: "p"), UInt8(ascii: " "): isPaused.toggle()
    case UInt8(ascii: "x"), 3, 4, 27: return false
    default: break
    }
    return true
  }

  func lines(size: (rows: Int, columns: Int)) -> [String] {
    guard let now else { return [] }
    var lines = TopView.head(now)
    lines.append("")
    var rows = table.table(now, since: before).lines(limit: max(1, size.rows - lines.count - 2))
    if !rows.isEmpty { rows[0] = "\u{1b}[7m" + rows[0] + String(repeating: " ", count: max(0, size.columns - rows[0].count)) + "\u{1b}[0m" }
    lines += rows
    while lines.count < size.rows - 1 { lines.append("") }
    lines.append(
      "\u{1b}[2m" + "order: \(table.order.rawValue)  [m]emory [u]sed [r]ate re[q]uests [n]ame [s]ize  [w]ide  [p]ause  e[x]it"
        + (isPaused ? "  — paused" : "") + "\u{1b}[0m")
    return lines
  }

  /// Two lines: the process, and the sum with a bar.
  static func head(_ snapshot: Snapshot) -> [String] {
    let resident = snapshot.kernel.map { "resident " + Int($0.resident).humanBytes + ", " } ?? ""
    var parts = [
      ("used", snapshot.used), ("cached", snapshot.cached), ("holes", snapshot.holes), ("metadata", snapshot.metadata),
      ("purgeable", snapshot.purgeable), ("returned", snapshot.returned),
    ]
    if snapshot.inTransit != 0 { parts.insert(("in transit", snapshot.inTransit), at: 3) }
    return [
      "\u{1b}[1m\(snapshot.target)\u{1b}[0m  \(resident)caches \(snapshot.mode.rawValue), \(snapshot.largeBlocks) large blocks of \(snapshot.largeBytes.humanBytes)",
      parts.map { "\($0.0) \($0.1.humanBytes)" }.joined(separator: " + ") + " = mapped \(snapshot.mapped.humanBytes)",
    ]
  }
}
