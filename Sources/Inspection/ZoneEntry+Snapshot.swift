// SPDX-License-Identifier: BSD-2-Clause
//
// A snapshot's zones as records of the stream.

extension StreamEntry where Record == ZoneRecord, CPURecord == ZoneCPURecord {
  /// `maxCPUs`: CPU numbers below it have a record each.
  public init(_ zone: ZoneSnapshot, pageBytes: Int, maxCPUs: Int) {
    var record = ZoneRecord(name: zone.fullName)
    record.align = UInt32(clamping: zone.alignMask)
    record.size = UInt32(clamping: zone.size)
    record.itemBytes = UInt32(clamping: zone.itemBytes)
    record.pages = UInt32(clamping: zone.slabs * zone.slabBytes / max(1, pageBytes))
    record.limit = UInt32(clamping: zone.limit)
    // Of a zone with a limit, the pages that so many items take.
    let pagesOfSlab = zone.slabBytes / max(1, pageBytes), slabs = zone.limit / max(1, zone.itemsPerSlab)
    record.maxPages = UInt32(clamping: slabs.multipliedReportingOverflow(by: pagesOfSlab).partialValue)
    if zone.kind == .secondary { record.flags |= ZoneRecord.secondary }
    record.kegFree = UInt32(clamping: zone.freeItems)
    record.zoneFree = UInt32(clamping: zone.cachedInDepot)
    record.bucketSize = UInt32(clamping: zone.bucketSize)
    record.allocations = UInt64(bitPattern: zone.directAllocations)
    record.frees = UInt64(bitPattern: zone.directFrees)
    record.failures = UInt64(clamping: zone.failures)
    record.sleeps = UInt64(clamping: zone.sleeps)
    record.crossDomain = UInt64(clamping: zone.crossFrees)
    var cpus = [ZoneCPURecord](repeating: ZoneCPURecord(), count: max(0, maxCPUs))
    for one in zone.perCPU where cpus.indices.contains(one.cpu) {
      cpus[one.cpu].allocations = UInt64(bitPattern: one.allocations)
      cpus[one.cpu].frees = UInt64(bitPattern: one.frees)
      cpus[one.cpu].cached = UInt64(clamping: one.cached)
    }
    self.init(record, cpus: cpus)
  }
}

extension Snapshot {
  /// `vm.zone_stats` of this look; of a zone without cells all records of CPUs are zeros.
  public var zoneStream: [UInt8] {
    StatisticsStream.zones(zones.map { ZoneEntry($0, pageBytes: pageBytes, maxCPUs: cpuLimit) }).bytes(maxCPUs: cpuLimit)
  }
}
