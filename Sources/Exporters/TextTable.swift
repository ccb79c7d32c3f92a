// SPDX-License-Identifier: BSD-2-Clause
//
// Columns of text, as wide as their widest cell; the first column to the left, the others to the right.

public struct TextTable {
  public var header: [String]
  public var rows: [[String]] = []

  /// Columns that stand to the left, like the first.
  public var leftColumns: Set<Int> = [0]

  public init(_ header: [String]) { self.header = header }

  public func lines(limit: Int = .max) -> [String] {
    let shown = rows.prefix(limit)
    let widths = header.indices.map { column in
      max(header[column].count, shown.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0)
    }
    return ([header] + shown).map { row in
      row.indices.map { column in
        let padding = String(repeating: " ", count: max(0, widths[column] - row[column].count))
        return leftColumns.contains(column) ? row[column] + padding : padding + row[column]
      }.joined(separator: "  ")
    }
  }
}

extension Int {
  /// As in "12.3M": three digits and a binary unit.
  public var humanBytes: String {
    var value = Double(magnitude)
    let units = ["", "K", "M", "G", "T"]
    var unit = 0
    while value >= 1000 && unit < 4 {
      value /= 1024
      unit += 1
    }
    let sign = self < 0 ? "-" : ""
    if unit == 0 { return sign + String(magnitude) }
    let tenths = Int((value * 10).rounded())
    return sign + (tenths < 1000 ? "\(tenths / 10).\(tenths % 10)" : String(Int(value.rounded()))) + units[unit]
  }
}
