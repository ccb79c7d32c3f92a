// SPDX-License-Identifier: BSD-2-Clause
//
// `stave sizes`: what the size classes waste, and the table of classes that would waste less.

import ArgumentParser
import Exporters
import Inspection

extension SizeOrder: ExpressibleByArgument {}

struct SizesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sizes", abstract: "Show which sizes a process asks for, and what the size classes waste.",
    discussion: """
      Sizes are counted while the option `sizes` is on: stave set PID sizes=1, or STAVE_OPTIONS=sizes:1 from the start. Each request \
      counts once, however long its block lives. Below the table is what all classes waste, and the table of as many classes \
      that would waste least on the same requests.
      """)

  @OptionGroup var target: TargetArguments
  @OptionGroup var repetition: RepeatArguments

  @Option(help: ArgumentHelp("How many classes the best table may have; as many as there are if not given.", valueName: "count"))
  var classes: Int?

  @Option(help: ArgumentHelp("What comes first.", valueName: "order"))
  var sort = SizeOrder.size

  @Flag(help: "JSON, one object per look, with the exact histogram.")
  var json = false

  func validate() throws {
    if let classes, !(1...2048).contains(classes) { throw ValidationError("--classes takes a number from 1 to 2048.") }
  }

  func run() throws {
    let (root, target) = (self.target.root, try self.target.open())
    let reader = try SnapshotReader(target, root: root)
    try repetition.run { () throws(InspectionError) in
      guard let sizes = try reader.sizes() else {
        throw .noSizes(target: target.name, process: target is LiveProcess ? target.process : 0)
      }
      let table = SizeTable(sizes, order: sort, classes: classes)
      if json { return emit(table.json.description) }
      emit(SizePicture.lines(table, Style(descriptor: 1), columns: Terminal(descriptor: 1, full: false).size.columns).joined(separator: "\n") + (repetition.wait == nil ? "" : "\n"))
    }
  }
}

/// The table for a reader, on a terminal with a bar to each row: what was asked for, and what was wasted.
enum SizePicture {
  static func lines(_ table: SizeTable, _ style: Style, columns: Int) -> [String] {
    var lines = [style.bold(table.headline), ""]
    if !table.rows.isEmpty {
      let rows = table.table.lines()
      let width = style.isTerminal ? min(40, columns - rows[0].count - 2) : 0
      let most = table.rows.map(\.counts.given).max() ?? 0
      lines.append(style.bold(rows[0] + (width >= 8 ? "  asked and wasted" : "")))
      for (line, row) in zip(rows.dropFirst(), table.rows) {
        guard width >= 8, most > 0, row.counts.given > 0 else {
          lines.append(line)
          continue
        }
        let cells = max(1, Int((Double(row.counts.given) / Double(most) * Double(width)).rounded()))
        lines.append(line + "  " + style.bar(.used, .holes, share: Double(row.counts.given - row.counts.wasted) / Double(row.counts.given), width: cells))
      }
      lines.append("")
    }
    lines += table.summary
    guard table.best.wasted != table.present.wasted else { return lines }
    lines.append("")
    return lines + wrapped(table.best.sizes, new: Set(table.best.sizes).subtracting(table.present.sizes), style, columns: style.isTerminal ? columns : 80)
  }

  /// Classes in columns; those that are not there today stand out, by an asterisk where nothing else can.
  private static func wrapped(_ sizes: [Int], new: Set<Int>, _ style: Style, columns: Int) -> [String] {
    let width = 7
    let each = max(1, (columns - 2) / width)
    let cells = sizes.map { size -> String in
      let text = (String(size) + (new.contains(size) ? "*" : " ")).padded(left: width)
      return new.contains(size) ? style.bold(text) : text
    }
    let rows = stride(from: 0, to: cells.count, by: each).map { cells[$0..<min($0 + each, cells.count)].joined().trimmingRight }
    return ["The best classes" + (new.isEmpty ? ":" : "; those with * are not among the present ones:")] + rows
  }
}
