// SPDX-License-Identifier: BSD-2-Clause
//
// The library with `redzone:1`: mistakes are reported, their correct twins are not, and programs that are right do as ever.

import Foundation
import Testing

@testable import TestSupport

extension PreloadedLibrary {
  @Suite(.enabled(if: Library.exists && Library.isStave)) struct RedZone {
    static let modes = ["redzone:1", "redzone:1,percpu:locked", "redzone:1,check:1"]
    static let mistakes = [
      "overMalloc", "underMalloc", "overOne", "underOne", "overCalloc", "overLarge", "underLarge", "overAligned", "underAligned",
      "overRealloc", "underRealloc", "overNew", "underNewArray", "overNewAligned", "overThread", "overChild",
    ]

    private static func run(_ words: [String], _ options: String) throws -> Ended? {
      guard let program = try Compiler.build("redzone.cc", as: "redzone") else { return nil }
      return try TestSupport.run(
        program.path, words + ["--expect-stave", "--seed", "\(Stage.seed)", "--scale", "\(scale)"],
        environment: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": options], seconds: 180)
    }

    @Test(arguments: modes) func `L70 each overwrite is reported at free or realloc, with side, number, size and stacks; its correct twin is not`(_ options: String) throws {
      for mistake in Self.mistakes {
        guard let wrong = try Self.run([mistake, "wrong"], options), let right = try Self.run([mistake, "right"], options) else { return }
        let side = mistake.hasPrefix("over") ? "overflow: " : "underflow: "
        let number = mistake.hasSuffix("One") ? "1 byte overwritten" : "16 bytes overwritten"
        #expect(wrong.signal == SIGABRT && wrong.errorText.contains("redzone: \(side)\(number)"), "\(mistake): \(wrong.report)")
        #expect(wrong.errorText.contains(mistake.hasSuffix("Realloc") ? "found by realloc()" : "found by free()"), "\(mistake): \(wrong.report)")
        #expect(wrong.errorText.components(separatedBy: "  #0 ").count == 3, "\(mistake): two stacks: \(wrong.report)")
        #expect(right.succeeded && right.errorText.isEmpty, "\(mistake), right: \(right.report)")
      }
    }

    @Test(arguments: modes) func `all functions, used as they should be`(_ options: String) throws {
      guard let ended = try Self.run([], options) else { return }
      #expect(ended.succeeded && ended.errorText.isEmpty, "STAVE_SEED=\(Stage.seed): \(ended.report)")
    }

    /// Left out are those that count on powers of two being aligned to themselves, and on how many blocks a limit leaves room for; one is about item checks, one about fork alone.
    @Test(arguments: Scenario.all.filter { !["alignment", "limits", "exhaustion", "checked", "early"].contains($0.program) })
    func `the scenarios`(_ scenario: Scenario) throws {
      guard let flags = try scenario.libraryFlags(), let program = try Compiler.build(scenario.file, as: scenario.program, flags: flags),
        let ended = try scenario.run(program, ["--expect-stave", "--seed", "\(Stage.seed)"], ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": "redzone:1"])
      else { return }
      #expect(ended.succeeded, "STAVE_SEED=\(Stage.seed): \(ended.report)")
    }
  }
}
