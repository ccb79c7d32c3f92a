// SPDX-License-Identifier: BSD-2-Clause
//
// The malloc types of `stave top`, with the orders that the keys for zones mean for them.

import Exporters
import Inspection

extension TopRows {
  /// `order`: one that types do not have is that of their memory.
  init(typesOf now: Snapshot, _ before: Snapshot?, _ order: ZoneOrder, _ style: Style, columns: Int) {
    // Sites have long names; where there is room they are shown whole.
    let width = columns >= 90 ? 31 : 20
    let name = Column(title: "TYPE", width: width, rank: 0, order: .name) { String($0.name.prefix(width)) }
    let shown = [name] + TopRows.figures.filter { $0.order != .size && $0.order != .free && (before != nil || $0.order != .rate) }
    let table = TopRows.typeTable(order)
    let rows = table.types(of: now, since: before).map { type in
      Row(
        name: type.label, used: type.used, usedBytes: type.usedBytes, bytes: type.usedBytes, rate: before.map { TypeTable.rate(type, now, $0) },
        requests: Int(type.allocations), failures: Int(type.failures))
    }
    self.init(rows, shown, order: table.order == .memory ? .memory : order, legend: "in use", style, columns: columns)
  }

  static func typeTable(_ order: ZoneOrder) -> TypeTable {
    var table = TypeTable()
    table.order =
      switch order {
      case .made: .made
      case .name: .name
      case .used: .inuse
      case .requests: .requests
      case .rate: .rate
      case .size, .free, .fail, .memory: .memory
      }
    return table
  }
}
