// SPDX-License-Identifier: BSD-2-Clause
//
// What a zone may be told at its making, and a request when it is made: the sets of FreeBSD's UMA, as Swift has sets.

internal import Zones

/// What is special about a zone. The default, nothing, suits nearly all: <doc:WhichZoneFlags>.
///
///     let nodes = try Zone<Node>("nodes", flags: [.offPage, .noDump])
public struct ZoneFlags: OptionSet, Sendable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  private init(_ flags: Zones.ZoneFlags) { rawValue = flags.rawValue }
  var core: Zones.ZoneFlags { Zones.ZoneFlags(rawValue: rawValue & Zones.ZoneFlags.publicMask) }

  /// New slabs are zero; items that are reused are as they were left.
  public static var zeroedSlabs: ZoneFlags { ZoneFlags(.zeroInit) }
  /// Headers of slabs lie apart from items: for items that shall fill pages, or that are written past their end.
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
  /// The zone reads and writes nothing in its free items: for memory that is dear to touch.
  public static var noTouch: ZoneFlags { ZoneFlags(.noTouch) }
  /// Pages are in no core dump: keys, passwords.
  public static var noDump: ZoneFlags { ZoneFlags(.noDump) }
  /// ``trimZones()`` leaves this zone's caches alone; its own ``AnyZone/trim()`` does not.
  public static var keepsCaches: ZoneFlags { ZoneFlags(.unmanaged) }
}

/// How a request behaves. The default: nil rather than waiting.
public struct ZoneRequest: OptionSet, Sendable {
  public let rawValue: Int32
  @inlinable public init(rawValue: Int32) { self.rawValue = rawValue }

  /// Blocks this thread until there is memory, and, at a limit, until it is this request's turn. Not in asynchronous code, which has
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
  /// No zone can be so: flags that contradict each other, or elements too large for a slab.
  case impossible
  /// The task was cancelled while it waited.
  case cancelled
}
