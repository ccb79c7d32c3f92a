// SPDX-License-Identifier: BSD-2-Clause
//
// stave_zone.h: zones made and taken down.

import CPlatform
import Pages
import Primitives
import Zones

/// Of what an author may say; nil for unknown bits and for flags that contradict each other.
private func checked(_ flags: UInt32) -> ZoneFlags? {
  guard flags & ~ZoneFlags.publicMask == 0, flags & ZoneFlags.malloc.rawValue == 0 else { return nil }
  return ZoneFlags(rawValue: flags).completed
}

private func isAlignment(_ mask: Int) -> Bool { mask >= 0 && mask < pageBytes && (mask & (mask + 1)) == 0 }

/// Null and EINVAL for what no zone can be, null and ENOMEM where `make` fails.
private func make(_ name: UnsafePointer<CChar>, _ size: Int, _ align: Int, _ flags: UInt32, _ make: (FixedName, ZoneFlags) -> ZonePointer?)
  -> UnsafeMutableRawPointer?
{
  guard isReady() else { return stave_no_memory() }
  guard size > 0, isAlignment(align), let known = checked(flags),
    SlabLayout.choose(size: size, alignMask: align, flags: known, pageBytes: pageBytes, cpuCount: perCPUCopies) != nil
  else { return stave_invalid() }
  guard let zone = make(FixedName(cString: name), known) else { return stave_no_memory() }
  return UnsafeMutableRawPointer(zone)
}

@c(stave_zone_create)
public func zoneCreate(
  _ name: UnsafePointer<CChar>, _ size: Int, _ constructor: Constructor?, _ destructor: Destructor?, _ initialize: ItemHook?,
  _ finish: ItemFinish?, _ align: Int, _ flags: UInt32
) -> UnsafeMutableRawPointer? {
  make(name, size, align, flags) {
    makeZone(
      name: $0, size: size, alignMask: align, flags: $1,
      hooks: ZoneHooks(constructor: constructor, destructor: destructor, initialize: initialize, finish: finish))
  }
}

@c(stave_zone_create_smr)
public func zoneCreateSMR(
  _ name: UnsafePointer<CChar>, _ size: Int, _ constructor: Constructor?, _ destructor: Destructor?, _ initialize: ItemHook?,
  _ finish: ItemFinish?, _ align: Int, _ flags: UInt32, _ smr: UnsafeMutableRawPointer?
) -> UnsafeMutableRawPointer? {
  make(name, size, align, flags | ZoneFlags.smr.rawValue) {
    makeSMRZone(
      name: $0, size: size, alignMask: align, flags: $1,
      hooks: ZoneHooks(constructor: constructor, destructor: destructor, initialize: initialize, finish: finish),
      smr: smr?.assumingMemoryBound(to: SMR.self))
  }
}

@c(stave_zone_create_secondary)
public func zoneCreateSecondary(
  _ name: UnsafePointer<CChar>, _ constructor: Constructor?, _ destructor: Destructor?, _ initialize: ItemHook?, _ finish: ItemFinish?,
  _ flags: UInt32, _ primary: UnsafeMutableRawPointer
) -> UnsafeMutableRawPointer? {
  let primary = primary.assumingMemoryBound(to: Zone.self)
  guard !primary.pointee.flags.contains(.cacheOnly), let known = checked(flags) else { return stave_invalid() }
  guard
    let zone = makeSecondaryZone(
      name: FixedName(cString: name),
      hooks: ZoneHooks(constructor: constructor, destructor: destructor, initialize: initialize, finish: finish), flags: known,
      primary: primary)
  else { return stave_no_memory() }
  return UnsafeMutableRawPointer(zone)
}

@c(stave_zone_create_cache)
public func zoneCreateCache(
  _ name: UnsafePointer<CChar>, _ size: Int, _ constructor: Constructor?, _ destructor: Destructor?, _ initialize: ItemHook?,
  _ finish: ItemFinish?, _ importItems: ItemImport?, _ releaseItems: ItemRelease?, _ argument: UnsafeMutableRawPointer?, _ flags: UInt32
) -> UnsafeMutableRawPointer? {
  guard let importItems, let releaseItems, flags & ~ZoneFlags.ofCaches.rawValue == 0 else { return stave_invalid() }
  return make(name, size, 7, flags) {
    makeCacheOnlyZone(
      name: $0, size: size, hooks: ZoneHooks(constructor: constructor, destructor: destructor, initialize: initialize, finish: finish),
      flags: $1, argument: argument, importItems: importItems, releaseItems: releaseItems)
  }
}

@_silgen_name("stave_zone_destroy")
public func zoneDestroy(_ zone: ZonePointer?) -> Int { zone?.destroy() ?? 0 }

@_silgen_name("stave_zone_add_keg")
public func zoneAddKeg(_ zone: ZonePointer, _ primary: ZonePointer) -> Int32 {
  switch zone.addKeg(of: primary) {
  case .done: return 0
  case .invalid: return orInvalid(false)
  case .size:
    stave_set_errno(7 /* E2BIG */)
    return -1
  case .full: return orNoMemory(false)
  }
}

@_silgen_name("stave_zone_set_hooks")
public func zoneSetHooks(_ zone: ZonePointer, _ initialize: ItemHook?, _ finish: ItemFinish?) {
  zone.setZoneHooks(initialize: initialize, finish: finish)
}

/// Only for zones whose pages need not be the arena's. What is never given back needs nobody who takes it.
@_silgen_name("stave_zone_set_source")
public func zoneSetSource(
  _ zone: ZonePointer, _ allocate: PageSource.Allocate?, _ free: PageSource.Free?, _ argument: UnsafeMutableRawPointer?, _ isZeroed: Int32
) -> Int32 {
  let flags = zone.pointee.flags
  guard flags.contains(.notPage), let allocate, free != nil || flags.contains(.noFree) else { return orInvalid(false) }
  return orInvalid(zone.setSource(PageSource(allocate: allocate, free: free ?? PageSource.none.free, context: argument, isZeroed: isZeroed != 0)))
}

/// More than this is no number of items that there can be.
private var mostItems: Int { 1 << 40 }

@_silgen_name("stave_zone_reserve_addresses")
public func zoneReserveAddresses(_ zone: ZonePointer, _ count: Int) -> Int32 {
  guard count != 0, !zone.pointee.flags.contains(.cacheOnly) else { return orInvalid(false) }
  return orNoMemory(0...mostItems ~= count && zone.reserveAddresses(for: count))
}

@_silgen_name("stave_zone_reserve")
public func zoneReserve(_ zone: ZonePointer, _ count: Int) { zone.setReserve(0...mostItems ~= count ? count : mostItems) }

@_silgen_name("stave_zone_prealloc")
public func zonePrealloc(_ zone: ZonePointer, _ count: Int, _ flags: Int32) -> Int32 {
  guard !zone.pointee.flags.contains(.cacheOnly) else { return orInvalid(false) }
  return orNoMemory(0...mostItems ~= count && zone.preallocate(count, WaitFlags(rawValue: flags)))
}
