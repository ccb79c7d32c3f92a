// SPDX-License-Identifier: BSD-2-Clause
//
// What a sub-command looks at, and how often.

import ArgumentParser
import Exporters
import Glibc
import Inspection

/// A process by number or name, or a core file.
struct TargetArguments: ParsableArguments {
  @Argument(
    help: ArgumentHelp("The process's PID, or the path of a core file.", valueName: "pid-or-core"),
    completion: .custom { _, _, _ in ProcessTable().entries.filter(\.isOnStave).map { "\($0.process)" } })
  var target: String?

  @Option(
    help: ArgumentHelp("The process by its name instead.", valueName: "name"),
    completion: .custom { _, _, _ in ProcessTable().entries.filter(\.isOnStave).map(\.name) })
  var name: String?

  @Option(
    help: ArgumentHelp(
      "Of several copies of Stave in the process the one in this program or library alone, by its file's name, as in libstavezones.so.0.", valueName: "file"))
  var root: String?

  func open() throws(InspectionError) -> any TargetMemory {
    if let name {
      guard target == nil else { throw .usage("give a PID, a core file or --name, only one of them") }
      return try LiveProcess(process: ProcessTable().process(named: name).process)
    }
    guard let target else { throw .usage("say which process: its PID, a core file, or --name NAME") }
    return try openTarget(target)
  }
}

extension ProcessEntry {
  /// As far as its map shows it: a program that Stave is linked into is not found so.
  fileprivate var isOnStave: Bool {
    guard let live = try? LiveProcess(process: process), let mappings = try? live.mappings() else { return false }
    return mappings.contains { $0.path.contains("/libstave.so") }
  }
}

/// Repetition, as vmstat has it.
struct RepeatArguments: ParsableArguments {
  @Option(name: [.short, .customLong("wait")], help: ArgumentHelp("Repeat every so many seconds.", valueName: "seconds"))
  var wait: Double?

  @Option(name: [.short, .customLong("count")], help: ArgumentHelp("With --wait: how often; without end if not given.", valueName: "count"))
  var count: Int?

  func validate() throws {
    try RepeatArguments.validate(wait, count)
    if count ?? 1 > 1 && wait == nil { throw ValidationError("--count goes with --wait.") }
  }

  static func validate(_ wait: Double?, _ count: Int?) throws {
    if let wait, !(wait > 0) { throw ValidationError("--wait takes a number of seconds above 0.") }
    if let count, count < 1 { throw ValidationError("--count takes a number of at least 1.") }
  }

  /// Calls `body` once, or with -w until -c is reached or the process ends. A process that ends meanwhile is no error.
  func run(_ body: () throws(InspectionError) -> Void) throws(InspectionError) {
    try body()
    guard let wait else { return }
    var left = (count ?? .max) - 1
    while left > 0 {
      sleepFor(seconds: wait)
      do throws(InspectionError) { try body() } catch {
        if case .noSuchProcess = error { return }
        throw error
      }
      left -= 1
    }
  }
}

private func sleepFor(seconds: Double) { usleep(UInt32(max(0.01, min(seconds, 4000)) * 1e6)) }

func monotonicSeconds() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
