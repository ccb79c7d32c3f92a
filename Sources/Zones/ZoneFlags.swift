// SPDX-License-Identifier: BSD-2-Clause
//
// Flags of zones and kegs, and of requests. Public and internal bits share one word and may not overlap (L11): this file
// is the only definition of both.

import Primitives

public struct ZoneFlags: FlagSet {
  public let rawValue: UInt32
  @inline(__always) public init(rawValue: UInt32) { self.rawValue = rawValue }

  // Public.

  /// Items are zeroed when their slab is made; not at each allocation.
  public static let zeroInit = ZoneFlags(rawValue: 1 << 0)
  /// Slab headers lie apart from items.
  public static let offPage = ZoneFlags(rawValue: 1 << 1)
  /// Backs malloc: owner map, pages not zeroed for it.
  public static let malloc = ZoneFlags(rawValue: 1 << 2)
  /// Slabs are never given back: memory keeps its type.
  public static let noFree = ZoneFlags(rawValue: 1 << 3)
  /// Used by the page source itself: buckets only from what is there, in-page headers.
  public static let vm = ZoneFlags(rawValue: 1 << 4)
  /// Begins with the largest bucket size.
  public static let maxBucket = ZoneFlags(rawValue: 1 << 5)
  /// No caches: each operation goes to the keg.
  public static let noBucket = ZoneFlags(rawValue: 1 << 6)

  public static let publicMask: UInt32 = 0x0000_ffff

  // Internal.

  /// A zone of the zone system itself: no caches, metadata pages, in-page headers.
  public static let `internal` = ZoneFlags(rawValue: 1 << 16)
  /// Some ctor or dtor is present: one test for both.
  public static let ctorDtor = ZoneFlags(rawValue: 1 << 17)
  /// Destruction has begun: nothing may be retained any more.
  public static let dying = ZoneFlags(rawValue: 1 << 18)
  /// A bucket zone.
  public static let bucket = ZoneFlags(rawValue: 1 << 19)

  public static let internalMask: UInt32 = 0xffff_0000
}

/// What a request allows. Exactly one of `wait` and `noWait`.
public struct WaitFlags: FlagSet {
  public let rawValue: Int32
  @inline(__always) public init(rawValue: Int32) { self.rawValue = rawValue }

  /// Never sleeps; nil when memory is not to be had.
  public static let noWait = WaitFlags(rawValue: 0x1)
  /// May sleep; nil only if a hook refuses.
  public static let wait = WaitFlags(rawValue: 0x2)
  /// The item is zeroed, after the constructor.
  public static let zero = WaitFlags(rawValue: 0x100)
  /// Only what is there already: the page source is not called.
  public static let noVM = WaitFlags(rawValue: 0x200)
  /// May take the reserved items.
  public static let useReserve = WaitFlags(rawValue: 0x400)

  static let known: Int32 = 0x703
  @inline(__always) public var maySleep: Bool { contains(.wait) }
}
