// SPDX-License-Identifier: BSD-2-Clause
//
// One sum that closes: where every mapped byte is, and beside it what the kernel says.

import Inspection

public enum SumReport {
  /// Each line's name, bytes, and what it means.
  static func parts(_ snapshot: Snapshot) -> [(name: String, bytes: Int, meaning: String)] {
    var parts = [
      ("used", snapshot.used, "in the program's hands"),
      ("cached", snapshot.cached, "in per-CPU caches and depots"),
      ("holes", snapshot.holes, "free items and padding in slabs that hold others"),
      ("metadata", snapshot.metadata, "Stave's own structures"),
      ("purgeable", snapshot.purgeable, "free and kept for use; of it, what has pages can be given back"),
      ("returned", snapshot.returned, "free and not kept: given back, or never used"),
    ]
    if snapshot.inTransit != 0 { parts.insert(("in transit", snapshot.inTransit, "in a thread's hand between two of these"), at: 3) }
    return parts
  }

  public static func lines(_ snapshot: Snapshot) -> [String] {
    var table = TextTable(["", "BYTES", "", ""])
    table.leftColumns = [0, 3]
    for part in parts(snapshot) { table.rows.append([part.name, "\(part.bytes)", part.bytes.humanBytes, part.meaning]) }
    table.rows.append(["= mapped", "\(snapshot.mapped)", snapshot.mapped.humanBytes, ""])
    if let kernel = snapshot.kernel {
      table.rows.append(["", "", "", ""])
      table.rows.append(["resident", "\(kernel.resident)", Int(kernel.resident).humanBytes, "all of the process, says the kernel"])
      table.rows.append(["anonymous", "\(kernel.anonymous)", Int(kernel.anonymous).humanBytes, "of it not from files"])
      table.rows.append(["huge pages", "\(kernel.anonymousHuge)", Int(kernel.anonymousHuge).humanBytes, "of it"])
      table.rows.append(["swapped", "\(kernel.swap)", Int(kernel.swap).humanBytes, ""])
    }
    var lines = table.lines().dropFirst().map { $0.trimmingRight }
    let counted = snapshot.zones.reduce(0) { $0 + $1.counted }
    let walked = snapshot.zones.reduce(0) { $0 + $1.usedBySlabs }
    lines.append("")
    lines.append("items used: \(counted) by allocations less frees, \(walked) by walking the slabs")
    if snapshot.isChanging {
      let operations = snapshot.zones.reduce(0) { $0 + $1.changing }
      lines.append("changing while being read: \(operations) allocations and frees of \(snapshot.changing) bytes, by which the figures may be off")
    }
    lines.append("large blocks: \(snapshot.largeBlocks), \(snapshot.largeBytes) bytes; caches: \(snapshot.mode.rawValue)")
    if snapshot.outsideBytes > 0 { lines.append("of it in slabs of page sources that are the program's own: \(snapshot.outsideBytes) bytes") }
    if snapshot.guardedBlocks > 0 {
      lines.append("guarded blocks, on pages of their own and in none of these figures: \(snapshot.guardedBlocks), \(snapshot.guardedBytes) bytes of pages")
    }
    let roots = RootTable.lines(snapshot)
    if !roots.isEmpty { lines += [""] + roots }
    return lines
  }

  public static func json(_ snapshot: Snapshot) -> JSON {
    var members = parts(snapshot).map { ($0.name.replacing(" ", with: "-"), JSON.number($0.bytes)) }
    if snapshot.inTransit == 0 { members.append(("in-transit", .number(0))) }
    members.append(("mapped", .number(snapshot.mapped)))
    members.append(("changing", .number(snapshot.changing)))
    members.append(("arena-size", .number(snapshot.windowBytes)))
    members.append(("container-limit", .number(snapshot.containerLimit)))
    members.append(("outside", .number(snapshot.outsideBytes)))
    members.append(("large-blocks", .number(snapshot.largeBlocks)))
    members.append(("large-bytes", .number(snapshot.largeBytes)))
    members.append(("guarded-blocks", .number(snapshot.guardedBlocks)))
    members.append(("guarded-bytes", .number(snapshot.guardedBytes)))
    if let kernel = snapshot.kernel {
      members.append(("resident", .number(Int(kernel.resident))))
      members.append(("anonymous", .number(Int(kernel.anonymous))))
      members.append(("anonymous-huge", .number(Int(kernel.anonymousHuge))))
      members.append(("swap", .number(Int(kernel.swap))))
    }
    return .object(members)
  }
}

extension String {
  public var trimmingRight: String {
    var end = endIndex
    while end > startIndex, self[index(before: end)] == " " { end = index(before: end) }
    return String(self[..<end])
  }

  func replacing(_ old: Character, with new: String) -> String { map { $0 == old ? new : String($0) }.joined() }
}
