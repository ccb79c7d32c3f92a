// SPDX-License-Identifier: BSD-2-Clause
//
// Looks at one target, one after the other. A process that executes another program keeps its PID, but its memory is new: the
// next look finds the new program's root, if Stave is in it.

import Glibc
import Inspection

struct Looks {
  private(set) var target: any TargetMemory
  private var reader: ProcessReader
  /// The one root that is looked at; nil for all.
  private let root: String?
  private var said: Set<String> = []
  /// When the allocator that was looked at last had started: each program that a process executes has one of its own.
  private var started: Int64?
  /// Said once of each program that the process executes: what it was and what it is now.
  private(set) var change: String?

  /// Of a process.
  var entry: ProcessEntry? { (target as? LiveProcess)?.entry }

  init(_ target: any TargetMemory, root: String? = nil) throws(InspectionError) {
    (self.target, self.root) = (target, root)
    reader = try ProcessReader(target, root: root)
  }

  init(_ arguments: TargetArguments) throws(InspectionError) { try self.init(arguments.open(), root: arguments.root) }

  /// The next look; `change` tells whether it is at another program than the last. Takes up to a second more for a new program
  /// to start its allocator. Throws what concerns the new program: `noStave` if Stave is not in it.
  mutating func next() throws(InspectionError) -> Snapshot {
    change = nil
    // A core of a library's or the program's own comes into being at its first use.
    if started != nil, target is LiveProcess, let now = try? ProcessReader(target, root: root) { reader = now }
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
    for text in snapshot.leftOut where said.insert(text).inserted { printError("stave: " + text) }
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
        let reader = try ProcessReader(new, root: root)
        if try reader.readers[0].started() == started { return false }
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
