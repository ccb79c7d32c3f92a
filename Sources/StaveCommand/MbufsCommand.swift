// SPDX-License-Identifier: BSD-2-Clause
//
// `stave mbufs`: packet buffers, as netstat -m shows the kernel's, once or repeatedly.

import ArgumentParser
import Exporters
import Inspection

struct MbufsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mbufs", abstract: "Show the packet buffers of a process or a core file.",
    discussion: """
      What netstat -m shows of a kernel: mbufs and clusters of each size in use and cached, how many there may be (0 for no limit), the \
      memory that they take, and requests that were refused or had to wait. A cluster that waits with its mbuf in the packet zone is \
      a cached one. The exit status is 1 if the process has no packet buffers.
      """)

  @OptionGroup var target: TargetArguments
  @OptionGroup var repetition: RepeatArguments

  @Flag(help: "JSON, one object per look.")
  var json = false

  func run() throws {
    var looks = try Looks(target)
    try repetition.run { () throws(InspectionError) in
      let now = try looks.next()
      if let change = looks.change { printError("stave: " + change) }
      guard !now.packets.isEmpty else { throw .noPackets(target: now.target) }
      if json {
        return emit(PacketReport.json(now).description)
      }
      let parts = now.packets.map { packets in
        // Where several copies of Stave have some, each has a heading.
        let name = packets.root.isEmpty ? now.roots.first?.name ?? "" : packets.root
        return (now.packets.count > 1 ? ["\(name):"] : []) + PacketReport.lines(packets)
      }
      emit(parts.map { $0.joined(separator: "\n") }.joined(separator: "\n\n") + (repetition.wait == nil ? "" : "\n"))
    }
  }
}
