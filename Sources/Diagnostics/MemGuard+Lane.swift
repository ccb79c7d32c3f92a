// SPDX-License-Identifier: BSD-2-Clause
//
// The lane: the range's last GiB, if it has four, where pages are moved to. It is registered with a descriptor (userfaultfd) by which a
// touch of a page that is missing is SIGBUS, or EFAULT in a system call. So what has no page there needs no mark to be a guard: a region is opened and closed by moving a page, and by nothing else.
//
//   none     never used                          open     what is missing is a guard, by the descriptor
//   marked   what no block needs has marks, like the rest of the range: nothing hangs on the descriptor
//
// Guards are switched off, or no descriptor is to be had any more: the lane is marked, by one call for each stretch between two blocks;
// so it is opened again. Nothing of it is there before Linux 6.13, where a container or a filter of system calls forbids it, where few
// descriptors are allowed, and where memory is locked (mlockall).
//
// Whose the descriptor is. The first thread that frees a guarded block opens it, or the one that switches guards on, before the program
// takes rights from itself that this needs; never Stave's own thread, which has descriptors of its own. The program may close it, or use
// its number: that is noticed with the next page to be moved, and then another is opened, a few times, and what was touched meanwhile
// is given back. In between a touch of a freed block in the lane goes unseen. Where another table has it, as of a thread with a table of
// its own, or a copy has been made, the lane is watched as before: its first page, which nobody uses, tells. A child of fork gets one of
// its own from the handler of fork, or, where few blocks are guarded, with the first that it frees; where no handler runs (a bare clone),
// a word that the kernel wipes in the child (MADV_WIPEONFORK) says that the number is its parent's.

import CPlatform
import Pages
import Primitives

enum LaneState {
  static var none: UInt8 { 0 }
  static var open: UInt8 { 1 }
  static var marked: UInt8 { 2 }
}

let adviseWipeOnFork: Int32 = 18

extension UnsafeMutablePointer where Pointee == MemGuard {
  /// Descriptors that are opened at most.
  static var mostOpenings: Int32 { 4 }

  /// Pages of a part of the lane that comes into use at once, as many as one page of the table describes.
  private var laneStep: UInt32 { UInt32(pageBytes / 4) }

  /// Pages of the lane in a range of so many: whole steps. In a smaller one freed addresses would come back sooner.
  func lanePages(of pages: UInt) -> UInt32 {
    let most = Self.keptBytes / UInt(pageBytes)
    return pages / 4 < most ? 0 : UInt32(most) / laneStep * laneStep
  }

  /// The first that a region may have: one before it is never used, so that it is missing as long as the lane is watched.
  var firstLanePage: UInt32 { pointee.laneStart + 1 }
  /// Up to where it may be used.
  var laneEnd: UInt32 { Swift.min(pageCount, pointee.laneStart + UInt32(pointee.kept / UInt(pageBytes))) }

  func isInLane(_ page: UInt32) -> Bool { page >= pointee.laneStart && page < pointee.laneUsed }

  /// Where it begins, for who watches faults; no address where it has ended.
  var laneAddress: UInt {
    guard pointee.usesMarks, pointee.laneState == LaneState.open || pointee.openings < Self.mostOpenings else { return .max }
    return address(ofPage: pointee.laneStart)
  }

  /// Lets another part of it be touched, which has never been, and cores have it. False at its end.
  func useMoreLane() -> Bool {
    let start = address(ofPage: pointee.laneUsed), bytes = Int(laneStep) * pageBytes
    guard pointee.laneUsed + laneStep <= laneEnd,
      stave_mprotect(UInt(bitPattern: pointee.table) + UInt(pointee.laneUsed) * 4, pageBytes, protectionReadWrite) == 0,
      stave_mprotect(start, bytes, protectionReadWrite) == 0
    else { return false }
    _ = stave_madvise(start, bytes, adviseDump)
    pointee.laneUsed += laneStep
    return true
  }

  // MARK: - The descriptor

  /// A touch of a missing page in the lane is a fault of ours, in this process.
  var isLaneArmed: Bool { pointee.laneOwn?.pointee == 1 }

  /// Whether the lane may be used: two loads, where it is. Under the lock.
  func hasLane() -> Bool { isLaneArmed && pointee.laneState == LaneState.open || !stave_is_own_thread() && openLane() }

  /// `isFresh`: nothing has been touched since the descriptor was there.
  private func openLane(isFresh: Bool = false) -> Bool {
    let start = pointee.laneStart
    // It may have been closed while nothing hung on it.
    if pointee.laneState == LaneState.marked && !isMoverThere { pointee.laneOwn?.pointee = 0 }
    if !isLaneArmed {
      closeMover()
      guard pointee.openings < Self.mostOpenings else { return pointee.laneState == LaneState.open && shutLane() }
      guard !isLocked, let own = pointee.laneOwn ?? makeOwn() else { return shutLane() }
      pointee.openings += 1
      pointee.laneOwn = own
      let mover = stave_open_mover(address(ofPage: start), Int(pageCount - start) * pageBytes)
      guard mover > 0 else { return shutLane() }
      pointee.mover = Int32(mover)
      pointee.moverIdentity = stave_file_identity(pointee.mover)
      own.pointee = 1
      if pointee.laneState == LaneState.open && !isFresh && !sweepLane({ stave_madvise($0, $1, adviseDontNeed) == 0 }) { return shutLane() }
    }
    if pointee.laneState == LaneState.marked && !unmark(start, pointee.laneUsed - start) { return shutLane() }
    pointee.laneState = LaneState.open
    return true
  }

  /// A word that is 0 in every child that does not share our memory.
  private func makeOwn() -> UnsafeMutablePointer<Int64>? {
    guard pointee.laneStart < pageCount, let page = metadataPages.allocate(bytes: pageBytes) else { return nil }
    if stave_madvise(page.address, pageBytes, adviseWipeOnFork) == 0 { return page.assumingMemoryBound(to: Int64.self) }
    metadataPages.free(page, bytes: pageBytes)
    return nil
  }

  /// Whether the descriptor's number is still the file that was opened.
  var isMoverThere: Bool { pointee.mover > 0 && stave_file_identity(pointee.mover) == pointee.moverIdentity }

  private func closeMover() {
    if isMoverThere { _ = stave_close(pointee.mover) }
    pointee.mover = 0
  }

  /// The descriptor is not there, not in this thread's table. If the lane is not watched either, the next user opens another.
  func checkMover() {
    if stave_madvise(address(ofPage: pointee.laneStart), pageBytes, advisePopulateRead) == -14 /* EFAULT */ { return }
    pointee.mover = 0
    pointee.laneOwn?.pointee = 0
  }

  /// All memory is locked (mlockall), as the range's first page is, which is a guard: no program locks that alone.
  private var isLocked: Bool { stave_madvise(pointee.start, pageBytes, adviseDontNeed) != 0 }

  /// Pages could not be closed by marks.
  @inline(never)
  func leaveLocked() {
    guard pointee.laneState == LaneState.open, pointee.lock.tryLock() else { return }
    if pointee.laneState == LaneState.open && isLocked { shutLane() }
    pointee.lock.unlock()
  }

  /// It is used no more. Answers false.
  @discardableResult
  @inline(never)
  func shutLane() -> Bool {
    pointee.openings = Self.mostOpenings
    if pointee.laneUsed > pointee.laneStart { markLane() }
    closeMover()
    pointee.laneOwn?.pointee = 0
    return false
  }

  /// In a child of fork the descriptor is its parent's. To open another is as dear as the fork: where few blocks are guarded it waits
  /// for the first of the child's own that is freed, since most children end, or execute another program, before that.
  func replaceMover() {
    // If its parent's was closed, what had been touched since then is its own, too.
    let wasThere = isMoverThere
    closeMover()
    pointee.openings = 0
    if isOn && guardsMany && pointee.laneState == LaneState.open { _ = openLane(isFresh: wasThere) }
  }

  // MARK: - Marks

  /// What no block needs of it gets marks, or is mapped anew where the system refuses those. Under the lock.
  func markLane() {
    dropReady()
    pointee.laneState = LaneState.marked
    _ = sweepLane { memGuard.closePages(UInt32(($0 - memGuard.pointee.start) / UInt(pageBytes)), UInt32($1 / pageBytes)) }
  }

  /// Calls `body` with each stretch of the lane, address and bytes, in which there is nothing that is out, and nothing that was made
  /// accessible after a report. Whether all calls answered true.
  private func sweepLane(_ body: (UInt, Int) -> Bool) -> Bool {
    var start = pointee.laneStart, page = start
    var isDone = true
    func cut(at end: UInt32) {
      if end > start && !body(address(ofPage: start), Int(end - start) * pageBytes) { isDone = false }
      start = end + 1
    }
    while page < pointee.laneUsed {
      let index = pointee.table![Int(page)]
      guard index != 0 else {
        page += 1
        continue
      }
      let block = record(index), isFreed = stave_load32(&block.pointee.state) == GuardedState.freed
      let isPatched = block.pointee.unevenness & Unevenness.patched != 0
      if !isFreed || isPatched {
        for page in block.pointee.firstPage..<block.endPage {
          let isItsOwn = !isFreed && page &- block.pointee.dataPage < block.pointee.dataCount
          if isItsOwn || isPatched && stave_is_resident(address(ofPage: page)) { cut(at: page) }
        }
      }
      page = block.endPage
    }
    cut(at: pointee.laneUsed)
    return isDone
  }

  /// What marks, or a new mapping, have closed is closed by the descriptor alone.
  private func unmark(_ first: UInt32, _ count: UInt32) -> Bool {
    let start = address(ofPage: first), bytes = Int(count) * pageBytes
    return bytes == 0 || stave_mprotect(start, bytes, protectionReadWrite) == 0 && stave_register(pointee.mover, start, bytes) == 0
      && stave_madvise(start, bytes, adviseGuardRemove) == 0
  }

  /// Free pages that reports or marks have changed are like others again.
  func evenOut(_ first: UInt32, _ count: UInt32) -> Bool {
    unmark(first, count) && stave_madvise(address(ofPage: first), Int(count) * pageBytes, adviseDontNeed) == 0
  }
}
