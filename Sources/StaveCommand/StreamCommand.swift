// SPDX-License-Identifier: BSD-2-Clause
//
// `stave stream`: a look as one of the binary streams of statistics, and reading such a file back.

import ArgumentParser
import Exporters
import Glibc
import Inspection

struct StreamCommand: ParsableCommand {
  enum Kind: String, CaseIterable, ExpressibleByArgument { case zones }

  static let configuration = CommandConfiguration(
    commandName: "stream", abstract: "Write a process's statistics as a binary stream.",
    discussion: "The stream is FreeBSD's vm.zone_stats, bit for bit. `stave zones` reads it back.")

  @Argument(help: "Which statistics.")
  var kind: Kind

  @OptionGroup var target: TargetArguments

  func run() throws {
    guard isatty(1) == 0 else { throw InspectionError.usage("a stream is not for a terminal: send it to a file") }
    let snapshot = try SnapshotReader(target.open()).look()
    let bytes =
      switch kind {
      case .zones: snapshot.zoneStream
      }
    if writeAll(bytes, to: 1) { return }
    if errno != EPIPE { printError("stave: cannot write: \(String(cString: strerror(errno)))") }
    throw ExitCode(1)
  }
}

/// A saved stream as a list. `path`: "-" for standard input.
func readStream(_ path: String) throws(InspectionError) -> StatisticsList {
  let bytes = try StatisticsStream.bytes(ofFile: path)
  let list = StatisticsList()
  do throws(StatisticsStream.Fault) {
    list.fill(from: try StatisticsStream(bytes))
  } catch {
    switch error {
    case .version(let found): throw .unknownStream(path: path, version: found)
    case .data(let reason): throw .badStream(path: path, reason: reason)
    }
  }
  return list
}
