// SPDX-License-Identifier: BSD-2-Clause
//
// Large blocks: ranges of their own, in whole pages, whose entry is their record. wordA holds the block's bytes; wordB is 1 for a block
// that mremap has moved, whose mapping the kernel will not join with its neighbours again, and 2 for one that is physically contiguous
// (Arena+Contiguous); `owner` is the number of the malloc type that it counts for (Arena+LargeTotals), 0 for none.

import AddressMap
import CPlatform
import Primitives

public struct LargeBlock {
  public var start: UInt
  public var isZero: Bool
}

extension UnsafeMutablePointer where Pointee == Arena {
  /// Whole pages, and at least half a unit, for the owner map's sake.
  public func blockBytes(_ size: UInt) -> UInt? {
    size <= 1 << 46 ? Swift.max(size, unitBytes / 2).roundedUp(to: UInt(pageBytes)) : nil
  }

  /// Memory for `size` bytes, aligned to `alignment`, at least a page. Nil: no space, or the system refuses. `type` is the number
  /// of the malloc type that it counts for.
  public func takeLarge(size: UInt, alignment: UInt = 1, type: UInt32 = 0) -> LargeBlock? {
    guard alignment <= 1 << 46, let bytes = blockBytes(size) else { return nil }
    pointee.lock.lock()
    if alignment <= UInt(pageBytes), let entry = takeRecent(bytes: bytes) {
      let isTrashed = endTrash(entry)
      entry.pointee.owner = UInt16(truncatingIfNeeded: type)
      countTyped(entry, bytes, 1)
      let start = entry.pointee.start
      pointee.lock.unlock()
      if isTrashed { lookAtLarge(start, bytes: bytes) }
      return LargeBlock(start: start, isZero: false)
    }
    defer { pointee.lock.unlock() }
    guard let range = takeRange(bytes: bytes, alignment: Swift.max(alignment, UInt(pageBytes)), kind: RangeKind.large) else {
      return nil
    }
    range.entry.pointee.wordA = bytes
    range.entry.pointee.wordB = 0
    range.entry.pointee.owner = UInt16(truncatingIfNeeded: type)
    count(bytes, 1)
    countTyped(range.entry, bytes, 1)
    pointee.largeAllocations += 1
    ownerMap.pointee.set(startOf: range.start, large: UnsafeMutableRawPointer(range.entry))
    return LargeBlock(start: range.start, isZero: range.isZero)
  }

  /// The block begins at `start`: the caller has asked the owner map. False if it was freed meanwhile. `stack`: of the free.
  public func releaseLarge(_ start: UInt, stack: UInt32 = 0) -> Bool {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    guard case .large(let record) = ownerMap.pointee.owner(of: start) else { return false }
    let entry = record.assumingMemoryBound(to: MapEntry.self)
    guard entry.pointee.kind == RangeKind.large, entry.pointee.start == start else { return false }
    count(entry.pointee.wordA, -1)
    countTyped(entry, entry.pointee.wordA, -1)
    pointee.largeFrees += 1
    if entry.pointee.length <= Self.recentLimit / 4 && entry.pointee.wordB == 0 {
      keepRecent(entry)
      fillRecent(entry, stack: stack)
    } else {
      skipTrash()
      dropLarge(entry)
    }
    return true
  }

  func count(_ bytes: UInt, _ sign: Int) {
    pointee.largeBytes = sign > 0 ? pointee.largeBytes + bytes : pointee.largeBytes - bytes
    pointee.largeCount = sign > 0 ? pointee.largeCount + 1 : pointee.largeCount - 1
  }

  /// From a block's record to a cached run.
  private func dropLarge(_ entry: EntryPointer) {
    let start = entry.pointee.start
    let bytes = entry.pointee.length
    ownerMap.pointee.set(startOf: start, large: nil)
    if entry.pointee.wordB != 0 {
      // A mapping that mremap brought here stays apart for ever; a fresh one joins its neighbours.
      if renewMoved(entry) {
        pointee.movedCount -= 1
        _ = pointee.map.remove(start: start, length: bytes)
        return
      }
      // Its memory is not what other memory is: not inherited by a fork, or of huge pages.
      if entry.pointee.wordB == Self.contiguous { return loseRange(entry) }
    }
    cacheEntry(entry)
  }

  /// Fresh memory in place of what mremap brought. The kernel joins it with a neighbour, but not with a moved one, which has an
  /// origin of its own; if both are, it stays apart too.
  private func renewMoved(_ entry: EntryPointer) -> Bool {
    let start = entry.pointee.start
    guard mapFresh(start, bytes: entry.pointee.length, mapFixed) > 0 else { return false }
    let before = entry.pointee.previous, after = entry.pointee.next
    let staysApart =
      isMoved(before) && before!.pointee.end == start && isMoved(after) && after!.pointee.start == entry.pointee.end
      || start < pointee.forkedBelow
    if staysApart { pointee.apartCount += 1 }
    return true
  }

  private func isMoved(_ entry: EntryPointer?) -> Bool { entry?.pointee.kind == RangeKind.large && entry?.pointee.wordB == 1 }

  // MARK: - Recent blocks

  /// A recent block stays in the owner map, but its kind says that it is free: a second free of it is found out.
  private func keepRecent(_ entry: EntryPointer) {
    entry.pointee.kind = RangeKind.recent
    pointee.recentBytes += entry.pointee.length
    // A share of what is in use, and always one block: what is kept apart here joins no neighbour.
    let limit = Swift.min(Self.recentLimit, pointee.largeBytes / 16)
    while pointee.recentCount == 8 || pointee.recentCount > 0 && pointee.recentBytes > limit {
      forgetRecent(at: 0)
    }
    pointee.recent[pointee.recentCount] = entry
    pointee.recentCount += 1
  }

  private func forgetRecent(at position: Int) {
    let entry = removeRecent(at: position)
    entry.pointee.kind = RangeKind.large
    _ = endTrash(entry)
    dropLarge(entry)
  }

  private func removeRecent(at position: Int) -> EntryPointer {
    let entry = pointee.recent[position]!
    var index = position
    while index + 1 < pointee.recentCount {
      pointee.recent[index] = pointee.recent[index + 1]
      index += 1
    }
    pointee.recentCount -= 1
    pointee.recentBytes -= entry.pointee.length
    return entry
  }

  private func takeRecent(bytes: UInt) -> EntryPointer? {
    var position = pointee.recentCount - 1
    while position >= 0 {
      if pointee.recent[position]!.pointee.length == bytes {
        let entry = removeRecent(at: position)
        entry.pointee.kind = RangeKind.large
        entry.pointee.wordA = bytes
        count(bytes, 1)
        pointee.largeAllocations += 1
        return entry
      }
      position -= 1
    }
    return nil
  }

  func forgetAllRecent() {
    while pointee.recentCount > 0 { forgetRecent(at: 0) }
  }

  // MARK: - Sizes

  /// Usable bytes of the block that begins at `start`; nil if none does.
  public func largeBytes(at start: UInt) -> UInt? {
    guard case .large(let record) = ownerMap.pointee.owner(of: start) else { return nil }
    let entry = record.assumingMemoryBound(to: MapEntry.self)
    return entry.pointee.kind == RangeKind.large && entry.pointee.start == start ? entry.pointee.wordA : nil
  }

  /// As above, with the number of the malloc type that it counts for, 0 for none.
  public func largeBlock(at start: UInt) -> (bytes: UInt, type: UInt32)? {
    guard case .large(let record) = ownerMap.pointee.owner(of: start) else { return nil }
    let entry = record.assumingMemoryBound(to: MapEntry.self)
    guard entry.pointee.kind == RangeKind.large, entry.pointee.start == start else { return nil }
    return (entry.pointee.wordA, UInt32(entry.pointee.owner))
  }

  /// The number alone; 0 also where no block begins. Only its holder may ask.
  public func largeType(at start: UInt) -> UInt32 { largeBlock(at: start)?.type ?? 0 }

  /// Gives the block another size without moving it, if there is room behind it. New bytes may be dirty.
  public func resizeLarge(_ start: UInt, to size: UInt) -> Bool {
    guard let bytes = blockBytes(size) else { return false }
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    guard case .large(let record) = ownerMap.pointee.owner(of: start) else { return false }
    let entry = record.assumingMemoryBound(to: MapEntry.self)
    guard entry.pointee.kind == RangeKind.large, entry.pointee.start == start, entry.pointee.wordB != Self.contiguous,
      pointee.map.reserveEntries(3)
    else { return false }
    let old = entry.pointee.length
    if bytes > old {
      guard growInPlace(entry, by: bytes - old) else { return false }
    } else if bytes < old {
      guard let tail = pointee.map.clip(entry, at: start + bytes) else { return false }
      if entry.pointee.wordB != 0 && renewMoved(tail) {
        _ = pointee.map.remove(start: tail.pointee.start, length: old - bytes)
      } else {
        cacheEntry(tail)
      }
    }
    pointee.largeBytes = pointee.largeBytes + bytes - entry.pointee.wordA
    countResized(entry, from: entry.pointee.wordA, to: bytes)
    entry.pointee.wordA = bytes
    return true
  }

  /// Into a cached run or a gap behind the block, as far as the frontier.
  private func growInPlace(_ entry: EntryPointer, by more: UInt) -> Bool {
    let end = entry.pointee.end
    if let next = entry.pointee.next, next.pointee.kind == RangeKind.cached, next.pointee.start == end,
      next.pointee.length >= more
    {
      unlinkCached(next)
      if next.pointee.length > more {
        guard let rest = pointee.map.clip(next, at: end + more) else {
          linkCached(next)
          return false
        }
        linkCached(rest)
      }
      noteCachedTaken()
      _ = pointee.map.remove(start: end, length: more)
      return pointee.map.grow(entry, by: more)
    }
    guard entry.pointee.gap >= more else { return false }
    if end + more > pointee.frontier {
      guard case .done = moveFrontier(to: end + more) else { return false }
    }
    return pointee.map.grow(entry, by: more)
  }

  /// Moves the block's pages to a larger place without copying. Nil if the kernel will not; the block is unchanged.
  public func moveLarge(_ start: UInt, to size: UInt) -> UInt? {
    guard let bytes = blockBytes(size) else { return nil }
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    guard case .large(let record) = ownerMap.pointee.owner(of: start) else { return nil }
    let entry = record.assumingMemoryBound(to: MapEntry.self)
    // A block moved before lies in two mappings, which kernels before 6.17 do not move together.
    guard entry.pointee.kind == RangeKind.large, entry.pointee.start == start, entry.pointee.wordB == 0,
      pointee.movedCount < Self.movedLimit, pointee.apartCount < Self.apartLimit
    else { return nil }
    let old = entry.pointee.length
    guard pointee.map.reserveEntries(3), let range = takeGap(bytes: bytes, alignment: UInt(pageBytes), kind: RangeKind.large)
    else { return nil }
    // The target's own pages behind the moved ones are fresh; the source stays mapped, empty.
    let moved = stave_mremap(start, Int(old), Int(old), 7 /* MAYMOVE | FIXED | DONTUNMAP, Linux 5.7 */, range.start)
    guard moved > 0 else {
      // The kernel may have unmapped the target before it found that it cannot. If it cannot be mapped again, nobody may
      // ever be given it.
      if mapFresh(range.start, bytes: old, mapFixed) > 0 {
        _ = pointee.map.remove(start: range.start, length: bytes)
      } else {
        range.entry.pointee.kind = RangeKind.foreign
        pointee.foreignBytes += bytes
      }
      return nil
    }
    ownerMap.pointee.set(startOf: start, large: nil)
    pointee.largeBytes = pointee.largeBytes + bytes - entry.pointee.wordA
    countResized(entry, from: entry.pointee.wordA, to: bytes)
    range.entry.pointee.owner = entry.pointee.owner
    _ = pointee.map.remove(start: start, length: old)
    range.entry.pointee.wordA = bytes
    range.entry.pointee.wordB = 1
    pointee.movedCount += 1
    ownerMap.pointee.set(startOf: range.start, large: UnsafeMutableRawPointer(range.entry))
    return range.start
  }
}
