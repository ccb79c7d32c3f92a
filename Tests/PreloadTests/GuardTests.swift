// SPDX-License-Identifier: BSD-2-Clause
//
// The programs of Tests/Preload/guards.c and guard-handlers.c: each mistake ends in the report that it should; the program's own handlers of SIGSEGV and SIGBUS have
// what is theirs; and correct programs notice nothing.

import Foundation
import Testing

@testable import TestSupport

struct GuardRole: Sendable, CustomTestStringConvertible {
  var name: String
  var options = "memguard:1"
  /// In this order, in what it says before SIGABRT ends it; empty: its own fault does, and nothing is said.
  var report: [String] = []

  /// What handlers are about is a program of its own.
  var program: String { ["handler", "bus", "own"].contains { name.hasPrefix($0) } ? "guard-handlers" : "guards" }

  var testDescription: String { "\(name) \(options)" }

  private static func mistake(_ name: String, _ options: String = "memguard:1", _ report: String...) -> GuardRole {
    GuardRole(name: name, options: options, report: report)
  }

  static let all: [GuardRole] = [
    mistake("overflow-write", "memguard:1", "memguard: write of ", "12 bytes behind the end of the block at ", "of 100 bytes, of type malloc", "access:", "guards+", "allocation:", "guards+"),
    mistake("overflow-read", "memguard:1", "memguard: read of ", "0 bytes behind the end", "of 64 bytes"),
    mistake("overflow-far", "memguard:1,memguard_width:8K", "memguard: write of ", "4008 bytes behind the end"),
    mistake("overflow-far", "memguard:1", "memguard: write of ", "4008 bytes behind the end"),
    mistake("overflow-large", "memguard:1", "write of ", "0 bytes behind the end", "of 300000 bytes"),
    mistake("overflow-slack", "memguard:1", "memguard damage: 1 byte was written beside a block before its free()", "0 bytes behind the end", "call:", "allocation:"),
    mistake("overflow-slack-realloc", "memguard:1", "before its realloc()", "11 bytes behind the end"),
    mistake("overflow-exact", "memguard:1,memguard_side:exact", "read of ", "0 bytes behind the end", "of 101 bytes"),
    mistake("underflow-write", "memguard:1,memguard_side:underflow", "memguard: write of ", ", 1 byte before the block at"),
    mistake("underflow-read", "memguard:1,memguard_side:underflow", "memguard: read of ", "4096 bytes before the block at", "of 5000 bytes"),
    mistake("underflow-found", "memguard:1", "1 byte was written", "3 bytes before the block at"),
    mistake("after-free-read", "memguard:1", "read of ", "50 bytes into the block at ", "of 100 bytes, freed, of type malloc", "access:", "allocation:", "free:", "guards+"),
    mistake("after-free-write", "memguard:1", "write of ", "60000 bytes into the block at", "freed"),
    mistake("after-realloc", "memguard:1", "write of ", ", 1 byte into the block at", "freed"),
    mistake("double-free", "memguard:1", "memguard double free: free() of ", "of 100 bytes, freed, of type malloc", "call:", "allocation:", "free:"),
    mistake("free-inside", "memguard:1", "memguard bad free: free() of ", "16 bytes into the block at ", "of 100 bytes, of type malloc"),
    mistake("realloc-freed", "memguard:1", "memguard double free: realloc() of "),
    mistake("zeroed", "memguard:1", "read of ", "of 160 bytes"),
    mistake("aligned", "memguard:1", "write of ", "0 bytes behind the end", "of 3072 bytes"),
    mistake("threads", "memguard:1", "write of ", "3 bytes into the block at", "of 500 bytes, freed"),
    mistake("fork", "memguard:1", "write of ", "2 bytes into the block at ", "freed", "read of ", "0 bytes into the block at ", "freed"),
    mistake("threads", "memguard:1,types:library", "3 bytes into the block at", "freed, of type guards"),
    mistake("overflow-write", "memguard:1,types:library,memguard_type:guards", "of type guards"),
    mistake("narrow", "memguard:1", "memguard: write of ", "0 bytes into the block", "of 100 bytes, freed"),
    mistake("bus-lost", "memguard:1", "memguard: write of ", "0 bytes into the block", "of 100 bytes, freed"),
  ]
    + [
      "handler", "handler-after", "handler-plain", "handler-plain-after", "handler-repairs", "handler-redirects", "handler-layers", "handler-back-and-forth",
      "handler-stack", "handler-once", "handler-sent", "bus-handler", "bus-handler-after", "bus-handler-plain", "bus-and-segv",
    ].map { GuardRole(name: $0, report: ["memguard: write of ", "0 bytes into the block", "freed"]) }
    + ["own-default", "own-sent", "own-ignored", "bus-default"].map { GuardRole(name: $0) }

  static let fine = [
    "memguard:1", "memguard:7", "memguard:1,memguard_side:underflow", "memguard:1,memguard_side:exact,memguard_width:20K", "memguard:1,memguard_divisor:100000",
    "memguard:3,types:library", "memguard:1,percpu:locked",
  ]
}

extension PreloadedLibrary {
  @Test(.enabled(if: Library.exists && Library.isStave), arguments: GuardRole.all)
  static func guards(_ role: GuardRole) throws {
    guard let program = try Compiler.build(role.program + ".c", as: role.program) else { return }
    let ended = try run(program.path, ["--expect-stave", role.name], environment: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": role.options])
    guard !role.report.isEmpty else {
      #expect(ended.signal == (role.name == "bus-default" ? SIGBUS : SIGSEGV) && ended.errorText.isEmpty, ended.report)
      return
    }
    #expect(ended.signal == SIGABRT, ended.report)
    var rest = Substring(ended.errorText)
    for piece in role.report {
      guard let place = rest.firstRange(of: piece) else {
        Issue.record("\(piece) is missing: \(ended.report)")
        return
      }
      rest = rest[place.upperBound...]
    }
  }

  @Test(.enabled(if: Library.exists && Library.isStave), arguments: GuardRole.fine)
  static func guardsLetCorrectProgramsBe(_ options: String) throws {
    guard let program = try Compiler.build("guards.c", as: "guards") else { return }
    let environment = ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": options]
    for seed in [1, Stage.seed] {
      let ended = try run(program.path, ["--expect-stave", "fine", "--seed", "\(seed)"], environment: environment)
      #expect(ended.succeeded && ended.errorText.isEmpty, ended.report)
    }
  }

  /// The page that was touched becomes accessible, a free that is none does nothing, and what was found is said.
  @Test(
    .enabled(if: Library.exists && Library.isStave),
    arguments: [
      ("overflow-write", "write of "), ("overflow-read", "read of "), ("after-free-read", "freed"), ("after-free-write", "freed"), ("after-realloc", "freed"),
      ("double-free", "double free"), ("free-inside", "bad free"), ("realloc-freed", "realloc() of"), ("overflow-slack", "1 byte was written"), ("threads", "freed"),
    ])
  static func guardsGoOnAfterAReport(_ role: String, _ report: String) throws {
    guard let program = try Compiler.build("guards.c", as: "guards") else { return }
    let ended = try run(program.path, ["--expect-stave", role], environment: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": "memguard:1,onreport:continue"])
    #expect(ended.succeeded && ended.errorText.contains(report), ended.report)
    #expect(ended.errorText.components(separatedBy: "]: memguard").count == 2, "one report: \(ended.errorText)")
  }

  /// What one of them costs is in Documentation/Decisions.md, by the same program with --scale 10.
  @Test(.enabled(if: Library.exists && Library.isStave))
  static func guardsByTheTenThousand() throws {
    guard let program = try Compiler.build("many.c", as: "many") else { return }
    let environment = ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": "memguard:1,memguard_divisor:1"]
    let ended = try run(program.path, ["--expect-stave", "--scale", "0.1"], environment: environment, seconds: 120)
    #expect(ended.succeeded && ended.errorText.isEmpty && ended.text.contains("    10000 "), ended.report)
  }

  /// The scenarios that ask little of speed, with every block guarded.
  @Test(
    .enabled(if: Library.exists && Library.isStave),
    arguments: ["sizes.c", "usable.c", "operators.cc", "moments.c", "threads.c", "forks.c", "signals.c", "random.c"].map { ($0, 1) }
      + ["alignment.c", "reallocation.c", "zeroing.c", "spawns.c", "random.c"].map { ($0, 30) })
  static func scenariosUnderGuards(_ file: String, _ interval: Int) throws {
    let scenario = Scenario(file: file)
    guard let program = try Compiler.build(file, as: scenario.program) else { return }
    let environment = ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": "memguard:\(interval)"]
    let ended = try run(program.path, ["--seed", "1", "--scale", "0.02"], environment: environment, seconds: 120)
    #expect(ended.succeeded || ended.status == 77, ended.report)
  }
}
