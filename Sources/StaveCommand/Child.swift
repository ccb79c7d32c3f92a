// SPDX-License-Identifier: BSD-2-Clause
//
// Starting a program, with or without the library, and waiting for it: what it took, and signals passed through.

import ArgumentParser
import Glibc
import Inspection

/// How one run went. Times in seconds, memory in bytes.
struct Outcome {
  /// As shells have it: 128 and the number of the signal that ended it.
  var status: Int32 = 0
  var wall = 0.0
  /// User and system time of the program and all children that it waited for.
  var cpu = 0.0
  /// Peak resident memory of the largest process, by the kernel's own account.
  var peak = 0
  /// Peak of the sum over the program and its descendants, of samples; pages that several share count for each of them.
  var peakOfAll = 0
}

struct Child {
  /// The program and its arguments, to be named.
  var words: [String]
  /// The same to be run: as they were given, since they need not be UTF-8, and ended by null.
  let arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  /// Nil: without Stave.
  var library: String?
  /// Its output goes nowhere, and what it reads is the same for each run: from where the file began, or nothing.
  var isQuiet = false

  /// Replaces this process. Returns only by an error: 127 not found, 126 not executable, as shells say it.
  func become() throws -> Never {
    if let library { setenv("LD_PRELOAD", Library.preload(library, before: getenv("LD_PRELOAD").map { String(cString: $0) }), 1) }
    execvp(arguments[0]!, arguments)
    throw Child.cannotRun(words[0], errno)
  }

  /// Runs it to its end. `body` is called every 50 ms with its PID and the seconds since it started.
  func run(_ body: (pid_t, Double) -> Void = { _, _ in }) throws -> Outcome {
    var ended = sigset_t(), held = sigset_t(), before = sigset_t()
    sigemptyset(&ended)
    sigaddset(&ended, SIGCHLD)
    // Those that are passed on wait until there is someone to pass them on to.
    held = ended
    for number in Signals.passed { sigaddset(&held, number) }
    // Where the signal is ignored, the kernel would throw the status away.
    signal(SIGCHLD, SIG_DFL)
    sigprocmask(SIG_BLOCK, &held, &before)
    defer { sigprocmask(SIG_SETMASK, &before, nil) }
    let started = monotonicSeconds()
    let process = try start(mask: before)
    Signals.passOn(to: process)
    var working = before
    sigaddset(&working, SIGCHLD)
    sigprocmask(SIG_SETMASK, &working, nil)
    defer { Signals.passOn(to: 0) }
    var outcome = Outcome()
    var status: Int32 = 0
    var usage = rusage()
    var sampled = started
    while wait4(process, &status, WNOHANG, &usage) == 0 {
      var patience = timespec(tv_sec: 0, tv_nsec: 50_000_000)
      _ = sigtimedwait(&ended, nil, &patience)
      guard monotonicSeconds() - sampled >= 0.05 else { continue }
      sampled = monotonicSeconds()
      outcome.peakOfAll = max(outcome.peakOfAll, Family(of: process).resident)
      body(process, sampled - started)
    }
    outcome.wall = monotonicSeconds() - started
    let signalled = status & 0x7f
    outcome.status = signalled == 0 ? status >> 8 & 0xff : 128 + signalled
    outcome.cpu = Child.seconds(usage.ru_utime) + Child.seconds(usage.ru_stime)
    outcome.peak = Int(usage.ru_maxrss) * 1024
    outcome.peakOfAll = max(outcome.peakOfAll, outcome.peak)
    return outcome
  }

  private func start(mask: sigset_t) throws -> pid_t {
    // The entries go on as they are; only what is to be preloaded changes.
    var variables: [UnsafeMutablePointer<CChar>?] = []
    var others: String?
    var next = environ
    while let entry = next.pointee {
      if library != nil, strncmp(entry, "LD_PRELOAD=", 11) == 0 { others = String(cString: entry + 11) } else { variables.append(entry) }
      next += 1
    }
    let preload = library.map { strdup("LD_PRELOAD=" + Library.preload($0, before: others)) } ?? nil
    defer { free(preload) }
    variables += [preload, nil]
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if isQuiet {
      if lseek(0, 0, SEEK_CUR) < 0 { posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0) }
      posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
      posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var mask = mask
    posix_spawnattr_setsigmask(&attributes, &mask)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var process: pid_t = 0
    let code = posix_spawnp(&process, arguments[0]!, &actions, &attributes, arguments, variables)
    guard code == 0 else { throw Child.cannotRun(words[0], code) }
    return process
  }

  private static func cannotRun(_ program: String, _ code: Int32) -> ExitCode {
    printError("stave: cannot run \(program.printable): \(String(cString: strerror(code)))")
    return ExitCode(code == ENOENT ? 127 : 126)
  }

  private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }
}

/// A process and all its descendants, now. Costs a look at every process of the machine, some 10 µs each.
struct Family {
  /// Largest first.
  let members: [ProcessEntry]

  init(of process: pid_t) {
    let table = ProcessTable()
    members = (table.entries.filter { $0.process == process } + table.descendants(of: process)).sorted { $0.resident > $1.resident }
  }

  /// Bytes.
  var resident: Int { members.reduce(0) { $0 + Int($1.resident) } }
}

/// Signals that another process sends are passed on to the program. Those of the terminal's keys reach it by themselves, being
/// sent to the whole group, and a signal that is ignored here is ignored there.
enum Signals {
  private nonisolated(unsafe) static var receiver: pid_t = 0
  private nonisolated(unsafe) static var last: Int32 = 0

  static let passed = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2]

  /// The signal that came last, 0 for none.
  static var received: Int32 { last }

  /// 0: keep them.
  static func passOn(to process: pid_t) {
    receiver = process
    for number in passed {
      var action = sigaction()
      sigaction(number, nil, &action)
      let isIgnored = unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self)
      if isIgnored { continue }
      action.sa_flags = SA_SIGINFO | SA_RESTART
      action.__sigaction_handler.sa_sigaction = { number, information, _ in
        Signals.last = number
        if Signals.receiver > 0, information?.pointee.si_code ?? 0 <= 0 { kill(Signals.receiver, number) }
      }
      sigaction(number, &action, nil)
    }
  }
}
