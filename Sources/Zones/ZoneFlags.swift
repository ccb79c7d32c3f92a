// SPDX-License-Identifier: BSD-2-Clause
//
// Flags of zones and kegs, and of requests. Public and internal bits share one word and may not overlap (L11): this file
// is the only definition of both.

import Primitives

public struct ZoneFlags: FlagSet {
  public let rawValue: UInt32
  @inlinable @inline(__always) public init(rawValue: UInt32) { self.rawValue = rawValue }

  // Public.

  /// Items are zeroed when their slab is made; not at each allocation.
  @inline(__always) public static var zeroInit: ZoneFlags { ZoneFlags(rawValue: 1 << 0) }
  /// Slab headers lie apart from items.
  @inline(__always) public static var offPage: ZoneFlags { ZoneFlags(rawValue: 1 << 1) }
  /// Backs malloc: owner map, pages not zeroed for it.
  @inline(__always) public static var malloc: ZoneFlags { ZoneFlags(rawValue: 1 << 2) }
  /// Slabs are never given back: memory keeps its type.
  @inline(__always) public static var noFree: ZoneFlags { ZoneFlags(rawValue: 1 << 3) }
  /// Used by the page source itself: buckets only from what is there, in-page headers.
  @inline(__always) public static var vm: ZoneFlags { ZoneFlags(rawValue: 1 << 4) }
  /// Begins with the largest bucket size.
  @inline(__always) public static var maxBucket: ZoneFlags { ZoneFlags(rawValue: 1 << 5) }
  /// No caches: each operation goes to the keg.
  @inline(__always) public static var noBucket: ZoneFlags { ZoneFlags(rawValue: 1 << 6) }
  /// A count of 32 bits for each item, which its author changes and the zone does not (Zone+ReferenceCounts); implies `noFree`.
  @inline(__always) public static var refCount: ZoneFlags { ZoneFlags(rawValue: 1 << 7) }
  /// Items that follow each other begin at different places modulo the page, in steps of the alignment: give it a cache line's.
  @inline(__always) public static var cacheSpread: ZoneFlags { ZoneFlags(rawValue: 1 << 8) }
  /// The zone reads and writes nothing of its items: the header lies apart, nothing is filled, checked or zeroed, unless a request
  /// says `zero`. New items are as the page source gives them.
  @inline(__always) public static var noTouch: ZoneFlags { ZoneFlags(rawValue: 1 << 9) }
  /// Each allocation is one item for each CPU (Zone+PerCPU); implies `noBucket`.
  @inline(__always) public static var perCPU: ZoneFlags { ZoneFlags(rawValue: 1 << 10) }
  /// Its pages are in no core dump.
  @inline(__always) public static var noDump: ZoneFlags { ZoneFlags(rawValue: 1 << 13) }

  /// Items are reused when readers that may see them have left (Zone+SMR): allocateSMR and freeSMR alone.
  @inline(__always) public static var smr: ZoneFlags { ZoneFlags(rawValue: 1 << 11) }
  /// Walks over all zones that give memory back leave its caches alone; a request that names the zone does not.
  @inline(__always) public static var unmanaged: ZoneFlags { ZoneFlags(rawValue: 1 << 12) }
  /// The page source's memory is unknown to the owner map, and aligned to 16 bytes only: slabs are found in a tree (Keg+Tree).
  @inline(__always) public static var notPage: ZoneFlags { ZoneFlags(rawValue: 1 << 14) }

  /// An item comes from the memory domain of the CPU that asks for it, and goes back to its own (Zone+Domains).
  @inline(__always) public static var firstTouch: ZoneFlags { ZoneFlags(rawValue: 1 << 15) }
  /// Items come from all memory domains in turn (Zone+Domains).
  @inline(__always) public static var roundRobin: ZoneFlags { ZoneFlags(rawValue: 1 << 25) }

  public static let publicMask: UInt32 = 0x0200_ffff

  // Internal.

  /// A zone of the zone system itself: no caches, metadata pages, in-page headers.
  @inline(__always) public static var `internal`: ZoneFlags { ZoneFlags(rawValue: 1 << 16) }
  /// Some ctor or dtor is present: one test for both.
  @inline(__always) public static var ctorDtor: ZoneFlags { ZoneFlags(rawValue: 1 << 17) }
  /// Destruction has begun: nothing may be retained any more.
  @inline(__always) public static var dying: ZoneFlags { ZoneFlags(rawValue: 1 << 18) }
  /// A bucket zone.
  @inline(__always) public static var bucket: ZoneFlags { ZoneFlags(rawValue: 1 << 19) }

  /// It has a limit (Zone+Limit).
  @inline(__always) public static var limited: ZoneFlags { ZoneFlags(rawValue: 1 << 20) }
  /// Its items are an author's pointers: no slabs (Zone+CacheOnly).
  @inline(__always) public static var cacheOnly: ZoneFlags { ZoneFlags(rawValue: 1 << 21) }
  /// On the keg of another zone (Zone+Secondary).
  @inline(__always) public static var secondary: ZoneFlags { ZoneFlags(rawValue: 1 << 22) }
  /// Requests wait for an item: a free goes round the caches, so that one of them gets it.
  @inlinable @inline(__always) public static var awaited: ZoneFlags { ZoneFlags(rawValue: 1 << 23) }
  /// A free has something to look at before the cell: one test for both.
  @inline(__always) static var freesAside: ZoneFlags { ZoneFlags(rawValue: 1 << 17 | 1 << 23) }
  /// A free has nothing to look for in the zone's own cell.
  @inline(__always) static var freesElsewhere: ZoneFlags { .smr.union(.divided) }
  /// A pool's (Pool).
  @inline(__always) public static var pool: ZoneFlags { ZoneFlags(rawValue: 1 << 24) }

  /// Its caches are those of its parts, one for each memory domain; and such a part (Zone+Domains).
  @inline(__always) public static var divided: ZoneFlags { ZoneFlags(rawValue: 1 << 26) }
  @inline(__always) public static var part: ZoneFlags { ZoneFlags(rawValue: 1 << 27) }

  /// Its hooks are the core's own, and free of locks that others take.
  @inline(__always) public static var hookedByUs: ZoneFlags { ZoneFlags(rawValue: 1 << 28) }

  public static let internalMask: UInt32 = 0xfdff_0000
}

/// What a request allows. Exactly one of `wait` and `noWait`.
public struct WaitFlags: FlagSet {
  public let rawValue: Int32
  @inline(__always) public init(rawValue: Int32) { self.rawValue = rawValue }

  /// Never sleeps; nil when memory is not to be had.
  @inline(__always) public static var noWait: WaitFlags { WaitFlags(rawValue: 0x1) }
  /// May sleep; nil only if a hook refuses.
  @inline(__always) public static var wait: WaitFlags { WaitFlags(rawValue: 0x2) }
  /// With `wait`: nil rather than waiting for ever, when the arena is full or `patience` is over.
  @inline(__always) public static var canFail: WaitFlags { WaitFlags(rawValue: 0x4) }
  /// The item is zeroed, after the constructor.
  @inline(__always) public static var zero: WaitFlags { WaitFlags(rawValue: 0x100) }
  /// Only what is there already: the page source is not called.
  @inline(__always) public static var noVM: WaitFlags { WaitFlags(rawValue: 0x200) }
  /// May take the reserved items.
  @inline(__always) public static var useReserve: WaitFlags { WaitFlags(rawValue: 0x400) }

  /// Of a pool: at its limit nil at once, even with `wait`.
  @inline(__always) public static var limitFail: WaitFlags { WaitFlags(rawValue: 0x800) }

  /// How long `canFail` waits for others to free, in nanoseconds.
  public static var patience: Int64 { 1_000_000_000 }

  static var known: Int32 { 0xf07 }
  @inline(__always) public var maySleep: Bool { contains(.wait) }
}
