// SPDX-License-Identifier: BSD-2-Clause
//
// The zone table: vmstat -z's columns in its order, with more of them on request, as text or as JSON under the container and
// field names of FreeBSD's `vmstat --libxo json -z`.

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
    var header = ["ITEM", "SIZE", "LIMIT", "USED", "FREE", "REQ", "FAIL", "SLEEP", "XDOMAIN"]
    if before != nil { header.append("REQ/s") }
    if isWide { header += ["ITEMSIZE", "SLAB", "ITEMS", "HEADER", "PAGES", "MEMORY", "CPUS", "DEPOT", "HOLES", "BUCKET"] }
    var table = TextTable(header)
    for zone in zones(of: snapshot, since: before) {
      var row = [
        zone.label + ":", "\(zone.size)", "0", "\(zone.used)", "\(zone.free)",
        "\(zone.allocations)", "\(zone.failures)", "\(zone.sleeps)", "0",
      ]
      if let before { row.append("\(ZoneTable.rate(zone, snapshot, before))") }
      if isWide {
        row += [
          "\(zone.itemBytes)", zone.slabBytes.humanBytes, "\(zone.itemsPerSlab)", zone.isOffPage ? "off" : "in",
          "\(zone.slabs * zone.slabBytes / snapshot.pageBytes)", zone.totalBytes.humanBytes,
          zone.cachedPerCPU.map(String.init).joined(separator: "+"), "\(zone.cachedInDepot)",
          (zone.walkedFreeItems * zone.itemBytes).humanBytes, "\(zone.bucketSize)",
        ]
      }
      table.rows.append(row)
    }
    return table
  }

  public func json(_ snapshot: Snapshot, since before: Snapshot? = nil) -> JSON {
    let zones = zones(of: snapshot, since: before).map { zone -> JSON in
      var members: [(String, JSON)] = [
        ("name", .text(zone.name)), ("instance", .number(zone.instance)), ("size", .number(zone.size)), ("limit", .number(0)),
        ("used", .number(zone.used)), ("free", .number(zone.free)), ("requests", .number(Int(zone.allocations))),
        ("fail", .number(Int(zone.failures))), ("sleep", .number(Int(zone.sleeps))), ("xdomain", .number(0)),
        ("item-size", .number(zone.itemBytes)), ("slab-size", .number(zone.slabBytes)),
        ("items-per-slab", .number(zone.itemsPerSlab)), ("slabs", .number(zone.walkedSlabs)),
        ("cached-per-cpu", .list(zone.cachedPerCPU.map(JSON.number))), ("cached-in-depot", .number(zone.cachedInDepot)),
        ("holes", .number(zone.walkedFreeItems)), ("in-transit", .number(zone.inTransit)),
        ("bucket-size", .number(zone.bucketSize)),
      ]
      if let before { members.append(("requests-per-second", .number(ZoneTable.rate(zone, snapshot, before)))) }
      return .object(members)
    }
    return .object([
      ("process", .number(Int(snapshot.process))), ("caches", .text(snapshot.mode.rawValue)),
      ("memory-zone-statistics", .object([("zone", .list(zones))])), ("sum", SumReport.json(snapshot)),
    ])
  }

  /// Those that are shown, in order.
  public func zones(of snapshot: Snapshot, since before: Snapshot? = nil) -> [ZoneSnapshot] {
    let zones = snapshot.zones.filter { !hidesUnused || $0.allocations > 0 || $0.slabs > 0 }
    func descending(_ key: (ZoneSnapshot) -> Int) -> [ZoneSnapshot] { zones.sorted { key($0) > key($1) } }
    switch order {
    case .made: return zones
    case .name: return zones.sorted { $0.name < $1.name }
    case .size: return zones.sorted { $0.size < $1.size }
    case .used: return descending { $0.used * $0.size }
    case .free: return descending { $0.free * $0.size }
    case .requests: return descending { Int($0.allocations) }
    case .fail: return descending { Int($0.failures) }
    case .memory: return descending { $0.totalBytes }
    case .rate: return descending { zone in before.map { ZoneTable.rate(zone, snapshot, $0) } ?? 0 }
    }
  }

  /// Requests per second since `before`. Never negative.
  public static func rate(_ zone: ZoneSnapshot, _ now: Snapshot, _ before: Snapshot) -> Int {
    let old = before.zones.first { $0.name == zone.name && $0.instance == zone.instance }?.allocations ?? 0
    return perSecond(zone.allocations - old, now, before)
  }

  /// The same over all zones.
  public static func rate(_ now: Snapshot, _ before: Snapshot) -> Int {
    func total(_ snapshot: Snapshot) -> Int64 { snapshot.zones.reduce(0) { $0 &+ $1.allocations } }
    return perSecond(total(now) &- total(before), now, before)
  }

  private static func perSecond(_ count: Int64, _ now: Snapshot, _ before: Snapshot) -> Int {
    let seconds = Double(now.taken - before.taken) / 1e9
    return seconds > 0 ? Int(max(0, Double(count) / seconds)) : 0
  }
}
