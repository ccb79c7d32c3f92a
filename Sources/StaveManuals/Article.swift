// SPDX-License-Identifier: BSD-2-Clause
//
// An article of the DocC catalogue as a part of a manual page: what C's authors read there is what Swift's read. Of Markdown it knows
// headings, paragraphs, lists, tables of three columns, code, and DocC's links.

struct Article {
  /// All but the title and the first paragraph, which the page says in its own way.
  var markdown: String

  var mdoc: String {
    var lines: [String] = [], isAfterText = false
    for block in markdown.split(separator: "\n\n").dropFirst(2) {
      let rows = block.split(separator: "\n").map(String.init)
      if block.hasPrefix("## ") {
        if block != "## Overview" { lines.append(".Ss " + block.dropFirst(3)) }
        isAfterText = false
        continue
      }
      if block.hasPrefix("|") {
        lines += table(rows)
      } else if block.hasPrefix("- ") {
        lines += list(rows)
      } else {
        lines += (isAfterText ? [".Pp"] : []) + text(rows.joined(separator: " "))
      }
      isAfterText = true
    }
    return lines.joined(separator: "\n")
  }

  /// A name, and what it is here: in C, and in Swift if there is a word for it.
  private func table(_ rows: [String]) -> [String] {
    let cells = rows.dropFirst(2).map { $0.split(separator: "|").map { $0.trimmed } }
    return [".Bl -tag -width Ds"]
      + cells.flatMap { cell -> [String] in
        let here = [cell[1], cell[2] == "—" ? "—" : "Swift: " + cell[2]].filter { $0 != "—" }
        return [".It " + text(cell[0]).joined(separator: " ")] + text(here.isEmpty ? "nothing" : here.joined(separator: "; "))
      } + [".El"]
  }

  private func list(_ rows: [String]) -> [String] {
    var items: [String] = []
    for row in rows {
      if row.hasPrefix("- ") { items.append(String(row.dropFirst(2))) } else { items[items.count - 1] += " " + row.trimmed }
    }
    return [".Bl -bullet"] + items.flatMap { [".It"] + text($0) } + [".El"]
  }

  /// Folded. Code is one word, so that it lies in one line; links are their names.
  private func text(_ text: String) -> [String] {
    let plain = text.replacing(/\[(`[^`]*`)\]\(doc:(?:[^()\s]|\([^()]*\))*\)/) { $0.1 }
      .replacing(/``([^`]*?)(?:-\([^()]*\))?``/) { "`" + $0.1.replacing("/", with: ".") + "`" }
      .replacing(/`[^`]*`/) { $0.0.replacing(" ", with: "\u{1}") }
    return Mdoc.lines(plain).map { $0.replacing("\u{1}", with: " ").replacing("—", with: "\\(em") }
  }
}

extension Substring {
  fileprivate var trimmed: String { String(self).trimmed }
}

extension String {
  fileprivate var trimmed: String {
    String(drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }
}
