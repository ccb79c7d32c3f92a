// SPDX-License-Identifier: BSD-2-Clause
//
// `stave run`: a program on Stave. Plainly it becomes the program (exec), so exit status and signals are the program's own.
// With --watch it stays the parent, shows the zones of the largest descendant while it works, and sums up at the end.

import ArgumentParser
import Exporters
import Glibc
import Inspection

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run a program on Stave.",
    discussion: """
      Options of the library: --options key:value,… or STAVE_OPTIONS in the environment. With --watch the zones of the \
      largest descendant are shown while it works, in place on a terminal, otherwise once per interval.
      """)

  @Option(name: [.customShort("o"), .long], help: "Options of the library, key:value,….")
  var options: String?

  @Option(help: "Show zones every so many seconds while the program runs.")
  var watch: Double?

  @Flag(help: "With --watch: run the program without Stave as well, and compare.")
  var compare = false

  @Option(help: "With --watch: zones shown.")
  var rows = 12

  @Argument(parsing: .captureForPassthrough, help: "The program and its arguments.")
  var program: [String]

  func validate() throws {
    if programWords.isEmpty { throw ValidationError("say which program: stave run -- program arguments") }
    if compare && watch == nil { throw ValidationError("--compare goes with --watch") }
    if let watch, watch <= 0 { throw ValidationError("--watch takes a number of seconds above 0") }
  }

  private var programWords: [String] { program.first == "--" ? Array(program.dropFirst()) : program }

  func run() throws {
    let library = try Library.find()
    if let options {
      let given = getenv("STAVE_OPTIONS").map { String(cString: $0) + "," } ?? ""
      setenv("STAVE_OPTIONS", given + options, 1)
    }
    guard let watch else {
      Library.preload(library)
      try Child.become(programWords)
    }
    let status = try Watch(words: programWords, library: library, interval: watch, rows: rows, compares: compare).run()
    throw ExitCode(status)
  }
}

/// The library beside the command, or where `make install` puts it.
enum Library {
  static func find() throws(InspectionError) -> String {
    if let given = getenv("STAVE_LIBRARY") { return String(cString: given) }
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink("/proc/self/exe", &buffer, 4095)
    let path = String(decoding: buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
    for candidate in ["/libstave.so", "/../lib/libstave.so.0", "/../lib/libstave.so", "/../lib/stave/libstave.so"] {
      if access(folder + candidate, R_OK) == 0, let real = realpath(folder + candidate, nil) {
        defer { free(real) }
        return String(cString: real)
      }
    }
    throw .usage("libstave.so is neither beside stave nor in ../lib; build it with `make`, or name it in STAVE_LIBRARY")
  }

  /// In front of what is preloaded already.
  static func preload(_ library: String) {
    let others = getenv("LD_PRELOAD").map { ":" + String(cString: $0) } ?? ""
    setenv("LD_PRELOAD", library + others, 1)
  }
}

/// Starting programs.
enum Child {
  /// Replaces this process. Returns only by an error: 127 not found, 126 not executable, as shells say it.
  static func become(_ words: [String]) throws -> Never {
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    execvp(words[0], arguments)
    let code = errno
    printError("stave: cannot run \(words[0]): \(String(cString: strerror(code)))")
    exit(code == ENOENT ? 127 : 126)
  }

  /// Starts it with or without the library, and returns its PID.
  static func start(_ words: [String], library: String?) -> pid_t {
    var environment: [UnsafeMutablePointer<CChar>?] = []
    var others = ""
    var next = environ
    while let entry = next.pointee {
      let text = String(cString: entry)
      if text.hasPrefix("LD_PRELOAD=") { others = String(text.dropFirst(11)) } else { environment.append(strdup(text)) }
      next += 1
    }
    let preload = [library, others.isEmpty ? nil : others].compactMap { $0 }.joined(separator: ":")
    if !preload.isEmpty { environment.append(strdup("LD_PRELOAD=" + preload)) }
    environment.append(nil)
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    defer {
      for pointer in environment { free(pointer) }
      for pointer in arguments { free(pointer) }
    }
    var process: pid_t = 0
    let code = posix_spawnp(&process, words[0], nil, nil, arguments, environment)
    guard code == 0 else {
      printError("stave: cannot run \(words[0]): \(String(cString: strerror(code)))")
      exit(code == ENOENT ? 127 : 126)
    }
    return process
  }
}
