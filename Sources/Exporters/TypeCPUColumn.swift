// SPDX-License-Identifier: BSD-2-Clause
//
// What each CPU has counted of each malloc type, as rows of text and as JSON: one list of columns for both and for the manual.

import Inspection

public struct TypeCPUColumn: Sendable {
  public struct Row {
    var label: String
    /// Nil for what no CPU's cache has counted.
    var cpu: Int?
    var counts: StatisticsCPU
  }

  public let title: String
  public let meaning: String
  let text: @Sendable (Row) -> String
  /// Nil for what the object around it says.
  let json: (@Sendable (Row) -> (String, JSON))?

  public static let all: [TypeCPUColumn] = [
    TypeCPUColumn(title: "Type", meaning: "The type's name.", text: { $0.label }, json: nil),
    TypeCPUColumn(
      title: "CPU", meaning: "The CPU's number; `-` (in JSON null) for what no CPU's cache has counted: large blocks, and requests that went round the caches.",
      text: { $0.cpu.map(String.init) ?? "-" }, json: { ("cpu", $0.cpu.map(JSON.number) ?? .null) }),
    number("Requests", "requests", "Successful requests on it since the start.") { $0.allocations },
    number("Frees", "frees", "Frees on it, also of blocks that come from another CPU.") { $0.frees },
    bytes("Allocated", "allocated", "Memory of these requests in KiB, rounded up; in JSON in bytes.") { $0.allocatedBytes },
    bytes("Freed", "freed", "The same of the frees.") { $0.freedBytes },
    TypeCPUColumn(
      title: "Size(s)", meaning: "Sizes that it has served, as powers of two: 64 stands for all classes above 32 up to 64.",
      text: { TypeSnapshot.sizes(ofMask: $0.counts.sizes).map(String.init).joined(separator: ",") },
      json: { ("size", .list(TypeSnapshot.sizes(ofMask: $0.counts.sizes).map(JSON.number))) }),
  ]

  private static func number(_ title: String, _ name: String, _ meaning: String, _ value: @escaping @Sendable (StatisticsCPU) -> UInt64) -> TypeCPUColumn {
    TypeCPUColumn(title: title, meaning: meaning, text: { String(value($0.counts)) }, json: { (name, .number(Int(clamping: value($0.counts)))) })
  }

  private static func bytes(_ title: String, _ name: String, _ meaning: String, _ value: @escaping @Sendable (StatisticsCPU) -> UInt64) -> TypeCPUColumn {
    TypeCPUColumn(title: title, meaning: meaning, text: { value($0.counts).kibibytes }, json: { (name, .number(Int(clamping: value($0.counts)))) })
  }

  // MARK: - Rows

  /// CPUs without a count have no row.
  static func rows(_ type: TypeSnapshot) -> [Row] {
    rows(type.label, type.perCPU.map { ($0.cpu, StatisticsCPU($0.counts)) } + [(nil, StatisticsCPU(type.elsewhere))])
  }

  /// The last record of a type is of no CPU.
  static func rows(_ entry: StatisticsEntry) -> [Row] {
    let cpus = entry.figures.cpus
    return rows(entry.label, cpus.indices.map { ($0 < cpus.count - 1 ? $0 : nil, cpus[$0]) })
  }

  private static func rows(_ label: String, _ cpus: [(cpu: Int?, counts: StatisticsCPU)]) -> [Row] {
    cpus.filter { $0.counts.hasCounted }.map { Row(label: label, cpu: $0.cpu, counts: $0.counts) }
  }

  static func table(_ rows: [Row]) -> TextTable {
    var table = TextTable(all.map(\.title))
    table.leftColumns = [0, all.count - 1]
    table.rows = rows.map { row in all.map { $0.text(row) } }
    return table
  }

  static func json(_ rows: [Row]) -> JSON { .list(rows.map { row in .object(all.compactMap { $0.json?(row) }) }) }
}

extension StatisticsCPU {
  fileprivate var hasCounted: Bool { allocations | frees | allocatedBytes | freedBytes != 0 }
}

extension UInt64 {
  /// As vmstat -m has it: in KiB, rounded up.
  var kibibytes: String { "\(self / 1024 + (self % 1024 > 0 ? 1 : 0))K" }
}
