// SPDX-License-Identifier: BSD-2-Clause
//
// Ready regions. A page that a block no longer needs goes, where the system can do that, to the region that the next block of less than
// a page gets: it is moved there when the block is freed (stave_move_pages), and neither given back nor asked for again. All such regions
// lie in the lane (MemGuard+Lane), where a page that is missing is a guard: so a guarded pair costs one system call, besides the
// looks at handlers, and no fault.
//
//   freed block   | guard | page  | guard |         before: live        after: no pages
//                             ╲
//   ready         | guard |  page | guard |         before: no pages    after: page, the next block's
//
// What is promised of freed blocks is not touched by it: their addresses have no pages at once, and are used again as late as can be.
// A page that cannot be moved (a child of fork shares it, the kernel is at work on it) is given back, and nothing becomes ready.
//
// What the page holds is looked at when it has been moved, since nobody can write to it then. All of it but the block's own bytes is the
// filling, so the next block's place and these bytes are all that is to be written.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == MemGuard {
  /// Ready regions at most, a page each: enough for blocks that come and go in turns, and for many that go at once before others come.
  static var mostReady: UInt32 { 64 }

  /// Blocks that pages go from and to: one that begins with its page could give it back to the system itself (madvise, which rounds its
  /// end up), and touch it again.
  @inline(__always)
  func mayMove(offset: UInt, pages: UInt32) -> Bool { pages == 1 && offset > 0 }

  /// Whether live blocks leave the lane addresses enough, three quarters of it. Where not, pages are given back until they do, and blocks
  /// come from the rest of the range: so freed addresses come back late, and are soon found, however many blocks live.
  private var hasLaneRoom: Bool { Int64(bitPattern: stave_load64(&pointee.laneTaken)) <= Int64(laneEnd - pointee.laneStart) / 4 }

  /// A region for a block of less than a page, which may be touched at once. Under the lock.
  func takeReady() -> UInt32? {
    while pointee.readyCount > 0 && hasLane() {
      let index = popReady()
      if !record(index).isUneven { return index }
      // A report has let the program go on beside it, and perhaps in it.
      closeReady(record(index))
    }
    return nil
  }

  /// Makes a region ready, with the page of a block that is in the hands of free: nil if that cannot be, and nothing has changed.
  /// Else what it answers is whether the block is freed; if not, its addresses are still to be closed. `damage`: what was found beside
  /// the block. Waits for no lock of ours.
  func moveAway(_ block: GuardedBlockPointer, _ damage: inout GuardDamage) -> Bool? {
    guard mayMove(offset: block.pointee.address - address(ofPage: block.pointee.dataPage), pages: block.pointee.dataCount), !block.isUneven,
      pointee.usesMarks, isOn, pointee.readyCount < Self.mostReady, hasLaneRoom, !stave_is_own_thread(), pointee.lock.tryLock()
    else { return nil }
    defer { pointee.lock.unlock() }
    let count = 2 * pointee.width + 1
    guard isOn, pointee.readyCount < Self.mostReady, count <= (pageCount - pointee.laneStart) / 4, hasLane() else { return nil }
    let index = takeRecord()
    guard index != 0 else { return nil }
    var isUneven = false
    guard let first = findRun(count, inLane: true, isUneven: &isUneven), move(block, to: first, isUneven: isUneven) else {
      releaseRecord(index)
      return nil
    }
    claim(first, count, for: index)
    pointee.laneCursor = first + count
    let region = record(index)
    region.pointee.dataPage = first + pointee.width
    region.pointee.dataCount = 1
    let shift = address(ofPage: region.pointee.dataPage) &- address(ofPage: block.pointee.dataPage)
    damage = damageBeside(block, shift: shift)
    // What of the page is not filling.
    region.pointee.address = damage.count == 0 ? block.pointee.address &+ shift : address(ofPage: region.pointee.dataPage)
    region.pointee.size = damage.count == 0 ? block.pointee.size : UInt(pageBytes)
    region.pointee.state = GuardedState.ready
    region.pointee.next = pointee.ready
    pointee.ready = index
    pointee.readyCount += 1
    let isFreed = isInLane(block.pointee.dataPage)
    if isFreed { _ = stave_swap32(&block.pointee.state, GuardedState.closing, GuardedState.freed) }
    return isFreed
  }

  // Answers of the system, less than 0: EBADF, ENOTTY, EEXIST, EINVAL. All others come from the descriptor itself.
  private static var noDescriptor: Int { -9 }
  private static var otherFile: Int { -25 }
  private static var isThere: Int { -17 }
  private static var notAlike: Int { -22 }

  /// Its page goes into the middle of this run of the lane, which is nobody's.
  private func move(_ block: GuardedBlockPointer, to first: UInt32, isUneven: Bool) -> Bool {
    let count = 2 * pointee.width + 1
    let to = address(ofPage: first + pointee.width), from = address(ofPage: block.pointee.dataPage)
    var isUneven = isUneven
    while true {
      if isUneven && !evenOut(first, count) { return isMoverThere ? shutLane() : checkMover() }
      let answer = stave_move_pages(pointee.mover, to, from, pageBytes)
      if answer == 0 { return true }
      switch answer {
      case Self.noDescriptor, Self.otherFile: return checkMover()
      case Self.isThere: break
      case Self.notAlike: if !isMoverThere { return checkMover() }
      // The page cannot be moved, whatever the place.
      default: return false
      }
      // Something is there, or has another mapping: once what was touched or changed has been put right, else some other place next time.
      if isUneven {
        pointee.laneCursor = first + count
        return false
      }
      isUneven = true
    }
  }

  /// Under the lock, as all of these.
  func dropReady() { while pointee.readyCount > 0 { closeReady(record(popReady())) } }

  private func popReady() -> UInt32 {
    let index = pointee.ready
    pointee.ready = record(index).pointee.next
    pointee.readyCount -= 1
    return index
  }

  private func closeReady(_ region: GuardedBlockPointer) {
    region.pointee.state = close(region) ? GuardedState.freed : GuardedState.lost
  }
}
