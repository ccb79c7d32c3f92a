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
      hold, in slabs and caches), requests, failures, sleeps. With --wait also requests per second.
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

  func run() throws {
    var looks = try Looks(target.open())
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
        emit(table.table(now, since: before).lines().joined(separator: "\n") + (repetition.wait == nil ? "" : "\n"))
      }
      before = now
    }
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
    var looks = try Looks(target.open())
    try repetition.run { () throws(InspectionError) in
      let now = try looks.next()
      if let change = looks.change { printError("stave: " + change) }
      emit(json ? SumReport.json(now).description : SumReport.lines(now).joined(separator: "\n") + (repetition.wait == nil ? "" : "\n"))
    }
  }
}
