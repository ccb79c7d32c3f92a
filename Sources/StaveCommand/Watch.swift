// SPDX-License-Identifier: BSD-2-Clause
//
// `stave run --watch`: the zones of the largest descendant, live, and what came of it.

import Exporters
import Glibc
import Inspection

struct Watch {
  var words: [String]
  var library: String
  var interval: Double
  var rows: Int
  var compares: Bool

  /// How one run went. Times in seconds, memory in bytes, of the program and all its children together (peak: of the largest).
  struct Outcome {
    var status: Int32 = 0
    var wall = 0.0
    var cpu = 0.0
    var peak = 0
  }

  func run() throws(InspectionError) -> Int32 {
    var largest: Snapshot?
    let isTerminal = isatty(1) == 1
    let screen = Terminal(full: false)
    let outcome = time(library: library) { process in
      guard let snapshot = Watch.largestDescendant(of: process) else { return }
      if snapshot.used >= largest?.used ?? 0 { largest = snapshot }
      let lines = picture(snapshot)
      if isTerminal { screen.redraw(lines) } else { print(lines.joined(separator: "\n") + "\n") }
      fflush(nil)
    }
    var plain: Outcome?
    if compares && outcome.status == 0 {
      if isTerminal { printError("once more without Stave…") }
      plain = time(library: nil) { _ in }
    }
    summarise(outcome, plain, largest)
    return outcome.status
  }

  private func picture(_ snapshot: Snapshot) -> [String] {
    var table = ZoneTable()
    table.order = .memory
    return TopView.head(snapshot).map { isatty(1) == 1 ? $0 : Watch.plain($0) } + table.table(snapshot).lines(limit: rows)
  }

  private static func plain(_ line: String) -> String {
    line.split(separator: "\u{1b}[", omittingEmptySubsequences: false).enumerated()
      .map { $0 == 0 ? String($1) : String($1.drop { !$0.isLetter }.dropFirst()) }.joined()
  }

  /// The descendant, or the process itself, that has most memory among those on Stave.
  private static func largestDescendant(of process: pid_t) -> Snapshot? {
    let table = ProcessTable()
    let family = table.entries.filter { $0.process == process } + table.descendants(of: process)
    for entry in family.sorted(by: { $0.resident > $1.resident }).prefix(4) {
      if let live = try? LiveProcess(process: entry.process), let reader = try? SnapshotReader(live),
        let snapshot = try? reader.snapshot()
      {
        return snapshot
      }
    }
    return nil
  }

  /// Runs the program to its end, calling `body` at each interval.
  private func time(library: String?, _ body: (pid_t) -> Void) -> Outcome {
    var started = timespec()
    clock_gettime(CLOCK_MONOTONIC, &started)
    let process = Child.start(words, library: library)
    passSignals(to: process)
    var status: Int32 = 0
    var usage = rusage()
    var untilLook = 0.0
    while wait4(process, &status, WNOHANG, &usage) == 0 {
      usleep(10_000)
      untilLook += 0.01
      if untilLook >= interval {
        untilLook = 0
        body(process)
      }
    }
    var ended = timespec()
    clock_gettime(CLOCK_MONOTONIC, &ended)
    let signalled = status & 0x7f
    return Outcome(
      status: signalled == 0 ? status >> 8 & 0xff : 128 + signalled,
      wall: Double(ended.tv_sec - started.tv_sec) + Double(ended.tv_nsec - started.tv_nsec) / 1e9,
      cpu: Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
      peak: Int(usage.ru_maxrss) * 1024)
  }

  private func passSignals(to process: pid_t) {
    watchedProcess = process
    for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2] {
      signal(number) { if watchedProcess > 0 { kill(watchedProcess, $0) } }
    }
  }

  private func summarise(_ outcome: Outcome, _ plain: Outcome?, _ largest: Snapshot?) {
    if let largest {
      var table = ZoneTable()
      table.order = .used
      print("\nzones that held most, in the largest process at its largest look:")
      print(table.table(largest).lines(limit: 5).joined(separator: "\n"))
      print("large blocks: \(largest.largeBlocks), \(largest.largeBytes.humanBytes)")
    }
    var table = TextTable(["", "wall s", "cpu s", "peak resident"])
    func row(_ name: String, _ outcome: Outcome) -> [String] {
      [name, Watch.seconds(outcome.wall), Watch.seconds(outcome.cpu), outcome.peak.humanBytes]
    }
    table.rows.append(row("with Stave", outcome))
    if let plain { table.rows.append(row("without", plain)) }
    print("")
    print(table.lines().joined(separator: "\n"))
    if outcome.status != 0 { printError("stave: the program ended with status \(outcome.status)") }
  }

  private static func seconds(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    return "\(hundredths / 100)." + (hundredths % 100 < 10 ? "0" : "") + "\(hundredths % 100)"
  }
}

private nonisolated(unsafe) var watchedProcess: pid_t = 0
