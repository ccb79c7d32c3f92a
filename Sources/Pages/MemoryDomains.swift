// SPDX-License-Identifier: BSD-2-Clause
//
// Memory domains, NUMA nodes: parts of the memory that lie nearer to some CPUs than to others. Domains are counted from 0, in the order
// of the system's nodes; of more than sixteen, CPUs of the rest count as the last of these. Nobody is asked for them before the first
// zone that wants to know, and a machine that has one, as most have, is known by that alone: no table, and nothing below is ever called.
//
// `fake` says instead that there are so many, CPUs dealt to them in turn: to see what a program does on a machine one has not. Pages
// are placed nowhere then.
//
// A range of addresses with a policy is a mapping of its own to the kernel, and a process may have 65,530 of these as a rule. So policies
// are counted: beyond `mostPolicies` memory is taken without one, and that is counted too.

import CPlatform
import Primitives

public struct MemoryDomains {
  /// So many are to be made up; 0 for those of the system.
  public var faked: UInt32
  var isKnown: Int32
  /// Nil while there is one domain.
  public var table: UnsafeMutablePointer<DomainTable>?
  /// Asks the system for pages of a domain for a range: nearest to it if they are not to be had. A negative one: of any. False if the
  /// system refuses.
  public internal(set) var place: (@convention(c) (_ start: UInt, _ bytes: Int, _ domain: Int32) -> Bool)?
  /// Places the pages of a keg's new slab, or no longer (Keg+Domains); nil until there is a zone for which it may have something to do.
  public var placeSlab:
    (@convention(c) (_ keg: UnsafeMutableRawPointer, _ start: UnsafeMutableRawPointer, _ isNew: Bool) -> Bool)? = nil
}

/// Behind it, a byte for each CPU: its domain.
public struct DomainTable {
  public var count: Int32
  /// A bit for each.
  var withMemory: UInt32
  /// The system's numbers.
  var nodes: InlineArray<16, UInt16>
  /// Runs of each domain that have free units, and bytes of all its runs (DomainRuns). Under the arena's lock.
  var roomy: InlineArray<16, DomainRunPointer?> = InlineArray(repeating: nil)
  var runBytes: InlineArray<16, UInt> = InlineArray(repeating: 0)
  /// Ranges with a policy; and how often there was none for memory that should have had one.
  public internal(set) var policies: Int64 = 0
  public internal(set) var refusedPolicies: Int64 = 0

  public static var most: Int { 16 }
  /// An eighth of the mappings that there may be; each may split one in three.
  public static var mostPolicies: Int64 { 8192 }
}

@inline(__always)
public var memoryDomains: UnsafeMutablePointer<MemoryDomains> { rootState(MemoryDomains.self, at: RootLayout.domainsOffset) }

extension UnsafeMutablePointer where Pointee == DomainTable {
  var cpus: UnsafeMutablePointer<UInt8> { UnsafeMutableRawPointer(self + 1).assumingMemoryBound(to: UInt8.self) }

  static var bytes: Int { (MemoryLayout<DomainTable>.stride + Int(root.pointee.cpuCount)).roundedUp(to: pageBytes) }

  /// With one domain, which has memory, and all CPUs in it; nil without memory.
  static func make() -> Self? {
    guard let memory = metadataPages.allocate(bytes: bytes) else { return nil }
    let table = memory.assumingMemoryBound(to: DomainTable.self)
    table.initialize(to: DomainTable(count: 1, withMemory: 1, nodes: InlineArray(repeating: 0)))
    return table
  }

  func end() { metadataPages.free(UnsafeMutableRawPointer(self), bytes: Self.bytes) }
}

extension UnsafeMutablePointer where Pointee == MemoryDomains {
  public var count: Int { pointee.table.map { Int($0.pointee.count) } ?? 1 }

  /// Of a CPU below the root's count.
  public func domain(ofCPU cpu: Int) -> Int { pointee.table.map { Int($0.cpus[cpu]) } ?? 0 }

  public func hasMemory(_ domain: Int) -> Bool { pointee.table.map { $0.pointee.withMemory >> UInt32(domain) & 1 != 0 } ?? (domain == 0) }

  /// Finds out, once. Opens a file, and where there are several domains one more for each; where that fails there is one.
  public func look() {
    guard stave_load32(&pointee.isKnown) == 0 else { return }
    let table = pointee.faked > 0 ? makeUp(Int(pointee.faked)) : DomainReader.read()
    if let table, table.pointee.count > 1 {
      let isFirst = withUnsafeMutablePointer(to: &pointee.table) {
        stave_replace64(UnsafeMutableRawPointer($0).assumingMemoryBound(to: Int64.self), 0, Int64(Int(bitPattern: table)))
      }
      if !isFirst { table.end() }
      if pointee.faked == 0 { pointee.place = placePages }
    } else {
      table?.end()
    }
    stave_add32(&pointee.isKnown, 1)
  }

  // MARK: - Policies

  /// Counts so many more; false if they would be too many.
  public func claim(_ policies: Int) -> Bool {
    guard let table = pointee.table else { return false }
    if stave_add_fetching(&table.pointee.policies, Int64(policies)) + Int64(policies) <= DomainTable.mostPolicies { return true }
    unclaim(policies)
    stave_add(&table.pointee.refusedPolicies, 1)
    return false
  }

  public func unclaim(_ policies: Int) {
    if let table = pointee.table { stave_add(&table.pointee.policies, Int64(-policies)) }
  }

  /// Gives whole pages a policy. True if they have one now, which is to be taken away before anybody else has the addresses.
  func bind(_ start: UInt, _ bytes: Int, to domain: Int) -> Bool {
    guard let place = pointee.place, claim(1) else { return false }
    if place(start, bytes, Int32(domain)) { return true }
    if let table = pointee.table { stave_add(&table.pointee.refusedPolicies, 1) }
    // A part of them may have it all the same.
    return !unbind(start, bytes)
  }

  /// False if the system refuses: they have it still.
  func unbind(_ start: UInt, _ bytes: Int) -> Bool {
    guard let place = pointee.place else { return true }
    guard place(start, bytes, -1) else { return false }
    unclaim(1)
    return true
  }

  private func makeUp(_ count: Int) -> UnsafeMutablePointer<DomainTable>? {
    guard count > 1, let table = UnsafeMutablePointer<DomainTable>.make() else { return nil }
    let count = Swift.min(count, DomainTable.most)
    table.pointee.count = Int32(count)
    table.pointee.withMemory = UInt32(1) << UInt32(count) - 1
    for cpu in 0..<Int(root.pointee.cpuCount) { table.cpus[cpu] = UInt8(cpu % count) }
    return table
  }
}

/// mbind(2), which a system may refuse: then pages are of the domain of whoever touches them first, as ever.
func placePages(_ start: UInt, _ bytes: Int, _ domain: Int32) -> Bool {
  guard domain >= 0, let table = memoryDomains.pointee.table else {
    return stave_mbind(start, bytes, 0 /* MPOL_DEFAULT */, nil, 0, 0) == 0
  }
  let node = Int(table.pointee.nodes[Int(domain)])
  var mask = InlineArray<16, UInt64>(repeating: 0)
  mask[node >> 6 & 15] = 1 << UInt64(node & 63)
  return withUnsafePointer(to: &mask) {
    // Recycled memory has pages already, and they move.
    stave_mbind(start, bytes, 1 /* MPOL_PREFERRED */, UnsafeRawPointer($0), 1024, 2 /* MPOL_MF_MOVE */) == 0
  }
}
