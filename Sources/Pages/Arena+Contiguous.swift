// SPDX-License-Identifier: BSD-2-Clause
//
// Physically contiguous blocks in the arena. Such a block is a large one whose wordB is 2: it has a mapping of its own, locked and
// not inherited by a fork, and gets fresh memory in its place when it is freed. While one is sought, ranges are *held*: nobody's yet.

import AddressMap
import CPlatform
import Primitives

extension UnsafeMutablePointer where Pointee == Arena {
  /// Each costs the process up to two mappings; these and those that mremap has moved together are at most so many.
  static var contiguousLimit: Int { 16_000 }
  public static var hugePageBytes: UInt { 2 << 20 }

  /// The value of wordB.
  static var contiguous: UInt { 2 }

  /// Addresses with fresh memory, or none yet, behind them. Nil if there are none, or too many such blocks.
  func hold(bytes: UInt, alignment: UInt) -> EntryPointer? {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    guard pointee.movedCount < Self.contiguousLimit, pointee.map.reserveEntries(4) else { return nil }
    return takeGap(bytes: bytes, alignment: alignment, kind: RangeKind.held)?.entry
  }

  /// The held range that begins at `start`.
  func heldEntry(at start: UInt) -> EntryPointer? {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    guard let entry = pointee.map.entry(containing: start), entry.pointee.kind == RangeKind.held else { return nil }
    return entry
  }

  /// The range is a gap again, with fresh memory, whatever has been done to it.
  func giveBack(_ entry: EntryPointer) {
    pointee.lock.lock()
    giveBackLocked(entry)
    pointee.lock.unlock()
  }

  /// The same where mremap has taken the memory away: addresses that somebody else has mapped something at since stay theirs.
  func giveBackMoved(_ entry: EntryPointer) {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    let (start, bytes) = (entry.pointee.start, entry.pointee.length)
    let result = mapFresh(start, bytes: bytes, mapFixedNoReplace)
    if result == Int(bitPattern: start) {
      _ = pointee.map.remove(start: start, length: bytes)
      return
    }
    if result > 0 { _ = stave_munmap(UInt(bitPattern: result), Int(bytes)) }  // a kernel that takes the address for a hint
    loseRange(entry)
  }

  /// If the system will not map it anew nobody may be given it, for it is not what other memory is.
  func giveBackLocked(_ entry: EntryPointer) {
    let (start, bytes) = (entry.pointee.start, entry.pointee.length)
    if mapFresh(start, bytes: bytes, mapFixed) > 0 {
      _ = pointee.map.remove(start: start, length: bytes)
    } else {
      loseRange(entry)
    }
  }

  func loseRange(_ entry: EntryPointer) {
    entry.pointee.kind = RangeKind.foreign
    pointee.foreignBytes += entry.pointee.length
  }

  /// Of a held range a block of `size` bytes at `start`; what lies before and behind is given back. A block has `extent` bytes of
  /// addresses. False if there are no entries: then the range is held still.
  func makeContiguous(_ entry: EntryPointer, start: UInt, size: UInt, extent: UInt, type: UInt32) -> Bool {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    guard pointee.map.reserveEntries(2) else { return false }
    var block = entry
    if start > entry.pointee.start {
      guard let upper = pointee.map.clip(entry, at: start) else { return false }
      block = upper
      giveBackLocked(entry)
    }
    if block.pointee.length > extent, let rest = pointee.map.clip(block, at: start + extent) { giveBackLocked(rest) }
    block.pointee.kind = RangeKind.large
    block.pointee.wordA = size
    block.pointee.wordB = Self.contiguous
    block.pointee.owner = UInt16(truncatingIfNeeded: type)
    pointee.movedCount += 1
    pointee.largeAllocations += 1
    count(size, 1)
    countTyped(block, size, 1)
    ownerMap.pointee.set(startOf: start, large: UnsafeMutableRawPointer(block))
    return true
  }

  /// The size of the contiguous block that begins at `start`; nil if none does.
  public func contiguousBytes(at start: UInt) -> UInt? {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    guard case .large(let record) = ownerMap.pointee.owner(of: start) else { return nil }
    let entry = record.assumingMemoryBound(to: MapEntry.self)
    guard entry.pointee.kind == RangeKind.large, entry.pointee.start == start, entry.pointee.wordB == Self.contiguous else { return nil }
    return entry.pointee.wordA
  }

  /// The child of a fork inherits no such block, nor what another thread of the parent was holding. Under the lock.
  func forgetHeldInChild() {
    var next = pointee.map.entry(after: nil)
    while let entry = next {
      next = entry.pointee.next
      if entry.pointee.kind == RangeKind.held { giveBackLocked(entry) }
    }
  }
}
