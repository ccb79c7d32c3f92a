// SPDX-License-Identifier: BSD-2-Clause
//
// The copies of Stave in a process, each with its sum, and the sum of all.

import Inspection

public enum RootTable {
  private static let parts: [(title: String, name: String, bytes: @Sendable (RootSnapshot) -> Int)] = [
    ("USED", "used", { $0.used }), ("CACHED", "cached", { $0.cached }), ("HOLES", "holes", { $0.holes }), ("TRANSIT", "in-transit", { $0.inTransit }),
    ("METADATA", "metadata", { $0.metadata }), ("PURGEABLE", "purgeable", { $0.purgeable }), ("RETURNED", "returned", { $0.returned }),
    ("MAPPED", "mapped", { $0.mapped }),
  ]

  /// None where there is but one: then the sum is the process's.
  public static func lines(_ snapshot: Snapshot) -> [String] {
    guard snapshot.roots.count > 1 else { return [] }
    var table = TextTable(["ROOT", "SERVES", "ZONES"] + parts.map(\.title))
    table.leftColumns = [0, 1]
    for root in snapshot.roots {
      table.rows.append([root.name, root.servesMalloc ? "malloc" : "zones", "\(root.zones)"] + parts.map { $0.bytes(root).humanBytes })
    }
    let sums = parts.map { part in snapshot.roots.reduce(0) { $0 &+ part.bytes($1) }.humanBytes }
    table.rows.append(["total", "", "\(snapshot.roots.reduce(0) { $0 + $1.zones })"] + sums)
    return table.lines().map(\.trimmingRight)
  }

  public static func json(_ snapshot: Snapshot) -> JSON {
    .list(
      snapshot.roots.map { root in
        .object(
          [
            ("name", .text(root.name)), ("path", .text(root.path)), ("serves", .text(root.servesMalloc ? "malloc" : "zones")),
            ("caches", .text(root.mode.rawValue)), ("zones", .number(root.zones)),
          ] + parts.map { ($0.name, .number($0.bytes(root))) })
      })
  }

  /// What says in JSON that something is of another root than the first.
  static func member(_ root: String) -> [(String, JSON)] { root.isEmpty ? [] : [("root", .text(root))] }
}
