// SPDX-License-Identifier: BSD-2-Clause
//
// The table of malloc types: vmstat -m's columns, as text and as JSON in the container of FreeBSD's `vmstat --libxo json -m`. One
// list of columns for both and for the manual.

import Accounting
import Inspection

public enum TypeOrder: String, CaseIterable, Sendable {
  case made, name, inuse, memory, requests, rate
}

public struct TypeColumn: Sendable {
  public struct Row {
    var type: TypeSnapshot
    var now: Snapshot
    var before: Snapshot?
  }

  public let title: String
  /// Shown only where there was a look before this one.
  public let isRate: Bool
  /// Shown only where a type has a limit; in JSON always.
  public var isOfLimits = false
  public let meaning: String
  let text: @Sendable (Row) -> String
  let json: @Sendable (Row) -> [(String, JSON)]

  public static let all: [TypeColumn] = [
    TypeColumn(
      title: "Type", isRate: false, meaning: "The type's name. `malloc` is all memory that no other type has. A type of another copy of Stave than malloc's has the name of its file in front; in JSON it is the member root.", text: { $0.type.label },
      json: { [("type", .text($0.type.name)), ("instance", .number($0.type.instance))] + RootTable.member($0.type.root) }),
    TypeColumn(
      title: "InUse", isRate: false, meaning: "Blocks in the program's hands.", text: { String($0.type.used) },
      json: { [("in-use", .number($0.type.used))] }),
    TypeColumn(
      title: "MemUse", isRate: false, meaning: "Their memory in KiB, rounded up; in JSON in bytes. Counted by size classes and whole pages.",
      text: { "\(($0.type.usedBytes + 1023) / 1024)K" },
      json: { [("memory-use", .number($0.type.usedBytes))] }),
    TypeColumn(
      title: "Requests", isRate: false, meaning: "Successful requests since the start.", text: { String($0.type.allocations) },
      json: { [("requests", .number(Int($0.type.allocations))), ("fail", .number(Int($0.type.failures)))] }),
    TypeColumn(
      title: "Limit", isRate: false, isOfLimits: true, meaning: "What MemUse may be, in KiB; in JSON in bytes, 0 for no limit. The column is there if a type has one.",
      text: { $0.type.limit > 0 ? "\($0.type.limit / 1024 + ($0.type.limit % 1024 > 0 ? 1 : 0))K" : "-" }, json: { [("limit", .number($0.type.limit))] }),
    TypeColumn(
      title: "Sleeps", isRate: false, isOfLimits: true, meaning: "Requests that had to wait, at the limit or for memory; as Limit.",
      text: { String($0.type.sleeps) }, json: { [("sleeps", .number(Int($0.type.sleeps)))] }),
    TypeColumn(
      title: "Req/s", isRate: true, meaning: "Requests in a second, since the last look.",
      text: { row in String(row.before.map { TypeTable.rate(row.type, row.now, $0) } ?? 0) },
      json: { row in [("requests-per-second", .number(row.before.map { TypeTable.rate(row.type, row.now, $0) } ?? 0))] }),
    TypeColumn(
      title: "Size(s)", isRate: false, meaning: "The size classes that have served it, neighbours as a range; `large` where it holds blocks above them. In JSON each class, and how many requests it has served.",
      text: { (TypeTable.ranges($0.type.sizes) + ($0.type.largeBlocks > 0 ? ["large"] : [])).joined(separator: ",") },
      json: { row in
        let classes = row.type.classes.map { one in
          JSON.object([("size", .number(one.size)), ("requests", .number(Int(one.allocations))), ("in-use", .number(one.used))])
        }
        return [
          ("size", .list(row.type.sizes.map(JSON.number))), ("size-class", .list(classes)),
          ("large-blocks", .number(row.type.largeBlocks)), ("large-bytes", .number(row.type.largeBytes)),
        ]
      }),
  ]
}

public struct TypeTable {
  public var order = TypeOrder.made
  /// Types with no requests and nothing in use are left out.
  public var hidesUnused = true
  /// A row for each type and CPU instead; in JSON besides.
  public var showsCPUs = false

  public init() {}

  public func table(_ snapshot: Snapshot, since before: Snapshot? = nil) -> TextTable {
    let types = types(of: snapshot, since: before)
    if showsCPUs { return TypeCPUColumn.table(types.flatMap(TypeCPUColumn.rows)) }
    let hasLimits = types.contains { $0.limit > 0 }
    let columns = TypeColumn.all.filter { (before != nil || !$0.isRate) && (hasLimits || !$0.isOfLimits) }
    var table = TextTable(columns.map(\.title))
    table.leftColumns = [0, columns.count - 1]
    for type in types {
      let row = TypeColumn.Row(type: type, now: snapshot, before: before)
      table.rows.append(columns.map { $0.text(row) })
    }
    return table
  }

  public func json(_ snapshot: Snapshot, since before: Snapshot? = nil) -> JSON {
    let types = types(of: snapshot, since: before).map { type -> JSON in
      let row = TypeColumn.Row(type: type, now: snapshot, before: before)
      let cpus = showsCPUs ? [("cpu", TypeCPUColumn.json(TypeCPUColumn.rows(type)))] : []
      return .object(TypeColumn.all.filter { before != nil || !$0.isRate }.flatMap { $0.json(row) } + cpus)
    }
    return .object([
      ("process", .number(Int(snapshot.process))), ("malloc-statistics", .object([("memory", .list(types))])),
      ("sum", SumReport.json(snapshot)), ("roots", RootTable.json(snapshot)),
    ])
  }

  public func types(of snapshot: Snapshot, since before: Snapshot? = nil) -> [TypeSnapshot] {
    let types = snapshot.types.filter { !hidesUnused || $0.allocations > 0 || $0.used > 0 }
    switch order {
    case .made: return types
    case .name: return types.sorted { ($0.root, $0.name, $0.instance) < ($1.root, $1.name, $1.instance) }
    case .inuse: return types.sorted { $0.used > $1.used }
    case .memory: return types.sorted { $0.usedBytes > $1.usedBytes }
    case .requests: return types.sorted { $0.allocations > $1.allocations }
    case .rate: return types.sorted { one, other in before.map { Self.rate(one, snapshot, $0) > Self.rate(other, snapshot, $0) } ?? false }
    }
  }

  /// Three neighbours and more as "16-64".
  static func ranges(_ sizes: [Int]) -> [String] {
    var runs: [[Int]] = []
    for size in sizes where 1...SizeClass.largest ~= size {
      if let last = runs.last?.last, SizeClass.index(for: size) == SizeClass.index(for: last) + 1 {
        runs[runs.count - 1].append(size)
      } else {
        runs.append([size])
      }
    }
    return runs.flatMap { $0.count > 2 ? ["\($0[0])-\($0[$0.count - 1])"] : $0.map(String.init) }
  }

  /// Requests per second since `before`, by name and instance (T6). Never negative.
  public static func rate(_ type: TypeSnapshot, _ now: Snapshot, _ before: Snapshot) -> Int {
    let old = before.types.first { $0.name == type.name && $0.instance == type.instance && $0.root == type.root }?.allocations ?? 0
    let seconds = Double(now.taken &- before.taken) / 1e9
    return seconds > 0 ? Int(min(max(0, Double(type.allocations &- old) / seconds), 1e18)) : 0
  }
}
