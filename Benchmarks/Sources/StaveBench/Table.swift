// SPDX-License-Identifier: BSD-2-Clause
//
// A table, as text for a terminal or as Markdown.

struct Table {
  var title: String
  var header: [String]
  var rows: [[String]] = []
  /// So many of the last rows are sums of those above.
  var footers = 0

  var text: String {
    let widths = header.indices.map { column in ([header] + rows).map { $0[column].count }.max()! }
    func line(_ cells: [String]) -> String {
      cells.enumerated().map { column, cell in
        let space = String(repeating: " ", count: widths[column] - cell.count)
        return column == 0 ? cell + space : space + cell
      }.joined(separator: "  ")
    }
    var lines = ["", title, line(header)]
    for (index, row) in rows.enumerated() {
      if index == rows.count - footers { lines.append(String(repeating: "-", count: lines[2].count)) }
      lines.append(line(row))
    }
    return lines.joined(separator: "\n")
  }

  var markdown: String {
    func line(_ cells: [String]) -> String { "| " + cells.joined(separator: " | ") + " |" }
    let body = rows.enumerated().map { index, row in
      line(index < rows.count - footers ? row : row.map { $0.isEmpty ? "" : "**\($0)**" })
    }
    let rule = "|---|" + String(repeating: "---:|", count: header.count - 1)
    return (["**\(title)**", "", line(header), rule] + body).joined(separator: "\n") + "\n"
  }
}
