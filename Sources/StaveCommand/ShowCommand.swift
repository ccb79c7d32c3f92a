// SPDX-License-Identifier: BSD-2-Clause
//
// `stave show`: post-mortem detail, as the kernel's debugger shows it of a system that is stopped or dead.

import ArgumentParser
import Exporters
import Inspection

struct ShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Show types, zones, caches, one malloc type or the owner of an address.",
    discussion: """
      The views of the kernel debugger's show malloc and show uma. Nothing of the process has to work: it may be stopped, hang, or \
      be dead and have left a core file. The largest come first.
      """)

  @OptionGroup var target: TargetArguments

  @Argument(
    help: ArgumentHelp("malloc (all malloc types), zones, caches (what each CPU's cache and each depot holds), the name of a malloc type, or an address, as in 0x7f0012345678.", valueName: "subject"),
    completion: .list(["malloc", "zones", "caches"]))
  var subject: [String] = []

  @Flag(help: "The subject is the name of a malloc type, even if it is malloc, zones or caches.")
  var type = false

  @Flag(help: "Comma-separated values.")
  var csv = false

  @Flag(help: "JSON: a list with an object for each row, or for each type of that name.")
  var json = false

  func validate() throws {
    if csv && json { throw ValidationError("--csv and --json exclude each other.") }
  }

  func run() throws {
    let (target, subjects) = target.splitting(subject)
    let memory = try target.open()
    guard subjects.count == 1 else { throw InspectionError.usage("say what to show: malloc, zones, caches, the name of a malloc type or an address") }
    let address = type ? nil : Self.address(subjects[0])
    if csv && address != nil { throw InspectionError.usage("--csv is for tables, and whose an address is makes none: say --json") }
    let process = try ProcessReader(memory, root: target.root), reader = process.readers[0]
    let snapshot = try process.look()
    if let address { return try show(address, process, snapshot) }
    if let table = table(subjects[0], snapshot) { return emit(json ? table.json.description : text([table])) }
    let reports = try TypeReport.find(subjects[0], in: snapshot)
    let sharers = try Sharers(reader)
    let types = reports.map { ($0, $0.type.root.isEmpty ? sharers.table($0.type, snapshot) : nil) }
    if json { return emit(JSON.list(types.map { $0.json($1) }).description) }
    emit(text(types.flatMap { report, table in report.tables + (table.map { [$0.table] } ?? []) }))
  }

  /// As reports write them: "0x7f…".
  private static func address(_ word: String) -> UInt? { word.hasPrefix("0x") ? UInt(word.dropFirst(2), radix: 16) : nil }

  private func show(_ address: UInt, _ process: ProcessReader, _ snapshot: Snapshot) throws {
    var found: [(owner: AddressOwner, reader: SnapshotReader)] = []
    for reader in process.readers { if let owner = try reader.owner(of: address) { found.append((owner, reader)) } }
    let told = found.map { owner, reader in
      let stacks = owner.kind == .guarded ? try? RecordedStacks(reader) : nil
      return (owner, { (number: UInt32) in stacks?.frames(of: number).enumerated().map(CheckCommand.line) ?? [] })
    }
    if json {
      emit(JSON.list(told.map { AddressReport.json($0, snapshot, stack: $1) }).description)
    } else if found.isEmpty {
      emit("\(address.hexadecimal): no copy of Stave in the process owns it")
    } else {
      emit(told.flatMap { [AddressReport.line($0, snapshot)] + AddressReport.stacks($0, stack: $1) }.joined(separator: "\n"))
    }
    if found.isEmpty { throw ExitCode(1) }
  }

  private func table(_ subject: String, _ snapshot: Snapshot) -> TextTable? {
    switch subject {
    case "malloc" where !type: ShowTable.malloc(snapshot)
    case "zones" where !type: ShowTable.zones(snapshot)
    case "caches" where !type: ShowTable.caches(snapshot)
    default: nil
    }
  }

  private func text(_ tables: [TextTable]) -> String {
    tables.map { (csv ? $0.csv() : $0.lines().map(\.trimmingRight)).joined(separator: "\n") }.joined(separator: "\n\n")
  }
}

/// Who shares hash classes. Symbols are read only for what is shown.
private struct Sharers {
  private let look: HashClassLook
  private let stacks: RecordedStacks?

  init(_ reader: SnapshotReader) throws(InspectionError) {
    look = try reader.hashClasses()
    stacks = look.count > 1 ? try? RecordedStacks(reader) : nil
  }

  func table(_ type: TypeSnapshot, _ snapshot: Snapshot) -> HashClassTable? {
    HashClassTable(type, in: snapshot, look) { address in
      // The call lies before the place that it returns to.
      guard let frame = stacks?.frame(at: address &- 1), let path = frame.path else { return address.hexadecimal }
      let place = "\(path.printable)+\((UInt(frame.place) + 1).hexadecimal)"
      return frame.function.map { "\(place) in \(demangled($0).printable)" } ?? place
    }
  }
}
