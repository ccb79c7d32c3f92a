// SPDX-License-Identifier: BSD-2-Clause
//
// `stave run --watch`: the zones of the largest descendant, live, and what came of it. All of it goes to standard error; the
// program's output stays its own.

import Exporters
import Glibc
import Inspection

struct Watch {
  var child: Child
  /// Nil: nothing is shown while it works.
  var interval: Double?
  var rows: Int
  /// 0: no comparison.
  var rounds: Int

  /// The program's exit status.
  func run() throws -> Int32 {
    let style = Style(descriptor: 2)
    let screen = Terminal(descriptor: 2, full: false)
    let position = lseek(0, 0, SEEK_CUR)
    var view = TopView(style: style)
    var largest: Snapshot?
    var next = 0.0
    let outcome = try child.run { process, seconds in
      guard let interval, seconds >= next else { return }
      guard let (snapshot, entry) = Watch.largest(of: process) else {
        // Not yet there, or never: looking in vain costs more than a look, so ever less often.
        next = seconds + min(interval, seconds)
        return
      }
      next = seconds + interval
      if snapshot.used >= largest?.used ?? 0 { largest = snapshot }
      view.add(snapshot, entry)
      let lines = (style.isTerminal ? [""] : []) + view.lines(columns: screen.size.columns, zones: rows)
      if style.isTerminal { screen.redraw(lines) } else { printError(lines.joined(separator: "\n") + "\n") }
    }
    screen.redraw([])
    var comparison = Comparison(child: child, input: position, rounds: rounds, screen: screen)
    if rounds > 0 && outcome.status == 0 { try comparison.run() }
    report(outcome, comparison, largest)
    if Signals.received != 0 && outcome.status == 0 { return 128 + Signals.received }
    return outcome.status
  }

  /// The descendant, or the process itself, that has most memory among those on Stave.
  private static func largest(of process: pid_t) -> (Snapshot, ProcessEntry)? {
    for entry in Family(of: process).members.prefix(4) {
      if let live = try? LiveProcess(process: entry.process), let reader = try? ProcessReader(live), let snapshot = try? reader.look() {
        return (snapshot, entry)
      }
    }
    return nil
  }

  private func report(_ outcome: Outcome, _ comparison: Comparison, _ largest: Snapshot?) {
    var lines: [String] = []
    if comparison.isComplete {
      lines += [""] + comparison.lines() + [""]
    } else if rounds == 0 {
      lines.append(
        "\(child.words[0].printable) took \(outcome.wall.fixed(2)) s, \(outcome.cpu.fixed(2)) s of CPU time, and at its peak \(outcome.peak.humanBytes) in its largest"
          + " process, \(outcome.peakOfAll.humanBytes) in all.")
      lines.append("")
    }
    if let largest {
      var table = ZoneTable()
      table.order = .used
      lines.append("Zones that held most, in \(largest.target) when it held most:")
      lines += table.table(largest).lines(limit: 6)
      lines.append("and \(largest.largeBlocks) large blocks of \(largest.largeBytes.humanBytes).")
    } else if interval != nil {
      lines.append("No zones were seen: the program ended before a look, or is one that nothing can be preloaded into (static, setuid).")
    }
    printError(lines.joined(separator: "\n"))
    if outcome.status != 0 {
      printError("stave: the program ended with status \(outcome.status)" + (rounds > 0 ? "; there is nothing to compare" : ""))
    }
  }
}
