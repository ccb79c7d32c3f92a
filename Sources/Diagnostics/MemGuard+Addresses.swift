// SPDX-License-Identifier: BSD-2-Clause
//
// Addresses for a region: from the cursor on and up, over what has never been used and what is freed, and once round from the range's
// start (L43). And how pages are opened and closed.

import CPlatform
import Pages
import Primitives

let adviseGuardInstall: Int32 = 102
let adviseGuardRemove: Int32 = 103
let adviseDontNeed: Int32 = 4
let adviseDontDump: Int32 = 16
let adviseDump: Int32 = 17
let advisePopulateRead: Int32 = 22
let advisePopulateWrite: Int32 = 23

extension UnsafeMutablePointer where Pointee == MemGuard {
  /// Regions that one search steps over at most, so that it is short also where nearly all is in use.
  static var mostSteps: Int { 4096 }

  /// A region of so many pages, and a record that the table names for all of them; nil if there are no addresses, or no memory for the
  /// record. `isUneven`: something in it may be accessible. Under the lock.
  func takeRegion(_ count: UInt32, isUneven: inout Bool) -> UInt32? {
    let index = takeRecord()
    guard index != 0 else { return nil }
    guard let first = findRun(count, inLane: false, isUneven: &isUneven) else {
      releaseRecord(index)
      return nil
    }
    claim(first, count, for: index)
    pointee.cursor = first + count
    return index
  }

  /// A run of free pages is the region of this record from now on.
  func claim(_ first: UInt32, _ count: UInt32, for index: UInt32) {
    let end = first + count, table = pointee.table!
    var page = first
    while page < end {
      let old = table[Int(page)]
      guard old != 0 else {
        page += 1
        continue
      }
      let block = record(old), next = block.endPage
      if next > end {
        // The rest of it is the freed block's yet.
        block.pointee.pageCount = next - end
        block.pointee.firstPage = end
      } else {
        releaseRecord(old)
      }
      page = next
    }
    for page in first..<end { table[Int(page)] = index }
    record(index).pointee.firstPage = first
    record(index).pointee.pageCount = count
  }

  /// The first of so many free pages in a row, from the cursor on, in the lane or before it.
  @inline(never)
  func findRun(_ count: UInt32, inLane isLane: Bool, isUneven: inout Bool) -> UInt32? {
    var first = isLane ? pointee.laneCursor : pointee.cursor, page = first
    var steps = 0
    var hasWrapped = false
    while page - first < count {
      if page >= (isLane ? pointee.laneUsed : openedPages) {
        if !(isLane ? useMoreLane() : openMore(count - (page - first), isForced: hasWrapped)) {
          guard !hasWrapped else { return nil }
          hasWrapped = true
          if !isLane { pointee.wraps += 1 }
          first = isLane ? firstLanePage : 0
          page = first
          isUneven = false
        }
        continue
      }
      let index = pointee.table![Int(page)]
      if index == 0 {
        page += 1
        continue
      }
      let block = record(index)
      page = block.endPage
      if stave_load32(&block.pointee.state) == GuardedState.freed {
        if block.isUneven { isUneven = true }
        continue
      }
      first = page
      isUneven = false
      steps += 1
      if steps > Self.mostSteps {
        if isLane { pointee.laneCursor = first } else { pointee.cursor = first }
        return nil
      }
    }
    return first
  }

  /// Lets the range be used further up: by four MiB at least, as far as the table's next page describes. False at its end, where enough
  /// is open already and it need not be, or if the system refuses.
  func openMore(_ wanted: UInt32, isForced: Bool) -> Bool {
    let page = UInt(pageBytes), opened = pointee.opened
    guard isForced || opened < pointee.kept || stave_load64(&pointee.mappedBytes) > UInt64(opened / 4) else { return false }
    let step = page * (page / 4)
    guard let bytes = (UInt(wanted) * page).roundedUp(to: step), bytes <= UInt(pointee.laneStart) * page - opened else { return false }
    let tablePart = UInt(bitPattern: pointee.table) + opened / page * 4
    guard stave_mprotect(tablePart, Int(bytes / page * 4), protectionReadWrite) == 0 else { return false }
    if pointee.usesMarks {
      // Marked first: nothing of it is ever accessible.
      let isMarked = stave_madvise(pointee.start + opened, Int(bytes), adviseGuardInstall) == 0
      if isMarked {
        guard stave_mprotect(pointee.start + opened, Int(bytes), protectionReadWrite) == 0 else { return false }
      } else if opened == 0 {
        pointee.usesMarks = false
        shutLane()
      } else {
        return false
      }
    }
    _ = stave_madvise(pointee.start + opened, Int(bytes), adviseDump)
    pointee.opened = opened + bytes
    return true
  }

  // MARK: - Opening and closing

  /// Lets the block's pages be touched, and nothing else of its region. False if the system refuses, or the map has lines enough.
  func open(_ block: GuardedBlockPointer, isUneven: Bool) -> Bool {
    if isUneven && !closeRegion(block) { return false }
    let start = address(ofPage: block.pointee.dataPage), bytes = Int(block.pointee.dataCount) * pageBytes
    if pointee.usesMarks { return stave_madvise(start, bytes, adviseGuardRemove) == 0 }
    // Two lines: the block's, and what it cuts off.
    guard pointee.lines + 2 <= pointee.mostLines else { return false }
    guard stave_mprotect(start, bytes, protectionReadWrite) == 0 else { return false }
    stave_add32(&pointee.lines, 2)
    return true
  }

  /// The pages go back to the system at once, and nothing of the block may be touched any more. False if that could not be done as
  /// it should: its addresses must not be used again then.
  func close(_ block: GuardedBlockPointer) -> Bool {
    // In the lane it has a mark then, as no other region there. What a report opens from here on stays open.
    let unevenness = stave_exchange32(&block.pointee.unevenness, isInLane(block.pointee.dataPage) ? Unevenness.marked : 0)
    if unevenness != 0 { return closeRegion(block) }
    return closePages(block.pointee.dataPage, block.pointee.dataCount)
  }

  func closeRegion(_ block: GuardedBlockPointer) -> Bool { closePages(block.pointee.firstPage, block.pointee.pageCount) }

  @inline(never)
  func closePages(_ first: UInt32, _ count: UInt32) -> Bool {
    let start = address(ofPage: first), bytes = Int(count) * pageBytes
    var tries = pointee.usesMarks ? 2 : 0
    while tries > 0 {
      if stave_madvise(start, bytes, adviseGuardInstall) == 0 { return true }
      // Locked pages take none. Their block is freed: nothing of it is to be kept in memory.
      leaveLocked()
      _ = stave_munlock(start, bytes)
      tries -= 1
    }
    // Mapped anew: without pages, without access.
    let place = stave_mmap(start, bytes, 0, mapPrivateAnonymous | mapNoReserve | mapFixed)
    if place > 0 {
      if !pointee.usesMarks { stave_add32(&pointee.lines, -2) }
      return !pointee.usesMarks
    }
    // At least its memory.
    _ = stave_madvise(start, bytes, adviseDontNeed)
    return false
  }

  /// Makes the page of an address accessible, after a report, for the program to go on.
  func patch(_ address: UInt, of block: GuardedBlockPointer) -> Bool {
    stave_or32(&block.pointee.unevenness, Unevenness.patched)
    let page = address.roundedDown(to: UInt(pageBytes))
    guard pointee.usesMarks else {
      guard stave_mprotect(page, pageBytes, protectionReadWrite) == 0 else { return false }
      stave_add32(&pointee.lines, 2)
      return true
    }
    if stave_madvise(page, pageBytes, adviseGuardRemove) == 0 && stave_mprotect(page, pageBytes, protectionReadWrite) == 0 {
      if isLaneArmed && isInLane(UInt32((page - pointee.start) / UInt(pageBytes))) { _ = stave_zero_page(pointee.mover, page, pageBytes) }
      if stave_madvise(page, pageBytes, advisePopulateWrite) == 0 { return true }
    }
    // Where no page comes by a touch, as in the lane without its descriptor, it is mapped anew.
    return stave_mmap(page, pageBytes, protectionReadWrite, mapPrivateAnonymous | mapNoReserve | mapFixed) > 0
  }
}

/// Lines that the system allows a process's map; its usual number where it does not say.
func mapLineLimit() -> Int {
  var text = InlineArray<32, UInt8>(repeating: 0)
  let path: StaticString = "/proc/sys/vm/max_map_count"
  let file = path.utf8Start.withMemoryRebound(to: CChar.self, capacity: 1) { Int32(truncatingIfNeeded: stave_open($0, 0o2000000 /* O_CLOEXEC */)) }
  guard file >= 0 else { return 65530 }
  defer { _ = stave_close(file) }
  return withUnsafeMutablePointer(to: &text) { raw -> Int in
    let bytes = UnsafeMutableRawPointer(raw).assumingMemoryBound(to: UInt8.self)
    let count = stave_read(file, bytes, 32)
    guard count > 0 else { return 65530 }
    var slice = TextSlice(start: UnsafePointer(bytes), count: count)
    return Int(slice.cut(at: 10).number ?? 65530)
  }
}
