// SPDX-License-Identifier: BSD-2-Clause
//
// Memory for who manages the life of its values alone: malloc and free, by type.

internal import Zones

extension Zone where Element: ~Copyable {
  /// Uninitialised memory for one value, zero if `request` says so; nil when there is none, or the limit is met, and the request does not
  /// wait. As a rule some twenty instructions and no lock; a lock once for a bucket of items.
  ///
  ///     let nodes = try Zone<Node>("nodes")
  ///     guard let node = nodes.allocate() else { return }
  ///     node.initialize(to: Node(key: 1))
  ///     node.deinitialize(count: 1)
  ///     nodes.free(node)
  @inlinable @inline(__always)
  public func allocate(_ request: ZoneRequest = []) -> UnsafeMutablePointer<Element>? {
    if let item = HomePointer.pop(core, cell) {
      let element = item.assumingMemoryBound(to: Element.self)
      if request.contains(.zero) { zero(item) }
      return element
    }
    return allocateSlow(request)
  }

  /// Frees memory that this zone gave out; its value must have been deinitialised. Any thread. Never waits. Another zone's memory and a
  /// second free are found when the item comes back to its slab, and a second free at once if nothing was freed in between: the
  /// process ends with a report then, unless the option `onreport` says otherwise.
  @inlinable @inline(__always)
  public func free(_ element: UnsafeMutablePointer<Element>) {
    let item = UnsafeMutableRawPointer(element)
    if !HomePointer.push(core, cell, item) { freeSlow(item) }
  }

  @inline(never) @usableFromInline
  func allocateSlow(_ request: ZoneRequest) -> UnsafeMutablePointer<Element>? {
    core.allocate(request.core)?.assumingMemoryBound(to: Element.self)
  }

  @inline(never) @usableFromInline
  func freeSlow(_ item: UnsafeMutableRawPointer) { core.free(item) }

  @inline(never) @usableFromInline
  func zero(_ item: UnsafeMutableRawPointer) { item.initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<Element>.size) }

  /// The count of 32 bits that lies beside an item, allocated or free, in a zone with ``ZoneFlags/referenceCounts``: for its author's
  /// atomic operations. It is 0 when its slab is made, and never changed by the zone. A few loads. An address that is no item ends the
  /// process with a report.
  public func referenceCount(of element: UnsafePointer<Element>) -> UnsafeMutablePointer<UInt32> { core.referenceCount(of: element) }
}
