// SPDX-License-Identifier: BSD-2-Clause
//
// The zone table: which zones, in which order, as text or as JSON in the container of FreeBSD's `vmstat --libxo json -z`. The
// columns are in ZoneColumn.

import Inspection

/// What the rows are sorted by.
public enum ZoneOrder: String, CaseIterable, Sendable {
  case made, name, size, used, free, requests, fail, memory, rate
}

public struct ZoneTable {
  public var isWide = false
  public var order = ZoneOrder.made
  /// Zones that were never used are left out.
  public var hidesUnused = true

  public init() {}

  /// `before` is an earlier look at the same process: with it, a column of requests per second is added.
  public func table(_ snapshot: Snapshot, since before: Snapshot? = nil) -> TextTable {
    let columns = ZoneColumn.all.filter { ($0.place == .always || isWide && $0.place == .wide || before != nil && $0.place == .rate) }
    var table = TextTable(columns.map(\.title))
    for zone in zones(of: snapshot, since: before) {
      let row = ZoneColumn.Row(zone: zone, now: snapshot, before: before)
      table.rows.append(columns.map { $0.text(row) })
    }
    return table
  }

  public func json(_ snapshot: Snapshot, since before: Snapshot? = nil) -> JSON {
    let zones = zones(of: snapshot, since: before).map { zone -> JSON in
      let row = ZoneColumn.Row(zone: zone, now: snapshot, before: before)
      return .object(ZoneColumn.all.filter { before != nil || $0.place != .rate }.flatMap { $0.json(row) })
    }
    return .object([
      ("process", .number(Int(snapshot.process))), ("caches", .text(snapshot.mode.rawValue)),
      ("memory-zone-statistics", .object([("zone", .list(zones))])), ("sum", SumReport.json(snapshot)), ("roots", RootTable.json(snapshot)),
    ])
  }

  /// Those that are shown, in order.
  public func zones(of snapshot: Snapshot, since before: Snapshot? = nil) -> [ZoneSnapshot] {
    let zones = snapshot.zones.filter { !hidesUnused || $0.allocations > 0 || $0.slabs > 0 }
    func descending(_ key: (ZoneSnapshot) -> Int) -> [ZoneSnapshot] { zones.sorted { key($0) > key($1) } }
    switch order {
    case .made: return zones
    case .name: return zones.sorted { ($0.root, $0.name) < ($1.root, $1.name) }
    case .size: return zones.sorted { $0.size < $1.size }
    case .used: return descending { $0.usedBytes }
    case .free: return descending { $0.free * $0.size }
    case .requests: return descending { Int($0.allocations) }
    case .fail: return descending { Int($0.failures) }
    case .memory: return descending { $0.totalBytes }
    case .rate: return descending { zone in before.map { ZoneTable.rate(zone, snapshot, $0) } ?? 0 }
    }
  }

  /// Requests per second since `before`. Never negative.
  public static func rate(_ zone: ZoneSnapshot, _ now: Snapshot, _ before: Snapshot) -> Int {
    let old = before.zones.first { $0.name == zone.name && $0.instance == zone.instance && $0.root == zone.root }?.allocations ?? 0
    return perSecond(zone.allocations &- old, now, before)
  }

  /// The same over all zones.
  public static func rate(_ now: Snapshot, _ before: Snapshot) -> Int {
    func total(_ snapshot: Snapshot) -> Int64 { snapshot.zones.reduce(0) { $0 &+ $1.allocations } }
    return perSecond(total(now) &- total(before), now, before)
  }

  private static func perSecond(_ count: Int64, _ now: Snapshot, _ before: Snapshot) -> Int {
    let seconds = Double(now.taken &- before.taken) / 1e9
    // A damaged process may say anything: what no machine does is shown as the most that is.
    return seconds > 0 ? Int(min(max(0, Double(count) / seconds), 1e18)) : 0
  }
}
