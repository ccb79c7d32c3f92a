// SPDX-License-Identifier: BSD-2-Clause
//
// What only some kinds of zones have: limits and who waits at them, a pool's marks and caches, items that wait for readers, slabs of
// page sources of the program's own.

import Pages
import Zones

extension Zone {
  /// Whether its keg's slabs are its own, and not those of the zone that the keg was made with, or none.
  var ownsKeg: Bool { !flags.contains(.secondary) && !flags.contains(.cacheOnly) }

  /// Where its kegs are; none for a zone that is nothing but caches.
  var kegPlaces: [UInt] {
    if flags.contains(.cacheOnly) { return [] }
    return [UInt(bitPattern: keg)] + (0..<Int(max(0, min(3, moreKegCount)))).map { UInt(bitPattern: moreKegs[$0]) }
  }
}

extension SnapshotReader {
  /// So many pool caches of one pool are looked at.
  private static var mostPoolCaches: Int { 1024 }

  func describeKind(
    of place: UInt, _ zone: UnsafePointer<Zone>, _ keg: UnsafePointer<Keg>, into result: inout ZoneSnapshot, _ root: RootCopy
  ) throws(InspectionError) {
    let flags = zone.pointee.flags
    result.place = place
    result.domainsPlace = UInt(bitPattern: zone.pointee.domains)
    (result.isPart, result.domain) = (flags.contains(.part), Int(keg.pointee.domain))
    result.crossFrees = max(0, zone.pointee.crossFrees)
    result.ownsKeg = zone.pointee.ownsKeg
    result.kegs = zone.pointee.kegPlaces
    result.kind =
      if flags.contains(.pool) { .pool } else if flags.contains(.cacheOnly) { .cacheOnly } else if flags.contains(.secondary) { .secondary
      } else if flags.contains(.perCPU) { .perCPU } else if flags.contains(.smr) { .deferred } else { .plain }
    let pageBytes = Int(root.part(RootHeader.self, 0).pointee.pageBytes)
    if flags.contains(.perCPU), pageBytes > 0 { result.copies = max(1, result.slabBytes / pageBytes) }
    result.limit = Int(clamping: max(0, zone.pointee.bound.items))
    result.limited = Int(clamping: zone.pointee.bound.made)
    result.waiters = zone.pointee.bound.waiters
    if result.ownsKeg { result.isInArena = try isInArena(keg, arenaWindow(root)) }
    if let deferral = zone.pointee.deferral {
      result.deferred = max(0, (try? target.readStructure(Deferral.self, at: UInt(bitPattern: deferral), { $0.pointee.waiting })) ?? 0)
    }
    if flags.contains(.pool), let pool = keg.pointee.pool { try describePool(at: UInt(bitPattern: pool), into: &result) }
  }

  /// Of a keg without slabs true.
  private func isInArena(_ keg: UnsafePointer<Keg>, _ arena: Range<UInt>) throws(InspectionError) -> Bool {
    guard let slab = keg.pointee.full.first ?? keg.pointee.partial.first ?? keg.pointee.free.first else { return true }
    let header = UInt(bitPattern: slab)
    if !keg.pointee.layout.isOffPage { return arena.contains(header) }
    // It may have gone by now; then it is where all are that readers do not know better of.
    let base = try? target.read(UInt.self, at: header &- UInt(MemoryLayout<OffPagePrefix>.size))
    return base.map { arena.contains($0) } ?? true
  }

  private func describePool(at address: UInt, into result: inout ZoneSnapshot) throws(InspectionError) {
    let copies = Copies(target)
    defer { copies.discard() }
    guard let pool = try? copies.structure(Pool.self, at: address) else { return }
    let items = max(1, result.itemsPerSlab)
    result.limit = pool.pointee.limit == .max ? 0 : max(0, pool.pointee.limit)
    result.limited = max(0, Int(clamping: result.allocations &- result.frees))
    result.waiters = Int(clamping: pool.pointee.waiters)
    result.lowWater = max(0, pool.pointee.lowItems)
    result.highWater = pool.pointee.highPages == .max ? nil : max(0, pool.pointee.highPages &* items)
    result.mostSlabs = max(0, pool.pointee.mostPages)
    var next = UInt(bitPattern: pool.pointee.caches), steps = 0
    while next != 0, steps < Self.mostPoolCaches, let cache = try? copies.structure(PoolCache.self, at: next) {
      result.cachedInGroups = min(1 << 44, result.cachedInGroups + max(0, min(1 << 44, cache.pointee.held)))
      next = UInt(bitPattern: cache.pointee.next)
      steps += 1
    }
  }
}

extension TargetMemory {
  /// What `body` takes from a copy of a structure.
  fileprivate func readStructure<Structure: ~Copyable, Value>(
    _ type: Structure.Type, at address: UInt, _ body: (UnsafePointer<Structure>) -> Value
  ) throws(InspectionError) -> Value {
    let copies = Copies(self)
    defer { copies.discard() }
    return body(try copies.structure(type, at: address))
  }
}
