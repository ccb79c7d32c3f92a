// SPDX-License-Identifier: BSD-2-Clause
//
// `stave zones`: the zone table, once or repeatedly. `stave sum`: where every byte is.

import ArgumentParser
import Exporters
import Glibc
import Inspection

extension ZoneOrder: ExpressibleByArgument {}

/// Repetition, as vmstat has it.
struct RepeatArguments: ParsableArguments {
  @Option(name: [.short, .customLong("wait")], help: "Repeat every so many seconds.")
  var wait: Double?

  @Option(name: [.short, .customLong("count")], help: "How often; without end if not given.")
  var count: Int?

  func validate() throws {
    if let wait, wait <= 0 { throw ValidationError("-w takes a number of seconds above 0") }
    if let count, count < 1 { throw ValidationError("-c takes a number of at least 1") }
  }

  /// Calls `body` once, or with -w until -c is reached or the process ends. A process that ends meanwhile is no error.
  func run(_ body: () throws(InspectionError) -> Void) throws(InspectionError) {
    try body()
    guard let wait else { return }
    var left = (count ?? .max) - 1
    while left > 0 {
      sleepFor(seconds: wait)
      do throws(InspectionError) { try body() } catch {
        if case .noSuchProcess = error { return }
        throw error
      }
      left -= 1
    }
  }
}

struct ZonesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "zones", abstract: "Show the zones of a process or a core file.",
    discussion: """
      The columns of vmstat -z: SIZE and LIMIT of a zone's items, USED and FREE items (FREE counts all that callers do not \
      hold, in slabs and caches), requests, failures, sleeps. With -w also requests per second.
      """)

  @OptionGroup var target: TargetArguments
  @OptionGroup var repetition: RepeatArguments

  @Flag(help: "More columns: slab layout, pages, caches of each CPU, depot, holes.")
  var wide = false

  @Flag(help: "Zones without a use, too.")
  var all = false

  @Option(help: "Order: \(ZoneOrder.allCases.map(\.rawValue).joined(separator: ", ")).")
  var sort = ZoneOrder.made

  @Flag(help: "JSON, one object per look.")
  var json = false

  func run() throws {
    let reader = try SnapshotReader(target.open())
    var table = ZoneTable()
    table.isWide = wide
    table.order = sort
    table.hidesUnused = !all
    var before: Snapshot?
    try repetition.run { () throws(InspectionError) in
      let now = try look(reader)
      if json {
        print(table.json(now, since: before).description)
      } else {
        print(table.table(now, since: before).lines().joined(separator: "\n"))
        if repetition.wait != nil { print("") }
      }
      fflush(nil)
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
    let reader = try SnapshotReader(target.open())
    try repetition.run { () throws(InspectionError) in
      let now = try look(reader)
      print(json ? SumReport.json(now).description : SumReport.lines(now).joined(separator: "\n"))
      fflush(nil)
    }
  }
}
