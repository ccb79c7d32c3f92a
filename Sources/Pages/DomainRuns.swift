// SPDX-License-Identifier: BSD-2-Clause
//
// Slabs in memory domains: units of *domain runs*. A run is a part of the arena, 2 to 64 MiB of addresses, that has its policy from the
// first to the last unit and is shared by all zones that want memory of its domain. The kernel keeps a mapping for each stretch of
// addresses with one policy, of which a process may have 65,530 as a rule: so there are as many policies as runs, not as slabs. A run is
// as long as an eighth of what its domain has already, within those limits; so the number of runs grows slowly.
//
// A slab that goes back leaves its unit without pages. When the last has gone, so does the policy, and only then does the arena have the
// run again: nobody else ever has memory with a policy that is not his. Where the system will not take the policy back the run stays.
//
// Lock: the arena's, for lists and bitmaps; not held over system calls. In a child of fork a run that another thread was just making or
// ending is nobody's. Cost: a madvise for each slab given back, one mbind for each run made or ended.

import AddressMap
import CPlatform
import Primitives

public struct DomainRun {
  var start: UInt
  var units: Int
  var freeUnits: Int
  var domain: Int
  /// It has a policy.
  var isPlaced: Bool
  /// Among the runs of its domain that have free units.
  var next: DomainRunPointer?
  var previous: DomainRunPointer?
  // Behind it, the words of a bitmap of the free units.
}

public typealias DomainRunPointer = UnsafeMutablePointer<DomainRun>

extension PageSource {
  /// As `arena`, in a memory domain.
  public static func arena(domain: Int) -> PageSource {
    var source = PageSource(
      allocate: { domain, bytes, _, _ in Pages.arena.takeUnits(bytes: bytes, domain: Int(bitPattern: domain)) },
      free: { _, start, bytes, _ in Pages.arena.giveUnits(start.address, bytes: bytes) },
      context: UnsafeMutableRawPointer(bitPattern: domain), isZeroed: false)
    source.isOurs = true
    return source
  }
}

extension UnsafeMutablePointer where Pointee == Arena {
  fileprivate func takeUnits(bytes: Int, domain: Int) -> UnsafeMutableRawPointer? {
    let units = (bytes - 1) >> Int(unitShift) + 1
    while true {
      pointee.lock.lock()
      let start = takeOfRuns(units, domain)
      pointee.lock.unlock()
      if let start { return UnsafeMutableRawPointer(bitPattern: start) }
      guard makeRun(for: units, domain) else { return nil }
    }
  }

  /// Of the newest sixteen that have any; a slab of one unit finds it in the first. The lock is held.
  private func takeOfRuns(_ units: Int, _ domain: Int) -> UInt? {
    var next = memoryDomains.pointee.table?.pointee.roomy[domain], tries = 16
    while let run = next, tries > 0 {
      if let start = run.take(units) {
        if run.pointee.freeUnits == 0 { run.unlink() }
        return start
      }
      next = run.pointee.next
      tries -= 1
    }
    return nil
  }

  private func makeRun(for units: Int, _ domain: Int) -> Bool {
    guard let table = memoryDomains.pointee.table else { return false }
    let share = Int(table.pointee.runBytes[domain] >> (unitShift + 3))
    var length = Swift.max(units, Swift.min(Swift.max(32, Swift.max(8 * units, share)), 1024))
    guard let memory = metadataPages.allocate(bytes: DomainRunPointer.bytes(units: length)) else { return false }
    let run = memory.assumingMemoryBound(to: DomainRun.self)
    pointee.lock.lock()
    var range = takeRun(length, run)
    while range == nil && length > units {
      length = Swift.max(units, length / 2)
      range = takeRun(length, run)
    }
    if range != nil { table.pointee.runBytes[domain] += UInt(length) << unitShift }
    pointee.lock.unlock()
    guard let range else {
      metadataPages.free(memory, bytes: DomainRunPointer.bytes(units: length))
      return false
    }
    // What an earlier user has left there lies anywhere.
    if !range.isZero { _ = stave_madvise(range.start, length << Int(unitShift), 4 /* MADV_DONTNEED */) }
    run.initialize(
      to: DomainRun(start: range.start, units: length, freeUnits: length, domain: domain, isPlaced: false, next: nil, previous: nil))
    run.free.insertAll()
    run.pointee.isPlaced = memoryDomains.bind(range.start, run.length, to: domain)
    pointee.lock.lock()
    run.link()
    pointee.lock.unlock()
    return true
  }

  /// An entry of the map for itself, which leads to the run. The lock is held.
  private func takeRun(_ units: Int, _ run: DomainRunPointer) -> ArenaRange? {
    guard let range = takeRange(bytes: UInt(units) << unitShift, alignment: unitBytes, kind: RangeKind.held) else { return nil }
    range.entry.pointee.kind = RangeKind.slab
    range.entry.pointee.wordA = UInt(bitPattern: run)
    pointee.slabBytes += range.entry.pointee.length
    return range
  }

  fileprivate func giveUnits(_ start: UInt, bytes: Int) {
    _ = stave_madvise(start, bytes, 4 /* MADV_DONTNEED */)
    pointee.lock.lock()
    guard let entry = pointee.map.entry(containing: start), let run = DomainRunPointer(bitPattern: entry.pointee.wordA) else {
      return pointee.lock.unlock()
    }
    if run.pointee.freeUnits == 0 { run.link() }
    run.give(start, units: (bytes - 1) >> Int(unitShift) + 1)
    let isEmpty = run.pointee.freeUnits == run.pointee.units
    if isEmpty { run.unlink() }
    pointee.lock.unlock()
    if isEmpty { end(run) }
  }

  /// No slab lies there, and it is in no list.
  private func end(_ run: DomainRunPointer) {
    let isClean = !run.pointee.isPlaced || memoryDomains.unbind(run.pointee.start, run.length)
    pointee.lock.lock()
    guard isClean, let entry = pointee.map.entry(containing: run.pointee.start) else {
      run.link()
      return pointee.lock.unlock()
    }
    pointee.slabBytes -= entry.pointee.length
    memoryDomains.pointee.table?.pointee.runBytes[run.pointee.domain] -= entry.pointee.length
    cacheEntry(entry)
    pointee.lock.unlock()
    metadataPages.free(UnsafeMutableRawPointer(run), bytes: DomainRunPointer.bytes(units: run.pointee.units))
  }
}

extension UnsafeMutablePointer where Pointee == DomainRun {
  fileprivate static func bytes(units: Int) -> Int {
    (MemoryLayout<DomainRun>.stride + 8 * Bitmap.wordCount(for: units)).roundedUp(to: pageBytes)
  }

  fileprivate var free: Bitmap {
    Bitmap(words: UnsafeMutableRawPointer(self + 1).assumingMemoryBound(to: UInt64.self), count: pointee.units)
  }
  fileprivate var length: Int { pointee.units << Int(unitShift) }

  /// The first so many free units that lie together.
  fileprivate func take(_ units: Int) -> UInt? {
    guard pointee.freeUnits >= units else { return nil }
    let free = self.free
    var found = 0
    for unit in 0..<pointee.units {
      found = free.contains(unit) ? found + 1 : 0
      guard found == units else { continue }
      for taken in 0..<units { free.remove(unit - taken) }
      pointee.freeUnits -= units
      return pointee.start + UInt(unit - units + 1) << unitShift
    }
    return nil
  }

  fileprivate func give(_ start: UInt, units: Int) {
    let first = Int((start - pointee.start) >> unitShift)
    for unit in first..<first + units { free.insert(unit) }
    pointee.freeUnits += units
  }

  fileprivate func link() {
    guard let table = memoryDomains.pointee.table else { return }
    pointee.previous = nil
    pointee.next = table.pointee.roomy[pointee.domain]
    pointee.next?.pointee.previous = self
    table.pointee.roomy[pointee.domain] = self
  }

  fileprivate func unlink() {
    if let previous = pointee.previous {
      previous.pointee.next = pointee.next
    } else {
      memoryDomains.pointee.table?.pointee.roomy[pointee.domain] = pointee.next
    }
    pointee.next?.pointee.previous = pointee.previous
  }
}
