// SPDX-License-Identifier: BSD-2-Clause
//
// `stave trim`: asks a process to give back what it does not use. The wish goes into the mailbox of its root; who answers is
// the process itself: its background thread within a period, or the next thread that takes a slow path.

import ArgumentParser
import Exporters
import Glibc
import Inspection

struct Trim: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Ask a process to return unused memory to the system.",
    discussion: """
      Empties every CPU's cache and returns all purgeable memory. Waits up to a second for the process to do it; after that \
      the request stays and the command says "pending": a process that neither runs its background thread nor allocates \
      answers when it next does.
      """)

  @OptionGroup var target: TargetArguments

  func run() throws {
    let memory = try target.open()
    guard let live = memory as? LiveProcess else { throw InspectionError.usage("a core file cannot be trimmed") }
    let reader = try SnapshotReader(live)
    let before = try reader.look()
    guard case .done(let bytes) = try Mail(live, reader.location).trim(waiting: 1) else {
      emit("pending: the process will answer when it next allocates")
      return
    }
    let after = try reader.look()
    emit("returned \(bytes) bytes (\(bytes.humanBytes))")
    if let old = before.kernel, let new = after.kernel {
      emit("resident \(Int(old.resident).humanBytes) → \(Int(new.resident).humanBytes)")
    }
  }
}
