// SPDX-License-Identifier: BSD-2-Clause
//
// The library under test, the compilers that are there, and running a program with a time limit.

import Foundation
import Testing

/// Everything here runs one after another: the machine may have two CPUs, and half of the programs want both.
@Suite(.serialized) enum PreloadedLibrary {}

enum Place {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  static let sources = root.appending(path: "Tests/Preload")
  static let binaries = root.appending(path: ".build/preload-tests")
}

enum Library {
  static let path: String = {
    guard let named = ProcessInfo.processInfo.environment["STAVE_LIBRARY"], !named.isEmpty else {
      return Place.root.appending(path: "build/libstave.so").path
    }
    return named.hasPrefix("/") ? named : Place.root.appending(path: named).path
  }()
  static var exists: Bool { FileManager.default.isReadableFile(atPath: path) }
  /// Another allocator can be named, to try the tests themselves; it is not held to what Stave alone promises.
  static let isStave = URL(filePath: path).lastPathComponent.hasPrefix("libstave")
}

/// How the library is told to work.
enum Mode: String, CaseIterable, CustomTestStringConvertible {
  case standard, locked

  static var tried: [Mode] { Library.isStave ? allCases : [.standard] }
  var testDescription: String { rawValue }
  var environment: [String: String] {
    switch self {
    case .standard: ["LD_PRELOAD": Library.path]
    case .locked: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": "percpu:locked"]
    }
  }
}

/// The environment of this process without what would set options of the library (STAVE_… variables of the tests included).
let plainEnvironment = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("STAVE_") && $0.key != "LD_PRELOAD" }

let scale = Double(ProcessInfo.processInfo.environment["STAVE_TEST_SCALE"] ?? "") ?? 1

func announceSkip(_ reason: String) { print("SKIPPED: \(reason)") }

/// The first program of these names on PATH.
func find(_ names: String..., alsoIn folders: [String] = []) -> String? {
  let path = (plainEnvironment["PATH"] ?? "/usr/bin:/bin").split(separator: ":").map(String.init) + folders
  for name in names {
    for folder in path {
      let candidate = folder + "/" + name
      if access(candidate, X_OK) == 0 { return candidate }
    }
  }
  return nil
}

// MARK: Running

struct Outcome {
  var status: Int32?
  var signal: Int32?
  var timedOut = false
  var output = Data()
  var errors = Data()

  var succeeded: Bool { status == 0 && !timedOut }
  var text: String { String(decoding: output, as: UTF8.self) }
  var errorText: String { String(decoding: errors, as: UTF8.self) }
  var ending: String {
    if timedOut { return "killed at its time limit" }
    if let signal { return "died of signal \(signal)" }
    return "ended with status \(status ?? -1)"
  }
  /// For a failed test: how it ended and what it said last.
  var report: Comment { "\(ending)\n--- output\n\(tail(text))\n--- errors\n\(tail(errorText))" }

  private func tail(_ text: String) -> String { text.count > 6000 ? "…" + text.suffix(6000) : text }
}

struct CannotRun: Error, CustomStringConvertible {
  var description: String
}

/// Runs a program in a process group of its own, which is killed when time is up.
func run(
  _ program: String, _ arguments: [String] = [], environment: [String: String] = [:], in directory: URL? = nil, seconds: Double = 120
) throws -> Outcome {
  let scratch = FileManager.default.temporaryDirectory.appending(path: "stave-run-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: scratch, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: scratch) }
  let output = scratch.appending(path: "output"), errors = scratch.appending(path: "errors")

  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
  posix_spawn_file_actions_addopen(&actions, 1, output.path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
  posix_spawn_file_actions_addopen(&actions, 2, errors.path, O_WRONLY | O_CREAT | O_APPEND, 0o600)
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  // The test runner blocks signals in its threads; a program under test must not inherit that.
  var none = sigset_t(), all = sigset_t()
  sigemptyset(&none)
  sigfillset(&all)
  posix_spawnattr_setsigmask(&attributes, &none)
  posix_spawnattr_setsigdefault(&attributes, &all)
  posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

  // Foundation does not import the file action that changes the folder.
  let command = directory.map { ["/bin/sh", "-c", #"cd "$0" && exec "$@""#, $0.path, program] } ?? [program]
  let words = (command + arguments).map { strdup($0) } + [nil]
  let variables = plainEnvironment.merging(environment) { $1 }.map { strdup("\($0.key)=\($0.value)") } + [nil]
  defer { (words + variables).forEach { free($0) } }
  var child: pid_t = 0
  let error = posix_spawn(&child, command[0], &actions, &attributes, words, variables)
  guard error == 0 else { throw CannotRun(description: "\(program): \(String(cString: strerror(error)))") }

  var outcome = Outcome()
  let clock = ContinuousClock()
  let end = clock.now + .seconds(seconds)
  var status: Int32 = 0
  while waitpid(child, &status, WNOHANG) == 0 {
    if clock.now > end {
      outcome.timedOut = true
      kill(-child, SIGKILL)
      waitpid(child, &status, 0)
      break
    }
    usleep(3000)
  }
  kill(-child, SIGKILL)  // whatever it left behind
  if status & 0x7F == 0 { outcome.status = status >> 8 & 0xFF } else { outcome.signal = status & 0x7F }
  outcome.output = (try? Data(contentsOf: output)) ?? Data()
  outcome.errors = (try? Data(contentsOf: errors)) ?? Data()
  return outcome
}

// MARK: Compiling

enum Compiler {
  static let c = find("clang", "cc", "gcc")

  /// A C++ compiler with its standard library; some toolchains bring the first without the second.
  static let cxx: String? = {
    let probe = FileManager.default.temporaryDirectory.appending(path: "stave-probe-\(UUID().uuidString)")
    let source = probe.appendingPathExtension("cc")
    defer {
      try? FileManager.default.removeItem(at: probe)
      try? FileManager.default.removeItem(at: source)
    }
    try? "#include <string>\nint main(int n, char **) { return (int)std::string((size_t)n, 'x').size() - 1; }\n"
      .write(to: source, atomically: true, encoding: .utf8)
    for name in ["clang++", "c++", "g++"] {
      guard let compiler = find(name) else { continue }
      if (try? run(compiler, ["-std=gnu++17", source.path, "-o", probe.path]))?.succeeded == true { return compiler }
    }
    return nil
  }()

  /// Compiles a file of Tests/Preload unless its program is there and newer than all sources. nil: there is no compiler.
  static func build(_ file: String, as name: String, flags: [String] = []) throws -> URL? {
    let isCxx = file.hasSuffix(".cc")
    guard let compiler = isCxx ? cxx : c else {
      announceSkip("\(file): " + (isCxx ? "no C++ compiler with a standard library is installed" : "no C compiler is installed"))
      return nil
    }
    let files = FileManager.default
    let product = Place.binaries.appending(path: name)
    func changed(_ url: URL) -> Date? { (try? files.attributesOfItem(atPath: url.path))?[.modificationDate] as? Date }
    let sources = [Place.sources.appending(path: file), Place.sources.appending(path: "scenario.h")]
    if flags.isEmpty || name == "plugin.so", let built = changed(product), sources.allSatisfy({ changed($0) ?? .distantFuture < built }) {
      return product
    }
    try files.createDirectory(at: Place.binaries, withIntermediateDirectories: true)
    let fresh = Place.binaries.appending(path: "\(name).\(getpid())")
    let common = ["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-fno-builtin", "-pthread"]
    let language = isCxx ? ["-std=gnu++17", "-fsized-deallocation"] : ["-std=gnu17"]
    let outcome = try run(compiler, language + common + [sources[0].path, "-o", fresh.path, "-ldl", "-lrt"] + flags)
    guard outcome.succeeded else { throw CannotRun(description: "\(compiler) \(file): \(outcome.errorText)") }
    guard rename(fresh.path, product.path) == 0 else { throw CannotRun(description: "rename to \(product.path)") }
    return product
  }
}
