// SPDX-License-Identifier: BSD-2-Clause
//
// stave_zone.h: items of zones. What a cell serves, without a hook, is done in functions that call nothing; all else behind a jump.

import Pages
import Zones

@_silgen_name("stave_zone_alloc")
public func zoneAlloc(_ zone: ZonePointer, _ flags: Int32) -> UnsafeMutableRawPointer? {
  guard saysOnlyWhetherToWait(flags), let item = zone.allocateQuickly() else { return allocAside(zone, flags, nil) }
  return item
}

/// Exactly one of both, and nothing else; what is wrong is reported aside.
@inline(__always)
private func saysOnlyWhetherToWait(_ flags: Int32) -> Bool { UInt32(bitPattern: flags &- WaitFlags.noWait.rawValue) <= 1 }

@inline(never)
private func allocAside(_ zone: ZonePointer, _ flags: Int32, _ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
  zone.allocate(WaitFlags(rawValue: flags), argument: argument)
}

@inline(never)
private func freeAside(_ zone: ZonePointer, _ item: UnsafeMutableRawPointer?, _ argument: UnsafeMutableRawPointer?) {
  zone.free(item, argument: argument)
}

@_silgen_name("stave_zone_alloc_arg")
public func zoneAllocArg(_ zone: ZonePointer, _ argument: UnsafeMutableRawPointer?, _ flags: Int32) -> UnsafeMutableRawPointer? {
  allocAside(zone, flags, argument)
}

@_silgen_name("stave_zone_free")
public func zoneFree(_ zone: ZonePointer, _ item: UnsafeMutableRawPointer?) {
  guard let item, zone.freeQuickly(item) else { return freeAside(zone, item, nil) }
}

@_silgen_name("stave_zone_free_arg")
public func zoneFreeArg(_ zone: ZonePointer, _ item: UnsafeMutableRawPointer?, _ argument: UnsafeMutableRawPointer?) {
  freeAside(zone, item, argument)
}

@_silgen_name("stave_zone_wait")
public func zoneWait(_ zone: ZonePointer) { zone.waitForItem() }

@_silgen_name("stave_zone_find_refcnt")
public func zoneFindReferenceCount(_ zone: ZonePointer, _ item: UnsafeRawPointer) -> UnsafeMutablePointer<UInt32> {
  zone.referenceCount(of: item)
}

// MARK: - Items that every CPU has a copy of

@_silgen_name("stave_zone_alloc_pcpu")
public func zoneAllocPerCPU(_ zone: ZonePointer, _ argument: UnsafeMutableRawPointer?, _ flags: Int32) -> UnsafeMutableRawPointer? {
  zone.allocatePerCPU(WaitFlags(rawValue: flags), argument: argument)
}

@_silgen_name("stave_zone_free_pcpu")
public func zoneFreePerCPU(_ zone: ZonePointer, _ item: UnsafeMutableRawPointer?, _ argument: UnsafeMutableRawPointer?) {
  zone.freePerCPU(item, argument: argument)
}

@_silgen_name("stave_zone_pcpu_copy")
public func zonePerCPUCopy(_ item: UnsafeMutableRawPointer, _ cpu: Int) -> UnsafeMutableRawPointer { perCPUCopy(of: item, cpu: cpu) }

@_silgen_name("stave_zone_pcpu_copies")
public func zonePerCPUCopies() -> Int { isReady() ? perCPUCopies : 0 }

@_silgen_name("stave_zone_pcpu_zone")
public func zonePerCPUZone(_ bytes: Int) -> ZonePointer? { isReady() ? zones.perCPUZone(bytes: bytes) : nil }

// MARK: - Memory domains

func knownDomains() -> Int {
  memoryDomains.look()
  return memoryDomains.count
}

@_silgen_name("stave_zone_domains")
public func zoneDomains() -> Int32 { isReady() ? Int32(knownDomains()) : 0 }

@_silgen_name("stave_zone_alloc_domain")
public func zoneAllocDomain(
  _ zone: ZonePointer, _ argument: UnsafeMutableRawPointer?, _ domain: Int32, _ flags: Int32
) -> UnsafeMutableRawPointer? {
  zone.allocate(domain: Int(domain), WaitFlags(rawValue: flags), argument: argument)
}

@_silgen_name("stave_zone_domain_of")
public func zoneDomainOf(_ zone: ZonePointer, _ item: UnsafeMutableRawPointer?) -> Int32 { Int32(zone.domain(of: item)) }
