// SPDX-License-Identifier: BSD-2-Clause
//
// `stave leaks`: blocks that nothing in the process leads to any more, sought from outside.

import ArgumentParser
import Exporters
import Glibc
import Inspection

struct LeaksCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "leaks", abstract: "List blocks that nothing in the program leads to.",
    discussion: """
      A block is lost if its address is in no register, stack, global or thread-local variable, in no other memory that the program has \
      mapped, and in no block that can be reached from there. Items of zones (stave_zone(3)) are not looked at, unless they are guarded. A process is held meanwhile, all of its threads, and goes on afterwards. \
      The allocating stack is known only for blocks with guard bytes or guards (stave set PID redzone=1). The exit status is 1 if a \
      block is lost, and if the process or file cannot be read; then nothing is on standard output.
      """)

  @OptionGroup var target: TargetArguments

  @Flag(help: "All groups of lost blocks, not the twenty largest.")
  var all = false

  @Flag(help: "JSON: one object, with all groups.")
  var json = false

  func run() throws {
    let memory = try target.open()
    let process = try ProcessReader(memory, root: target.root), reader = process.readers[0]
    let picture: LeakPicture
    switch memory {
    case let live as LiveProcess: picture = try reader.pictureForLeaks(holding: live)
    case let core as CoreFile: picture = try reader.pictureForLeaks(in: core)
    default: throw InspectionError.usage("leaks looks at a process or a core file")
    }
    var reading = picture.search()
    for other in process.readers.dropFirst() { (try? other.look()).map { reading.addZones(of: $0, guarded: (try? other.guardedZoneItems()) ?? 0) } }
    let table = LeakTable(reading, target: memory.name.printable)
    let stacks = reading.groups.contains { $0.stack != 0 } ? try? RecordedStacks(reader) : nil
    emit(json ? table.json.description : table.lines(limit: all ? .max : 20) { stacks?.frames(of: $0).enumerated().map(CheckCommand.line) ?? [] }.joined(separator: "\n"))
    if !reading.groups.isEmpty { throw ExitCode(1) }
  }
}
