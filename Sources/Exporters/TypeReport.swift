// SPDX-License-Identifier: BSD-2-Clause
//
// All that is known of one malloc type: its sums, its zones by class, its large blocks, and what each CPU did for it.

import Inspection

public struct TypeReport {
  public let type: TypeSnapshot
  /// Its zones, smallest class first.
  public let zones: [ZoneSnapshot]

  /// Each type of that name, or the one of that label, in the order in which they were made. Throws `usage`, with the nearest name, if
  /// there is none.
  public static func find(_ name: String, in snapshot: Snapshot) throws(InspectionError) -> [TypeReport] {
    let types = snapshot.types.filter { $0.root.isEmpty && $0.name == name || $0.label == name || $0.fullName == name }
    if !types.isEmpty { return types.map { TypeReport($0, in: snapshot) } }
    let hint = nearest(to: name, among: snapshot.types.map(\.fullName)).map { "; did you mean \($0)?" } ?? ""
    throw .usage("there is no malloc type \(name)" + hint)
  }

  init(_ type: TypeSnapshot, in snapshot: Snapshot) {
    self.type = type
    // What belongs to no type in the list is malloc's.
    let others = Set(snapshot.types.filter { $0.root == type.root }.map(\.number).filter { $0 != 0 })
    zones = snapshot.zones.filter { $0.root == type.root && $0.isMalloc && (type.number == 0 ? !others.contains($0.type) : $0.type == type.number) }
      .filter { $0.allocations > 0 || $0.slabs > 0 }.sorted { $0.size < $1.size }
  }

  public var sums: TextTable {
    var table = TextTable(["Type", "Instance", "InUse", "MemUse", "Requests", "Frees", "Failures"])
    table.rows = [
      [
        type.name, "\(type.instance)", "\(type.used)", "\((type.usedBytes + 1023) / 1024)K", "\(type.allocations)", "\(max(0, type.frees))",
        "\(type.failures)",
      ]
    ]
    return table
  }

  /// The large blocks, if it has any, in the last row: they are in no zone.
  public var classes: TextTable {
    var table = TextTable(["Zone", "Size", "Used", "Free", "Requests", "Slabs", "Total Mem"])
    table.rows = zones.map { zone in
      [zone.label] + [zone.size, zone.used, zone.free, Int(zone.allocations), zone.walkedSlabs, zone.totalBytes].map(String.init)
    }
    let large = type.allocations &- zones.reduce(0) { $0 &+ $1.allocations }
    if type.largeBlocks > 0 || large > 0 {
      table.rows.append(["large blocks", "", "\(type.largeBlocks)", "", "\(max(0, large))", "", "\(type.largeBytes)"])
    }
    return table
  }

  /// A row for each CPU that served it; what went round the CPUs' caches, also large blocks, is in none.
  public var cpus: TextTable {
    var table = TextTable(["CPU", "Allocations", "Frees", "Cached", "Cached Mem"])
    var sums: [Int: (allocations: Int64, frees: Int64, cached: Int, bytes: Int)] = [:]
    for zone in zones {
      for cpu in zone.perCPU {
        let old = sums[cpu.cpu] ?? (0, 0, 0, 0)
        sums[cpu.cpu] = (old.allocations &+ cpu.allocations, old.frees &+ cpu.frees, old.cached + cpu.cached, old.bytes + cpu.cached * zone.size)
      }
    }
    for (cpu, sum) in sums.sorted(by: { $0.key < $1.key }) where sum.allocations != 0 || sum.frees != 0 || sum.cached != 0 {
      table.rows.append(["\(cpu)", "\(sum.allocations)", "\(max(0, sum.frees))", "\(sum.cached)", "\(sum.bytes)"])
    }
    return table
  }

  /// The three tables one below the other, without those that would be empty.
  public var tables: [TextTable] { [sums] + [classes, cpus].filter { !$0.rows.isEmpty } }

  /// The same as one object. `sharers`: who shares the type's hash class, where there are classes.
  public func json(_ sharers: HashClassTable?) -> JSON {
    .object([("type", sums.json), ("zones", classes.json), ("cpus", cpus.json), ("hash-class", sharers?.json ?? .null)])
  }
}
