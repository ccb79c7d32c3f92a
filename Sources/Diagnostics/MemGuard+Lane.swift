// SPDX-License-Identifier: BSD-2-Clause
//
// The lane: the last part of the range, a quarter of it, 1 GiB at most, where pages are moved to. It is registered with a descriptor
// (userfaultfd) by which a touch of a page that is missing is SIGBUS, or EFAULT in a system call: so what has no page needs no mark
// there to be a guard, and is opened and closed by moving a page alone.
//
//   lane   | marked, but for blocks | window: without marks          | marked since the last round, or never used |
//                                   swept        cursor       opened
//
// That hangs on the descriptor, which the program may close, and which a child of fork does not have. So it holds in a short window
// alone: 64 regions behind the cursor get marks like all others, by one call for all that is freed between two blocks that are not, and
// as many before it are opened at once. When Stave finds, with the next page to be moved, that the descriptor is gone, it opens another,
// a few times; where none is to be had it marks the window, and the lane is not used any more: then blocks open and close pages of
// their own. In between a touch of what the window holds would go unseen. A child of fork gets a descriptor of its own
// by the handler of fork; where no handler runs (a bare clone), a word that the kernel wipes in the child (MADV_WIPEONFORK) says so.
//
// The descriptor is opened when guards are switched on, before a program has taken rights from itself that this needs. Nothing of it is
// there before Linux 6.8, where a container or a filter of system calls forbids it, and where few descriptors are allowed.

import CPlatform
import Pages
import Primitives

enum LaneState {
  /// There is none, or it has not been used.
  static var none: UInt8 { 0 }
  static var open: UInt8 { 1 }
  /// Never again.
  static var shut: UInt8 { 2 }
}

let adviseWipeOnFork: Int32 = 18

extension UnsafeMutablePointer where Pointee == MemGuard {
  /// Descriptors that are opened at most.
  static var mostOpenings: Int32 { 4 }
  static var windowRegions: UInt32 { 64 }

  /// Pages of a part of the lane that comes into use at once, as many as one page of the table describes.
  private var laneStep: UInt32 { UInt32(pageBytes / 4) }
  private var window: UInt32 { Self.windowRegions * (2 * pointee.width + 1) }
  /// Where it begins anew.
  private var laneEnd: UInt32 { Swift.min(pageCount, pointee.laneStart + UInt32(pointee.kept / UInt(pageBytes))) }

  /// Pages of the lane in a range of so many: whole steps.
  func lanePages(of pages: UInt) -> UInt32 { UInt32(Swift.min(pages / 4, Self.keptBytes / UInt(pageBytes))) / laneStep * laneStep }

  // MARK: - The descriptor

  /// Whether the lane may be used: a load, where it has been. Under the lock.
  func hasLane() -> Bool {
    if let own = pointee.laneOwn, own.pointee == 1 { return true }
    return pointee.laneState != LaneState.shut && openLane()
  }

  /// A touch of a missing page in the lane is a fault of ours, in this process.
  var isLaneArmed: Bool { pointee.laneOwn?.pointee == 1 }

  private func openLane() -> Bool {
    if pointee.openings < Self.mostOpenings, let own = pointee.laneOwn ?? makeOwn() {
      pointee.openings += 1
      pointee.laneOwn = own
      let mover = stave_open_mover(address(ofPage: pointee.laneStart), Int(pageCount - pointee.laneStart) * pageBytes)
      if mover > 0 {
        // What the program has touched meanwhile has no page any more.
        if pointee.laneState == LaneState.open && !mark(upTo: pointee.laneCursor) {
          _ = stave_close(Int32(mover))
          shutLane()
          return false
        }
        pointee.mover = Int32(mover)
        pointee.moverIdentity = stave_file_identity(pointee.mover)
        pointee.laneState = LaneState.open
        own.pointee = 1
        return true
      }
    }
    shutLane()
    return false
  }

  /// A word that is 0 in every child that does not share our memory.
  private func makeOwn() -> UnsafeMutablePointer<Int64>? {
    guard pointee.laneStart < pageCount, let page = metadataPages.allocate(bytes: pageBytes) else { return nil }
    if stave_madvise(page.address, pageBytes, adviseWipeOnFork) == 0 { return page.assumingMemoryBound(to: Int64.self) }
    metadataPages.free(page, bytes: pageBytes)
    return nil
  }

  /// The next user opens another.
  func loseMover() {
    pointee.mover = 0
    pointee.laneOwn?.pointee = 0
  }

  /// Marks what has none, and uses it no more.
  func shutLane() {
    let wasOpen = pointee.laneState == LaneState.open
    loseMover()
    pointee.laneState = LaneState.shut
    guard wasOpen else { return }
    dropReady()
    _ = closeWindow()
  }

  /// Guards have been switched on, or off: then nothing is done.
  func openMoverAhead() {
    guard isOn, pointee.usesMarks, pointee.lock.tryLock() else { return }
    _ = hasLane()
    pointee.lock.unlock()
  }

  /// In a child of fork the descriptor is its parent's.
  func replaceMover() {
    guard pointee.laneState == LaneState.open else { return }
    if pointee.mover > 0 && stave_file_identity(pointee.mover) == pointee.moverIdentity { _ = stave_close(pointee.mover) }
    loseMover()
    pointee.openings = 0
    if isOn { _ = openLane() }
  }

  // MARK: - Addresses

  func isInLane(_ page: UInt32) -> Bool { page >= pointee.laneStart && page < pointee.laneUsed }

  /// Without a page it is a guard, without a mark.
  func isInWindow(_ page: UInt32) -> Bool { page >= pointee.laneSwept && page < pointee.laneOpened }

  /// A region that a page may be moved to, with a record. Under the lock.
  func takeLane(_ count: UInt32) -> UInt32? {
    guard window <= (laneEnd - pointee.laneStart) / 4 else { return nil }
    if pointee.laneCursor + count > laneEnd {
      guard markOrShut(upTo: pointee.laneOpened) else { return nil }
      if pointee.laneCursor > pointee.laneStart { pointee.wraps += 1 }
      (pointee.laneCursor, pointee.laneSwept, pointee.laneOpened) = (pointee.laneStart, pointee.laneStart, pointee.laneStart)
    }
    guard let first = findInLane(count), openAhead(first + count) else { return nil }
    var isPatched = false
    guard let index = claim(first, count, isPatched: &isPatched) else { return nil }
    pointee.laneCursor = first + count
    if isPatched {
      // It has pages that a report has left.
      let start = address(ofPage: first), bytes = Int(count) * pageBytes
      _ = stave_madvise(start, bytes, adviseGuardInstall)
      _ = stave_madvise(start, bytes, adviseGuardRemove)
    }
    return index
  }

  /// From the cursor on to the lane's end; from its beginning the next time, if there is nothing.
  private func findInLane(_ count: UInt32) -> UInt32? {
    var first = pointee.laneCursor, page = first
    var steps = 0
    while page - first < count {
      let index = page < pointee.laneUsed ? pointee.table![Int(page)] : 0
      if index == 0 {
        page += 1
        continue
      }
      let block = record(index)
      page = block.endPage
      if stave_load32(&block.pointee.state) != GuardedState.freed {
        first = page
        steps += 1
        if steps > Self.mostSteps { break }
      }
    }
    if page - first >= count && first + count <= laneEnd { return first }
    let end = Swift.min(first, laneEnd)
    if openAhead(end) { pointee.laneCursor = end }
    return nil
  }

  /// Lets pages be moved to all up to here, and as many as a window has.
  private func openAhead(_ end: UInt32) -> Bool {
    guard end > pointee.laneOpened else { return true }
    let ahead = Swift.min(end + window, pageCount)
    while ahead > pointee.laneUsed { if !useMore() { return false } }
    let bytes = Int(ahead - pointee.laneOpened) * pageBytes
    guard stave_madvise(address(ofPage: pointee.laneOpened), bytes, adviseGuardRemove) == 0 else { return false }
    pointee.laneOpened = ahead
    return true
  }

  /// Lets another part be touched, which has never been, and cores have it.
  private func useMore() -> Bool {
    let start = address(ofPage: pointee.laneUsed), bytes = Int(laneStep) * pageBytes
    guard stave_mprotect(UInt(bitPattern: pointee.table) + UInt(pointee.laneUsed) * 4, pageBytes, protectionReadWrite) == 0,
      stave_mprotect(start, bytes, protectionReadWrite) == 0
    else { return false }
    _ = stave_madvise(start, bytes, adviseDump)
    pointee.laneUsed += laneStep
    return true
  }

  // MARK: - Marks

  func keepWindowShort() {
    if pointee.laneCursor - pointee.laneSwept >= window { _ = markOrShut(upTo: pointee.laneCursor) }
  }

  /// Nothing hangs on the descriptor any more. False as `mark` is.
  func closeWindow() -> Bool {
    let isMarked = mark(upTo: pointee.laneOpened)
    (pointee.laneSwept, pointee.laneOpened) = (pointee.laneCursor, pointee.laneCursor)
    return isMarked
  }

  private func markOrShut(upTo end: UInt32) -> Bool {
    if mark(upTo: end) { return true }
    shutLane()
    return false
  }

  /// Marks all from `swept` up to here that has no page: what lies between blocks at once. False if the system refuses; then it has
  /// been closed otherwise.
  func mark(upTo end: UInt32) -> Bool {
    var page = pointee.laneSwept, start = page
    var isMarked = true
    func markRun(_ from: UInt32, _ to: UInt32) { if to > from && !closePages(from, to - from) { isMarked = false } }
    while page < end {
      let index = pointee.table![Int(page)]
      guard index != 0 else {
        page += 1
        continue
      }
      let block = record(index)
      if block.pointee.isPatched != 0 {
        // The program goes on with what it has touched.
        markRun(start, page)
        start = block.endPage
      } else if stave_load32(&block.pointee.state) != GuardedState.freed {
        markRun(start, block.pointee.dataPage)
        start = block.pointee.dataPage + block.pointee.dataCount
      }
      page = block.endPage
    }
    markRun(start, Swift.min(page, end))
    pointee.laneSwept = end
    return isMarked
  }
}
