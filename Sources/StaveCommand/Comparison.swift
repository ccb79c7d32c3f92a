// SPDX-License-Identifier: BSD-2-Clause
//
// `stave run --compare`: the program with and without Stave, in turns, so that what else the machine does falls on both; and
// the table of what came of it. Which goes first changes from round to round.

import ArgumentParser
import Exporters
import Glibc

struct Comparison {
  var child: Child
  /// Where standard input was at the start; negative if it cannot be rewound.
  var input: off_t
  var rounds: Int
  var screen: Terminal
  private var with: [Outcome] = []
  private var without: [Outcome] = []

  init(child: Child, input: off_t, rounds: Int, screen: Terminal) {
    self.child = child
    self.input = input
    self.rounds = rounds
    self.screen = screen
    self.child.isQuiet = true
  }

  var isComplete: Bool { rounds > 0 && without.count == rounds && with.count == rounds }

  /// Ends early, saying so, if the program does not end well each time.
  mutating func run() throws {
    for round in 1...rounds {
      for isWith in round % 2 == 1 ? [true, false] : [false, true] {
        let name = "round \(round) of \(rounds), \(isWith ? "with Stave" : "without")"
        if screen.isTerminal { screen.redraw([name + "…"]) }
        if input >= 0 { lseek(0, input, SEEK_SET) }
        var one = child
        if !isWith { one.library = nil }
        let outcome = try one.run()
        guard outcome.status == 0, Signals.received == 0 else {
          screen.redraw([])
          printError("stave: no comparison: in \(name), the program ended with status \(outcome.status)")
          return
        }
        if isWith { with.append(outcome) } else { without.append(outcome) }
        if !screen.isTerminal { printError("\(name): \(outcome.wall.fixed(2)) s") }
      }
    }
    screen.redraw([])
  }

  /// Least and median of both, and their ratios.
  func lines() -> [String] {
    var table = TextTable(["", "with Stave", "", "without", "", "ratio", ""])
    table.rows.append(["\(rounds) round\(rounds == 1 ? "" : "s"), in turns", "min", "median", "min", "median", "min", "median"])
    func row(_ name: String, _ text: (Double) -> String, _ key: (Outcome) -> Double) {
      let ours = Spread(with.map(key)), theirs = Spread(without.map(key))
      table.rows.append(
        [name] + [ours.least, ours.median, theirs.least, theirs.median].map(text)
          + [(ours.least, theirs.least), (ours.median, theirs.median)].map { $1 > 0 ? ($0 / $1).fixed(2) : "–" })
    }
    row("wall time", { $0.fixed(2) + " s" }) { $0.wall }
    row("CPU time", { $0.fixed(2) + " s" }) { $0.cpu }
    row("peak memory, largest process", { Int($0).humanBytes }) { Double($0.peak) }
    row("peak memory, all processes", { Int($0).humanBytes }) { Double($0.peakOfAll) }
    return table.lines().map(\.trimmingRight) + ["A ratio below 1: less with Stave." + (isNoisy ? " The machine was busy: believe the CPU time, not the wall time." : "")]
  }

  /// Runs of the same program that took more than a third longer than others.
  private var isNoisy: Bool { [with, without].contains { $0.map(\.wall).max()! > 1.33 * $0.map(\.wall).min()! + 0.02 } }
}

/// The least and the middle of some figures.
struct Spread {
  let least: Double
  let median: Double

  /// `values`: at least one.
  init(_ values: [Double]) {
    let sorted = values.sorted()
    least = sorted[0]
    median = (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
  }
}
