// SPDX-License-Identifier: BSD-2-Clause
//
// The programs of Tests/Preload, each under the library in every mode.

import Foundation
import Testing

@testable import TestSupport

struct Scenario: Sendable, CustomTestStringConvertible {
  var file: String
  var role: String?
  /// What it does is drawn by lot.
  var isRandom = false
  /// Its file is also a library, which it is linked with.
  var isItsOwnLibrary = false
  /// It includes stave.h, which Stave alone can serve.
  var usesTypes = false

  var program: String { String(file.prefix { $0 != "." }) }
  var testDescription: String { [program, role].compactMap { $0 }.joined(separator: " ") }

  static let all = [
    Scenario(file: "alignment.c"), Scenario(file: "sizes.c"), Scenario(file: "reallocation.c"), Scenario(file: "zeroing.c"),
    Scenario(file: "usable.c"), Scenario(file: "introspection.c"), Scenario(file: "operators.cc"), Scenario(file: "replaced.cc"),
    Scenario(file: "moments.c"), Scenario(file: "plugins.c"), Scenario(file: "threads.c", isRandom: true),
    Scenario(file: "forks.c", isRandom: true), Scenario(file: "forks.c", role: "handlers", isRandom: true), Scenario(file: "spawns.c"),
    Scenario(file: "signals.c", isRandom: true), Scenario(file: "background.c"), Scenario(file: "early.c", isItsOwnLibrary: true),
    Scenario(file: "hopping.c", isRandom: true), Scenario(file: "random.c", isRandom: true), Scenario(file: "exhaustion.c"), Scenario(file: "daemon.c"),
    Scenario(file: "misuse.c"), Scenario(file: "checked.c"), Scenario(file: "contiguous.c"), Scenario(file: "scopes.c"), Scenario(file: "limits.c", isRandom: true, usesTypes: true),
  ]
  static let random = all.filter { $0.isRandom }

  /// All under both kinds of caches; in the modes that only change what is beside them, those that have to do with it. A soak tries all
  /// in all modes.
  static let trials = Mode.tried.flatMap { mode in
    all.filter { scenario in
      switch mode {
      case .counted: scale > 1 || ["threads", "forks", "random", "plugins", "operators", "moments", "limits"].contains(scenario.program)
      case .checked: scale > 1 || ["threads", "forks", "random", "zeroing", "reallocation", "early", "misuse", "checked"].contains(scenario.program)
      default: true
      }
    }.map { ($0, mode) }
  }
  /// In which callers and libraries come and go.
  static let classed = all.filter { ["operators", "plugins", "random", "early", "scopes"].contains($0.program) && $0.role == nil }

  /// What it has to be linked with. Nil: there is no compiler.
  func libraryFlags(isLinked: Bool = false) throws -> [String]? {
    if usesTypes {
      let include = "-I" + Place.root.appending(path: "build/include").path
      return !Library.isStave ? nil : isLinked ? [include] : [include, Library.path]
    }
    guard isItsOwnLibrary else { return [] }
    let flags = ["-DLIBRARY", "-shared", "-fPIC", "-Wno-unused"]
    guard let library = try Compiler.build(file, as: "\(program)-library.so", flags: flags) else { return nil }
    return [library.path, "-Wl,-rpath,\(Place.binaries.path)"]
  }

  /// How the built program ended. Nil: it found, or its plugin, that this machine does not have what it needs; said aloud.
  func run(_ built: URL, _ arguments: [String], _ environment: [String: String]) throws -> Ended? {
    var words = role.map { [$0] } ?? []
    if program == "plugins" {
      guard let plugin = try Compiler.build("plugin.c", as: "plugin.so", flags: ["-shared", "-fPIC"]) else { return nil }
      words.append(plugin.path)
    }
    let ended = try TestSupport.run(
      built.path, words + arguments + ["--scale", "\(scale)"], environment: environment, seconds: 120 + 60 * scale)
    let skips = ended.text.split(separator: "\n").filter { $0.hasPrefix("SKIPPED") }
    for line in skips { print("\(line) (\(testDescription))") }
    return ended.status == 77 && !skips.isEmpty ? nil : ended
  }
}

extension PreloadedScenarios {
  /// Fails when nothing has been built, so that skipping the rest cannot pass for success.
  @Test static func libraryIsThere() {
    #expect(Library.exists, "\(Library.path) is not there: run make first, or name a library in STAVE_LIBRARY")
  }

  @Test(.enabled(if: Library.exists), arguments: Scenario.trials)
  static func scenario(_ scenario: Scenario, _ mode: Mode) throws { try perform(scenario, mode, seed: 1) }

  /// Those that draw lots, once more with the seed of this run.
  @Test(.enabled(if: Library.exists), arguments: Scenario.random, Mode.tried)
  static func anotherSeed(_ scenario: Scenario, _ mode: Mode) throws { try perform(scenario, mode, seed: Stage.seed) }

  @Test(.enabled(if: Library.exists && Library.isStave), arguments: Scenario.classed)
  static func underHashClasses(_ scenario: Scenario) throws { try perform(scenario, .classed, seed: 1) }

  private static func perform(_ scenario: Scenario, _ mode: Mode, seed: UInt64) throws {
    guard let flags = try scenario.libraryFlags(),
      let program = try Compiler.build(scenario.file, as: scenario.program, flags: flags),
      let outcome = try scenario.run(program, (Library.isStave ? ["--expect-stave"] : []) + ["--seed", "\(seed)"], mode.environment)
    else { return }
    #expect(outcome.succeeded, "seed \(seed): \(outcome.report)")
  }
}
