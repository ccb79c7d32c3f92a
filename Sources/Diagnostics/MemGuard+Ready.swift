// SPDX-License-Identifier: BSD-2-Clause
//
// Ready regions. A page that a block no longer needs goes, where the system can do that, to the region that the next block of one page
// gets: it is moved there when the block is freed (stave_move_pages), and neither given back nor asked for again. So a guarded pair
// costs three short system calls and no fault: half of what it costs to open a page, touch it for the first time and close it.
//
//   freed block   | guard | page  | guard |         before: live        after: no pages, closed like any other
//                             ╲
//   ready         | guard |  page | guard |         before: no pages    after: page, the next block's
//
// What is promised of freed blocks is not touched by it: their addresses have no pages at once, and are used again as late as can be.
// A page that cannot be moved (a child of fork shares it, the kernel is at work on it) stays behind; the region is ready then all the
// same, and its page comes with the first touch.
//
// The descriptor behind it is opened when guards are switched on and in each child of fork, before a program has taken rights from
// itself that this needs. The program may close it, and a child of a bare clone has its parent's: then the next move fails, and a new one
// is opened, a few times. Where there is none (before Linux 6.8, where a container or a filter of system calls forbids it), blocks open and close
// pages of their own.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == MemGuard {
  /// Ready regions at most, a page each: enough for blocks that come and go in turns.
  static var mostReady: UInt32 { 16 }
  /// Descriptors that are opened at most.
  static var mostOpenings: Int32 { 4 }

  /// A region for a block of one page, which may be touched at once. Under the lock.
  func takeReady() -> UInt32? {
    guard pointee.readyCount > 0 else { return nil }
    let index = pointee.ready
    pointee.ready = record(index).pointee.next
    pointee.readyCount -= 1
    return index
  }

  /// Makes a region ready, with the page of a block that is about to be closed. Never waits.
  func makeReady(from block: GuardedBlockPointer) {
    guard block.pointee.dataCount == 1, block.pointee.isPatched == 0, pointee.usesMarks, isOn, pointee.readyCount < Self.mostReady,
      pointee.lock.tryLock()
    else { return }
    defer { pointee.lock.unlock() }
    guard isOn, hasMover(), pointee.readyCount < Self.mostReady else { return }
    var isPatched = false
    let width = pointee.width
    guard let index = takeRegion(2 * width + 1, isPatched: &isPatched) else { return }
    let region = record(index)
    region.pointee.dataPage = region.pointee.firstPage + width
    region.pointee.dataCount = 1
    region.pointee.isPatched = 0
    guard open(region, isPatched: isPatched) else {
      region.pointee.state = isPatched ? GuardedState.lost : GuardedState.freed
      return
    }
    region.pointee.state = GuardedState.ready
    region.pointee.next = pointee.ready
    pointee.ready = index
    pointee.readyCount += 1
    let answer = stave_move_pages(pointee.mover, address(ofPage: region.pointee.dataPage), address(ofPage: block.pointee.dataPage), pageBytes)
    // Not ours any more: nobody's, somebody else's, or another process's.
    if answer == -9 /* EBADF */ || answer == -25 /* ENOTTY */ || answer == -22 /* EINVAL */ { pointee.mover = 0 }
  }

  private func hasMover() -> Bool {
    if pointee.mover > 0 { return true }
    guard pointee.openings < Self.mostOpenings else { return false }
    pointee.openings += 1
    let mover = stave_open_mover(pointee.start, Int(pointee.bytes))
    guard mover > 0 else {
      pointee.openings = Self.mostOpenings
      return false
    }
    pointee.mover = Int32(mover)
    pointee.moverIdentity = stave_file_identity(pointee.mover)
    return true
  }

  /// Guards have been switched on, or off: then nothing is done.
  func openMoverAhead() {
    guard isOn, pointee.usesMarks, pointee.lock.tryLock() else { return }
    _ = hasMover()
    pointee.lock.unlock()
  }

  /// In a child of fork the descriptor is its parent's.
  func replaceMover() {
    if pointee.mover > 0 && stave_file_identity(pointee.mover) == pointee.moverIdentity { _ = stave_close(pointee.mover) }
    pointee.mover = 0
    pointee.openings = 0
    openMoverAhead()
  }

  /// Without guards nothing is kept for the next block; and others may be wider than these.
  func closeReady() {
    guard pointee.bytes != 0 else { return }
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    while pointee.readyCount > 0 {
      let region = record(pointee.ready)
      pointee.ready = region.pointee.next
      pointee.readyCount -= 1
      region.pointee.state = close(region) ? GuardedState.freed : GuardedState.lost
    }
  }
}
