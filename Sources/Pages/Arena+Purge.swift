// SPDX-License-Identifier: BSD-2-Clause
//
// Returning cached runs to the system.

import AddressMap
import CPlatform
import Primitives

extension UnsafeMutablePointer where Pointee == Arena {
  /// Returns what was not needed since the last call: the least that was cached in between. Bytes returned.
  @discardableResult
  public func purgeIdle() -> UInt {
    pointee.lock.lock()
    let idle = Swift.min(pointee.lowestCached, pointee.cachedBytes)
    pointee.lock.unlock()
    let purged = purge(atMost: idle)
    pointee.lock.lock()
    pointee.lowestCached = pointee.cachedBytes
    pointee.lock.unlock()
    return purged
  }

  /// Returns cached runs, large ones first, until `limit` bytes are gone; a run is returned whole, or
  /// stays cached if the system refuses. Bytes returned.
  @discardableResult
  public func purge(atMost limit: UInt = .max, recentToo: Bool = false) -> UInt {
    if recentToo {
      pointee.lock.lock()
      forgetAllRecent()
      pointee.lock.unlock()
    }
    pointee.lock.lock()
    placeUnplaced()
    askForLimit()
    pointee.lock.unlock()
    var purged: UInt = 0
    // Runs that the system will not take, as where a page is locked, linked by their first word. They count against the
    // limit: they have been needed as little as the others.
    var refused: EntryPointer? = nil
    var refusedBytes: UInt = 0
    while purged + refusedBytes < limit {
      pointee.lock.lock()
      var bin = 27
      while bin >= 0 && pointee.bins[bin] == nil { bin -= 1 }
      guard bin >= 0, let run = pointee.bins[bin] else {
        pointee.lock.unlock()
        break
      }
      let start = run.pointee.start
      let bytes = run.pointee.length
      if pointee.isTight && makeHole(run) {
        pointee.purgedBytes += bytes
        purged += bytes
        pointee.lock.unlock()
        continue
      }
      unlinkCached(run)
      run.pointee.kind = RangeKind.purging
      pointee.purgesUnderWay += 1
      pointee.lock.unlock()
      let isReturned = stave_madvise(start, Int(bytes), 4 /* MADV_DONTNEED */) == 0
      pointee.lock.lock()
      if isReturned {
        pointee.purgesUnderWay -= 1
        _ = pointee.map.remove(start: start, length: bytes)
        pointee.purgedBytes += bytes
        purged += bytes
        if pointee.isTight { lowerFrontierToGap() }
      } else {
        // Put aside, still under way, so that the others have their turn and this comes to an end.
        run.pointee.wordA = UInt(bitPattern: refused)
        refused = run
        refusedBytes += bytes
      }
      pointee.lock.unlock()
    }
    if refused != nil { keepCached(refused) }
    return purged
  }

  private func keepCached(_ first: EntryPointer?) {
    pointee.lock.lock()
    var next = first
    while let run = next {
      next = Self.following(run)
      pointee.purgesUnderWay -= 1
      cacheEntry(run)
    }
    pointee.lock.unlock()
  }

  /// Waits until no range is between cached and returned, when it can be found neither way. For who would fail otherwise.
  public func waitForPurges() {
    while true {
      pointee.lock.lock()
      let isQuiet = pointee.purgesUnderWay == 0
      pointee.lock.unlock()
      if isQuiet { return }
      _ = stave_yield()
    }
  }

  /// In the child of a fork: ranges that another thread of the parent was returning are cached still.
  public func resumeInChild() {
    pointee.purgesUnderWay = 0
    pointee.forkedBelow = pointee.frontier
    forgetHeldInChild()
    var entry = pointee.map.entry(after: nil)
    while let range = entry {
      if range.pointee.kind == RangeKind.purging {
        range.pointee.kind = RangeKind.cached
        linkCached(range)
      }
      entry = range.pointee.next
    }
  }

  /// Sums, bins and the map agree; the owner map knows each large block.
  public func checkInvariants() {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    pointee.map.checkInvariants()
    var cached: UInt = 0
    var slabs: UInt = 0
    var large: UInt = 0
    var recent: UInt = 0
    var unmapped: UInt = 0
    var entry = pointee.map.entry(after: nil)
    while let range = entry {
      precondition(range.pointee.end <= pointee.frontier, "a range beyond the frontier")
      switch range.pointee.kind {
      case RangeKind.cached: cached += range.pointee.length
      case RangeKind.slab: slabs += range.pointee.length
      case RangeKind.unmapped: unmapped += range.pointee.length
      case RangeKind.recent: recent += range.pointee.length
      case RangeKind.large:
        large += range.pointee.wordA
        guard case .large(let record) = ownerMap.pointee.owner(of: range.pointee.start), record == UnsafeMutableRawPointer(range)
        else { preconditionFailure("a large block unknown to the owner map") }
      default: break
      }
      entry = range.pointee.next
    }
    precondition(cached == pointee.cachedBytes, "cached bytes")
    precondition(slabs == pointee.slabBytes, "slab bytes")
    precondition(large == pointee.largeBytes, "large bytes")
    precondition(unmapped == pointee.unmappedBytes, "unmapped bytes")
    var listed: UInt = 0
    var hole = pointee.holes
    while let range = hole {
      precondition(range.pointee.kind == RangeKind.unmapped, "a hole that is none")
      listed += range.pointee.length
      hole = Self.following(range)
    }
    precondition(listed == unmapped, "holes that are not in the list")
    precondition(recent == pointee.recentBytes, "recent bytes")
  }
}

extension UnsafeMutablePointer where Pointee == Arena {
  /// Recent blocks become cached runs.
  public func forgetRecentBlocks() {
    pointee.lock.lock()
    forgetAllRecent()
    pointee.lock.unlock()
  }

  /// Asks for (2) or against (1) transparent huge pages in all of the arena, now and later; 0: asks for nothing from now on.
  public func setHugePages(_ wish: Int64) {
    pointee.lock.lock()
    pointee.hugePageAdvice = wish == 0 ? 0 : wish == 2 ? 14 : 15
    let start = pointee.windowStart
    let bytes = pointee.frontier - start
    if bytes > 0 && wish != 0 { _ = stave_madvise(start, Int(bytes), pointee.hugePageAdvice) }
    pointee.lock.unlock()
  }

  /// Whether the address lies in a range that is in use, or cached. Takes the lock.
  public func contains(_ address: UInt) -> Bool {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    return pointee.map.entry(containing: address) != nil
  }

  /// For a report: what lies at an address of a large block. Whether it is free.
  public func describe(_ address: UInt, in report: inout Report) -> Bool {
    var isFree = false
    pointee.lock.lock()
    if let entry = pointee.map.entry(containing: address) {
      isFree = entry.pointee.kind != RangeKind.large
      report.text(isFree ? ", which is free already: " : ", ")
      report.count(address - entry.pointee.start, "byte")
      report.text(isFree ? " into the free memory at " : " into the large block at ")
      report.address(entry.pointee.start)
      report.text(" of ")
      report.number(isFree ? entry.pointee.length : entry.pointee.wordA)
      report.text(" bytes")
    }
    pointee.lock.unlock()
    return isFree
  }
}
