// SPDX-License-Identifier: BSD-2-Clause
//
// What must hold of a zone whenever nobody is inside it: the lists of its keg, its depot, its cells, and the sum of all
// three with what callers hold.

import CPlatform
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import Zones

/// Items in cells of all CPUs.
func cached(_ zone: ZonePointer) -> Int { Int(ZoneCounts(zone).cached) }
func used(_ zone: ZonePointer) -> Int { Int(ZoneCounts(zone).used) }

/// What the zones that share kegs with this one hold, directly or by others, and what is out of these kegs.
private func family(of zone: ZonePointer) -> (held: Int, outstanding: Int) {
  guard !zone.pointee.flags.contains(.cacheOnly) else { return (0, 0) }
  func kegs(_ zone: ZonePointer) -> [KegPointer] {
    guard let domains = zone.pointee.domains else { return (0...Int(zone.pointee.moreKegCount)).map { zone.keg(number: $0) } }
    return (0..<domains.pointee.count).compactMap { domains.pointee.parts[$0]?.pointee.keg }
  }
  // Other threads may make and destroy zones that share nothing with this one: of those no more than their kegs is looked at.
  var all: [(zone: ZonePointer, keg: KegPointer, kegs: [KegPointer])] = []
  forEachListedZone { all.append(($0, $0.pointee.keg, kegs($0))) }
  var shared = Set(kegs(zone)), count = 0
  while shared.count > count {
    count = shared.count
    for one in all where !shared.isDisjoint(with: one.kegs) { shared.formUnion(one.kegs) }
  }
  // Of a zone over several memory domains the one in front has what its parts have.
  let held = all.filter { shared.contains($0.keg) && !$0.zone.pointee.flags.contains(.part) }
    .reduce(0) { $0 + Int(ZoneCounts($1.zone).used + ZoneCounts($1.zone).cached) + $1.zone.depotItemsInAll }
  return (held, shared.reduce(0) { $0 + $1.outstanding })
}

/// Checks one zone at rest. `holding`: what the test knows to be out.
func check(_ zone: ZonePointer, holding: Int? = nil, sourceLocation: SourceLocation = #_sourceLocation) {
  func demand(_ isTrue: Bool, _ what: String) {
    if !isTrue { Issue.record(Comment(rawValue: what), sourceLocation: sourceLocation) }
  }
  zone.pointee.keg.checkInvariants()
  // The depot: no empty bucket on the full list (L28), counts within capacity (L14), the sum as noted.
  var items = 0
  var next = zone.pointee.full
  while let bucket = next {
    bucket.checkInvariants()
    demand(bucket.pointee.count > 0, "an empty bucket on the full list (L28)")
    items += Int(bucket.pointee.count)
    next = bucket.pointee.next
  }
  zone.checkDeferral()
  zone.checkDomains()
  items += zone.pointee.deferral?.pointee.waiting ?? 0
  demand(items == zone.pointee.depotItems, "depot holds \(items), noted are \(zone.pointee.depotItems)")
  zone.pointee.workingSet.checkInvariants(holding: zone.pointee.depotItems)
  var empties = 0
  next = zone.pointee.emptyBuckets
  while let bucket = next {
    demand(bucket.pointee.count == 0, "an empty bucket with items")
    empties += 1
    next = bucket.pointee.next
  }
  demand(empties == zone.pointee.emptyBucketCount && empties <= 2, "empty buckets: \(empties)")
  // The cells: fill ≤ capacity, except that a cell emptied from elsewhere may have shrunk.
  if zone.pointee.cell != 0 {
    let place = stave_cell_places()[zone.pointee.cell]
    demand(Int(place.capacity) == zone.pointee.cellCapacity, "slots of the cell")
    CPUCache.forEachRegion { cells in
      let cell = cells[zone.pointee.cell]
      demand(Int(cell.word & 0xffff) <= Int(place.capacity), "a cell holds more than it has slots")
      demand((cell.capacity > 0) != CPUCache.isClosed(zone.pointee.cell) && cell.capacity <= UInt32(place.capacity), "capacity of a cell")
      demand(cell.slots![-1] == 0 || zone.pointee.cell == 0, "the word before the slots")
    }
  }
  let counts = ZoneCounts(zone)
  for index in [zone.pointee.allocationCell, zone.pointee.freeCell] where index != 0 {
    CPUCache.forEachRegion { demand($0[index].word & 0xffff <= UInt64(stave_cell_places()[index].capacity), "a cell of deferred reuse holds more than it has slots") }
  }
  if CPUCache.isPassedBy && zone.pointee.deferral == nil { demand(zone.pointee.depotItems == 0 && counts.cached == 0, "cached items while caches are passed by") }
  demand(counts.used >= 0 && counts.cached >= 0, "negative figures")
  // Of all zones and kegs that share items with this one, together.
  let (held, outstanding) = family(of: zone)
  demand(held == outstanding, "used \(counts.used) + cells \(counts.cached) + depot \(zone.pointee.depotItems), with zones on its kegs \(held) ≠ out of the kegs \(outstanding)")
  zone.checkLimit()
  zone.checkQuickness()
  if let holding { demand(Int(counts.used) == holding, "used is \(counts.used), held are \(holding)") }
}

/// All zones and all kegs, those of the zone system too, and what they stand on.
func checkAll(sourceLocation: SourceLocation = #_sourceLocation) {
  var next = zones.pointee.first
  var count = 0
  while let zone = next {
    check(zone, sourceLocation: sourceLocation)
    count += 1
    next = zone.pointee.next
  }
  if count != zones.pointee.zoneCount { Issue.record("zone count", sourceLocation: sourceLocation) }
  for index in 1..<max(1, zones.pointee.kegCount) {
    stave_kegs()[index]?.assumingMemoryBound(to: Keg.self).checkInvariants()
  }
  arena.checkInvariants()
  metadataPages.checkInvariants()
  ownerMap.pointee.checkInvariants()
}

/// Buckets in use, of all sizes.
func bucketsOut() -> Int { (0..<8).reduce(0) { $0 + (zones.pointee.bucketKegs[$1]?.outstanding ?? 0) } }
/// Off-page headers in use.
func headersOut() -> Int {
  (0..<5).reduce(0) { $0 + (zones.pointee.headerKegs[$1]?.outstanding ?? 0) } + (0..<2).reduce(0) { $0 + (zones.pointee.countedHeaderKegs[$1]?.outstanding ?? 0) }
}

/// A zone of this name and size, for tests.
func makeTestZone(
  _ name: StaticString = "test", _ size: Int = 64, alignMask: Int = 7, flags: ZoneFlags = .none, hooks: ZoneHooks = ZoneHooks(),
  source: PageSource = .arena
) -> ZonePointer {
  makeZone(name: FixedName(name), size: size, alignMask: alignMask, flags: flags, hooks: hooks, source: source)!
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// `count` items at once; fewer if the zone refuses.
  func takeMany(_ count: Int, _ flags: WaitFlags = .noWait) -> [UnsafeMutableRawPointer] {
    var items: [UnsafeMutableRawPointer] = []
    while items.count < count, let item = allocate(flags) { items.append(item) }
    return items
  }
  func freeAll(_ items: [UnsafeMutableRawPointer]) { for item in items { free(item) } }
}
