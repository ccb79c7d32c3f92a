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
      malloc is what no other type has. A file that `stave stream types` has written is shown likewise; it knows sizes by powers \
      of two.
      """)

  @OptionGroup var target: TargetArguments
  @OptionGroup var repetition: RepeatArguments

  @Flag(help: "Types without a use, too.")
  var all = false

  @Option(help: ArgumentHelp("What comes first.", valueName: "order"))
  var sort = TypeOrder.made

  @Flag(help: "For each type what each CPU has counted.")
  var cpus = false

  @Flag(help: "JSON, one object per look.")
  var json = false

  @Option(help: ArgumentHelp("A saved stream instead of a process, - for standard input.", valueName: "file"), completion: .file())
  var stream: String?

  func run() throws {
    if let stream { return try show(stream) }
    // Only a file can be a stream; a core begins otherwise.
    if target.name == nil, let path = target.target, StatisticsStream.mayBegin(file: path) { return try show(path) }
    var looks = try Looks(target)
    var table = TypeTable()
    table.showsCPUs = cpus
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
  private func show(_ path: String) throws {
    if stream != nil && (target.target != nil || target.name != nil) { throw InspectionError.usage("give a process or a stream, only one of them") }
    if repetition.wait != nil { throw InspectionError.usage("a stream is one look") }
    let list = try readStream(path, of: .malloc)
    if json { return emit(StatisticsTable.typesJSON(list, sort, all: all, cpus: cpus).description) }
    emit(StatisticsTable.types(list, sort, all: all, cpus: cpus).lines().map(\.trimmingRight).joined(separator: "\n"))
  }
}
