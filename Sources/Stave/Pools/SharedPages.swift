// SPDX-License-Identifier: BSD-2-Clause
//
// Pages that several pools share: the core's pool back-end on an author's supply.

internal import Heap
internal import Own
internal import Zones

/// Pages that several pools have in common. A pool that gets none asks the others for what lies idle with them, one after the other, before
/// it waits or gives up: so a quota serves whoever needs it at the moment.
///
/// ```swift
/// final class Malloced: PageSupply {
///   func pages(byteCount: Int, alignment: Int, mayWait: Bool) -> UnsafeMutableRawPointer? {
///     .allocate(byteCount: byteCount, alignment: alignment)
///   }
///   func takeBack(_ pages: UnsafeMutableRawPointer, byteCount: Int) { pages.deallocate() }
/// }
/// let pages = try SharedPages(Malloced(), pageByteCount: 4096)
/// let headers = try Pool<Int64>("headers", pages: pages)
/// let bodies = try Pool<(Int64, Int64)>("bodies", pages: pages)
/// print(headers.item(1) != nil, bodies.item((2, 3)) != nil)   // true true
/// ```
public final class SharedPages: @unchecked Sendable {
  // Unchecked: what the core does with a back-end is safe in all threads.
  let allocator: PoolAllocatorPointer
  let alignment: Int
  private let supplied: SuppliedPages

  /// Pages of `pageByteCount` bytes each, a multiple of 8 and at least 512; an element that is larger gets several in one piece.
  ///
  /// - Parameters:
  ///   - supply: Where they come from.
  ///   - pageByteCount: Pools return pages that are wholly free, so larger ones are returned more rarely.
  ///   - alignment: A power of two, at which they begin, at least 16. Pages of the system's size that are aligned as such are served
  ///     fastest.
  /// - Throws: ``ZoneError/impossible`` for other sizes, ``ZoneError/outOfMemory``.
  public init(_ supply: any PageSupply, pageByteCount: Int = 65_536, alignment: Int = 4096) throws(ZoneError) {
    guard pageByteCount >= 512, pageByteCount % 8 == 0, alignment > 0, alignment & (alignment - 1) == 0 else { throw .impossible }
    let alignment = max(16, alignment)
    supplied = SuppliedPages(supply, alignment: alignment)
    self.alignment = alignment
    guard Heap.startOwn(),
      let allocator = makePoolAllocator(source: supplied.source(areZero: false), pageBytes: pageByteCount, alignment: alignment)
    else { throw .outOfMemory }
    self.allocator = allocator
  }

  deinit { allocator.release() }
}
