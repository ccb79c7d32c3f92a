// SPDX-License-Identifier: BSD-2-Clause
//
// One zone or malloc type of a list of statistics: its figures, those of each CPU, and room for what the caller wants to note.
// What is derived follows one rule for processes, cores and streams: counts of the CPUs are added first, and what was freed is never
// more than what was allocated.

/// Of one CPU.
public struct StatisticsCPU: Sendable {
  public var allocatedBytes: UInt64 = 0
  public var freedBytes: UInt64 = 0
  public var allocations: UInt64 = 0
  public var frees: UInt64 = 0
  /// Bit i: some allocation was of a class of at most 16 << i bytes, and of more than half of that. Of types only.
  public var sizes: UInt64 = 0
  /// Items in its cache. Of zones only.
  public var free: UInt64 = 0

  public init() {}

  public init(_ record: TypeCPURecord) {
    (allocatedBytes, freedBytes, allocations, frees) = (record.allocatedBytes, record.freedBytes, record.allocations, record.frees)
    sizes = record.sizes
  }
}

/// What a list learns of an entry: sums wrap, as the counters do.
public struct StatisticsFigures: Sendable {
  public var size: UInt64 = 0
  public var itemBytes: UInt64 = 0
  public var countLimit: UInt64 = 0
  public var pages: UInt64 = 0
  public var allocatedBytes: UInt64 = 0
  public var freedBytes: UInt64 = 0
  public var allocations: UInt64 = 0
  public var frees: UInt64 = 0
  public var sizes: UInt64 = 0
  /// Not in a stream of types.
  public var failures: UInt64 = 0
  public var sleeps: UInt64 = 0
  public var crossDomain: UInt64 = 0
  public var bucketSize: UInt64 = 0
  public var zoneFree: UInt64 = 0
  /// 0 for a zone that shares its keg with an earlier one, which counts them.
  public var kegFree: UInt64 = 0
  /// By CPU number. A type has one more, for what no CPU's cache has counted.
  public var cpus: [StatisticsCPU] = []

  public init(_ entry: ZoneEntry) {
    let record = entry.record
    (size, itemBytes, countLimit, pages) = (UInt64(record.size), UInt64(record.itemBytes), UInt64(record.limit), UInt64(record.pages))
    (failures, sleeps, crossDomain) = (record.failures, record.sleeps, record.crossDomain)
    (bucketSize, zoneFree) = (UInt64(record.bucketSize), UInt64(record.zoneFree))
    kegFree = record.flags & ZoneRecord.secondary == 0 ? UInt64(record.kegFree) : 0
    (allocations, frees) = (record.allocations, record.frees)
    cpus = entry.cpus.map { cpu in
      var one = StatisticsCPU()
      (one.allocations, one.frees, one.free) = (cpu.allocations, cpu.frees, cpu.cached)
      return one
    }
    for cpu in cpus {
      allocations &+= cpu.allocations
      frees &+= cpu.frees
    }
    if frees > allocations { allocations = frees }
    (allocatedBytes, freedBytes) = (allocations &* size, frees &* size)
  }

  public init(_ entry: TypeEntry) {
    cpus = entry.cpus.map(StatisticsCPU.init)
    for cpu in cpus {
      allocatedBytes &+= cpu.allocatedBytes
      freedBytes &+= cpu.freedBytes
      allocations &+= cpu.allocations
      frees &+= cpu.frees
      sizes |= cpu.sizes
    }
    if frees > allocations { allocations = frees }
    if freedBytes > allocatedBytes { allocatedBytes = freedBytes }
  }
}

/// An object, so that it stays the same when its list is filled again.
public final class StatisticsEntry {
  public let allocator: StatisticsAllocator
  public let name: String
  /// Distinguishes entries of one name.
  public let instance: Int
  /// Whether the stream that it came from had others of this name, which may have been longer before they were cut at 31 bytes.
  public private(set) var sharesName = false
  public private(set) var figures = StatisticsFigures(TypeEntry(TypeRecord(name: ""), cpus: []))

  /// The caller's; filling the list again leaves them as they are.
  public var objects = [AnyObject?](repeating: nil, count: 16)
  public var numbers = [UInt64](repeating: 0, count: 16)
  /// The same for each CPU, made when first written to.
  public var objectsPerCPU: [Int: [AnyObject?]] = [:]
  public var numbersPerCPU: [Int: [UInt64]] = [:]

  init(_ allocator: StatisticsAllocator, _ name: String, instance: Int) {
    self.allocator = allocator
    self.name = name
    self.instance = instance
  }

  func update(_ figures: StatisticsFigures, sharesName: Bool) {
    self.figures = figures
    self.sharesName = sharesName
  }

  /// The name, made unique among entries of one name.
  public var label: String { instance > 0 ? "\(name)_\(instance)" : name }
  /// Items, or allocations, in use.
  public var count: UInt64 { figures.allocations - figures.frees }
  /// Bytes of them.
  public var bytes: UInt64 { figures.allocatedBytes >= figures.freedBytes ? figures.allocatedBytes - figures.freedBytes : 0 }
  /// Items of a zone that are in nobody's hands.
  public var free: UInt64 { figures.cpus.reduce(figures.zoneFree &+ figures.kegFree) { $0 &+ $1.free } }
  public func cpu(_ number: Int) -> StatisticsCPU { figures.cpus.indices.contains(number) ? figures.cpus[number] : StatisticsCPU() }
}
