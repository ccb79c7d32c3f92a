// SPDX-License-Identifier: BSD-2-Clause
//
// A snapshot's malloc types as records of the stream: one for each CPU number, and one more, the last, for what no CPU's cache has
// counted, so that no CPU is charged with what it has not done and the sums over all records are the type's.

extension StreamEntry where Record == TypeRecord, CPURecord == TypeCPURecord {
  /// `maxCPUs`: CPU numbers below it have a record each. The entry has one more.
  public init(_ type: TypeSnapshot, maxCPUs: Int) {
    var cpus = [TypeCPURecord](repeating: TypeCPURecord(), count: max(0, maxCPUs) + 1)
    cpus[cpus.count - 1] = type.elsewhere
    for one in type.perCPU { cpus[min(max(0, one.cpu), cpus.count - 1)].add(one.counts) }
    self.init(TypeRecord(name: type.fullName), cpus: cpus)
  }
}

extension Snapshot {
  /// Throws where a record for each CPU of each zone and type would take more memory than half a GiB: only a process that lies has
  /// so many, and it is not to end its reader.
  public func checkRecords() throws(InspectionError) {
    let (records, isTooLarge) = (zones.count + types.count).multipliedReportingOverflow(by: max(0, cpuLimit) + 1)
    if isTooLarge || records > 1 << 23 { throw .damaged("\(zones.count) zones and \(types.count) types with \(cpuLimit) CPUs each") }
  }

  /// `kern.malloc_stats` of this look.
  public var typeStream: [UInt8] {
    StatisticsStream.types(types.map { TypeEntry($0, maxCPUs: cpuLimit) }).bytes(maxCPUs: max(0, cpuLimit) + 1)
  }
}
