// SPDX-License-Identifier: BSD-2-Clause
//
// The walk over all slabs of a keg that checks lists, bitmaps and sums against each other.

import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Keg {
  /// Whether all that is free is as item checks want it.
  private func isTrash(_ slab: SlabPointer) -> Bool {
    guard pointee.trash != 0 else { return true }
    let bits = freeItems(of: slab)
    for index in 0..<pointee.layout.items where bits.contains(index) && isChosen(index, of: slab, pointee.trash) {
      if !isFilled(item(index, of: slab)) { return false }
    }
    return true
  }

  /// Walks the three lists: every slab is on the list its free count says, bitmaps agree with counts, sums agree.
  public func checkInvariants() {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    var slabs = 0
    var items = 0
    var last: SlabPointer? = nil
    func check(_ list: SlabList, _ isRight: (Int) -> Bool) -> Int {
      var count = 0
      var previous: SlabPointer? = nil
      defer { last = previous }
      var next = list.first
      while let slab = next {
        precondition(slab.pointee.previous == previous, "slab list: previous")
        precondition(slab.pointee.kegIndex == pointee.index, "slab on a foreign keg")
        precondition(freeItems(of: slab).population == Int(slab.pointee.freeCount), "free count and bitmap differ")
        precondition(isRight(Int(slab.pointee.freeCount)), "slab on the wrong list")
        precondition(isTrash(slab), "a free item that is not filled")
        items += Int(slab.pointee.freeCount)
        slabs += 1
        count += 1
        previous = slab
        next = slab.pointee.next
      }
      return count
    }
    let all = pointee.layout.items
    _ = check(pointee.full) { $0 == 0 }
    _ = check(pointee.partial) { $0 > 0 && $0 < all }
    let free = check(pointee.free) { $0 == all }
    precondition(free == pointee.freeSlabCount, "free slab count")
    precondition(pointee.oldestFree == last, "the end of the list of free slabs")
    precondition(slabs == pointee.slabCount, "slab count")
    precondition(items == pointee.freeItems, "free item count")
    precondition(pointee.tree.invariantViolation(count: pointee.layout.lookup == .tree ? slabs : 0) == nil, "tree of slabs")
    precondition(!pointee.layout.hasCounts || pointee.flags.contains(.noFree), "counts in slabs that may go")
    pointee.range?.checkInvariants(slabs: pointee.slabCount)
  }
}
