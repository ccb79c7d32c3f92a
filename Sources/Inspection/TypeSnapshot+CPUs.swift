// SPDX-License-Identifier: BSD-2-Clause
//
// What each CPU has counted of a malloc type: the cells of the type's zones on it. A block may be freed on another CPU than the
// one that it came from, so of one CPU more may be freed than allocated; no count is negative, and the sums over all CPUs are what the
// table says of the type (L58).

/// A malloc type on one CPU.
public struct TypeCPUCounts: Sendable {
  /// The system's number of it.
  public var cpu = 0
  public var counts = TypeCPURecord()
}

extension TypeCPURecord {
  /// Sums wrap, as the counters do.
  mutating func add(_ other: TypeCPURecord) {
    allocatedBytes &+= other.allocatedBytes
    freedBytes &+= other.freedBytes
    allocations &+= other.allocations
    frees &+= other.frees
    sizes |= other.sizes
  }
}

extension TypeSnapshot {
  /// The bit of a stream's mask that stands for blocks of `size` bytes: 0 for 16 and less, 1 for 17 to 32, 2 for 33 to 64… All classes
  /// between two powers of two share the bit of the larger one.
  public static func maskBit(ofSize size: Int) -> Int { size <= 16 ? 0 : min(63, Int.bitWidth - (size - 1).leadingZeroBitCount - 4) }

  /// The powers of two that a stream's mask names, least first.
  public static func sizes(ofMask mask: UInt64) -> [Int] { (0..<59).filter { mask >> UInt64($0) & 1 != 0 }.map { 16 << $0 } }

  mutating func addCPUs(of zone: ZoneSnapshot) {
    let size = UInt64(clamping: zone.size), bit = UInt64(1) << UInt64(Self.maskBit(ofSize: zone.size))
    allocatedBytes &+= UInt64(clamping: zone.allocations) &* size
    if zone.directAllocations > 0 { elsewhere.sizes |= bit }
    for one in zone.perCPU where one.allocations > 0 || one.frees > 0 {
      var counts = TypeCPURecord()
      (counts.allocations, counts.frees) = (UInt64(clamping: one.allocations), UInt64(clamping: one.frees))
      (counts.allocatedBytes, counts.freedBytes) = (counts.allocations &* size, counts.frees &* size)
      if one.allocations > 0 { counts.sizes = bit }
      perCPU.append(TypeCPUCounts(cpu: one.cpu, counts: counts))
    }
  }

  /// When all zones have been added: a record for each CPU and for each class, and the rest of the sums as what was counted elsewhere.
  mutating func settle() {
    var cpus: [Int: TypeCPURecord] = [:]
    for one in perCPU { cpus[one.cpu, default: TypeCPURecord()].add(one.counts) }
    perCPU = cpus.sorted { $0.key < $1.key }.map { TypeCPUCounts(cpu: $0.key, counts: $0.value) }
    var bySize: [Int: TypeClass] = [:]
    for one in classes {
      var sum = bySize[one.size] ?? TypeClass(size: one.size)
      sum.allocations.add(one.allocations)
      sum.used &+= one.used
      bySize[one.size] = sum
    }
    classes = bySize.values.sorted { $0.size < $1.size }
    // Where the process works meanwhile, blocks in use come from its slabs, and counts from another moment.
    allocations = max(allocations, Int64(clamping: used))
    allocatedBytes = max(allocatedBytes, UInt64(clamping: usedBytes))
    level(\.allocations, UInt64(clamping: allocations))
    level(\.frees, UInt64(clamping: allocations &- Int64(clamping: used)))
    level(\.allocatedBytes, allocatedBytes)
    level(\.freedBytes, allocatedBytes &- UInt64(clamping: usedBytes))
  }

  /// Gives `elsewhere` what is lacking in the CPUs' sum; what is too much is taken from the CPUs.
  private mutating func level(_ field: WritableKeyPath<TypeCPURecord, UInt64>, _ total: UInt64) {
    let counted = perCPU.reduce(0) { $0 &+ $1.counts[keyPath: field] }
    elsewhere[keyPath: field] = counted <= total ? total - counted : 0
    var excess = counted <= total ? 0 : counted - total
    for place in perCPU.indices.reversed() where excess > 0 {
      let taken = min(excess, perCPU[place].counts[keyPath: field])
      perCPU[place].counts[keyPath: field] -= taken
      excess -= taken
    }
  }
}
