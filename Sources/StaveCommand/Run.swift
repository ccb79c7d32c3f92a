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
      Plainly, the command becomes the program: its exit status and signals are the program's own. With --watch the zones of \
      the largest descendant are shown on standard error while the program works, in place on a terminal, otherwise once per \
      interval. With --compare the program then runs several times more with and without Stave in turns, its output thrown \
      away and its input rewound if that is a file (empty otherwise), and a table of both follows.
      """)

  @Option(name: [.customShort("o"), .long], help: ArgumentHelp("Options of the library; `stave options` lists them.", valueName: "key:value,…"))
  var options: String?

  @Option(help: ArgumentHelp("Show zones every so many seconds while the program runs.", valueName: "seconds"))
  var watch: Double?

  @Flag(help: "Run the program without Stave as well, and compare.")
  var compare = false

  @Option(help: ArgumentHelp("With --compare: how often with and without Stave; 3 if not said.", valueName: "count"))
  var rounds: Int?

  @Option(help: ArgumentHelp("With --watch: zones shown.", valueName: "count"))
  var rows = 12

  @Argument(parsing: .captureForPassthrough, help: "The program and its arguments.", completion: .custom { _, _, start in Run.programs(beginning: start) })
  var program: [String] = []

  private var words: [String] { program.first == "--" ? Array(program.dropFirst()) : program }

  func validate() throws {
    // Whatever is not an option of ours has been taken for the program.
    if let first = program.first, first.hasPrefix("-"), first != "--" {
      if first == "--help" || first == "-h" { throw CleanExit.helpRequest(self) }
      throw ValidationError("stave run has no option \(first); a program of that name goes behind `--`.")
    }
    if words.first ?? "" == "" { throw ValidationError("Say which program: stave run -- program arguments") }
    if let watch, !(watch > 0) { throw ValidationError("--watch takes a number of seconds above 0.") }
    if rounds ?? 1 < 1 || rows < 1 { throw ValidationError("--rounds and --rows take a number of at least 1.") }
    if rounds != nil && !compare { throw ValidationError("--rounds is of use only with --compare.") }
    if let options, let problem = OptionList.problem(in: options) { throw ValidationError(problem) }
  }

  func run() throws {
    let library = try Library.find()
    if let options {
      let given = getenv("STAVE_OPTIONS").map { String(cString: $0) + "," } ?? ""
      setenv("STAVE_OPTIONS", given + options, 1)
    }
    // The program's words are the last ones of the command line.
    let child = Child(words: words, arguments: CommandLine.unsafeArgv + (Int(CommandLine.argc) - words.count), library: library)
    if watch == nil && !compare { try child.become() }
    throw ExitCode(try Watch(child: child, interval: watch, rows: rows, rounds: compare ? rounds ?? 3 : 0).run())
  }

  /// Of the folders on PATH, for completion.
  @Sendable private static func programs(beginning start: String) -> [String] {
    var found: Set<String> = []
    for folder in (getenv("PATH").map { String(cString: $0) } ?? "").split(separator: ":") {
      guard let directory = opendir(String(folder)) else { continue }
      defer { closedir(directory) }
      while let item = readdir(directory) {
        let name = withUnsafeBytes(of: &item.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if name.hasPrefix(start), !name.hasPrefix("."), access("\(folder)/\(name)", X_OK) == 0 { found.insert(name) }
      }
    }
    return found.sorted()
  }
}
