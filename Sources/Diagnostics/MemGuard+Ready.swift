// SPDX-License-Identifier: BSD-2-Clause
//
// Ready regions. The page or the two that a block no longer needs go, where the system can do that, to the region that the next block of
// as many gets: they are moved there when the block is freed (stave_move_pages), and neither given back nor asked for again. All such
// regions lie in the lane (MemGuard+Lane), where a page that is missing is a guard: so a guarded pair costs one system call, besides the
// looks at handlers, and no fault.
//
//   freed block   | guard | page  | guard |         before: live        after: no pages
//                             ╲
//   ready         | guard |  page | guard |         before: no pages    after: page, the next block's
//
// What is promised of freed blocks is not touched by it: their addresses have no pages at once, and are used again as late as can be.
// A page that cannot be moved (a child of fork shares it, the kernel is at work on it) is given back, and nothing becomes ready.
//
// How many are kept. As many pages as blocks had at once, live ones counted, so that what is freed in one go serves what comes next, and
// no more memory is held than the program's own most; a few in any case. What a period did not need goes back at its end.
//
// What the page holds is looked at when it has been moved, since nobody can write to it then. Where all of it but the block's own bytes
// is filling, the next block's place and these bytes are all that is to be written.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == MemGuard {
  /// Pages of ready regions: so many in any case, which is enough for blocks that come and go in turns; and at most.
  static var fewReadyPages: UInt32 { 64 }
  static var mostReadyPages: UInt32 { 1024 }
  /// Pages of one.
  static var mostMovedPages: UInt32 { 2 }

  /// Blocks that pages go from and to: those that have no page for themselves. One that has could give it back to the system itself
  /// (madvise), and touch it again. One that begins with its page might have it by the end that is rounded up.
  @inline(never)
  func mayMove(offset: UInt, size: UInt, pages: UInt32) -> Bool {
    offset > 0 && pages <= Self.mostMovedPages && (pages == 1 || offset + size < UInt(pages) * UInt(pageBytes))
  }

  /// Whether so many pages more may be ready. A freed block's are no longer counted as used.
  private func mayKeep(_ pages: UInt32) -> Bool {
    let kept = pointee.readyPages + pages
    return kept <= Self.fewReadyPages || kept <= Self.mostReadyPages && pointee.usedBytes + Int64(kept) * Int64(pageBytes) <= pointee.mostUsedBytes
  }

  /// Whether live blocks leave the lane addresses enough, three quarters of it. Where not, pages are given back until they do, and blocks
  /// come from the rest of the range: so freed addresses come back late, and are soon found, however many blocks live.
  private var hasLaneRoom: Bool { Int64(bitPattern: stave_load64(&pointee.laneTaken)) <= Int64(laneEnd - pointee.laneStart) / 4 }

  /// A region for a block of so many pages, which may be touched at once. Under the lock.
  func takeReady(pages: UInt32) -> UInt32? {
    while pointee.ready[Int(pages) - 1] != 0 && hasLane() {
      let index = popReady(pages: pages)
      if !record(index).isUneven { return index }
      // A report has let the program go on beside it, and perhaps in it.
      closeReady(record(index))
    }
    return nil
  }

  /// Makes a region ready, with the pages of a block that is in the hands of free: nil if that cannot be, and nothing has changed.
  /// Else what it answers is whether the block is freed; if not, its addresses are still to be closed. `damage`: what was found beside
  /// the block. Waits for no lock of ours.
  func moveAway(_ block: GuardedBlockPointer, _ damage: inout GuardDamage) -> Bool? {
    let pages = block.pointee.dataCount
    let offset = block.pointee.address - address(ofPage: block.pointee.dataPage)
    guard mayMove(offset: offset, size: block.pointee.size, pages: pages), !block.isUneven, pointee.usesMarks,
      isOn, mayKeep(pages), hasLaneRoom, !stave_is_own_thread(), pointee.lock.tryLock()
    else { return nil }
    defer { pointee.lock.unlock() }
    let count = 2 * pointee.width + pages
    guard isOn, mayKeep(pages), count <= (pageCount - pointee.laneStart) / 4, hasLane() else { return nil }
    let index = takeRecord()
    guard index != 0 else { return nil }
    var isUneven = false
    guard let first = findRun(count, inLane: true, isUneven: &isUneven), let moved = move(block, to: first, isUneven: isUneven) else {
      releaseRecord(index)
      return nil
    }
    claim(first, count, for: index)
    pointee.laneCursor = first + count
    let region = record(index)
    region.pointee.dataPage = first + pointee.width
    region.pointee.dataCount = pages
    let bytes = Int(pages) * pageBytes
    let shift = address(ofPage: region.pointee.dataPage) &- address(ofPage: block.pointee.dataPage)
    let isWhole = moved == bytes
    // Where a child of fork shares the second page, that is still in its place.
    damage = damageBeside(block, shift: shift, shiftBehind: isWhole ? shift : 0)
    guard isWhole else {
      closeReady(region)
      return false
    }
    // What of the pages is not filling.
    let isKnown = damage.count == 0 && block.pointee.filled == .max
    region.pointee.address = isKnown ? block.pointee.address &+ shift : address(ofPage: region.pointee.dataPage)
    region.pointee.size = isKnown ? block.pointee.size : UInt(bytes)
    region.pointee.state = GuardedState.ready
    region.pointee.next = pointee.ready[Int(pages) - 1]
    pointee.ready[Int(pages) - 1] = index
    pointee.readyPages += pages
    let isFreed = isInLane(block.pointee.dataPage)
    if isFreed { _ = stave_swap32(&block.pointee.state, GuardedState.closing, GuardedState.freed) }
    return isFreed
  }

  // Answers of the system, less than 0: EBADF, ENOTTY, EEXIST, EINVAL. All others come from the descriptor itself.
  private static var noDescriptor: Int { -9 }
  private static var otherFile: Int { -25 }
  static var isThere: Int { -17 }
  private static var notAlike: Int { -22 }

  /// Its pages go into the middle of this run of the lane, which is nobody's: how many bytes of them did; nil if none.
  private func move(_ block: GuardedBlockPointer, to first: UInt32, isUneven: Bool) -> Int? {
    let pages = block.pointee.dataCount, count = 2 * pointee.width + pages
    let to = address(ofPage: first + pointee.width), from = address(ofPage: block.pointee.dataPage)
    var isUneven = isUneven
    while true {
      if isUneven && !evenOut(first, count) {
        if isMoverThere { shutLane() } else { checkMover() }
        return nil
      }
      let answer = stave_move_pages(pointee.mover, to, from, Int(pages) * pageBytes)
      if answer > 0 { return answer }
      switch answer {
      case Self.isThere: break
      case Self.notAlike where isMoverThere: break
      case Self.noDescriptor, Self.otherFile, Self.notAlike:
        checkMover()
        return nil
      // The page cannot be moved, whatever the place.
      default: return nil
      }
      // Something is there, or has another mapping: once what was touched or changed has been put right, else some other place next time.
      if isUneven {
        // Behind what is freed there: a run never begins inside a region.
        pointee.laneCursor = region(around: address(ofPage: first + count - 1))?.endPage ?? first + count
        return nil
      }
      isUneven = true
    }
  }

  /// Bytes that ready regions hold.
  public var readyBytes: UInt { UInt(pointee.readyPages) * UInt(pageBytes) }

  /// At the end of a period: what it did not need goes back. Bytes that did. A system call for each region.
  public func trimReady(all: Bool = false) -> UInt {
    guard pointee.readyPages > 0 else { return 0 }
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    let before = pointee.readyPages, least = all ? 0 : before - pointee.leastReadyPages
    closeReady(downTo: least)
    pointee.leastReadyPages = pointee.readyPages
    pointee.mostUsedBytes = pointee.usedBytes + Int64(pointee.readyPages) * Int64(pageBytes)
    return UInt(before - pointee.readyPages) * UInt(pageBytes)
  }

  /// Under the lock, as all of these.
  func dropReady() { closeReady(downTo: 0) }

  private func closeReady(downTo least: UInt32) {
    var pages = Self.mostMovedPages
    while pointee.readyPages > least {
      if pointee.ready[Int(pages) - 1] != 0 { closeReady(record(popReady(pages: pages))) } else { pages -= 1 }
    }
  }

  /// There is one.
  @inline(never)
  private func popReady(pages: UInt32) -> UInt32 {
    let index = pointee.ready[Int(pages) - 1]
    pointee.ready[Int(pages) - 1] = record(index).pointee.next
    pointee.readyPages -= pages
    pointee.leastReadyPages = Swift.min(pointee.leastReadyPages, pointee.readyPages)
    return index
  }

  @inline(never)
  private func closeReady(_ region: GuardedBlockPointer) {
    region.pointee.state = close(region) ? GuardedState.freed : GuardedState.lost
  }
}
