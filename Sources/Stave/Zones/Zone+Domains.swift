// SPDX-License-Identifier: BSD-2-Clause
//
// Memory domains, as zones with a policy for them know them.

internal import Own
internal import Heap
internal import Pages
internal import Zones

/// How many memory domains (NUMA nodes) zones tell apart: those of the machine, or as many as the option `domains` makes up. The first
/// call asks the system. 1 where that is not to be found out.
public var memoryDomainCount: Int {
  guard Heap.startOwn() else { return 1 }
  memoryDomains.look()
  return memoryDomains.count
}

extension Zone where Element: ~Copyable {
  /// Uninitialised memory in one memory domain, whatever CPU asks, from a zone with ``ZoneFlags/firstTouch``; with ``ZoneRequest/wait``
  /// from there or not at all. Where the domain has no memory, from another. Otherwise as ``allocate(_:)``. For other zones, and domains
  /// that are not below ``memoryDomainCount``, the process ends with a report.
  ///
  ///     let queues = try Zone<Node>("queues", flags: .firstTouch)
  ///     let queue = queues.allocate(domain: memoryDomainCount - 1)
  public func allocate(domain: Int, _ request: ZoneRequest = []) -> UnsafeMutablePointer<Element>? {
    core.allocate(domain: domain, request.core)?.assumingMemoryBound(to: Element.self)
  }

  /// The memory domain that an element of this zone lies in; 0 for a zone without a policy. -1 for an address in no slab of a zone with
  /// one. A few loads.
  public func domain(of element: UnsafeMutablePointer<Element>) -> Int { core.domain(of: UnsafeMutableRawPointer(element)) }

  /// Elements that were freed by a CPU of another domain than theirs; counted for zones with ``ZoneFlags/firstTouch``.
  public var crossDomainFrees: Int { Int(core.pointee.crossFrees) }
}
