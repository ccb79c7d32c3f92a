// SPDX-License-Identifier: BSD-2-Clause
//
// Memory domains, NUMA nodes: parts of the memory that lie nearer to some CPUs than to others. Domains are counted from 0, in the order
// of the system's nodes; more than sixteen count as the last of these. Nobody is asked for them before the first zone that wants to know,
// and a machine that has one, as most have, is known by that alone: no table, and nothing below is ever called.
//
// `fake` says instead that there are so many, CPUs dealt to them in turn: to see what a program does on a machine one has not. Pages
// are placed nowhere then.

import CPlatform
import Primitives

public struct MemoryDomains {
  /// So many are to be made up; 0 for those of the system.
  public var faked: UInt32
  var isKnown: Int32
  /// Nil while there is one domain.
  public var table: UnsafeMutablePointer<DomainTable>?
  /// Asks the system for pages of a domain for a range: nearest to it if they are not to be had. A negative one: of any.
  public internal(set) var place: (@convention(c) (_ start: UInt, _ bytes: Int, _ domain: Int32) -> Void)?
}

/// Behind it, a byte for each CPU: its domain.
public struct DomainTable {
  public var count: Int32
  /// A bit for each.
  var withMemory: UInt32
  /// The system's numbers.
  var nodes: InlineArray<16, UInt16>

  public static var most: Int { 16 }
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
private func placePages(_ start: UInt, _ bytes: Int, _ domain: Int32) {
  guard domain >= 0, let table = memoryDomains.pointee.table else {
    _ = stave_mbind(start, bytes, 0 /* MPOL_DEFAULT */, nil, 0, 0)
    return
  }
  let node = Int(table.pointee.nodes[Int(domain)])
  var mask = InlineArray<16, UInt64>(repeating: 0)
  mask[node >> 6 & 15] = 1 << UInt64(node & 63)
  withUnsafePointer(to: &mask) {
    // Recycled memory has pages already, and they move.
    _ = stave_mbind(start, bytes, 1 /* MPOL_PREFERRED */, UnsafeRawPointer($0), 1024, 2 /* MPOL_MF_MOVE */)
  }
}
