// SPDX-License-Identifier: BSD-2-Clause
//
// Giving items back to their slabs, and wholly free slabs back to the page source.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Keg {
  /// Gives items back to their slabs. Slabs that become wholly free go back to the page source, except a few.
  /// An address that is no item of this keg, or is free already, is reported. How many were given where the process goes on after that.
  /// `stack` is that of the free, for one item.
  @discardableResult
  func give(_ items: UnsafeMutablePointer<UInt>, count: Int, stack: UInt32 = 0) -> Int {
    var refused = 0
    pointee.lock.lock()
    // Items that come together often come from one unit, and so from one slab.
    var slab: SlabPointer? = nil
    var unit: UInt = .max
    for position in 0..<count {
      let address = items[position]
      if address >> unitShift != unit || pointee.layout.lookup != .metadata {
        slab = mayBeSlab(around: address) ? self.slab(of: address) : nil
        unit = address >> unitShift
      }
      guard let slab, slab.pointee.kegIndex == pointee.index, let index = index(of: address, in: slab) else {
        refuse("free of an address that is no item of the zone", address, .stray)
        (refused, unit) = (refused + 1, .max)
        continue
      }
      if freeItems(of: slab).contains(index) {
        refuse("double free", address, .again)
        (refused, unit) = (refused + 1, .max)
        continue
      }
      putBack(index, of: slab, stack: stack)
    }
    let trash = pointee.trash
    let surplus = takeSurplusSlabs(keeping: trash == 0 ? pointee.slabsKept : Swift.max(pointee.slabsKept, Keg.bytesWithTrash / pointee.layout.slabBytes))
    pointee.lock.unlock()
    release(surplus, trash)
    return count - refused
  }

  /// An item that was taken is free again; its slab goes on the list where it then belongs, at its head. The lock is held.
  @inline(__always)
  func putBack(_ index: Int, of slab: SlabPointer, stack: UInt32) {
    if pointee.trash != 0 { fill(index, of: slab, stack: stack) }
    freeItems(of: slab).insert(index)
    if slab.pointee.freeCount == 0 {
      pointee.full.remove(slab)
      pointee.partial.insert(slab)
    }
    slab.pointee.freeCount &+= 1
    pointee.freeItems &+= 1
    if Int(slab.pointee.freeCount) == pointee.layout.items {
      pointee.partial.remove(slab)
      addFree(slab)
    }
  }

  /// Reports what cannot be freed, without the lock, which is held before and after.
  @inline(never)
  private func refuse(_ what: StaticString, _ address: UInt, _ kind: BadFree) {
    pointee.lock.unlock()
    reportBadFree(what, address, keg: self, kind)
    pointee.lock.lock()
  }

  /// Releases all wholly free slabs beyond what the reserve needs; of a pool what has long been idle, or with `isUrgent` all that is.
  /// Returns whether anything was released.
  @discardableResult
  func drain(isUrgent: Bool = false) -> Bool {
    pointee.lock.lock()
    if let reclaim = pointee.reclaimPool, let pool = pointee.pool {
      pointee.lock.unlock()
      return reclaim(UnsafeMutableRawPointer(pool), isUrgent)
    }
    let surplus = takeSurplusSlabs(keeping: 0), trash = pointee.trash
    pointee.lock.unlock()
    release(surplus, trash)
    return surplus != nil
  }

  /// Unlinks wholly free slabs, all counters put right, except `kept` and what the reserve needs; with trash the oldest first. The lock is
  /// held.
  private func takeSurplusSlabs(keeping kept: Int) -> SlabPointer? {
    if pointee.flags.contains(.noFree) && !pointee.flags.contains(.dying) { return nil }
    var surplus: SlabPointer? = nil
    while pointee.freeSlabCount > kept, let slab = pointee.trash == 0 ? pointee.free.first : pointee.oldestFree {
      if pointee.freeItems - pointee.layout.items < pointee.reserve { break }
      unlinkFree(slab)
      slab.pointee.next = surplus
      surplus = slab
    }
    return surplus
  }

  /// Takes a wholly free slab out of the keg, all counters put right. The lock is held.
  func unlinkFree(_ slab: SlabPointer) {
    removeFree(slab)
    if pointee.layout.lookup == .tree { leave(slab) }
    pointee.slabCount -= 1
    pointee.freeItems -= pointee.layout.items
    slab.pointee.next = nil
  }

  // The list of wholly free slabs, newest first, and its end. The lock is held.

  func addFree(_ slab: SlabPointer) {
    if pointee.oldestFree == nil { pointee.oldestFree = slab }
    pointee.free.insert(slab)
    pointee.freeSlabCount += 1
  }

  func removeFree(_ slab: SlabPointer) {
    if pointee.oldestFree == slab { pointee.oldestFree = slab.pointee.previous }
    pointee.free.remove(slab)
    pointee.freeSlabCount -= 1
  }

  func giveOne(_ item: UnsafeMutableRawPointer) {
    var address = item.address
    give(&address, count: 1)
  }
}
