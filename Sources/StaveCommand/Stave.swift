// SPDX-License-Identifier: BSD-2-Clause
//
// The command `stave`: its sub-commands, printing, and the exit status (0 fine; 1 not found, no Stave in it, not readable, or refused
// by the process; 2 wrong usage).

import ArgumentParser
import Glibc
import Heap
import Inspection

@main
struct Stave: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stave",
    abstract: "Run programs on Stave's memory system, and look into them.",
    version: "\(Heap.version)",
    subcommands: [
      Run.self, ZonesCommand.self, TypesCommand.self, SizesCommand.self, ShowCommand.self, CheckCommand.self, LeaksCommand.self, Sum.self, MbufsCommand.self, Top.self, Trim.self, GuardCommand.self, GetCommand.self, SetCommand.self, MetricsCommand.self, StreamCommand.self, SymbolizeCommand.self, OptionsCommand.self,
    ])

  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let error as InspectionError {
      printError("stave: " + error.message)
      Glibc.exit(error.exitStatus)
    } catch let error as ExitCode {
      Glibc.exit(error.rawValue)
    } catch {
      let isHelp = exitCode(for: error) == .success
      let text = fullMessage(for: error)
      if isHelp { emit(text) } else { printError(text) }
      Glibc.exit(isHelp ? 0 : 2)
    }
  }
}

/// A line, or several, to standard output. Whoever read it and has gone ends the command quietly; a full disk, loudly.
func emit(_ text: String) {
  if writeAll(text + "\n", to: 1) { return }
  if errno != EPIPE { printError("stave: cannot write: \(String(cString: strerror(errno)))") }
  exit(1)
}

func printError(_ text: String) { _ = writeAll(text + "\n", to: 2) }

/// At once and whole. False, with errno, if it does not get there.
func writeAll(_ text: String, to descriptor: Int32) -> Bool { writeAll(Array(text.utf8), to: descriptor) }

func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
  var rest = bytes[...]
  while !rest.isEmpty {
    let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress!, $0.count) }
    if count < 0 && errno == EINTR { continue }
    if count <= 0 { return false }
    rest = rest.dropFirst(count)
  }
  return true
}
