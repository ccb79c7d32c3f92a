// SPDX-License-Identifier: BSD-2-Clause
//
// The table of malloc types of a list of statistics, as a saved stream gives it: sizes by powers of two, for more is not in a stream.

import Inspection

extension StatisticsTable {
  /// `cpus`: a row for each type and CPU instead.
  public static func types(_ list: StatisticsList, _ order: TypeOrder = .made, all: Bool = false, cpus: Bool = false) -> TextTable {
    let entries = sorted(list, order, all)
    if cpus { return TypeCPUColumn.table(entries.flatMap(TypeCPUColumn.rows)) }
    let titles = TypeColumn.all.filter { !$0.isRate }.map(\.title)
    var table = TextTable(titles)
    table.leftColumns = [0, titles.count - 1]
    table.rows = entries.map { entry in
      [
        entry.label, String(entry.count), entry.bytes.kibibytes, String(entry.figures.allocations),
        TypeSnapshot.sizes(ofMask: entry.figures.sizes).map(String.init).joined(separator: ","),
      ]
    }
    return table
  }

  /// In the container of `stave types --json`, with the names that it has.
  public static func typesJSON(_ list: StatisticsList, _ order: TypeOrder = .made, all: Bool = false, cpus: Bool = false) -> JSON {
    let types = sorted(list, order, all).map { entry -> JSON in
      let figures = [("in-use", entry.count), ("memory-use", entry.bytes), ("requests", entry.figures.allocations)]
      return .object(
        [("type", .text(entry.name)), ("instance", .number(entry.instance))] + figures.map { ($0.0, JSON.number(Int(clamping: $0.1))) }
          + [("size", .list(TypeSnapshot.sizes(ofMask: entry.figures.sizes).map(JSON.number)))]
          + (cpus ? [("cpu", TypeCPUColumn.json(TypeCPUColumn.rows(entry)))] : []))
    }
    return .object([("malloc-statistics", .object([("memory", .list(types))]))])
  }

  private static func sorted(_ list: StatisticsList, _ order: TypeOrder, _ all: Bool) -> [StatisticsEntry] {
    let entries = list.entries.filter { $0.allocator == .malloc && (all || $0.figures.allocations > 0 || $0.count > 0) }
    switch order {
    case .made, .rate: return entries
    case .name: return entries.sorted { ($0.name, $0.instance) < ($1.name, $1.instance) }
    case .inuse: return entries.sorted { $0.count > $1.count }
    case .memory: return entries.sorted { $0.bytes > $1.bytes }
    case .requests: return entries.sorted { $0.figures.allocations > $1.figures.allocations }
    }
  }
}
