// SPDX-License-Identifier: BSD-2-Clause
//
// The programs of Tests/Preload, each under the library in every mode.

import Foundation
import Testing

struct Scenario: Sendable, CustomTestStringConvertible {
  var file: String
  var role: String?
  var seeds: [Int] = [1]

  var program: String { String(file.prefix { $0 != "." }) }
  var testDescription: String { [program, role].compactMap { $0 }.joined(separator: " ") }

  static let all = [
    Scenario(file: "alignment.c"), Scenario(file: "sizes.c"), Scenario(file: "reallocation.c"), Scenario(file: "zeroing.c"),
    Scenario(file: "usable.c"), Scenario(file: "introspection.c"), Scenario(file: "operators.cc"), Scenario(file: "replaced.cc"),
    Scenario(file: "moments.c"), Scenario(file: "plugins.c"), Scenario(file: "threads.c"), Scenario(file: "forks.c"),
    Scenario(file: "forks.c", role: "handlers"), Scenario(file: "spawns.c"), Scenario(file: "signals.c"), Scenario(file: "background.c"),
    Scenario(file: "hopping.c"), Scenario(file: "random.c", seeds: [1, 2]), Scenario(file: "exhaustion.c"), Scenario(file: "misuse.c"),
  ]
}

extension PreloadedLibrary {
  /// Fails when nothing has been built, so that skipping the rest cannot pass for success.
  @Test static func libraryIsThere() {
    #expect(Library.exists, "\(Library.path) is not there: run make first, or name a library in STAVE_LIBRARY")
  }

  @Test(.enabled(if: Library.exists), arguments: Scenario.all, Mode.tried)
  static func scenario(_ scenario: Scenario, _ mode: Mode) throws {
    guard let program = try Compiler.build(scenario.file, as: scenario.program) else { return }
    var arguments = scenario.role.map { [$0] } ?? []
    if scenario.program == "plugins" {
      guard let plugin = try Compiler.build("plugin.c", as: "plugin.so", flags: ["-shared", "-fPIC"]) else { return }
      arguments.append(plugin.path)
    }
    if Library.isStave { arguments.append("--expect-stave") }
    for seed in scenario.seeds {
      let outcome = try run(
        program.path, arguments + ["--seed", "\(seed)", "--scale", "\(scale)"], environment: mode.environment, seconds: 120 + 60 * scale)
      let skips = outcome.text.split(separator: "\n").filter { $0.hasPrefix("SKIPPED") }
      for line in skips { print("\(line) (\(scenario.testDescription))") }
      if outcome.status == 77 && !skips.isEmpty { return }
      #expect(outcome.succeeded, outcome.report)
    }
  }
}
