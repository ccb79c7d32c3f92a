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
  if CPUCache.isPassedBy { demand(zone.pointee.depotItems == 0 && counts.cached == 0, "cached items while caches are passed by") }
  demand(counts.used >= 0 && counts.cached >= 0, "negative figures")
  demand(
    Int(counts.used) + Int(counts.cached) + zone.pointee.depotItems == zone.pointee.keg.outstanding,
    "used \(counts.used) + cells \(counts.cached) + depot \(zone.pointee.depotItems) ≠ out of the keg \(zone.pointee.keg.outstanding)")
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
func headersOut() -> Int { (0..<5).reduce(0) { $0 + (zones.pointee.headerKegs[$1]?.outstanding ?? 0) } }

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
