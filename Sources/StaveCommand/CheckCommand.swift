// SPDX-License-Identifier: BSD-2-Clause
//
// `stave check`: the guard bytes of all live blocks, looked at from outside.

import ArgumentParser
import Exporters
import Glibc
import Inspection

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Look for overwritten guard bytes around all live blocks.",
    discussion: """
      Blocks have guard bytes while the option `redzone` is on: stave set PID redzone=1, or STAVE_OPTIONS=redzone:1 from the start. The \
      library looks at them when a block is freed; this command looks at those that live. A process is held meanwhile, all of its threads, \
      and goes on afterwards. The exit status is 1 if a block is damaged, and if the process or file cannot be read; \
      then nothing is on standard output.
      """)

  @OptionGroup var target: TargetArguments

  @Flag(help: "JSON: one object.")
  var json = false

  func run() throws {
    let memory = try target.open()
    let reader = try SnapshotReader(memory, root: target.root)
    let reading: RedZoneReading
    if let live = memory as? LiveProcess {
      let hold = try ProcessHold(live.process)
      defer { hold.letGo() }
      reading = try reader.checkRedZone()
      if hold.unheld > 0 { printError("stave: \(hold.unheld) threads of the process could not be stopped: they wait in the kernel.") }
    } else {
      reading = try reader.checkRedZone()
    }
    let table = RedZoneTable(reading, target: memory.name.printable)
    let stacks = reading.damaged.isEmpty ? nil : try? RecordedStacks(reader)
    emit(json ? table.json.description : table.lines { stacks?.frames(of: $0).enumerated().map(Self.line) ?? [] }.joined(separator: "\n"))
    if !reading.damaged.isEmpty { throw ExitCode(1) }
  }

  /// As `stave symbolize` writes it.
  static func line(_ index: Int, _ frame: StackFrame) -> String {
    let place = frame.path.map { "\($0.printable)+\(UInt(frame.place).hexadecimal)" }
    let head = "#\(index) \(frame.address.hexadecimal)"
    guard let function = frame.function else { return place.map { "\(head) \($0)" } ?? head }
    return "\(head) \(demangled(function).printable)+0x\(String(frame.offset, radix: 16)) (\(place ?? ""))"
  }
}
