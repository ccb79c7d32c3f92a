// SPDX-License-Identifier: BSD-2-Clause
//
// What the kernel debugger shows of a dead system's memory (show malloc, show uma), of a process: types and zones by the memory they
// have, largest first, and what each CPU's cache held. Figures are in full, to be compared with each other.

import Inspection

public enum ShowTable {
  /// Types. Equal ones stay in the order in which they were made.
  public static func malloc(_ snapshot: Snapshot) -> TextTable {
    var table = TextTable(["Type", "InUse", "MemUse", "Requests"])
    let types = snapshot.types.filter { $0.allocations > 0 || $0.used > 0 }
    table.rows = descending(types) { $0.usedBytes }.map { [$0.label, "\($0.used)", "\(($0.usedBytes + 1023) / 1024)K", "\($0.allocations)"] }
    return table
  }

  /// Zones, by all their items. Free counts whatever the program does not hold, Bucket the items of a full bucket.
  public static func zones(_ snapshot: Snapshot) -> TextTable {
    var table = TextTable(["Zone", "Size", "Used", "Free", "Requests", "Sleeps", "Bucket", "Total Mem", "XFree"])
    let zones = snapshot.zones.filter { $0.allocations > 0 || $0.slabs > 0 }
    table.rows = descending(zones, total).map { zone in
      let figures = [zone.size, zone.used, zone.free, Int(zone.allocations), Int(zone.sleeps), zone.bucketSize, total(zone), Int(zone.crossFrees)]
      return [zone.label] + figures.map(String.init)
    }
    return table
  }

  /// Caches, a row for each CPU's that was used, and one for the zone's depot: zones by what theirs hold together.
  public static func caches(_ snapshot: Snapshot) -> TextTable {
    var table = TextTable(["Zone", "Size", "Cache", "Cached", "Cached Mem", "Allocations", "Frees"])
    table.leftColumns = [0, 2]
    for zone in descending(snapshot.zones.filter { $0.allocations > 0 }, { $0.cachedBytes }) {
      func row(_ cache: String, _ cached: Int, _ allocations: Int64, _ frees: Int64) {
        guard cached > 0 || allocations > 0 || frees > 0 else { return }
        table.rows.append([zone.label, "\(zone.size)", cache, "\(cached)", "\(cached * zone.size)", "\(allocations)", "\(max(0, frees))"])
      }
      for cpu in zone.perCPU { row("CPU \(cpu.cpu)", cpu.cached, cpu.allocations, cpu.frees) }
      row("depot", zone.cachedInDepot, zone.directAllocations, zone.directFrees)
    }
    return table
  }

  /// A damaged zone's may be more than a number holds.
  private static func total(_ zone: ZoneSnapshot) -> Int {
    let (bytes, isTooLarge) = (zone.used &+ zone.free).multipliedReportingOverflow(by: zone.size)
    return isTooLarge ? .max : bytes
  }

  private static func descending<One>(_ all: [One], _ key: (One) -> Int) -> [One] {
    all.enumerated().sorted { (key($0.element), $1.offset) > (key($1.element), $0.offset) }.map(\.element)
  }
}

extension TextTable {
  /// Comma-separated values as RFC 4180 has them: a cell that has a comma, a quote or a line's end in it is quoted.
  public func csv() -> [String] {
    ([header] + rows).map { row in
      row.map { cell in
        cell.contains { ",\"\n\r".contains($0) } ? "\"" + cell.map { $0 == "\"" ? "\"\"" : String($0) }.joined() + "\"" : cell
      }.joined(separator: ",")
    }
  }
}
