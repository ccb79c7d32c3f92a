// SPDX-License-Identifier: BSD-2-Clause
//
// Looks at one target, one after the other. A process that executes another program keeps its PID, but its memory is new: the
// next look finds the new program's root, if Stave is in it.

import Glibc
import Inspection

struct Looks {
  private(set) var target: any TargetMemory
  private var reader: SnapshotReader
  /// When the allocator that was looked at last had started: each program that a process executes has one of its own.
  private var started: Int64?
  /// Said once of each program that the process executes: what it was and what it is now.
  private(set) var change: String?

  /// Of a process.
  var entry: ProcessEntry? { (target as? LiveProcess)?.entry }

  init(_ target: any TargetMemory) throws(InspectionError) {
    self.target = target
    reader = try SnapshotReader(target)
  }

  /// The next look; `change` tells whether it is at another program than the last. Takes up to a second more for a new program
  /// to start its allocator. Throws what concerns the new program: `noStave` if Stave is not in it.
  mutating func next() throws(InspectionError) -> Snapshot {
    change = nil
    var snapshot: Snapshot
    do throws(InspectionError) {
      snapshot = try reader.look()
      // Where programs are loaded at fixed addresses, the new root may be where the old one was.
      if let started, snapshot.started != started, try follow() { snapshot = try reader.look() }
    } catch {
      guard error.isOfOtherMemory, try follow() else { throw error }
      snapshot = try reader.look()
    }
    started = snapshot.started
    return snapshot
  }

  /// Opens the process anew if it is still there and another program by now; false if it is the same program.
  private mutating func follow() throws(InspectionError) -> Bool {
    guard let old = target as? LiveProcess, let started else { return false }
    let patience = monotonicSeconds() + 1
    while true {
      do throws(InspectionError) {
        let new = try LiveProcess(process: old.process)
        guard old.isAlive else { throw .noSuchProcess(old.process) }
        let reader = try SnapshotReader(new)
        if try reader.started() == started { return false }
        change = "\(old.name) has become \(new.name)".printable
        (target, self.reader) = (new, reader)
        return true
      } catch {
        guard old.isAlive else { throw .noSuchProcess(old.process) }
        guard error.isOfOtherMemory, monotonicSeconds() < patience else { throw error }
        usleep(20_000)
      }
    }
  }
}

extension InspectionError {
  /// What a look meets that goes by the places of a program that is there no more, or of one that has hardly begun.
  fileprivate var isOfOtherMemory: Bool {
    switch self {
    case .damaged, .shortRead, .noStave, .noMemory, .versionMismatch, .layoutMismatch: true
    default: false
    }
  }
}
