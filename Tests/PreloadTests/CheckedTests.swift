// SPDX-License-Identifier: BSD-2-Clause
//
// What else reports of item checks can say and do: where a block was freed, and that the program goes on. The mistakes themselves are
// Tests/Preload/checked.c's.

import Foundation
import Testing

@testable import TestSupport

extension PreloadedLibrary {
  private static func make(_ mistake: String, _ options: String) throws -> Ended? {
    guard let program = try Compiler.build("checked.c", as: "checked") else { return nil }
    return try run(program.path, ["make", mistake, "--expect-stave"], environment: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": options])
  }

  @Test(.enabled(if: Library.exists && Library.isStave), arguments: [
    ("double free of a small block after many frees", "freed before"), ("write to the last byte of a free block", "freed"), ("write to a free large block", "freed"),
  ])
  static func stackOfTheFreeIsShown(_ mistake: String, _ how: String) throws {
    guard let ended = try make(mistake, "check:1,stacks:1") else { return }
    #expect(ended.signal == SIGABRT, ended.report)
    let parts = ended.errorText.components(separatedBy: "  \(how) at\n")
    #expect(parts.count == 2 && parts[1].hasPrefix("  #0 ") && parts[1].contains("/checked+0x"), ended.report)
    #expect(parts.last!.contains("  noticed at\n  #0 "), ended.report)
    // Without it none is kept.
    guard let plain = try make(mistake, "check:1") else { return }
    #expect(plain.signal == SIGABRT && !plain.errorText.contains(" at\n  #"), plain.report)
  }

  @Test(.enabled(if: Library.exists && Library.isStave), arguments: [
    "double free of a middle block after many frees", "realloc of a free block", "free inside a block", "write to the first byte of a free block",
  ])
  static func programGoesOnAfterReports(_ mistake: String) throws {
    guard let ended = try make(mistake, "check:1,onreport:continue") else { return }
    #expect(ended.status == 55 && ended.errorText.contains("]: \(mistake.hasPrefix("write") ? "write after" : "bad") free: "), ended.report)
  }

  /// A delete says what its new was told; where new is the program's, that may be less than the block has.
  @Test(.enabled(if: Library.exists && Library.isStave), arguments: ["NONE", "PLAIN", "ARRAYS", "ALIGNED", "QUIET"], ["check:1", "redzone:1", "memguard:1"])
  static func rightSizesAreNotReported(_ operators: String, _ options: String) throws {
    guard let program = try Compiler.build("widened.cc", as: "widened-\(operators)", flags: ["-D\(operators)", "-fsized-deallocation"]) else { return }
    let ended = try run(program.path, ["--expect-stave"], environment: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": options])
    #expect(ended.succeeded && ended.errorText.isEmpty, ended.report)
  }

  /// Where memory is short new is the C++ library's, which rounds sizes.
  @Test(.enabled(if: Library.exists && Library.isStave), arguments: ["redzone:1,failure_rate:3", "memguard:1,failure_rate:2"])
  static func sizesThatTheLibraryRoundsAreRight(_ options: String) throws {
    guard let program = try Compiler.build("widened.cc", as: "widened-NONE", flags: ["-DNONE", "-fsized-deallocation"]) else { return }
    let ended = try run(program.path, ["--expect-stave"], environment: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": options])
    #expect(ended.succeeded && ended.errorText.isEmpty, ended.report)
  }
}
