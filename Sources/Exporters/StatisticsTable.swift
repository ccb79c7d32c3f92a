// SPDX-License-Identifier: BSD-2-Clause
//
// The zone table of a list of statistics, as a saved stream gives it: the columns of every zone table, for more is not in a stream.
// That of types is in StatisticsTable+Types.

import Inspection

public enum StatisticsTable {
  public static func zones(_ list: StatisticsList, _ order: ZoneOrder = .made, all: Bool = false) -> TextTable {
    var table = TextTable(ZoneColumn.all.filter { $0.place == .always }.map(\.title))
    for entry in sorted(list, order, all) {
      let figures = entry.figures
      table.rows.append(
        [entry.label + ":"]
          + [
            figures.size, figures.countLimit, entry.count, entry.free, figures.allocations, figures.failures, figures.sleeps, figures.crossDomain,
          ].map(String.init))
    }
    return table
  }

  /// In the container of `stave zones --json`, with the names that it has.
  public static func json(_ list: StatisticsList, _ order: ZoneOrder = .made, all: Bool = false) -> JSON {
    let zones = sorted(list, order, all).map { entry -> JSON in
      let figures = entry.figures
      return .object(
        [("name", .text(entry.name)), ("instance", .number(entry.instance))]
          + [
            ("size", figures.size), ("limit", figures.countLimit), ("used", entry.count), ("free", entry.free), ("requests", figures.allocations),
            ("fail", figures.failures), ("sleep", figures.sleeps), ("xdomain", figures.crossDomain), ("item-size", figures.itemBytes),
            ("pages", figures.pages), ("bucket-size", figures.bucketSize),
          ].map { ($0.0, JSON.number(Int(clamping: $0.1))) })
    }
    return .object([("memory-zone-statistics", .object([("zone", .list(zones))]))])
  }

  /// What is wrong with the names, as sentences.
  public static func warnings(_ list: StatisticsList) -> [String] {
    var counts: [String: Int] = [:]
    for entry in list.entries where entry.sharesName { counts[entry.name, default: 0] += 1 }
    return counts.sorted { $0.key < $1.key }.map {
      "\($0.value) entries are named \($0.key.printable)" + ($0.key.utf8.count >= 31 ? ", which was cut at 31 bytes" : "") + "; they are told apart by their order only"
    }
  }

  private static func sorted(_ list: StatisticsList, _ order: ZoneOrder, _ all: Bool) -> [StatisticsEntry] {
    let entries = list.entries.filter { $0.allocator == .zone && (all || $0.figures.allocations > 0 || $0.figures.pages > 0) }
    func descending(_ key: (StatisticsEntry) -> UInt64) -> [StatisticsEntry] { entries.sorted { key($0) > key($1) } }
    switch order {
    case .made, .rate: return entries
    case .name: return entries.sorted { $0.name < $1.name }
    case .size: return entries.sorted { $0.figures.size < $1.figures.size }
    case .used: return descending { $0.count &* $0.figures.size }
    case .free: return descending { $0.free &* $0.figures.size }
    case .requests: return descending { $0.figures.allocations }
    case .fail: return descending { $0.figures.failures }
    case .memory: return descending { $0.figures.pages }
    }
  }
}
