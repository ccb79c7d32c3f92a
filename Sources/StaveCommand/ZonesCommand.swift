// SPDX-License-Identifier: BSD-2-Clause
//
// `stave zones`: the zone table, once or repeatedly. `stave sum`: where every byte is.

import ArgumentParser
import Exporters
import Inspection

extension ZoneOrder: ExpressibleByArgument {}

struct ZonesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "zones", abstract: "Show the zones of a process or a core file.",
    discussion: """
      The columns of vmstat -z: SIZE and LIMIT of a zone's items, USED and FREE items (FREE counts all that callers do not \
      hold, in slabs and caches), requests, failures, sleeps. Where a program or a library has zones of its own beside malloc's, all are listed, and below them \
      each copy of Stave with its sum, and the total. With --wait also requests per second. A file that `stave stream \
      zones` has written is shown likewise.
      """)

  @OptionGroup var target: TargetArguments
  @OptionGroup var repetition: RepeatArguments

  @Flag(help: "More columns: size class, slab layout, pages, caches of each CPU, depot, holes, purgeable.")
  var wide = false

  @Flag(help: "Zones without a use, too.")
  var all = false

  @Option(help: ArgumentHelp("What comes first.", valueName: "order"))
  var sort = ZoneOrder.made

  @Flag(help: "JSON, one object per look.")
  var json = false

  @Option(help: ArgumentHelp("A saved stream instead of a process, - for standard input.", valueName: "file"), completion: .file())
  var stream: String?

  func run() throws {
    if let stream { return try show(stream) }
    // Only a file can be a stream; a core begins otherwise.
    if target.name == nil, let path = target.target, StatisticsStream.mayBegin(file: path) { return try show(path) }
    var looks = try Looks(target)
    var table = ZoneTable()
    table.isWide = wide
    table.order = sort
    table.hidesUnused = !all
    var before: Snapshot?
    try repetition.run { () throws(InspectionError) in
      let now = try looks.next()
      if let change = looks.change {
        printError("stave: " + change)
        before = nil
      }
      if json {
        emit(table.json(now, since: before).description)
      } else {
        let roots = RootTable.lines(now)
        emit((table.table(now, since: before).lines() + (roots.isEmpty ? [] : [""] + roots)).joined(separator: "\n") + (repetition.wait == nil ? "" : "\n"))
      }
      before = now
    }
  }

  private func show(_ path: String) throws {
    if stream != nil && (target.target != nil || target.name != nil) { throw InspectionError.usage("give a process or a stream, only one of them") }
    if wide || repetition.wait != nil { throw InspectionError.usage("a stream is one look, and has the columns that are always there") }
    let list = try readStream(path, of: .zone)
    emit(json ? StatisticsTable.json(list, sort, all: all).description : StatisticsTable.zones(list, sort, all: all).lines().joined(separator: "\n"))
  }
}

struct Sum: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show where all of a process's memory is: one sum that closes.",
    discussion: "used + cached + holes + metadata + purgeable + returned = mapped, and beside it what the kernel says.")

  @OptionGroup var target: TargetArguments
  @OptionGroup var repetition: RepeatArguments

  @Flag(help: "JSON, one object per look.")
  var json = false

  func run() throws {
    var looks = try Looks(target)
    try repetition.run { () throws(InspectionError) in
      let now = try looks.next()
      if let change = looks.change { printError("stave: " + change) }
      emit(json ? SumReport.json(now).description : SumReport.lines(now).joined(separator: "\n") + (repetition.wait == nil ? "" : "\n"))
    }
  }
}
