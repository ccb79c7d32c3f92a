// SPDX-License-Identifier: BSD-2-Clause
//
// One measured run, by way of `launch` (see there for why the runner does not start programs itself).

import Foundation

struct Launcher {
  var tool: URL
  var scratch: URL
  var patience: Double

  enum Outcome {
    case done(Sample)
    case failed(String)
  }

  func run(_ scenario: Scenario, under allocator: Allocator, round: Int) throws -> Outcome {
    let needsCalm = scenario.group.needsCalm
    var calm = true
    if needsCalm && !Machine.waitForCalm(patience: patience) {
      calm = false
      say("\(scenario.name): the machine did not become idle within \(fixed(patience, 0)) s")
    }
    let before = Machine.cpuSeconds().busy
    let (report, output) = try launch(scenario, allocator)
    guard let wallNanos = report["wall_ns"], let user = report["user_us"], let system = report["system_us"],
      let peak = report["peak_kib"], let status = report["status"]
    else { throw Complaint("launch gave no report on \(scenario.name)") }
    let wall = Double(wallNanos) / 1e9, cpu = Double(user + system) / 1e6
    if report["expired"] == 1 { return .failed("not done after \(scenario.limit) s") }
    if status != 0 { return .failed("status \(status): \(lastLine(output))") }
    // A workload says itself if it is not there; it may have ended before `launch` could look.
    if report["loaded"] == 0 && !scenario.group.isOfZones { return .failed("the library was not loaded") }
    // The clock of /proc/stat ticks a hundred times a second: allow for a few ticks on each CPU.
    if needsCalm && Machine.cpuSeconds().busy - before - cpu > 0.1 * wall + 0.06 { calm = false }
    var figures: [String: UInt64] = [:]
    if scenario.group == .program {
      if scenario.comparesOutput { figures["checksum"] = digest(output) }
    } else {
      figures = parse(output)
    }
    return .done(Sample(round: round, wall: wall, cpu: cpu, peakKiB: Int(peak), calm: calm, figures: figures))
  }

  private func launch(_ scenario: Scenario, _ allocator: Allocator) throws -> ([String: UInt64], Data) {
    let reportFile = scratch.appendingPathComponent("report"), outputFile = scratch.appendingPathComponent("output")
    try? FileManager.default.removeItem(at: reportFile)
    var library = allocator.library
    if library == nil && scenario.bringsAllocator { library = Allocators.loaderPath("libc.so.6") }
    let process = Process()
    process.executableURL = tool
    process.arguments =
      [reportFile.path, outputFile.path, library ?? "-", String(scenario.limit)] + scenario.command
    process.environment = environment.merging(scenario.environment) { $1 }
    if !allocator.settings.isEmpty { process.environment!["STAVE_OPTIONS"] = allocator.settings }
    process.currentDirectoryURL = scratch
    try process.run()
    process.waitUntilExit()
    return (parse((try? Data(contentsOf: reportFile)) ?? Data()), (try? Data(contentsOf: outputFile)) ?? Data())
  }

  /// The same for every run, and none of the user's settings but PATH and those meant for an allocator.
  private var environment: [String: String] {
    var all = ["LC_ALL": "C", "HOME": scratch.path, "TMPDIR": scratch.path]
    for (name, value) in ProcessInfo.processInfo.environment where name == "PATH" || name.hasPrefix("STAVE_") { all[name] = value }
    all["STAVE_BENCH_EXPECT"] = nil
    return all
  }

  /// Lines `name value`.
  private func parse(_ data: Data) -> [String: UInt64] {
    var figures: [String: UInt64] = [:]
    for line in String(decoding: data, as: UTF8.self).split(separator: "\n") {
      let parts = line.split(separator: " ")
      if parts.count == 2, let value = UInt64(parts[1]) { figures[String(parts[0])] = value }
    }
    return figures
  }

  private func digest(_ data: Data) -> UInt64 {
    data.reduce(14_695_981_039_346_656_037) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }
  }

  private func lastLine(_ data: Data) -> String {
    String(String(decoding: data.suffix(400), as: UTF8.self).split(separator: "\n").last ?? "no output")
  }
}
