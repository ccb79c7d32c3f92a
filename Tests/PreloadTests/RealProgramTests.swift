// SPDX-License-Identifier: BSD-2-Clause
//
// Real programs: what they write with the library must be, byte for byte, what they write without. Each is a shell script
// run in the same fresh folder each time, first without the library, then under it (the shell too), in several modes.

import Foundation
import Testing

@testable import TestSupport

struct RealProgram: Sendable, CustomTestStringConvertible {
  var name: String
  /// Programs that must be there; without them the test is skipped aloud.
  var needs: [String]
  var files: [String: String] = [:]
  var script: String
  /// Files that the script leaves and that must be equal as well.
  var results: [String] = []
  var seconds: Double = 120
  /// Some servers refuse to run as root.
  var unprivileged = false
  /// Searched besides PATH, and put on it.
  var folders: [String] = []

  var testDescription: String { name }
}

/// What a run left: its output, and the files that count.
private struct Trace: Equatable {
  var output: Data
  var errors: Data
  var results: [String: Data]
}

/// A folder of the test's own, readable for a server that runs as another user, with a copy of the library.
private final class Workshop {
  let folder = URL(filePath: "/tmp/stave-\(UUID().uuidString.prefix(8))")
  let library: URL

  init() throws {
    library = folder.appending(path: URL(filePath: Library.path).lastPathComponent)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
    try FileManager.default.copyItem(atPath: Library.path, toPath: library.path)
    chmod(library.path, 0o755)
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  func run(_ program: RealProgram, _ mode: Mode?) throws -> (outcome: Ended, trace: Trace) {
    let files = FileManager.default
    let work = folder.appending(path: "work")
    try? files.removeItem(at: work)
    try files.createDirectory(at: work, withIntermediateDirectories: true)
    for (name, text) in program.files { try text.write(to: work.appending(path: name), atomically: true, encoding: .utf8) }
    try program.script.write(to: work.appending(path: "script.sh"), atomically: true, encoding: .utf8)

    var environment = [
      "HOME": work.path, "TMPDIR": work.path, "LC_ALL": "C", "TZ": "UTC", "PYTHONHASHSEED": "0", "PERL_HASH_SEED": "0",
      "GIT_CONFIG_NOSYSTEM": "1", "PATH": (program.folders + [plainEnvironment["PATH"] ?? "/usr/bin:/bin"]).joined(separator: ":"),
    ]
    if let mode {
      environment.merge(mode.environment) { $1 }
      environment["LD_PRELOAD"] = library.path
    }
    var command = ["/bin/sh", "-eu", "script.sh"]
    if program.unprivileged && geteuid() == 0 {
      guard let setpriv = find("setpriv") else { throw CannotRun(description: "setpriv is not installed") }
      for path in [work.path] + program.files.keys.map({ work.appending(path: $0).path }) { chown(path, 65534, 65534) }
      command = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"] + command
    }
    let outcome = try TestSupport.run(command[0], Array(command.dropFirst()), environment: environment, in: work, seconds: program.seconds)
    var results: [String: Data] = [:]
    for name in program.results { results[name] = (try? Data(contentsOf: work.appending(path: name))) ?? Data("(missing)".utf8) }
    return (outcome, Trace(output: outcome.output, errors: outcome.errors, results: results))
  }
}

extension PreloadedLibrary {
  @Test(.enabled(if: Library.exists), arguments: RealProgram.all)
  static func sameOutput(_ program: RealProgram) throws {
    let missing = program.needs.filter { find($0, alsoIn: program.folders) == nil }
    guard missing.isEmpty else { return announceSkip("\(program.name): \(missing.joined(separator: ", ")) is not installed") }
    let workshop = try Workshop()
    let (plain, expected) = try workshop.run(program, nil)
    // Not a reason to skip: a script that never runs would go unnoticed.
    try #require(plain.succeeded, "\(program.name) fails without the library: \(plain.report)")
    // A script that proves nothing would pass for ever.
    try #require(!expected.output.isEmpty || !expected.results.isEmpty)
    for mode in Mode.tried(byProgram: RealProgram.all.firstIndex { $0.name == program.name } ?? 0) {
      let (outcome, trace) = try workshop.run(program, mode)
      #expect(outcome.succeeded, "\(program.name), mode \(mode): \(outcome.report)")
      #expect(trace.output == expected.output, "\(program.name), mode \(mode): output differs\n\(difference(expected.output, trace.output))")
      #expect(trace.errors == expected.errors, "\(program.name), mode \(mode): errors differ\n\(difference(expected.errors, trace.errors))")
      for name in program.results where trace.results[name] != expected.results[name] {
        Issue.record("\(program.name), mode \(mode): the file \(name) differs")
      }
    }
  }

  private static func difference(_ expected: Data, _ found: Data) -> String {
    let at = zip(expected, found).enumerated().first { $1.0 != $1.1 }?.offset ?? min(expected.count, found.count)
    func around(_ data: Data) -> String { String(decoding: data.dropFirst(max(at - 200, 0)).prefix(600), as: UTF8.self) }
    return "at byte \(at) of \(expected.count) and \(found.count)\n--- without\n\(around(expected))\n--- with\n\(around(found))"
  }
}
