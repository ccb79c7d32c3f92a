// SPDX-License-Identifier: BSD-2-Clause
//
// Ranges of the arena: taking them from cached runs, gaps or beyond the frontier, and giving them back as cached runs.
// Everything here runs with the arena's lock held.

import AddressMap
import CPlatform
import Primitives

/// A range handed out, and whether its memory is known to be zero.
public struct ArenaRange {
  public var start: UInt
  public var isZero: Bool
  var entry: EntryPointer
}

extension UnsafeMutablePointer where Pointee == Arena {
  /// `bytes` is a multiple of the page, `alignment` a power of two of at least a page. Nil when the window is full or the
  /// system refuses.
  func takeRange(bytes: UInt, alignment: UInt, kind: UInt8) -> ArenaRange? {
    // Splitting a cached run now and releasing a part later want entries. Where memory has run out there may be none; then
    // what needs none, such as a run of just the size, must still be had.
    _ = pointee.map.reserveEntries(64)
    placeUnplaced()
    if let range = takeCached(bytes: bytes, alignment: alignment, kind: kind) {
      noteCachedTaken()
      return range
    }
    return takeGap(bytes: bytes, alignment: alignment, kind: kind)
  }

  private func attributes(_ kind: UInt8) -> EntryAttributes { EntryAttributes(kind: kind, noMerge: kind == RangeKind.large || kind == RangeKind.held) }

  /// What has been cached and unneeded all through a period is the least there was at the end of any request; that a run
  /// leaves its bin for a moment to be cut or joined does not count.
  func noteCachedTaken() { pointee.lowestCached = Swift.min(pointee.lowestCached, pointee.cachedBytes) }

  func takeGap(bytes: UInt, alignment: UInt, kind: UInt8) -> ArenaRange? {
    var request = SpaceRequest(length: bytes)
    request.alignment = alignment
    request.patience = 8
    while true {
      var space = pointee.map.findSpace(request)?.address
      if space == nil || space! + bytes > pointee.frontier, let hole = mapHole(bytes: bytes, alignment: alignment) { space = hole }
      guard let place = space else { return nil }
      if place + bytes > pointee.frontier {
        switch moveFrontier(to: place + bytes) {
        case .done: break
        case .refused: return nil
        case .occupied: continue
        }
      }
      guard let entry = pointee.map.insert(start: place, length: bytes, attributes(kind)).value else { return nil }
      return ArenaRange(start: place, isZero: true, entry: entry)
    }
  }

  enum Growth {
    case done, refused, occupied
  }

  /// Maps from the frontier up to at least `end`, a growing amount at a time.
  func moveFrontier(to end: UInt) -> Growth {
    let grain = Self.frontierGrain
    if end - pointee.frontier >= 32 << 20 { askForLimit() }
    let mapped = pointee.frontier - pointee.windowStart
    let ahead = Swift.min(Swift.max(mapped / 8, grain), 64 << 20)
    guard let wanted = Swift.max(end, pointee.frontier + ahead).roundedUp(to: grain) else { return .refused }
    var top = Swift.min(wanted, pointee.windowEnd)
    while true {
      let bytes = Int(top - pointee.frontier)
      let result = mapFresh(pointee.frontier, bytes: UInt(bytes), mapFixedNoReplace)
      if result == Int(bitPattern: pointee.frontier) {
        guard ownerMap.pointee.cover(upTo: top) else {
          _ = stave_munmap(pointee.frontier, bytes)
          return .refused
        }
        pointee.frontier = top
        return .done
      }
      if result > 0 { _ = stave_munmap(UInt(bitPattern: result), bytes) }  // a kernel that takes the address for a hint
      if result == -17 /* EEXIST */ || result > 0 {
        // Somebody sits there: step over some of it and look again, each time as far as all steps before.
        var step = grain
        if let last = pointee.map.last, last.pointee.kind == RangeKind.foreign, last.pointee.end == pointee.frontier {
          step = Swift.max(step, last.pointee.length)
        }
        step = Swift.min(step, pointee.windowEnd - pointee.frontier)
        guard step > 0, pointee.map.insert(start: pointee.frontier, length: step, attributes(RangeKind.foreign)).value != nil
        else { return .refused }
        pointee.foreignBytes += step
        pointee.frontier += step
        return .occupied
      }
      // Less than ahead of need, before giving up.
      guard top > end, let least = end.roundedUp(to: unitBytes), least < top else { return .refused }
      top = least
    }
  }

  /// Maps fresh memory at a place, named, and with what the options say of huge pages. The kernel's answer.
  func mapFresh(_ start: UInt, bytes: UInt, _ flag: Int32) -> Int {
    // Not NORESERVE: absurd sizes are the kernel's to refuse.
    let result = stave_mmap(start, Int(bytes), protectionReadWrite, mapPrivateAnonymous | flag)
    if result == Int(bitPattern: start) {
      nameMapping(start, bytes: Int(bytes), "stave:arena")
      if pointee.hugePageAdvice != 0 { _ = stave_madvise(start, Int(bytes), pointee.hugePageAdvice) }
    }
    return result
  }

  /// Of the cached runs of about the size the one that fits at the lowest address, else of the next larger ones. So what is free
  /// at high addresses stays together, and long.
  private func takeCached(bytes: UInt, alignment: UInt, kind: UInt8) -> ArenaRange? {
    var bin = Self.bin(for: bytes)
    while bin < 28 {
      var candidate = pointee.bins[bin]
      var best: EntryPointer? = nil
      var looked = 0
      while let run = candidate, looked < 16 {
        if run.pointee.start < best?.pointee.start ?? .max, let start = run.pointee.start.roundedUp(to: alignment),
          start <= run.pointee.end, run.pointee.end - start >= bytes
        {
          best = run
        }
        candidate = Self.following(run)
        looked += 1
      }
      if let best {
        return cut(best, at: best.pointee.start.roundedUp(to: alignment)!, bytes: bytes, kind: kind)
      }
      bin += 1
    }
    return nil
  }

  /// Takes the middle of a cached run; what is before and behind stays cached.
  private func cut(_ run: EntryPointer, at start: UInt, bytes: UInt, kind: UInt8) -> ArenaRange? {
    unlinkCached(run)
    var entry = run
    if start > run.pointee.start {
      guard let upper = pointee.map.clip(run, at: start) else {
        linkCached(run)
        return nil
      }
      linkCached(run)
      entry = upper
    }
    if entry.pointee.length > bytes {
      guard let rest = pointee.map.clip(entry, at: start + bytes) else {
        linkCached(entry)
        return nil
      }
      linkCached(rest)
    }
    entry = pointee.map.change(entry, to: attributes(kind))
    return ArenaRange(start: start, isZero: false, entry: entry)
  }

  /// Makes an entry a cached run, joined with cached neighbours. Needs no memory.
  func cacheEntry(_ entry: EntryPointer) {
    if let before = entry.pointee.previous, before.pointee.kind == RangeKind.cached, before.pointee.end == entry.pointee.start {
      unlinkCached(before)
    }
    if let after = entry.pointee.next, after.pointee.kind == RangeKind.cached, after.pointee.start == entry.pointee.end {
      unlinkCached(after)
    }
    // Runs that are in no bin are equal, so the map joins them.
    let run = pointee.map.change(entry, to: EntryAttributes(kind: RangeKind.cached))
    linkCached(run)
    if pointee.isTight { unmap(run) }
  }

  // MARK: - The bins

  @inline(__always)
  static func bin(for bytes: UInt) -> Int { Swift.min(27, 63 - (bytes >> 12).leadingZeroBitCount) }

  @inline(__always)
  static func following(_ run: EntryPointer) -> EntryPointer? { EntryPointer(bitPattern: run.pointee.wordA) }

  func linkCached(_ run: EntryPointer) {
    let bin = Self.bin(for: run.pointee.length)
    let first = pointee.bins[bin]
    run.pointee.wordA = UInt(bitPattern: first)
    run.pointee.wordB = 0
    first?.pointee.wordB = UInt(bitPattern: run)
    pointee.bins[bin] = run
    pointee.cachedBytes += run.pointee.length
  }

  func unlinkCached(_ run: EntryPointer) {
    let next = Self.following(run)
    if let previous = EntryPointer(bitPattern: run.pointee.wordB) {
      previous.pointee.wordA = UInt(bitPattern: next)
    } else {
      pointee.bins[Self.bin(for: run.pointee.length)] = next
    }
    next?.pointee.wordB = run.pointee.wordB
    run.pointee.wordA = 0
    run.pointee.wordB = 0
    pointee.cachedBytes -= run.pointee.length
  }
}
