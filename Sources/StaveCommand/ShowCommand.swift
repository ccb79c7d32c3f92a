// SPDX-License-Identifier: BSD-2-Clause
//
// `stave show`: post-mortem detail, as the kernel's debugger shows it of a system that is stopped or dead.

import ArgumentParser
import Exporters
import Inspection

struct ShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Show types, zones, caches or one malloc type in detail.",
    discussion: """
      The views of the kernel debugger's show malloc and show uma. Nothing of the process has to work: it may be stopped, hang, or \
      be dead and have left a core file. The largest come first.
      """)

  @OptionGroup var target: TargetArguments

  @Argument(
    help: ArgumentHelp("malloc (all malloc types), zones, caches (what each CPU's cache and each depot holds), or the name of a malloc type.", valueName: "subject"),
    completion: .list(["malloc", "zones", "caches"]))
  var subject: [String] = []

  @Flag(help: "The subject is the name of a malloc type, even if it is malloc, zones or caches.")
  var type = false

  @Flag(help: "Comma-separated values.")
  var csv = false

  func run() throws {
    let (target, subjects) = target.splitting(subject)
    let memory = try target.open()
    guard subjects.count == 1 else { throw InspectionError.usage("say what to show: malloc, zones, caches or the name of a malloc type") }
    let snapshot = try SnapshotReader(memory).look()
    emit(try tables(subjects[0], snapshot).map { (csv ? $0.csv() : $0.lines().map(\.trimmingRight)).joined(separator: "\n") }.joined(separator: "\n\n"))
  }

  private func tables(_ subject: String, _ snapshot: Snapshot) throws(InspectionError) -> [TextTable] {
    switch subject {
    case "malloc" where !type: [ShowTable.malloc(snapshot)]
    case "zones" where !type: [ShowTable.zones(snapshot)]
    case "caches" where !type: [ShowTable.caches(snapshot)]
    default: try TypeReport.find(subject, in: snapshot).flatMap(\.tables)
    }
  }
}
