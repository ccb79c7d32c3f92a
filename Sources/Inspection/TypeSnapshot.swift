// SPDX-License-Identifier: BSD-2-Clause
//
// One malloc type in a look. Its figures are those of its zones and of the large blocks that bear its number, so that the sums of
// types, of zones and of the process are one; so are the sums over CPUs (TypeSnapshot+CPUs).

import Primitives

/// What one size class has served of a type.
public struct TypeClass: Equatable, Sendable {
  public var size = 0
  public var allocations: Int64 = 0
  /// Blocks of it in the program's hands.
  public var used = 0

  public init(size: Int, allocations: Int64 = 0, used: Int = 0) {
    self.size = size
    self.allocations = allocations
    self.used = used
  }
}

public struct TypeSnapshot: Sendable {
  /// The copy of Stave that it is of, where that is not the first of several.
  public var root = ""
  public var name = ""
  /// Distinguishes types of one name.
  public var instance = 0
  /// 0: memory without a type.
  public var number: UInt32 = 0
  /// Tells it from others that may have its number later.
  public var mark: UInt32 = 0
  /// The hash class that serves it where it has no zone of its own; 0 also without classes.
  public var hashClass = 0
  /// Blocks in the program's hands, and their bytes: of classes and of whole pages, not as requested.
  public var used = 0
  public var usedBytes = 0
  /// Successful requests and frees since the start.
  public var allocations: Int64 = 0
  public var frees: Int64 = 0
  public var failures: Int64 = 0
  /// Bytes that may be in use, 0 for no limit; requests that had to wait for it, or for memory.
  public var limit = 0
  public var sleeps: Int64 = 0
  /// Large blocks among those in use.
  public var largeBlocks = 0
  public var largeBytes = 0
  /// Bytes of all successful requests. Of memory without a type, freed large blocks are not among them: the arena counts them
  /// by type only.
  public var allocatedBytes: UInt64 = 0
  /// The classes that have served the type, least first.
  public var classes: [TypeClass] = []
  /// What each CPU's caches have counted, in order of the CPUs' numbers; CPUs without a count are not there.
  public var perCPU: [TypeCPUCounts] = []
  /// What no CPU's cache has counted: large blocks, and requests that went round the caches.
  public var elsewhere = TypeCPURecord()

  public init() {}

  /// As FixedName's, by which a guarded block tells its type from a later one of that number.
  public var nameHash: UInt32 { FixedName(cString: name).hash }

  /// The name, behind that of its root where that is not the first.
  public var fullName: String { root.isEmpty ? name : "\(root)/\(name)" }
  /// The same, made unique among types of one name.
  public var label: String { instance > 0 ? "\(fullName)_\(instance)" : fullName }

  /// The sizes of those classes.
  public var sizes: [Int] { classes.map(\.size) }

  mutating func add(_ zone: ZoneSnapshot) {
    used += zone.used
    usedBytes += zone.usedBytes
    allocations.add(zone.allocations)
    frees.add(zone.frees)
    if zone.allocations > 0 { classes.append(TypeClass(size: zone.size, allocations: zone.allocations, used: zone.used)) }
    addCPUs(of: zone)
  }
}

extension Snapshot {
  /// Types with what their zones and large blocks say, newest last; before them, `malloc`: all that is malloc's and no type's.
  mutating func fillTypes(_ listed: [TypeSnapshot], largeTotals: [UInt32: LargeCounts], largeAllocations: Int64) {
    var all = [TypeSnapshot()] + listed
    all[0].name = "malloc"
    var places: [UInt32: Int] = [:]
    for (place, type) in all.enumerated() { places[type.number] = place }
    for zone in zones where zone.isMalloc { all[places[zone.type] ?? 0].add(zone) }
    var blocks = largeBlocks, bytes = largeBytes, requests = largeAllocations
    for place in all.indices.dropFirst() {
      guard let large = largeTotals[all[place].number] else { continue }
      // Never more than the arena has, never negative: the two are not read at one time.
      all[place].largeBlocks = min(blocks, max(0, Int(clamping: large.allocations - large.frees)))
      all[place].largeBytes = min(bytes, max(0, Int(clamping: large.allocatedBytes - large.freedBytes)))
      blocks -= all[place].largeBlocks
      bytes -= all[place].largeBytes
      all[place].allocations.add(large.allocations)
      all[place].frees.add(large.frees)
      all[place].allocatedBytes &+= UInt64(bitPattern: large.allocatedBytes)
      requests -= large.allocations
    }
    all[0].largeBlocks = blocks
    all[0].largeBytes = bytes
    all[0].allocatedBytes &+= UInt64(clamping: bytes)
    all[0].allocations.add(max(0, requests))
    all[0].frees.add(max(0, requests - Int64(blocks)))
    for place in all.indices {
      all[place].used += all[place].largeBlocks
      all[place].usedBytes += all[place].largeBytes
      all[place].settle()
    }
    types = all
  }
}

extension Int64 {
  /// Stays at the largest number, which is no plausible count, where the sum of a damaged process's would be larger.
  mutating func add(_ more: Int64) {
    let (sum, isTooLarge) = addingReportingOverflow(more)
    self = isTooLarge ? .max : sum
  }
}
