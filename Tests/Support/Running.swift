// SPDX-License-Identifier: BSD-2-Clause
//
// Starting a program, what it prints, how it ends, and an end for one that does not.

import Foundation
import Testing

struct CannotRun: Error, CustomStringConvertible {
  var description: String
}

/// Starts a program with these files as its first descriptors, in a process group of its own; with a session of its own, the
/// first terminal among them controls it.
func spawn(
  _ program: String, _ arguments: [String], _ environment: [String: String], in directory: String? = nil,
  files: [(path: String, flags: Int32)], newSession: Bool = false
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
  let apart = newSession ? 0x80 /* POSIX_SPAWN_SETSID */ : Int(POSIX_SPAWN_SETPGROUP)
  posix_spawnattr_setflags(&attributes, Int16(apart | Int(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)))
  // Foundation does not import the file action that changes the folder.
  let command = directory.map { ["/bin/sh", "-c", #"cd "$0" && exec "$@""#, $0, program] } ?? [program]
  let words = (command + arguments).map { strdup($0) } + [nil]
  let variables = plainEnvironment.merging(environment) { $1 }.map { strdup("\($0.key)=\($0.value)") } + [nil]
  defer { for text in words + variables { free(text) } }
  var child: pid_t = 0
  let error = posix_spawn(&child, command[0], &actions, &attributes, words, variables)
  guard error == 0 else { throw CannotRun(description: "\(program): \(String(cString: strerror(error)))") }
  return child
}

/// How a program ended, and what it printed.
struct Ended {
  /// Nil if a signal ended it.
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

/// A program, started and perhaps not yet at its end. What it prints goes to files. It is killed, with all of its group, when
/// nobody has it any more.
final class Started {
  let id: pid_t
  private let folder = Folder()
  private var isReaped = false

  /// `input`: a file to read; nothing if not given.
  init(
    _ program: String, _ arguments: [String] = [], environment: [String: String] = [:], in directory: String? = nil, input: String = "/dev/null"
  ) throws {
    let append = O_WRONLY | O_CREAT | O_APPEND
    id = try spawn(
      program, arguments, environment, in: directory, files: [(input, O_RDONLY), (folder.file("output"), append), (folder.file("errors"), append)])
  }

  deinit {
    kill(-id, SIGKILL)  // whatever it left behind, too
    if !isReaped { waitpid(id, nil, 0) }
  }

  /// What it has printed so far.
  var printed: String { String(decoding: read("output"), as: UTF8.self) }
  var complained: String { String(decoding: read("errors"), as: UTF8.self) }

  /// Waits for its end; after so many seconds it is killed.
  func end(within seconds: Double = 90) -> Ended {
    var ended = Ended()
    var status: Int32 = 0
    let last = ContinuousClock.now + .seconds(seconds)
    while waitpid(id, &status, WNOHANG) == 0 {
      if ContinuousClock.now > last {
        ended.timedOut = true
        kill(-id, SIGKILL)
        waitpid(id, &status, 0)
        break
      }
      usleep(3000)
    }
    isReaped = true
    kill(-id, SIGKILL)
    if status & 0x7f == 0 { ended.status = status >> 8 & 0xff } else { ended.signal = status & 0x7f }
    (ended.output, ended.errors) = (read("output"), read("errors"))
    return ended
  }

  private func read(_ file: String) -> Data { FileManager.default.contents(atPath: folder.file(file)) ?? Data() }
}

/// Runs a program to its end.
func run(
  _ program: String, _ arguments: [String] = [], environment: [String: String] = [:], in directory: URL? = nil, seconds: Double = 120
) throws -> Ended {
  try Started(program, arguments, environment: environment, in: directory?.path).end(within: seconds)
}
