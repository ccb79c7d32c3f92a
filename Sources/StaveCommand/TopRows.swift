// SPDX-License-Identifier: BSD-2-Clause
//
// The table of `stave top`, in columns of fixed width so that nothing jumps when figures grow. What room is left over shows each
// row's memory as a bar, used and free; what is lacking is taken from the columns that tell least. ZoneRows and TypeRows fill it.

import Exporters
import Inspection

struct TopRows {
  let header: String
  let lines: [String]

  struct Row {
    var name: String
    var size: Int?
    var used = 0
    var free: Int?
    var usedBytes = 0
    var bytes = 0
    var rate: Int?
    var requests: Int?
    var failures: Int?
  }

  /// A column: where it goes first when room is lacking, and its text.
  struct Column: Sendable {
    var title: String
    var width: Int
    /// Columns with higher ones are left out first; 0 stays.
    var rank: Int
    var order: ZoneOrder?
    var text: @Sendable (Row) -> String
  }

  /// Behind the name.
  static let figures: [Column] = [
    Column(title: "SIZE", width: 6, rank: 3, order: .size) { $0.size.map(String.init) ?? "" },
    Column(title: "USED", width: 6, rank: 0, order: .used) { $0.used.humanCount },
    Column(title: "FREE", width: 6, rank: 2, order: .free) { $0.free?.humanCount ?? "" },
    Column(title: "REQ/s", width: 6, rank: 1, order: .rate) { $0.rate?.humanCount ?? "" },
    Column(title: "REQ", width: 6, rank: 4, order: .requests) { $0.requests?.humanCount ?? "" },
    Column(title: "FAIL", width: 6, rank: 5, order: .fail) { $0.failures?.humanCount ?? "" },
    Column(title: "MEMORY", width: 7, rank: 0, order: .memory) { $0.bytes.humanBytes },
  ]

  /// `legend`: what the bars are.
  init(_ rows: [Row], _ all: [Column], order: ZoneOrder, legend: String, _ style: Style, columns: Int) {
    var shown = all
    func width() -> Int { shown.reduce(-1) { $0 + $1.width + 1 } }
    while width() > columns, let last = shown.map(\.rank).max(), last > 0 { shown.removeAll { $0.rank == last } }
    let barWidth = style.isTerminal ? min(40, columns - width() - 2) : 0
    header = shown.map { column in
      let mark = style.isTerminal && column.order == order ? (style.hasBlocks ? "▾" : "*") : ""
      return column.order == .name ? (column.title + mark).padded(right: column.width) : (mark + column.title).padded(left: column.width)
    }.joined(separator: " ") + (barWidth >= 8 ? "  " + legend.prefix(barWidth) : "")
    let most = rows.map(\.bytes).max() ?? 0
    lines = rows.map { row in
      let cells = shown.map { $0.order == .name ? $0.text(row).padded(right: $0.width) : $0.text(row).padded(left: $0.width) }
      var line = cells.joined(separator: " ")
      if barWidth >= 8, most > 0, row.bytes > 0 {
        let width = max(1, Int((Double(row.bytes) / Double(most) * Double(barWidth)).rounded()))
        line += "  " + style.bar(.used, .free, share: Double(row.usedBytes) / Double(row.bytes), width: width)
      }
      return line
    }
  }
}
