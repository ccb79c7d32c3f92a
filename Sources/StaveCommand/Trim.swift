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
      the request stays and the command says "pending": a process that neither runs its background thread nor frees anything \
      answers when it next does. Each copy of Stave in the process is asked; one that has zones of the program's own answers with the next \
      request or free that their caches do not serve.
      """)

  @OptionGroup var target: TargetArguments

  func run() throws {
    let memory = try target.open()
    guard let live = memory as? LiveProcess else { throw InspectionError.usage("a core file cannot be trimmed") }
    let process = try ProcessReader(live, root: target.root)
    let before = try process.look()
    var isAnswered = true
    for reader in process.readers {
      let whose = process.readers.count > 1 ? "\(reader.name): " : ""
      let mail = Mail(live, reader.location)
      if case .done(let bytes) = try mail.trim(waiting: 1) {
        emit(whose + "returned \(bytes) bytes (\(bytes.humanBytes))")
      } else {
        emit(whose + "pending: the process will answer \(mail.occasion)")
        isAnswered = false
      }
    }
    guard isAnswered else { return }
    let after = try process.look()
    if let old = before.kernel, let new = after.kernel {
      emit("resident \(Int(old.resident).humanBytes) → \(Int(new.resident).humanBytes)")
    }
  }
}
