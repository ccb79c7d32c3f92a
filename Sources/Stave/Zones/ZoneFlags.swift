// SPDX-License-Identifier: BSD-2-Clause
//
// What a zone may be told at its making, and a request when it is made: the sets of FreeBSD's UMA, as Swift has sets.

internal import Zones

/// What is special about a zone. The default, none, suits nearly all: <doc:WhichZoneFlags>.
///
///     let nodes = try Zone<Node>("nodes", flags: [.offPage, .noDump])
///
/// Some combinations are ``ZoneError/impossible``: ``noTouch`` with ``zeroedSlabs``, ``firstTouch`` with ``roundRobin``, ``largestCaches``
/// with ``noCaches``. So are
/// ``referenceCounts``, ``spread``, ``firstTouch`` and ``roundRobin`` for a zone on a ``PageSupply``, and ``firstTouch`` and ``roundRobin``
/// for a ``DeferredZone``.
public struct ZoneFlags: OptionSet, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  private init(_ flags: Zones.ZoneFlags) { rawValue = flags.rawValue }
  var core: Zones.ZoneFlags { Zones.ZoneFlags(rawValue: rawValue & Zones.ZoneFlags.publicMask) }

  /// New slabs are zero; items that are reused are as they were left.
  public static var zeroedSlabs: ZoneFlags { ZoneFlags(.zeroInit) }
  /// Headers of slabs lie apart from items: for items that are to fill whole pages, or that may be written past their end.
  public static var offPage: ZoneFlags { ZoneFlags(.offPage) }
  /// Slabs are never given back, so an address that was an item stays memory of this zone, as long as the zone lives.
  public static var neverReturned: ZoneFlags { ZoneFlags(.noFree) }
  /// Caches begin at their largest size: for items that come and go by hundreds.
  public static var largestCaches: ZoneFlags { ZoneFlags(.maxBucket) }
  /// No caches: each operation takes a lock. For items that are few and live long.
  public static var noCaches: ZoneFlags { ZoneFlags(.noBucket) }
  /// A count of 32 bits for each item, beside it and not in it; implies `neverReturned`. See ``Zone/referenceCount(of:)``.
  public static var referenceCounts: ZoneFlags { ZoneFlags(.refCount) }
  /// Items begin at different places modulo the page, so that the same field of all of them does not fall on the same cache lines.
  public static var spread: ZoneFlags { ZoneFlags(.cacheSpread) }
  /// The zone neither reads nor writes its free items: for memory that is expensive to touch.
  public static var noTouch: ZoneFlags { ZoneFlags(.noTouch) }
  /// The zone's pages are left out of core dumps: for keys and passwords. That covers only bytes stored in the item itself, not what it
  /// refers to, such as the bytes of an array or a string; and freed items are not erased. Costs one system call for each slab; a slab
  /// that the kernel does not exclude is not used, and the request that needs it fails.
  public static var noDump: ZoneFlags { ZoneFlags(.noDump) }
  /// Items come from the memory domain (NUMA node) of the CPU that asks, and freed ones go back to their own domain: for items that stay
  /// with threads that stay on their CPUs. Without effect on a machine with one domain. See ``Zone/allocate(domain:_:)``.
  public static var firstTouch: ZoneFlags { ZoneFlags(.firstTouch) }
  /// Items come from all memory domains in turn: for items that all threads use. Without effect on a machine with one domain.
  public static var roundRobin: ZoneFlags { ZoneFlags(.roundRobin) }
  /// ``trimZones()`` leaves this zone's caches alone; its own ``AnyZone/trim()`` does not.
  public static var keepsCaches: ZoneFlags { ZoneFlags(.unmanaged) }
}

/// How a request behaves. The default: nil rather than waiting.
public struct ZoneRequest: OptionSet, Sendable {
  public let rawValue: Int32
  @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }

  /// Blocks this thread until there is memory, and, at a limit, until it is this request's turn. Where there is no memory, all zones give
  /// back what their caches hold first: objects of an ``ObjectCache`` may end in this thread. Not in asynchronous code, which has
  /// ``Zone/itemWhenFree(_:)``.
  @inlinable public static var wait: ZoneRequest { ZoneRequest(rawValue: 1) }
  /// With `wait`: nil after a second of waiting.
  @inlinable public static var patient: ZoneRequest { ZoneRequest(rawValue: 2) }
  /// The memory is zero.
  @inlinable public static var zero: ZoneRequest { ZoneRequest(rawValue: 4) }
  /// May take the items that the zone's reserve keeps.
  @inlinable public static var useReserve: ZoneRequest { ZoneRequest(rawValue: 8) }

  var core: WaitFlags {
    var flags: WaitFlags = contains(.wait) ? .wait : .noWait
    if contains(.patient) { flags.insert(.canFail) }
    if contains(.zero) { flags.insert(.zero) }
    if contains(.useReserve) { flags.insert(.useReserve) }
    return flags
  }
}

/// Why there is no zone, or no item.
public enum ZoneError: Error, Hashable, Sendable {
  /// Memory, or one of the tables of zones, is exhausted.
  case outOfMemory
  /// There can be no such zone: its flags contradict each other, or its elements are too large for a slab.
  case impossible
  /// The task was cancelled while it waited.
  case cancelled
}
