// SPDX-License-Identifier: BSD-2-Clause
//
// Runs the scenarios. Rounds are the outer loop and allocators the inner one, each time beginning with another, so that
// whatever changes on the machine over minutes falls on all of them alike.

import Foundation

struct Suite {
  var options: Options
  var folder: URL  // Benchmarks/
  var tools: URL  // where `workload` and `launch` are
  var scratch: URL

  func allocators() throws -> [Allocator] {
    let stave = options.library ?? folder.appendingPathComponent("../build/libstave.so").standardized.path
    return try Allocators.find(names: options.allocators, stave: stave, folder: folder)
  }

  /// The half of each scenario, by name.
  func halves() throws -> [String: String] {
    let text = try String(contentsOf: folder.appendingPathComponent("split.txt"), encoding: .utf8)
    let lines = text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
    return Dictionary(lines.filter { $0.count == 2 && $0[0] != "#" }.map { ($0[1], $0[0]) }) { $1 }
  }

  /// Those that the options choose, with inputs made if `prepared`.
  func scenarios(prepared: Bool) throws -> [Scenario] {
    let halves = try halves(), pattern = try options.only.map { try Regex($0) }
    func isChosen(_ name: String) -> Bool {
      if let half = options.half, halves[name] != half { return false }
      return pattern.map { name.firstMatch(of: $0) != nil } ?? true
    }
    let workload = tools.appendingPathComponent("workload")
    var all = Scenarios.all(executable: workload, scale: options.scale).filter { isChosen($0.name) }
    let programs = Programs(scripts: folder.appendingPathComponent("Programs"), scratch: scratch, scale: options.scale)
    let chosen = Programs.names.filter { isChosen("program/\($0)") }
    let made = try chosen.compactMap { prepared ? try programs.scenario($0) : Scenario(name: "program/\($0)", command: []) }
    all.insert(contentsOf: made, at: all.firstIndex { !$0.group.isTimed } ?? all.count)
    return all
  }

  func measure() throws -> Session {
    let allocators = try allocators().map(keepingCopy), scenarios = try scenarios(prepared: true), halves = try halves()
    guard !scenarios.isEmpty else { throw Complaint("nothing to measure") }
    let launcher = Launcher(tool: tools.appendingPathComponent("launch"), scratch: scratch, patience: options.patience)
    var session = Session(
      date: day(), rounds: options.rounds, scale: options.scale, machine: Machine.record(), allocators: allocators.map(\.record))
    session.measurements = scenarios.map { Measurement(name: $0.name, half: halves[$0.name] ?? "tune") }
    for round in 0..<options.rounds {
      for (index, scenario) in scenarios.enumerated() where round < scenario.group.mostRounds {
        progress("round \(round + 1)/\(options.rounds)  \(index + 1)/\(scenarios.count)  \(scenario.name)")
        for turn in allocators.indices {
          let allocator = allocators[(turn + round + index) % allocators.count]
          guard !scenario.group.isOfTypes || !allocator.record.isPeer else { continue }
          guard session.measurements[index].failures[allocator.name] == nil else { continue }
          if round == 0 && scenario.group == .program && turn == 0 {
            // Once for nothing, so that the first allocator does not read everything from the disk.
            _ = try launcher.run(scenario, under: allocator, round: 0)
          }
          let outcome = try launcher.run(scenario, under: allocator, round: round)
          session.measurements[index].add(outcome, allocator.name)
        }
      }
    }
    progress("")
    return session
  }

  /// Stave's libraries are measured from a copy: a build in the meantime must not change what is being measured.
  func keepingCopy(_ allocator: Allocator) throws -> Allocator {
    guard allocator.name.hasPrefix("stave"), let library = allocator.library else { return allocator }
    var copy = allocator
    let file = scratch.appendingPathComponent("lib\(allocator.name.replacingOccurrences(of: ":", with: "-")).so")
    try FileManager.default.copyItem(at: URL(fileURLWithPath: library).resolvingSymlinksInPath(), to: file)
    copy.library = file.path
    return copy
  }

  func progress(_ text: String) {
    let isTerminal = isatty(2) == 1
    if isTerminal || !text.isEmpty {
      FileHandle.standardError.write(Data((isTerminal ? "\r\u{1b}[K\(text)" : "\(text)\n").utf8))
    }
  }
}

extension Measurement {
  mutating func add(_ outcome: Launcher.Outcome, _ allocator: String) {
    switch outcome {
    case .failed(let why): fail(allocator, why)
    case .done(let sample):
      let expected = samples.values.joined().lazy.compactMap { $0.figures["checksum"] }.first
      // Programs of other languages have none.
      let checksum = sample.figures["checksum"] ?? (group.isOfZones ? expected : nil)
      if let expected, checksum != expected { return fail(allocator, "wrong checksum or output") }
      samples[allocator, default: []].append(sample)
    }
  }

  private mutating func fail(_ allocator: String, _ why: String) {
    failures[allocator] = why
    say("\(name) under \(allocator): \(why)")
  }
}
