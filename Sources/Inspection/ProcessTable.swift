// SPDX-License-Identifier: BSD-2-Clause
//
// All processes at one moment: who is whose child, and which one a name means.

import Glibc

public struct ProcessTable: Sendable {
  /// In order of PIDs.
  public let entries: [ProcessEntry]

  /// Reads /proc: some 10 µs per process. Processes that end meanwhile are left out. Empty if /proc is not mounted.
  public init() {
    var entries: [ProcessEntry] = []
    if let directory = opendir("/proc") {
      defer { closedir(directory) }
      while let item = readdir(directory) {
        // The name is an array inside the record; only digits are looked at, and they end at its zero byte.
        let process = withUnsafeBytes(of: &item.pointee.d_name) { name -> Int32? in
          var value: Int32 = 0
          for byte in name {
            if byte == 0 { return value }
            guard (48...57).contains(byte), value < 100_000_000 else { return nil }
            value = value * 10 + Int32(byte - 48)
          }
          return nil
        }
        if let process, process > 0, let text = readSmallFile("/proc/\(process)/stat"),
          let entry = ProcessEntry(parsing: text)
        {
          entries.append(entry)
        }
      }
    }
    self.init(entries: entries)
  }

  /// For tests, and for a table that came from elsewhere.
  public init(entries: [ProcessEntry]) {
    self.entries = entries.sorted { $0.process < $1.process }
  }

  public func children(of process: Int32) -> [ProcessEntry] {
    entries.filter { $0.parent == process && $0.process != process }
  }

  /// Children, their children and so on, parents before children; without `process` itself. A process whose parent has
  /// ended belongs to another one by then and is not found. O(n).
  public func descendants(of process: Int32) -> [ProcessEntry] {
    let byParent = Dictionary(grouping: entries, by: \.parent)
    var found: [ProcessEntry] = []
    // The table is not one moment's: PIDs that are used again can close a circle.
    var seen: Set<Int32> = [process]
    var next = [process]
    while let parent = next.popLast() {
      for child in byParent[parent] ?? [] where seen.insert(child.process).inserted {
        found.append(child)
        next.append(child.process)
      }
    }
    return found
  }

  /// The one process whose name, or the last part of whose first argument, is `name`. The caller's own process is no
  /// candidate, nor are zombies. Throws `noProcessNamed` or `ambiguousName`, which lists the candidates.
  public func process(named name: String) throws(InspectionError) -> ProcessEntry {
    if name.isEmpty { throw .usage("a process name must not be empty") }
    let own = getpid()
    let candidates = entries.filter { entry in
      guard entry.process != own, entry.state != "Z" else { return false }
      if entry.name == name { return true }
      guard let first = entry.arguments().first else { return false }
      return first.split(separator: "/").last.map { $0 == name } ?? false
    }
    guard let found = candidates.first else { throw .noProcessNamed(name) }
    if candidates.count > 1 {
      throw .ambiguousName(name, candidates: candidates.map { ProcessCandidate(process: $0.process, command: $0.command()) })
    }
    return found
  }
}
