// SPDX-License-Identifier: BSD-2-Clause
//
// The command `stave`: its sub-commands, and what they share — naming a target, taking snapshots, printing errors, the exit
// status (0 fine; 1 not found, no Stave in it, or not readable; 2 wrong usage).

import ArgumentParser
import Glibc
import Inspection

@main
struct Stave: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stave",
    abstract: "Run programs on Stave's memory system, and look into them.",
    version: "0.1.0",
    subcommands: [Run.self, ZonesCommand.self, Sum.self, Top.self, Trim.self])

  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch let error as InspectionError {
      fail(error)
    } catch let error as CleanExit {
      exit(withError: error)
    } catch let error as ExitCode {
      Glibc.exit(error.rawValue)
    } catch {
      let isHelp = exitCode(for: error) == .success
      let text = fullMessage(for: error)
      if isHelp { print(text) } else { printError(text) }
      Glibc.exit(isHelp ? 0 : 2)
    }
  }
}

func printError(_ text: String) {
  let line = text + "\n"
  _ = line.utf8CString.withUnsafeBufferPointer { write(2, $0.baseAddress!, line.utf8.count) }
}

func fail(_ error: InspectionError) -> Never {
  printError("stave: " + error.message)
  exit(error.exitStatus)
}

/// What a sub-command looks at: a process by number or name, or a core file.
struct TargetArguments: ParsableArguments {
  @Argument(help: "The process's PID, or the path of a core file.")
  var target: String?

  @Option(help: "The process by its name instead.")
  var name: String?

  func open() throws(InspectionError) -> any TargetMemory {
    if let name {
      guard target == nil else { throw .usage("give a PID, a core file or --name, only one of them") }
      return try LiveProcess(process: ProcessTable().process(named: name).process)
    }
    guard let target else { throw .usage("say which process: its PID, a core file, or --name NAME") }
    if let process = Int32(target) { return try LiveProcess(process: process) }
    guard access(target, F_OK) == 0 else { throw .usage("\(target) is neither a PID nor a file; for a name use --name \(target)") }
    return try CoreFile(path: target)
  }
}

/// A look that may meet a process in the middle of changing its lists: a few tries before giving up.
func look(_ reader: SnapshotReader) throws(InspectionError) -> Snapshot {
  var tries = 0
  while true {
    do throws(InspectionError) {
      return try reader.snapshot()
    } catch {
      tries += 1
      switch error {
      case .damaged, .shortRead:
        if tries >= 3 { throw error }
        usleep(20_000)
      default: throw error
      }
    }
  }
}

func sleepFor(seconds: Double) { usleep(UInt32(max(0.01, min(seconds, 4000)) * 1e6)) }
