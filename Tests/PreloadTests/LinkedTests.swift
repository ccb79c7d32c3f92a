// SPDX-License-Identifier: BSD-2-Clause
//
// libstave.a: the scenarios with it linked in, and what is peculiar to that: a Swift program with its own runtime, a
// stripped program that is looked at from outside, libstave.so on top of it.

import Foundation
import Testing

@testable import TestSupport

/// How a program has the archive in it.
enum Linking: String, CaseIterable, CustomTestStringConvertible {
  /// Into a program that uses the shared libc.
  case plain
  /// The same program, with libstave.so preloaded: the program's malloc answers.
  case underLibrary
  /// Into a program that needs no library at all.
  case fullyStatic

  static let archive = Place.root.appending(path: "build/libstave.a").path
  static var exists: Bool { Library.isStave && FileManager.default.isReadableFile(atPath: archive) }

  var testDescription: String { rawValue }
  var suffix: String { self == .fullyStatic ? "-static" : "-linked" }
  var environment: [String: String] { self == .underLibrary ? ["LD_PRELOAD": Library.path] : [:] }
  var flags: [String] {
    ["-DLINKED", "-u", "malloc", Self.archive] + (self == .fullyStatic ? ["-DFULLY_STATIC", "-static"] : [])
  }

  /// Nil, said aloud, where this system has no static libc, or there is no compiler.
  func build(_ file: String, as name: String, flags more: [String] = []) throws -> URL? {
    if self == .fullyStatic && !Self.hasStaticLibc {
      announceSkip("\(name): no static libc is installed")
      return nil
    }
    return try Compiler.build(file, as: name + suffix, flags: flags + more)
  }

  private static let hasStaticLibc = (try? Compiler.build("sizes.c", as: "no-archive", flags: ["-DFULLY_STATIC", "-static"])) != nil
}

extension PreloadedLibrary {
  private static let meetTheKernel: Set = ["sizes", "usable", "threads", "forks", "signals", "moments", "random", "introspection", "operators", "spawns"]

  /// A static program has no libraries. Under libstave.so some will do. But for a soak each is linked with the archive once: those that
  /// meet libc and the kernel fully statically, the others not.
  private static func applies(_ scenario: Scenario, _ linking: Linking) -> Bool {
    switch linking {
    case .plain: scale > 1 || !meetTheKernel.contains(scenario.program)
    case .underLibrary: ["sizes", "usable", "introspection", "operators", "replaced", "threads", "random"].contains(scenario.program)
    case .fullyStatic:
      scenario.program != "plugins" && !scenario.isItsOwnLibrary
        && (scale > 1 || meetTheKernel.contains(scenario.program))
    }
  }

  @Test(.enabled(if: Linking.exists), arguments: Scenario.all, Linking.allCases)
  static func linkedScenario(_ scenario: Scenario, _ linking: Linking) throws {
    guard applies(scenario, linking), let flags = try scenario.libraryFlags(isLinked: true),
      let program = try linking.build(scenario.file, as: scenario.program, flags: flags),
      let outcome = try scenario.run(program, ["--expect-stave"], linking.environment)
    else { return }
    #expect(outcome.succeeded, outcome.report)
  }

  /// The check that the scenarios rely on: without the archive they fail.
  @Test(.enabled(if: Linking.exists)) static func aScenarioNoticesThatNothingIsLinkedIn() throws {
    guard let program = try Compiler.build("sizes.c", as: "sizes-unlinked", flags: ["-DLINKED"]) else { return }
    let outcome = try run(program.path)
    #expect(outcome.status == 1 && outcome.errorText.contains("linked in"), outcome.report)
  }

  @Test(.enabled(if: Linking.exists), arguments: Linking.allCases, ["live", "core"])
  static func aStrippedProgramIsFound(_ linking: Linking, _ kind: String) throws {
    let stave = Place.root.appending(path: "build/stave").path
    guard let program = try linking.build("watched.c", as: "watched", flags: ["-s"]) else { return }
    var command = "\(stave) zones %d"
    if kind == "core" {
      guard let gdb = find("gdb") else { return announceSkip("aStrippedProgramIsFound: no gdb, which writes the core file") }
      let core = Place.binaries.appending(path: "core-\(linking)").path
      command = "\(gdb) -nx -batch -iex 'set debuginfod enabled off' -ex 'gcore \(core)' -p %d > /dev/null 2>&1"
        + " && \(stave) zones \(core) && rm \(core)"
    }
    let environment = linking.environment.merging(["STAVE_OPTIONS": "inspect:any"]) { $1 }
    let outcome = try run(program.path, [command], environment: environment)
    // ITEM SIZE LIMIT USED …
    let line = outcome.text.split(separator: "\n").first { $0.contains("malloc-15360:") }
    let fields = line?.split(whereSeparator: { $0 == " " || $0 == "," }) ?? []
    #expect(outcome.succeeded && fields.count > 4 && fields[3] == "3000", outcome.report)
  }

  /// Its own frames are told from Stave's, which lie in the program too.
  @Test(.enabled(if: Linking.exists), arguments: Linking.allCases)
  static func stacksBeginInTheProgram(_ linking: Linking) throws {
    let stave = Place.root.appending(path: "build/stave").path
    guard let program = try linking.build("late.c", as: "late") else { return }
    for (options, first, last) in [("memguard:1", "allocation:", "free:"), ("redzone:1,leaks:exit", "was asked for here:", "")] {
      let outcome = try run(
        "/bin/sh", ["-c", "\(program.path) \(last.isEmpty ? "lost" : "late") 2>&1 | \(stave) symbolize"],
        environment: linking.environment.merging(["STAVE_OPTIONS": options]) { $1 })
      let lines = outcome.text.split(separator: "\n")
      func isFollowed(_ heading: String, by function: String) -> Bool {
        zip(lines, lines.dropFirst()).contains { $0.hasSuffix(heading) && $1.contains("#0") && $1.contains(function) }
      }
      #expect(isFollowed(first, by: "make") && (last.isEmpty || isFollowed(last, by: "drop")), "\(options): \(outcome.report)")
    }
  }

  /// A Swift program has a runtime of its own beside the archive's, shared or static.
  @Test(.enabled(if: Linking.exists), arguments: ["-dynamic-stdlib", "-static-stdlib", "-static-executable"])
  static func swiftProgram(_ library: String) throws {
    guard let compiler = find("swiftc") else { return announceSkip("swiftProgram: no swiftc on PATH") }
    let source = Place.root.appending(path: "Examples/static-swift/Sources/static-swift/Example.swift").path
    let program = Place.binaries.appending(path: "example\(library)").path
    try FileManager.default.createDirectory(at: Place.binaries, withIntermediateDirectories: true)
    let kind = library == "-dynamic-stdlib" ? [] : [library]
    let common = [source, "-O", "-parse-as-library", "-o", program] + kind
    guard try run(compiler, common).succeeded else { return announceSkip("swiftProgram: \(library) cannot be had here") }
    let expected = try run(program)
    let built = try run(compiler, common + ["-Xlinker", "--undefined=malloc", "-Xlinker", Linking.archive])
    try #require(built.succeeded, built.report)
    let outcome = try run(program, environment: ["STAVE_OPTIONS": "verbose:1"])
    #expect(outcome.succeeded && outcome.output == expected.output && !expected.output.isEmpty, outcome.report)
    #expect(outcome.errorText.contains("stave[") && expected.errors.isEmpty, outcome.report)
  }

  /// The package of Examples/static-swift, and the line that Examples/static-c gives.
  @Test(.enabled(if: Linking.exists)) static func examples() throws {
    let folder = Place.root.appending(path: "Examples")
    if let compiler = Compiler.c {
      let program = Place.binaries.appending(path: "words").path
      let built = try run(compiler, ["main.c", "-u", "malloc", "../../build/libstave.a", "-o", program], in: folder.appending(path: "static-c"))
      try #require(built.succeeded, built.report)
      let outcome = try run("/bin/sh", ["-c", "printf 'b a\\nc' | STAVE_OPTIONS=stats:exit \(program)"])
      #expect(outcome.text == "a\nb\nc\n" && outcome.errorText.contains("malloc-16:"), outcome.report)
    }
    for compiler in [Compiler.c, Compiler.cxx].compactMap({ $0 }) {
      let isCxx = compiler == Compiler.cxx
      let program = Place.binaries.appending(path: "types").path
      // C++ takes the header, too, though not the program.
      if isCxx {
        let text = "#include <stave.h>\nSTAVE_TYPE_DEFINE(M_ONE, \"one\", \"\");\nint main() { stave_free(stave_malloc(1, M_ONE, STAVE_NOWAIT), M_ONE); }\n"
        let scratch = Folder()
        let built = try run(compiler, [scratch.write(text, "one.cc"), "-I../../build/include", "-u", "malloc", "../../build/libstave.a", "-o", program], in: folder.appending(path: "types-c"))
        try #require(built.succeeded, built.report)
        #expect(try run(program).succeeded)
        continue
      }
      let built = try run(compiler, ["main.c", "-Wall", "-Wextra", "-Werror", "-I../../build/include", "-u", "malloc", "../../build/libstave.a", "-o", program], in: folder.appending(path: "types-c"))
      try #require(built.succeeded, built.report)
      let outcome = try run(program)
      #expect(outcome.succeeded && outcome.text == "nothing is out\n" && outcome.errors.isEmpty, outcome.report)
    }
    guard let swift = find("swift") else { return announceSkip("examples: no swift on PATH") }
    let scratch = Place.binaries.appending(path: "static-swift").path
    let outcome = try run(
      swift, ["run", "--disable-sandbox", "-c", "release", "--scratch-path", scratch], environment: ["STAVE_OPTIONS": "verbose:1"],
      in: folder.appending(path: "static-swift"), seconds: 300)
    #expect(outcome.succeeded && outcome.text.contains("\"total\":365391") && outcome.errorText.contains("stave["), outcome.report)
  }
}
