// SPDX-License-Identifier: BSD-2-Clause
//
// Zones over several memory domains: what such a zone has besides, its making and its end. It is a family: the zone that its
// author knows, in front, and a part for each domain that has memory, which is a zone with a keg of that domain. An item's slab tells its
// keg, and so its domain.
//
//   firstTouch   front: hooks, limit        parts: cells on every CPU, depot, keg       the CPU's domain says which part is asked
//   roundRobin   front: hooks, limit,       parts: depot, keg                           each refill takes its share from every part's
//                cells                                                                  keg; buckets go to the depots evenly
//
// So a CPU has a cell for each domain. The one of its own domain it takes from; in the others lie items of theirs that it has freed, until
// a bucketful goes to the depot of their domain, whose CPUs take it from there. Nothing is sorted, and a thread that is moved to another
// CPU at the wrong moment finds items of the domain where it was, but never mixes them.
//
// Parts stand in the list of zones, so all that walks over zones comes to them too. On a machine with one domain the flags make a plain
// zone. What is done here is called by way of pointers: a program without such zones does not have it linked in.

import CPlatform
import Pages
import Primitives

public struct ZoneDomains {
  public internal(set) var front: ZonePointer?
  /// By domain; nil for those without memory.
  public internal(set) var parts: InlineArray<16, ZonePointer?>
  /// The domains there are, and those of them with memory.
  public internal(set) var count: Int
  public internal(set) var partCount: Int
  /// Where the next stripe begins.
  var turn: Int64
  /// What a front does on its slow paths (Zone+Domains).
  let refill:
    @convention(c) (_ zone: UnsafeMutableRawPointer, _ flags: Int32, _ isRefused: UnsafeMutablePointer<Bool>) -> UnsafeMutableRawPointer?
  let free: @convention(c) (_ zone: UnsafeMutableRawPointer, _ item: UnsafeMutableRawPointer, _ stack: UInt32) -> Bool
  let fetch:
    @convention(c) (_ zone: UnsafeMutableRawPointer, _ items: UnsafeMutablePointer<UInt>, _ count: Int, _ flags: Int32) -> Int
  let chooseDepot: @convention(c) (_ zone: UnsafeMutableRawPointer, _ isTaking: Bool) -> UnsafeMutableRawPointer
}

public typealias DomainsPointer = UnsafeMutablePointer<ZoneDomains>

/// A zone with a policy; a plain one where there is one domain. Nil as `makeZone`.
func makeZoneOfDomains(name: FixedName, size: Int, alignMask: Int, flags: ZoneFlags, hooks: ZoneHooks, source: PageSource) -> ZonePointer? {
  guard let flags = flags.completed,
    let alone = SlabLayout.choose(size: size, alignMask: alignMask, flags: flags, pageBytes: pageBytes)
  else { return nil }
  memoryDomains.lookForZones()
  let desired = Bucket.desiredCapacity(itemBytes: alone.itemBytes), cells = flags.contains(.noBucket) ? 0 : desired * 2
  guard memoryDomains.count > 1 else {
    return makeZone(
      name: name, layout: alone, alignMask: alignMask, flags: flags, hooks: hooks, source: source, cellCapacity: cells,
      bucketSize: desired, reciprocal: ~0)
  }
  let parts = PartMaker(
    name: name, flags: flags.union(.part), layout: alone.foundByAddress, alignMask: alignMask,
    hooks: ZoneHooks(initialize: hooks.initialize, finish: hooks.finish), source: source,
    cells: flags.contains(.firstTouch) ? cells : 0, primary: nil)
  return divide(name, flags, hooks, cellCapacity: cells, bucketSize: desired, parts)
}

/// The same on the kegs of another such zone.
func makeSecondaryZoneOfDomains(name: FixedName, hooks: ZoneHooks, flags: ZoneFlags, primary: ZonePointer) -> ZonePointer? {
  let keg = primary.pointee.keg, desired = Bucket.desiredCapacity(itemBytes: keg.pointee.layout.itemBytes)
  let isNear = primary.pointee.flags.contains(.firstTouch)
  let parts = PartMaker(
    name: name, flags: isNear ? flags : flags.union(.noBucket), layout: keg.pointee.layout, alignMask: 0, hooks: ZoneHooks(), source: .none,
    cells: 0, primary: primary.pointee.domains)
  let zone = divide(
    name, keg.secondaryFlags(flags).subtracting(.part), hooks, cellCapacity: flags.contains(.noBucket) ? 0 : desired * 2,
    bucketSize: desired, parts)
  zone?.setZoneHooks(initialize: hooks.initialize, finish: hooks.finish)
  return zone
}

/// Makes the parts of a zone: with kegs of their own, or on those of another zone's parts.
private struct PartMaker {
  let name: FixedName
  let flags: ZoneFlags
  let layout: SlabLayout
  let alignMask: Int
  let hooks: ZoneHooks
  let source: PageSource
  let cells: Int
  let primary: DomainsPointer?

  @inline(never)
  func make(_ domain: Int) -> ZonePointer? {
    let name = self.name.appending(".", number: domain)
    guard let primary else {
      let part = makeZone(
        name: name, layout: layout, alignMask: alignMask, flags: flags, hooks: hooks, source: source, cellCapacity: cells,
        bucketSize: Bucket.desiredCapacity(itemBytes: layout.itemBytes), reciprocal: ~0)
      part?.pointee.keg.pointee.domain = UInt8(domain)
      if source.isArena { part?.pointee.keg.pointee.source = .arena(domain: domain) }
      return part
    }
    guard let whole = primary.pointee.parts[domain] else { return nil }
    let part = makeSecondaryZoneAlone(name: name, hooks: hooks, flags: flags, primary: whole)
    part?.pointee.flags.insert(.part)
    return part
  }
}

/// A front and its parts.
@inline(never)
private func divide(
  _ name: FixedName, _ flags: ZoneFlags, _ hooks: ZoneHooks, cellCapacity: Int, bucketSize: Int, _ maker: borrowing PartMaker
) -> ZonePointer? {
  guard let raw = zones.domainsKeg()?.takeOne() else { return nil }
  let domains = raw.assumingMemoryBound(to: ZoneDomains.self), isNear = flags.contains(.firstTouch)
  domains.initialize(
    to: ZoneDomains(
      front: nil, parts: InlineArray(repeating: nil), count: memoryDomains.count, partCount: 0, turn: 0,
      refill: { $0.assumingMemoryBound(to: Zone.self).refillNear(WaitFlags(rawValue: $1), &$2.pointee) },
      free: { $0.assumingMemoryBound(to: Zone.self).freeHome($1, stack: $2) },
      fetch: { $0.assumingMemoryBound(to: Zone.self).fetchOfParts($1, count: $2, WaitFlags(rawValue: $3)) },
      chooseDepot: { UnsafeMutableRawPointer($0.assumingMemoryBound(to: Zone.self).chooseDepot(isTaking: $1)) }))
  var first: ZonePointer? = nil
  for domain in 0..<domains.pointee.count where memoryDomains.hasMemory(domain) {
    guard let part = maker.make(domain) else {
      domains.leaveLists()
      _ = domains.end(keepingNumber: false)
      return nil
    }
    part.pointee.domains = domains
    if isNear { part.pointee.moreKegCount = 0 } else { part.pointee.moreKegCount = -1 }
    domains.pointee.parts[domain] = part
    domains.pointee.partCount += 1
    if first == nil { first = part }
  }
  let own = isNear ? ZoneFlags.divided.union(.secondary) : .secondary
  let front = zones.addZone(
    name: name, flags: flags.union(own), keg: first!.pointee.keg, isFirst: false, constructor: hooks.constructor,
    destructor: hooks.destructor, cellCapacity: isNear ? 0 : cellCapacity, bucketSize: bucketSize, reciprocal: ~0
  ) { front in
    front.pointee.domains = domains
    front.pointee.moreKegCount = -1
    domains.pointee.front = front
  }
  if front == nil {
    domains.leaveLists()
    _ = domains.end(keepingNumber: false)
  }
  return front
}

extension UnsafeMutablePointer where Pointee == ZonesState {
  /// The keg of what such zones have besides, made when first asked for.
  fileprivate func domainsKeg() -> KegPointer? {
    pointee.listLock.lock()
    defer { pointee.listLock.unlock() }
    if pointee.domainsKeg == nil {
      pointee.domainsKeg = makeInternalKeg(name: "ZONE DOMAINS ", number: 1, size: MemoryLayout<ZoneDomains>.stride)
    }
    return pointee.domainsKeg
  }
}

extension UnsafeMutablePointer where Pointee == ZoneDomains {
  /// The keg of a part, by its number.
  func keg(number: UInt32) -> KegPointer? { part(number: number)?.pointee.keg }

  /// A part, by its keg's number.
  func part(number: UInt32) -> ZonePointer? {
    for domain in 0..<pointee.count {
      if let part = pointee.parts[domain], part.pointee.keg.pointee.index == number { return part }
    }
    return nil
  }

  /// Where the next bucket of a front with `roundRobin` comes from or goes to.
  func depot(of zone: ZonePointer, isTaking: Bool) -> ZonePointer {
    pointee.chooseDepot(UnsafeMutableRawPointer(zone), isTaking).assumingMemoryBound(to: Zone.self)
  }

  /// The part of a domain, or of the next one that has memory.
  func number(near domain: Int) -> Int {
    var number = domain < pointee.count ? domain : 0
    while pointee.parts[number] == nil { number = number + 1 < pointee.count ? number + 1 : 0 }
    return number
  }

  /// No walk is at a part any more, and none gives room back to the front.
  func leaveLists() {
    for domain in 0..<pointee.count { pointee.parts[domain]?.leaveList() }
  }

  /// The parts, which are in no list, go after the front has gone: how many items are lost with them. `keepingNumber`: guarded items of
  /// the front are out.
  func end(keepingNumber: Bool) -> Int {
    var lost = 0, isFirst = true
    // Depots may have each other's items: all are emptied, by us or by a walk that is at one, before the first keg goes.
    for domain in 0..<pointee.count { pointee.parts[domain]?.reclaimAlone(.drainCPU) }
    for domain in 0..<pointee.count {
      guard let part = pointee.parts[domain] else { continue }
      // The front's guarded items name it by the number of this keg.
      if isFirst && keepingNumber { part.pointee.keg.pointee.secondaries += 1 }
      isFirst = false
      lost += part.end()
    }
    zones.pointee.domainsKeg!.giveOne(UnsafeMutableRawPointer(self))
    return lost
  }
}

extension SlabLayout {
  /// Any address leads to its keg.
  fileprivate var foundByAddress: SlabLayout {
    var layout = self
    layout.lookup = .metadata
    return layout
  }
}
