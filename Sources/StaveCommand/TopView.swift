// SPDX-License-Identifier: BSD-2-Clause
//
// What `stave top` and `stave run --watch` show of a process: where its memory is as a bar, how used memory and allocations went
// lately, and its zones or its malloc types. How many columns there are follows the width; how many rows, the height.

import Exporters
import Inspection

struct TopView {
  var table = ZoneTable()
  /// Types instead of zones.
  var showsTypes = false
  var isPaused = false
  /// Said in the last line, such as why there is no new picture.
  var notice = ""
  private let style: Style
  private var firstRow = 0
  private var now: Snapshot?
  private var before: Snapshot?
  private var entry: ProcessEntry?
  private var usedLately: [Int] = []
  private var ratesLately: [Int] = []

  init(style: Style) {
    self.style = style
    table.order = .memory
  }

  mutating func add(_ snapshot: Snapshot, _ entry: ProcessEntry?) {
    // Another process than before, a compiler's next child, or another program in it.
    let isSame = now?.process == snapshot.process && now?.started == snapshot.started
    before = isSame ? now : nil
    if !isSame { (usedLately, ratesLately) = ([], []) }
    now = snapshot
    self.entry = entry
    usedLately = (usedLately + [snapshot.used]).suffix(24)
    if let before { ratesLately = (ratesLately + [ZoneTable.rate(snapshot, before)]).suffix(24) }
  }

  /// False ends.
  mutating func take(_ key: Terminal.Key) -> Bool {
    switch key {
    case .letter(UInt8(ascii: "m")): table.order = .memory
    case .letter(UInt8(ascii: "u")): table.order = .used
    case .letter(UInt8(ascii: "f")): table.order = .free
    case .letter(UInt8(ascii: "r")): table.order = .rate
    case .letter(UInt8(ascii: "c")): table.order = .requests
    case .letter(UInt8(ascii: "n")): table.order = .name
    case .letter(UInt8(ascii: "s")): table.order = .size
    case .letter(UInt8(ascii: "t")): (showsTypes, firstRow) = (!showsTypes, 0)
    case .letter(UInt8(ascii: "w")): table.isWide.toggle()
    case .letter(UInt8(ascii: "p")), .letter(UInt8(ascii: " ")): isPaused.toggle()
    case .letter(UInt8(ascii: "q")), .letter(UInt8(ascii: "x")), .letter(3), .letter(4), .end: return false
    case .up, .letter(UInt8(ascii: "k")): firstRow -= 1
    case .down, .letter(UInt8(ascii: "j")): firstRow += 1
    case .pageUp: firstRow -= 10
    case .pageDown: firstRow += 10
    case .letter: break
    }
    firstRow = max(0, min(firstRow, (showsTypes ? now?.types.count : now?.zones.count) ?? 0))
    return true
  }

  /// The whole screen, with the keys in its last line.
  func lines(size: (rows: Int, columns: Int)) -> [String] {
    var lines = lines(columns: size.columns, zones: size.rows)
    lines = Array(lines.prefix(max(0, size.rows - 1)))
    while lines.count < size.rows - 1 { lines.append("") }
    return lines + [keys(size.columns)]
  }

  /// `zones`: how many rows of the table at most.
  func lines(columns: Int, zones: Int) -> [String] {
    guard let now else { return [] }
    var lines = head(now, columns)
    lines.append("")
    if table.isWide {
      let rows = (showsTypes ? TopRows.typeTable(table.order).table(now, since: before) : table.table(now, since: before)).lines()
      lines.append(style.reverse(rows[0].padded(right: columns)))
      lines += rows.dropFirst().dropFirst(firstRow).prefix(zones)
    } else {
      let rows =
        showsTypes
        ? TopRows(typesOf: now, before, table.order, style, columns: columns) : TopRows(zonesOf: now, before, table, style, columns: columns)
      lines.append(style.reverse(rows.header.padded(right: style.isTerminal ? columns : 0)))
      lines += rows.lines.dropFirst(firstRow).prefix(zones)
    }
    return lines
  }

  // MARK: - Head

  private func head(_ now: Snapshot, _ columns: Int) -> [String] {
    let parts: [(name: String, mark: Mark, size: Int)] = [
      ("used", .used, now.used), ("cached", .cached, now.cached), ("holes", .holes, now.holes), ("metadata", .metadata, now.metadata),
      ("purgeable", .purgeable, now.purgeable), ("returned", .returned, now.returned),
    ]
    var first = [style.bold(now.target)]
    if let seconds = entry?.secondsSinceStart() { first.append("up \(TopView.duration(seconds))") }
    if let kernel = now.kernel { first.append("resident \(Int(kernel.resident).humanBytes)") }
    first += ["mapped \(now.mapped.humanBytes)", "caches \(now.mode.rawValue)"]
    let transit = now.inTransit == 0 ? "" : "in transit \(now.inTransit.humanBytes)"
    guard style.isTerminal else {
      let sum = parts.map { "\($0.name) \($0.size.humanBytes)" } + (transit.isEmpty ? [] : [transit])
      return [first.joined(separator: "  "), sum.joined(separator: " + ") + " = mapped \(now.mapped.humanBytes)"]
    }
    let legend = parts.map { (text: style.draw($0.mark, count: 1) + " \($0.name) \($0.size.humanBytes)", width: $0.name.count + 8) }
    var course = ["used \(now.used.humanBytes.padded(left: 5)) \(style.course(usedLately).padded(right: style.hasBlocks ? 24 : 0))"]
    if let rate = ratesLately.last { course.append("allocations \((rate.humanCount + "/s").padded(left: 7)) \(style.course(ratesLately).padded(right: style.hasBlocks ? 24 : 0))") }
    return [first.joined(separator: "  "), style.bar(parts.map { ($0.mark, $0.size) }, width: min(columns, 120))]
      + TopView.wrap(legend, columns) + [(course + [transit]).joined(separator: "  ")]
  }

  /// Pieces in as many lines as they need.
  private static func wrap(_ pieces: [(text: String, width: Int)], _ columns: Int) -> [String] {
    var lines: [String] = []
    var room = 0
    for piece in pieces {
      if room < piece.width + 2 || lines.isEmpty {
        lines.append(piece.text)
        room = columns - piece.width
      } else {
        lines[lines.count - 1] += "  " + piece.text
        room -= piece.width + 2
      }
    }
    return lines
  }

  private func keys(_ columns: Int) -> String {
    if !notice.isEmpty { return style.bold(notice) }
    let orders = showsTypes ? "m memory  u used  r rate  c count  n name" : "m memory  u used  f free  r rate  c count  n name  s size"
    let others = (showsTypes ? "t zones" : "t types") + "  w wide  p pause  q quit"
    let texts = ["order: " + orders + "    " + others, orders + "    " + others, (showsTypes ? "m u r c n" : "m u f r c n s") + " order  " + others]
    let text = texts.first { $0.count <= columns } ?? others
    return style.dim(text) + (isPaused ? "  " + style.reverse(" paused ") : "")
  }

  private static func duration(_ seconds: Double) -> String {
    let whole = Int(seconds)
    if whole < 120 { return "\(whole) s" }
    return whole < 7200 ? "\(whole / 60) min" : "\(whole / 3600) h"
  }
}
