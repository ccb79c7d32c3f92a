// SPDX-License-Identifier: BSD-2-Clause
//
// `stave types`: who holds the memory, once or repeatedly.

import ArgumentParser
import Exporters
import Inspection

extension TypeOrder: ExpressibleByArgument {}

struct TypesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "types", abstract: "Show the malloc types of a process or a core file: who holds the memory.",
    discussion: """
      The columns of vmstat -m: blocks in use, their memory, requests, and the size classes that have served the type. The type \
      malloc is what no other type has.
      """)

  @OptionGroup var target: TargetArguments
  @OptionGroup var repetition: RepeatArguments

  @Flag(help: "Types without a use, too.")
  var all = false

  @Option(help: ArgumentHelp("What comes first.", valueName: "order"))
  var sort = TypeOrder.made

  @Flag(help: "JSON, one object per look.")
  var json = false

  func run() throws {
    var looks = try Looks(target.open())
    var table = TypeTable()
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
        emit(table.table(now, since: before).lines().map(\.trimmingRight).joined(separator: "\n") + (repetition.wait == nil ? "" : "\n"))
      }
      before = now
    }
  }
}
