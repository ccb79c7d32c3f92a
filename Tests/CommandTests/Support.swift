// SPDX-License-Identifier: BSD-2-Clause
//
// Running the command that was built beside these tests, on the library that `make` built.

import Foundation
import Testing

enum Built {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  /// The folder of this build's products: that of the running test program.
  static let folder = URL(filePath: CommandLine.arguments[0]).resolvingSymlinksInPath().deletingLastPathComponent()
  static let command: String = {
    let places: [URL] = [folder, root.appending(path: ".build/debug")]
    let paths: [String] = places.map { $0.appending(path: "stave").path }
    return paths.first { FileManager.default.isExecutableFile(atPath: $0) } ?? "stave"
  }()
  static let library = root.appending(path: "build/libstave.so").path
  static var hasLibrary: Bool { FileManager.default.isReadableFile(atPath: library) }
  static var hasManual: Bool { hasLibrary && FileManager.default.isReadableFile(atPath: root.appending(path: "build/man/man7/stave.7").path) }
  /// Of this machine, without what would set options of Stave.
  static let environment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("STAVE_") && $0.key != "LD_PRELOAD" }
}

struct Ended {
  var status: Int32
  var isSignalled: Bool
  var output: String
  var errors: String
}

/// Starts a program with these files as its first descriptors; with a session of its own, the first terminal among them controls it.
func spawn(
  _ program: String, _ arguments: [String], _ environment: [String: String], files: [(path: String, flags: Int32)], newSession: Bool = false
) throws -> pid_t {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  for (descriptor, file) in files.enumerated() { posix_spawn_file_actions_addopen(&actions, Int32(descriptor), file.path, file.flags, 0o600) }
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  // The test program blocks signals in its threads, which children would inherit.
  var none = sigset_t(), all = sigset_t()
  sigemptyset(&none)
  sigfillset(&all)
  posix_spawnattr_setsigmask(&attributes, &none)
  posix_spawnattr_setsigdefault(&attributes, &all)
  let session = newSession ? 0x80 /* POSIX_SPAWN_SETSID */ : 0
  posix_spawnattr_setflags(&attributes, Int16(session | Int(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)))
  let words = ([program] + arguments).map { strdup($0) } + [nil]
  let variables = Built.environment.merging(["STAVE_LIBRARY": Built.library]) { $1 }.merging(environment) { $1 }
    .map { strdup("\($0.key)=\($0.value)") } + [nil]
  defer { for text in words + variables { free(text) } }
  var child: pid_t = 0
  let code = posix_spawn(&child, program, &actions, &attributes, words, variables)
  guard code == 0 else { throw POSIXError(POSIXErrorCode(rawValue: code) ?? .EINVAL) }
  return child
}

/// A program, started and not yet waited for. What it prints goes to files.
final class Started {
  let id: pid_t
  private let output: URL
  private let errors: URL
  private var ended: Int32?

  /// `input`: a file to read; nothing if nil.
  init(_ program: String, _ arguments: [String], _ environment: [String: String] = [:], input: String = "/dev/null") throws {
    let scratch = FileManager.default.temporaryDirectory.appending(path: "stave-command-\(UUID().uuidString)")
    (output, errors) = (scratch.appendingPathExtension("out"), scratch.appendingPathExtension("err"))
    id = try spawn(
      program, arguments, environment,
      files: [(input, O_RDONLY), (output.path, O_WRONLY | O_CREAT | O_APPEND), (errors.path, O_WRONLY | O_CREAT | O_APPEND)])
  }

  deinit {
    if ended == nil {
      kill(id, SIGKILL)
      waitpid(id, nil, 0)
    }
    for file in [output, errors] { try? FileManager.default.removeItem(at: file) }
  }

  func signal(_ number: Int32) { kill(id, number) }

  /// What it has printed so far.
  var printed: String { text(output) }

  /// Waits for its end; after a minute and a half it is killed.
  func end() -> Ended {
    var status: Int32 = 0
    var ticks = 0
    while waitpid(id, &status, WNOHANG) == 0 {
      ticks += 1
      if ticks == 18_000 { kill(id, SIGKILL) }
      usleep(5000)
    }
    ended = status
    let signalled = status & 0x7f
    return Ended(
      status: signalled == 0 ? status >> 8 & 0xff : signalled, isSignalled: signalled != 0, output: text(output), errors: text(errors))
  }

  private func text(_ file: URL) -> String { (try? String(contentsOf: file, encoding: .utf8)) ?? "" }
}

func stave(_ arguments: String..., environment: [String: String] = [:]) throws -> Ended {
  try Started(Built.command, arguments, environment).end()
}

/// A process on Stave that sleeps, for the time of the call.
func withSleeper<Result>(_ body: (pid_t) throws -> Result) throws -> Result {
  let sleeper = try Started(Built.command, ["run", "--", "sleep", "60"])
  // Until it has become the program and its allocator has started.
  for _ in 0..<200 {
    if try stave("sum", "\(sleeper.id)").status == 0 { break }
    usleep(20_000)
  }
  return try body(sleeper.id)
}

func object(_ text: String) throws -> [String: Any] {
  try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
}
