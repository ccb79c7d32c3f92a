// SPDX-License-Identifier: BSD-2-Clause
//
// # Pages
//
// Where memory comes from and goes: the arena of addresses, the owner map, the supply of metadata, page sources.
//
// The arena is a window of address space, mapped from its start up to a *frontier* that moves up as the
// need grows. An AddressMap says what each range below the frontier is:
//
//   window start                                   frontier                        window end
//   | slabs | large | cached | slabs | gap | large |  not mapped yet                        |
//
//   slab     units (64 KiB, aligned) of slabs, neighbours merged
//   large    one block, in whole pages; its entry is the block's record
//   cached   freed, its pages still there: *purgeable*
//   gap      nothing: pages never touched or *returned* to the system, so they read as zero
//   hole     free and not mapped, where address space is limited; mapped again before use
//
// Order of satisfaction: a recent block of just this size; a cached run of about the size, lowest address; a gap, lowest address; the
// frontier moves. So dirty memory is used before fresh memory, and memory from a gap needs no clearing.
// Cached runs are purged (MADV_DONTNEED) when a whole period has passed in which they were not needed: by `purgeIdle`, or
// all at once by `purge`.
//
// Lock: `lock` (rank arena), held over the map's work and, when the frontier moves or a hole comes or goes, over one mmap or munmap;
// never over the madvise of a purge.
// Costs: O(log n) in ranges, O(n) in holes where there are some; a recent block a few dozen instructions. 96 bytes per range, 18
// bytes per unit.

import AddressMap
import CPlatform
import Primitives

public enum RangeKind {
  public static let slab: UInt8 = 1
  public static let large: UInt8 = 2
  public static let cached: UInt8 = 3
  /// Its pages are just being returned.
  public static let purging: UInt8 = 4
  /// Somebody else's mapping inside the window.
  public static let foreign: UInt8 = 5
  /// A large block kept for the next request of its size.
  public static let recent: UInt8 = 6
  /// Free, and mapped no more: a *hole*.
  public static let unmapped: UInt8 = 7
  /// In the hands of a search for contiguous memory (ContiguousSearch).
  public static let held: UInt8 = 8
}

public struct Arena: ~Copyable {
  // What readers outside copy.
  public var windowStart: UInt
  public var windowEnd: UInt
  /// Everything below is mapped, but for holes; everything above is not.
  public var frontier: UInt
  public var slabBytes: UInt
  public var largeBytes: UInt
  public var largeCount: UInt
  public var cachedBytes: UInt
  public var recentBytes: UInt
  public var foreignBytes: UInt
  /// Totals since the start, in bytes.
  public var purgedBytes: UInt
  public var largeAllocations: UInt
  public var largeFrees: UInt
  /// By the number of the malloc type; nil until there is one.
  public var largeTotals: UnsafeMutablePointer<LargeTotals>?

  public var lock: FutexLock
  /// Fewest cached bytes since the last call of `purgeIdle`: what was not needed meanwhile.
  var lowestCached: UInt
  var recentCount: Int
  /// Blocks that mremap has moved.
  var movedCount: Int
  /// Places that such blocks have left, which the kernel may never join with their neighbours again. A place left twice counts twice.
  var apartCount: Int
  /// The frontier at the last fork that made this process; below it the kernel joins nothing new.
  var forkedBelow: UInt
  /// Ranges whose pages are just being returned, without the lock.
  var purgesUnderWay: Int32
  /// What madvise(2) is told about new parts of the arena; 0 for nothing.
  var hugePageAdvice: Int32
  /// Address space is limited: what is freed is unmapped at once, if it ends at the frontier or is a hole worth it.
  /// Asked anew at each purge and each large step of the frontier, since a limit may be set at any time.
  var isTight: Bool
  /// In holes.
  public var unmappedBytes: UInt
  public var map: AddressMap
  /// Slabs released when there was no map entry to cut them out with, linked through their own memory; 0 for none.
  var unplaced: UInt
  /// Cached runs by the logarithm of their length in 4 KiB, linked through the entries' words.
  var bins: InlineArray<28, EntryPointer?>
  /// Linked likewise.
  var holes: EntryPointer?
  var recent: InlineArray<8, EntryPointer?>
}

@inline(__always)
public var arena: UnsafeMutablePointer<Arena> { rootState(Arena.self, at: RootLayout.arenaOffset) }

extension UnsafeMutablePointer where Pointee == Arena {
  /// Recent blocks: at most this many bytes in all.
  static var recentLimit: UInt { 4 << 20 }
  /// Each block moved by mremap costs the process two of its mappings, of which there are 65,530 as a rule: from here on, copy.
  static var movedLimit: Int { 1000 }
  /// And what they leave behind costs one each.
  static var apartLimit: Int { 20_000 }
  /// The frontier moves in multiples of the huge page size (L67).
  static var frontierGrain: UInt { 2 << 20 }

  /// The lowest address at which a window begins. The usual one is inside thread sanitizer's own tables (LLVM's tsan_platform.h, x86-64).
  private static var firstWindow: UInt {
    #if STAVE_THREAD_SANITIZER
    0x7a00_0000_0000
    #else
    0x2000_0000_0000
    #endif
  }

  /// Chooses a window of at most `bytes` and reserves its tables; the smaller the process may be, the smaller the window.
  public func start() -> Bool {
    var random: UInt = 0
    if stave_getrandom(&random, 8) != 8 { random = UInt(truncatingIfNeeded: stave_nanoseconds()) &* 0x9e37_79b9_7f4a_7c15 }
    let start = Self.firstWindow + (random >> 20 & 0xf_ffff) &* (2 << 20)
    // Thirty-two times the machine's memory: enough for what is reserved and not used, small enough for mlockall's limits.
    let limit = stave_address_space_limit()
    var units: UInt = 1 << 20
    while units < 1 << 28 && UInt64(units) << 16 < UInt64(stave_memory_bytes()) * 32 { units <<= 1 }
    while units > 1 << 16 && UInt64(units) << 15 > limit { units >>= 1 }
    while !ownerMap.pointee.start(firstUnit: start >> unitShift, units: units) {
      if units <= 1 << 12 { return false }
      units >>= 2
    }
    let boot = metadataPages.allocate(bytes: pageBytes)
    let supply = rootState(EntrySupply.self, at: RootLayout.supplyOffset)
    supply.initialize(
      to: EntrySupply(
        bootstrap: boot, bytes: boot == nil ? 0 : pageBytes, provider: { _, bytes in metadataPages.allocate(bytes: bytes) },
        context: nil, pageBytes: pageBytes))
    initialize(
      to: Arena(
        windowStart: start, windowEnd: start + units << unitShift, frontier: start, slabBytes: 0, largeBytes: 0, largeCount: 0,
        cachedBytes: 0, recentBytes: 0, foreignBytes: 0, purgedBytes: 0, largeAllocations: 0, largeFrees: 0, largeTotals: nil,
        lock: FutexLock(rank: LockRank.arena), lowestCached: 0, recentCount: 0, movedCount: 0, apartCount: 0, forkedBelow: start, purgesUnderWay: 0, hugePageAdvice: 0, isTight: limit < 1 << 46,
        unmappedBytes: 0,
        map: AddressMap(minimum: start, maximum: start + units << unitShift, supply: supply), unplaced: 0,
        bins: InlineArray(repeating: nil), holes: nil, recent: InlineArray(repeating: nil)))
    // Slabs of the smallest items want headers of a hundredth of their size.
    if pointee.isTight { metadataPages.reserve(bytes: Int(Swift.min(limit / 64, 64 << 20))) }
    return true
  }
}
