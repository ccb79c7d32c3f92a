// SPDX-License-Identifier: BSD-2-Clause
//
// `stave stream`: a look as one of the binary streams of statistics, and reading such a file back.

import ArgumentParser
import Exporters
import Glibc
import Inspection

struct StreamCommand: ParsableCommand {
  enum Kind: String, CaseIterable, ExpressibleByArgument { case zones, types }

  static let configuration = CommandConfiguration(
    commandName: "stream", abstract: "Write a process's statistics as a binary stream.",
    discussion: "The streams are FreeBSD's, bit for bit: vm.zone_stats, which `stave zones` reads back, and kern.malloc_stats, which `stave types` does.")

  @Argument(help: "Which statistics.")
  var kind: Kind

  @OptionGroup var target: TargetArguments

  func run() throws {
    guard isatty(1) == 0 else { throw InspectionError.usage("a stream is not for a terminal: send it to a file") }
    let snapshot = try ProcessReader(target.open(), root: target.root).look()
    try snapshot.checkRecords()
    let bytes =
      switch kind {
      case .zones: snapshot.zoneStream
      case .types: snapshot.typeStream
      }
    if writeAll(bytes, to: 1) { return }
    if errno != EPIPE { printError("stave: cannot write: \(String(cString: strerror(errno)))") }
    throw ExitCode(1)
  }
}

/// A saved stream as a list, with what is wrong with its names said. `path`: "-" for standard input.
func readStream(_ path: String, of kind: StatisticsAllocator) throws(InspectionError) -> StatisticsList {
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
  if !list.entries.isEmpty && !list.entries.contains(where: { $0.allocator == kind }) {
    throw .badStream(path: path, reason: kind == .zone ? "it is one of malloc types, and this shows zones" : "it is one of zones, and this shows malloc types")
  }
  for warning in StatisticsTable.warnings(list) { printError("stave: " + warning) }
  return list
}
