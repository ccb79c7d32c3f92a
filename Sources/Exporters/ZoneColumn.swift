// SPDX-License-Identifier: BSD-2-Clause
//
// The columns of the zone table: vmstat -z's in its order, then more. One list for the text, for JSON (names of FreeBSD's
// `vmstat --libxo json -z`, ours where it has none; both are stable) and for the manual.

import Inspection

public struct ZoneColumn: Sendable {
  public enum Place: Sendable {
    /// `rate`: where there was a look before this one.
    case always, wide, rate
  }

  public struct Row {
    var zone: ZoneSnapshot
    var now: Snapshot
    var before: Snapshot?
  }

  /// Over the column of text.
  public let title: String
  public let place: Place
  /// For the manual.
  public let meaning: String
  let text: @Sendable (Row) -> String
  let json: @Sendable (Row) -> [(String, JSON)]

  /// The same number in text and JSON.
  private static func number(
    _ title: String, _ name: String, _ place: Place, _ meaning: String, _ value: @escaping @Sendable (Row) -> Int
  ) -> ZoneColumn {
    ZoneColumn(title: title, place: place, meaning: meaning, text: { String(value($0)) }, json: { [(name, .number(value($0)))] })
  }

  /// A size in bytes: in text with a unit.
  private static func bytes(
    _ title: String, _ name: String, _ meaning: String, _ value: @escaping @Sendable (Row) -> Int
  ) -> ZoneColumn {
    ZoneColumn(title: title, place: .wide, meaning: meaning, text: { value($0).humanBytes }, json: { [(name, .number(value($0)))] })
  }

  public static let all: [ZoneColumn] = [
    ZoneColumn(
      title: "ITEM", place: .always, meaning: "The zone's name. malloc has a zone for each class of sizes. A zone of another copy of Stave than malloc's has the name of its file in front, as in relay/mbuf; in JSON it is the member root.", text: { $0.zone.label + ":" },
      json: { [("name", .text($0.zone.name)), ("instance", .number($0.zone.instance))] + RootTable.member($0.zone.root) }),
    number("SIZE", "size", .always, "Bytes of an item.") { $0.zone.size },
    number("LIMIT", "limit", .always, "The largest number of items, in use and cached, 0 for none; of a pool, of those in use.") { $0.zone.limit },
    number("USED", "used", .always, "Items in the program's hands.") { $0.zone.used },
    number("FREE", "free", .always, "All other items that the zone has room for, in slabs and caches.") { $0.zone.free },
    number("REQ", "requests", .always, "Requests since the start.") { Int($0.zone.allocations) },
    number("FAIL", "fail", .always, "Requests that failed.") { Int($0.zone.failures) },
    number("SLEEP", "sleep", .always, "Requests that had to wait.") { Int($0.zone.sleeps) },
    number("XDOMAIN", "xdomain", .always, "Items freed by a CPU of another memory domain than theirs, of zones that keep each near its CPU.") { Int($0.zone.crossFrees) },
    number("REQ/s", "requests-per-second", .rate, "Requests in a second, since the last look.") { row in
      row.before.map { ZoneTable.rate(row.zone, row.now, $0) } ?? 0
    },
    ZoneColumn(
      title: "CLASS", place: .wide, meaning: "The size class: the sizes of requests that the zone serves, least and most.",
      text: { "\($0.zone.leastRequest)–\($0.zone.size)" },
      json: { [("size-class", .list([.number($0.zone.leastRequest), .number($0.zone.size)]))] }),
    number("ITEMSIZE", "item-size", .wide, "The distance between items.") { $0.zone.itemBytes },
    bytes("SLAB", "slab-size", "The size of a slab.") { $0.zone.slabBytes },
    number("ITEMS", "items-per-slab", .wide, "The items in a slab.") { $0.zone.itemsPerSlab },
    ZoneColumn(
      title: "HEADER", place: .wide, meaning: "Whether a slab's header lies in it or off it.", text: { $0.zone.isOffPage ? "off" : "in" },
      json: { [("header", .text($0.zone.isOffPage ? "off" : "in"))] }),
    number("SLABS", "slabs", .wide, "Slabs, by walking them.") { $0.zone.walkedSlabs },
    number("PAGES", "pages", .wide, "Pages of all slabs.") { $0.zone.totalBytes / $0.now.pageBytes },
    bytes("MEMORY", "memory", "Bytes of all slabs.") { $0.zone.totalBytes },
    ZoneColumn(
      title: "CPUS", place: .wide, meaning: "Items cached for each CPU.",
      text: { $0.zone.cachedPerCPU.map(String.init).joined(separator: "+") },
      json: { [("cached-per-cpu", .list($0.zone.cachedPerCPU.map(JSON.number)))] }),
    number("DEPOT", "cached-in-depot", .wide, "Items cached in the zone's depot.") { $0.zone.cachedInDepot },
    ZoneColumn(
      title: "HOLES", place: .wide, meaning: "Free items of slabs that hold others: in text their bytes, in JSON how many.",
      text: { ($0.zone.holes * $0.zone.itemBytes).humanBytes }, json: { [("holes", .number($0.zone.holes))] }),
    bytes("PURGEABLE", "purgeable", "Bytes of slabs in which all is free, which the zone keeps for a while.") { $0.zone.purgeableBytes },
    number("TRANSIT", "in-transit", .wide, "Items in a thread's hand between two places; 0 at rest.") { $0.zone.inTransit },
    number(
      "CHANGING", "changing", .wide, "Allocations and frees while the zone was read, by so many the other figures may be off; 0 at rest."
    ) { $0.zone.changing },
    number("BUCKET", "bucket-size", .wide, "Items of a bucket.") { $0.zone.bucketSize },
    ZoneColumn(
      title: "KIND", place: .wide,
      meaning: "zone; secondary, on another zone's slabs; cache, of items that are the program's; percpu, of items with a copy for each CPU, of which MEMORY has all; smr, of items that are reused when readers have left; pool.",
      text: { $0.zone.kind.rawValue }, json: { [("kind", .text($0.zone.kind.rawValue))] }),
    ZoneColumn(
      title: "KEG", place: .wide,
      meaning: "The zones whose slabs its items lie in, - for none. Slabs, and what is free in them, are shown for the zone that they were made with, and for no other.",
      text: { $0.zone.kegName.isEmpty ? "-" : $0.zone.kegName }, json: { [("keg", .text($0.zone.kegName))] }),
    number("TOWARDS", "limit-current", .wide, "Items that count against the limit.") { $0.zone.limit > 0 ? $0.zone.limited : 0 },
    number("WAITING", "sleepers", .wide, "Requests that wait at this moment.") { $0.zone.waiters },
    number("DEFERRED", "deferred", .wide, "Of the cached items those that are freed and wait until readers have left.") { $0.zone.deferred },
    number("GROUPS", "cached-in-groups", .wide, "Of a pool: items that are objects in its pool caches.") { $0.zone.cachedInGroups },
    number("LOW", "low-water", .wide, "Of a pool: with fewer free items it grows.") { $0.zone.lowWater },
    ZoneColumn(
      title: "DOMAINS", place: .wide,
      meaning: "Of a zone over several memory domains: items of each that are in use or cached, - for others. In JSON a list with the domain, its pages, its free items and these.",
      text: { $0.zone.domains.isEmpty ? "-" : $0.zone.domains.map { String($0.items) }.joined(separator: "+") },
      json: { row in
        let pages = row.zone.slabBytes / max(1, row.now.pageBytes)
        return [
          ("domains", .list(row.zone.domains.map { domain in
            .object([
              ("domain", .number(domain.number)), ("pages", .number(domain.slabs.multipliedReportingOverflow(by: pages).partialValue)),
              ("free-items", .number(domain.freeItems)), ("items", .number(domain.items)),
            ])
          }))
        ]
      }),
    ZoneColumn(
      title: "HIGH", place: .wide, meaning: "Of a pool: with pages for more items, empty ones go back at once; - (in JSON null) if none do.",
      text: { $0.zone.highWater.map(String.init) ?? "-" }, json: { [("high-water", $0.zone.highWater.map(JSON.number) ?? .null)] }),
  ]
}
