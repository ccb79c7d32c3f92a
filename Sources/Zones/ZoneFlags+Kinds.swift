// SPDX-License-Identifier: BSD-2-Clause
//
// Which flags go together: what one implies, and what contradicts itself.

import Primitives

extension ZoneFlags {
  /// With what they imply; nil for flags that contradict each other.
  public var completed: ZoneFlags? {
    // Headers in the items' pages, which no other memory may be asked for; and no header there.
    let bound = ZoneFlags.internal.union(.vm)
    let apart = ZoneFlags.noTouch.union(.perCPU)
    if intersects(bound) && intersects(apart) { return nil }
    if contains(.noTouch) && contains(.zeroInit) { return nil }
    // The copies of an item lie a page from each other, and neither malloc nor deferred reuse knows anything of copies.
    if contains(.perCPU) && intersects(ZoneFlags.cacheSpread.union(.malloc).union(.smr)) { return nil }
    // What only the tree of slabs knows has no page metadata, and one page is what its source gives.
    if contains(.notPage) && intersects(bound.union(.refCount).union(.perCPU).union(.cacheSpread).union(.malloc)) { return nil }
    // A slab is in one memory domain; what is in which is told by the owner map; copies for CPUs lie near these anyway.
    let homeless = bound.union(.notPage).union(.perCPU).union(.malloc).union(.smr)
    if intersects(.ofDomains) && intersects(homeless) || contains(.ofDomains) { return nil }
    var flags = self
    if contains(.refCount) { flags.insert(.noFree) }
    if contains(.perCPU) { flags.insert(.noBucket) }
    // Caches of the largest size, and none.
    return flags.contains(.maxBucket) && flags.contains(.noBucket) ? nil : flags
  }

  /// What concerns caches alone, and so is all that can be said of a zone that is nothing else (Zone+CacheOnly).
  public static var ofCaches: ZoneFlags { .maxBucket.union(.noBucket).union(.unmanaged) }
  /// A policy for memory domains.
  static var ofDomains: ZoneFlags { .firstTouch.union(.roundRobin) }
}
