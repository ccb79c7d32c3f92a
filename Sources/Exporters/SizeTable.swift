// SPDX-License-Identifier: BSD-2-Clause
//
// What size classes waste: a histogram of requests by class, as text and as JSON, and beside it the table of classes that would
// waste least. One list of columns for text, JSON and manual.

import Inspection

public enum SizeOrder: String, CaseIterable, Sendable {
  case size, requests, waste
}

public struct SizeColumn: Sendable {
  public let title: String
  public let meaning: String
  let text: @Sendable (SizeTable.Row) -> String
  let json: @Sendable (SizeTable.Row) -> [(String, JSON)]

  private static func bytes(_ title: String, _ name: String, _ meaning: String, _ value: @escaping @Sendable (SizeCounts) -> Int) -> SizeColumn {
    SizeColumn(title: title, meaning: meaning, text: { value($0.counts).humanBytes }, json: { [(name, .number(value($0.counts)))] })
  }

  public static let all: [SizeColumn] = [
    SizeColumn(
      title: "CLASS", meaning: "The sizes that the class serves, least and most; behind \"large\", sizes that are served in whole pages, by doublings.",
      text: { $0.title },
      json: { row in [("least", .number(row.counts.least))] + (row.counts.most == .max ? [] : [("most", .number(row.counts.most))]) }),
    SizeColumn(
      title: "REQUESTS", meaning: "Requests of these sizes that succeeded.", text: { String($0.counts.requests) },
      json: { [("requests", .number($0.counts.requests))] }),
    bytes("ASKED", "asked", "Bytes that they asked for.") { $0.asked },
    bytes("GIVEN", "given", "Bytes of the items or pages that they got.") { $0.given },
    bytes("WASTED", "wasted", "The difference.") { $0.wasted },
    SizeColumn(
      title: "WASTE", meaning: "The same as a part of what was given; not in JSON.", text: { SizeTable.percent($0.counts.wasted, of: $0.counts.given) },
      json: { _ in [] }),
  ]
}

public struct SizeTable {
  public struct Row: Sendable {
    public var title: String
    public var counts: SizeCounts
  }

  public let snapshot: SizeSnapshot
  /// By class, and by doubling, those that had requests.
  public let rows: [Row]
  /// The classes as they are, and as they would be best; what they waste of the bytes given for small requests.
  public let present: ClassTable
  public let best: ClassTable
  /// What no table can spare, since classes are multiples of 16.
  public let least: Int
  public let asked: Int

  /// `classes`: how many the best table may have; as many as there are if not given.
  public init(_ snapshot: SizeSnapshot, order: SizeOrder = .size, classes: Int? = nil) {
    self.snapshot = snapshot
    var byClass: [Row] = []
    var place = 0
    for one in snapshot.small {
      while place < snapshot.classes.count - 1 && snapshot.classes[place] < one.most { place += 1 }
      let size = snapshot.classes[place], least = place == 0 ? 0 : snapshot.classes[place - 1] + 1
      if byClass.last?.counts.most == size {
        byClass[byClass.count - 1].counts.requests += one.requests
        byClass[byClass.count - 1].counts.asked += one.asked
        byClass[byClass.count - 1].counts.given += one.given
      } else {
        byClass.append(
          Row(title: "\(least)–\(size)", counts: SizeCounts(least: least, most: size, requests: one.requests, asked: one.asked, given: one.given)))
      }
    }
    byClass += snapshot.large.map { Row(title: "large \($0.least)–" + ($0.most == .max ? "" : "\($0.most)"), counts: $0) }
    switch order {
    case .size: break
    case .requests: byClass.sort { $0.counts.requests > $1.counts.requests }
    case .waste: byClass.sort { $0.counts.wasted > $1.counts.wasted }
    }
    rows = byClass
    asked = snapshot.small.reduce(0) { $0 + $1.asked }
    present = ClassTable(sizes: snapshot.classes, wasted: ClassTable.waste(of: snapshot.small, in: snapshot.classes))
    best = ClassTable(for: snapshot.small, count: classes ?? snapshot.classes.count, largest: max(ClassTable.step, snapshot.largest))
    least = snapshot.small.reduce(0) { $0 + $1.requests * max(ClassTable.step, $1.most) - $1.asked }
  }

  public var table: TextTable {
    var table = TextTable(SizeColumn.all.map(\.title))
    table.rows = rows.map { row in SizeColumn.all.map { $0.text(row) } }
    return table
  }

  /// What was counted, and when.
  public var headline: String {
    let time = snapshot.seconds.map { " " + SizeTable.duration($0) } ?? ""
    return snapshot.target + ": sizes asked for" + (snapshot.isCounting ? (time.isEmpty ? "" : " in" + time) : ", counted until it was switched off")
  }

  /// Sentences about the table that is and the one that would be best.
  public var summary: [String] {
    let given = asked + present.wasted
    if given == 0 { return ["No request that a class serves has been counted yet."] }
    func share(_ wasted: Int) -> String { "\(wasted.humanBytes) (\(SizeTable.percent(wasted, of: asked + wasted)))" }
    var lines = ["The \(present.sizes.count) classes waste \(share(present.wasted)) of \(given.humanBytes)."]
    let saved = present.wasted - best.wasted
    if saved > 0 {
      lines.append("The best \(best.sizes.count) would waste \(share(best.wasted)): \(saved.humanBytes) less.")
    } else if saved == 0 {
      let isEnough = best.sizes.count < present.sizes.count
      lines.append(isEnough ? "\(best.sizes.count) would do for these sizes." : "No table of \(best.sizes.count) classes would waste less.")
    } else {
      lines.append("The best \(best.sizes.count) would waste \(share(best.wasted)): \((-saved).humanBytes) more.")
    }
    if least > 0 { lines.append("\(share(least)) is lost to multiples of 16 in any table.") }
    return lines
  }

  public var json: JSON {
    func list(_ rows: [Row]) -> JSON { .list(rows.map { row in .object(SizeColumn.all.flatMap { $0.json(row) }) }) }
    let exact = snapshot.small.map { Row(title: "", counts: $0) }
    return .object(
      [("process", .number(Int(snapshot.process))), ("counting", .number(snapshot.isCounting ? 1 : 0))]
        + (snapshot.seconds.map { [("seconds", .real($0))] } ?? [])
        + [
          ("classes", list(rows.filter { $0.counts.least <= snapshot.largest })), ("large", list(rows.filter { $0.counts.least > snapshot.largest })),
          ("sizes", list(exact)), ("asked", .number(asked)), ("wasted", .number(present.wasted)), ("table", .list(present.sizes.map(JSON.number))),
          ("best", .object([("table", .list(best.sizes.map(JSON.number))), ("wasted", .number(best.wasted)), ("saved", .number(present.wasted - best.wasted))])),
          ("wasted-at-least", .number(least)),
        ])
  }

  /// To a tenth; nothing of nothing is none.
  static func percent(_ part: Int, of whole: Int) -> String {
    guard whole > 0 else { return "0.0%" }
    let tenths = Int((Double(part) / Double(whole) * 1000).rounded())
    return "\(tenths / 10).\(tenths % 10)%"
  }

  static func duration(_ seconds: Double) -> String {
    let whole = Int(min(seconds, 1e12))
    return whole < 120 ? "\(whole) s" : whole < 7200 ? "\(whole / 60) min" : "\(whole / 3600) h"
  }
}
