// SPDX-License-Identifier: BSD-2-Clause
//
// stave_zone.h: limits, figures, and memory given back.

import CPlatform
import Pages
import Zones

@_silgen_name("stave_zone_set_max")
public func zoneSetMax(_ zone: ZonePointer, _ items: Int) -> Int { zone.setLimit(items < 0 ? .max : items) }

@_silgen_name("stave_zone_get_max")
public func zoneGetMax(_ zone: ZonePointer) -> Int { zone.limit }

@_silgen_name("stave_zone_get_cur")
public func zoneGetCur(_ zone: ZonePointer) -> Int { max(0, zone.made) }

@_silgen_name("stave_zone_exhausted")
public func zoneExhausted(_ zone: ZonePointer) -> Int32 { zone.isExhausted ? 1 : 0 }

@_silgen_name("stave_zone_set_warning")
public func zoneSetWarning(_ zone: ZonePointer, _ text: UnsafePointer<UInt8>?) { zone.setWarning(text) }

@_silgen_name("stave_zone_set_maxaction")
public func zoneSetMaxAction(_ zone: ZonePointer, _ action: LimitAction?) { zone.setLimitAction(action) }

@_silgen_name("stave_zone_size")
public func zoneSize(_ zone: ZonePointer) -> Int { zone.pointee.size }

@_silgen_name("stave_zone_memory")
public func zoneMemory(_ zone: ZonePointer?) -> Int {
  if let zone { return zone.memory }
  return isReady() ? zones.memory : 0
}

/// struct stave_zone_stat.
public struct ZoneStatistics {
  var allocations: Int64
  var frees: Int64
  var used: Int64
  var cached: Int64
  var failures: Int64
  var sleeps: Int64
  var crossFrees: Int64
}

@_silgen_name("stave_zone_get_stat")
public func zoneGetStatistics(_ zone: ZonePointer, _ result: UnsafeMutablePointer<ZoneStatistics>) {
  let counts = ZoneCounts(zone)
  result.initialize(
    to: ZoneStatistics(
      allocations: counts.allocations, frees: counts.frees, used: max(0, counts.used),
      cached: counts.cached + Int64(zone.depotItemsInAll), failures: zone.pointee.failures, sleeps: zone.pointee.sleeps,
      crossFrees: zone.pointee.crossFrees))
}

private func request(_ number: Int32) -> Reclaim? {
  switch number {
  case 1: .trim
  case 2: .drain
  case 3: .drainCPU
  default: nil
  }
}

/// One zone, or with null all; and the pages of slabs that have come free, to the system.
@_silgen_name("stave_zone_reclaim")
public func zoneReclaim(_ zone: ZonePointer?, _ how: Int32) -> Int32 {
  guard let request = request(how) else { return orInvalid(false) }
  guard isReady() else { return 0 }
  if let zone { zone.reclaim(request) } else { reclaimAll(request) }
  arena.purge(recentToo: true)
  return 0
}

/// The same for one memory domain.
@_silgen_name("stave_zone_reclaim_domain")
public func zoneReclaimDomain(_ zone: ZonePointer?, _ how: Int32, _ domain: Int32) -> Int32 {
  guard isReady(), let request = request(how), domain >= 0, Int(domain) < knownDomains() else { return orInvalid(false) }
  if let zone { zone.reclaim(request, domain: Int(domain)) } else { reclaimAll(request, domain: Int(domain)) }
  arena.purge(recentToo: true)
  return 0
}
