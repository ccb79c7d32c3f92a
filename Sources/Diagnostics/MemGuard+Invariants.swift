// SPDX-License-Identifier: BSD-2-Clause
//
// What must be so of guarded blocks and their regions whenever nobody is at work on them.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == MemGuard {
  /// At rest only: the table, the records and the sums agree; every region lies where its record says, and none in another.
  public func checkInvariants() {
    guard pointee.bytes != 0 else { return }
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    var page: UInt32 = 0
    var live = 0, used = 0, mapped = 0, taken = 0, regions = 0
    while true {
      if page >= openedPages && page < pointee.laneStart { page = pointee.laneStart }
      if page >= pointee.laneUsed { break }
      let index = pointee.table![Int(page)]
      guard index != 0 else {
        page += 1
        continue
      }
      precondition(index < pointee.recordCount, "a region without a record")
      let block = record(index)
      precondition(block.pointee.firstPage == page && block.pointee.pageCount > 0 && (block.endPage <= openedPages || isInLane(page) && isInLane(block.endPage - 1)), "a region elsewhere than its record says")
      for inside in page..<block.endPage { precondition(pointee.table![Int(inside)] == index, "a region in a region") }
      regions += 1
      if block.isOut {
        live += 1
        used += Int(block.pointee.dataCount) * pageBytes
        mapped += Int(block.pointee.pageCount) * pageBytes
        if isInLane(page) { taken += Int(block.pointee.pageCount) }
        precondition(block.pointee.dataPage >= page + pointee.width || pointee.width > 1, "a block without a guard before it")
        precondition(block.pointee.dataPage + block.pointee.dataCount < block.endPage, "a block without a guard behind it")
        let start = address(ofPage: block.pointee.dataPage)
        precondition(block.pointee.address >= start && block.end <= start + UInt(block.pointee.dataCount) * UInt(pageBytes), "a block beyond its pages")
      } else {
        let state = block.pointee.state
        precondition(state == GuardedState.freed || state == GuardedState.lost || state == GuardedState.ready && isInLane(page), "a region in somebody's hands")
      }
      page = block.endPage
    }
    precondition(pointee.laneStart <= pointee.laneCursor && pointee.laneCursor <= Swift.max(pointee.laneUsed, firstLanePage) && pointee.laneUsed <= pageCount, "the lane")
    checkCursor(pointee.cursor, isUsed: pointee.cursor < openedPages)
    checkCursor(pointee.laneCursor, isUsed: isInLane(pointee.laneCursor))
    var free = 0
    var next = pointee.freeRecord
    while next != 0 {
      precondition(record(next).pointee.state == GuardedState.none, "a free record with a block")
      free += 1
      next = record(next).pointee.next
    }
    precondition(regions + free + 1 == Int(pointee.recordCount), "records are lost")
    precondition(live == Int(pointee.guarded - pointee.freed) && used == Int(pointee.usedBytes) && mapped == Int(pointee.mappedBytes) && taken == Int(pointee.laneTaken), "sums")
  }

  /// A search that began inside a region would leave the table naming a region elsewhere.
  private func checkCursor(_ page: UInt32, isUsed: Bool) {
    let index = isUsed ? pointee.table![Int(page)] : 0
    precondition(index == 0 || record(index).pointee.firstPage == page, "a cursor in a region")
  }
}
