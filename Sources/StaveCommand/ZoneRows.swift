// SPDX-License-Identifier: BSD-2-Clause
//
// The zones of `stave top`: a row per zone and one for the large blocks.

import Exporters
import Inspection

extension TopRows {
  init(zonesOf now: Snapshot, _ before: Snapshot?, _ table: ZoneTable, _ style: Style, columns: Int) {
    let rows = TopRows.zones(now, before, table)
    // Authors' zones, and those of other copies of Stave, have longer names than malloc's.
    let width = min(columns >= 90 ? 31 : 20, max(13, rows.map(\.name.count).max() ?? 0))
    let name = Column(title: "ZONE", width: width, rank: 0, order: .name) { String($0.name.prefix(width)) }
    let shown = [name] + TopRows.figures.filter { before != nil || $0.order != .rate }
    self.init(rows, shown, order: table.order, legend: "used and free", style, columns: columns)
  }

  private static func zones(_ now: Snapshot, _ before: Snapshot?, _ table: ZoneTable) -> [Row] {
    var rows = table.zones(of: now, since: before).map { zone in
      Row(
        name: zone.label, size: zone.size, used: zone.used, free: zone.free, usedBytes: zone.usedBytes, bytes: zone.totalBytes,
        rate: before.map { ZoneTable.rate(zone, now, $0) }, requests: Int(zone.allocations), failures: Int(zone.failures))
    }
    let large = Row(name: "large blocks", used: now.largeBlocks, usedBytes: now.largeBytes, bytes: now.largeBytes)
    guard now.largeBlocks > 0 else { return rows }
    let place: Int? =
      switch table.order {
      case .memory: rows.firstIndex { $0.bytes < large.bytes }
      case .used: rows.firstIndex { $0.usedBytes < large.usedBytes }
      default: nil
      }
    rows.insert(large, at: place ?? rows.count)
    return rows
  }
}
