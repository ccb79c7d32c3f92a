// SPDX-License-Identifier: BSD-2-Clause
//
// Secondary zones: caches of their own, with hooks and counters of their own, on the keg of another zone. An item that lies
// in a secondary zone's caches is in the state in which that zone's init left it; when it goes back to the keg the zone's fini has
// undone that, and the primary zone, or another secondary one, may have it (L63).
//
//   primary zone    ─┐
//   secondary zone  ─┼─►  keg: slabs, and the hooks that the primary was made with
//   secondary zone  ─┘

import CPlatform
import Primitives

/// A zone on the keg of `primary`. `hooks.initialize` and `finish` run between the keg and this zone's caches; the keg's run as before.
/// What the primary defers is its own affair: what comes to the keg may be reused.
/// Of the flags those count that concern caches alone; size, alignment and memory are the keg's. Nil when memory or cells run
/// out. The primary outlives it.
public func makeSecondaryZone(name: FixedName, hooks: ZoneHooks = ZoneHooks(), flags: ZoneFlags = .none, primary: ZonePointer) -> ZonePointer? {
  let keg = primary.pointee.keg
  precondition(!keg.pointee.flags.contains(.internal), "a zone on the zone system's own items")
  precondition(!primary.pointee.flags.contains(.cacheOnly), "a zone on one that has no keg")
  if primary.pointee.domains != nil { return makeSecondaryZoneOfDomains(name: name, hooks: hooks, flags: flags, primary: primary) }
  return makeSecondaryZoneAlone(name: name, hooks: hooks, flags: flags, primary: primary)
}

func makeSecondaryZoneAlone(name: FixedName, hooks: ZoneHooks, flags: ZoneFlags, primary: ZonePointer) -> ZonePointer? {
  let keg = primary.pointee.keg
  let flags = keg.secondaryFlags(flags)
  let desired = Bucket.desiredCapacity(itemBytes: keg.pointee.layout.itemBytes)
  return zones.addZone(
    name: name, flags: flags, keg: keg, isFirst: false, constructor: hooks.constructor, destructor: hooks.destructor,
    cellCapacity: flags.contains(.noBucket) ? 0 : desired * 2, bucketSize: desired, reciprocal: ~0
  ) { zone in
    zone.pointee.zoneInit = hooks.initialize
    zone.pointee.zoneFini = hooks.finish
  }
}

extension UnsafeMutablePointer where Pointee == Keg {
  /// Of a secondary zone on it: the keg's, but for those that concern caches.
  func secondaryFlags(_ flags: ZoneFlags) -> ZoneFlags {
    let own = ZoneFlags.ofCaches
    return ZoneFlags(rawValue: pointee.flags.rawValue & ~own.union(.smr).rawValue | flags.rawValue & own.rawValue).union(.secondary)
  }
}
