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
      if address >> unitShift != unit || pointee.layout.lookup == .mask {
        slab = self.slab(of: address)
        unit = address >> unitShift
      }
      guard let slab, slab.pointee.kegIndex == pointee.index, let index = index(of: address, in: slab) else {
        refuse("free of an address that is no item", address)
        (refused, unit) = (refused + 1, .max)
        continue
      }
      let bits = freeItems(of: slab)
      if bits.contains(index) {
        refuse("double free", address)
        (refused, unit) = (refused + 1, .max)
        continue
      }
      if pointee.trash != 0 { fill(index, of: slab, stack: stack) }
      bits.insert(index)
      if slab.pointee.freeCount == 0 {
        pointee.full.remove(slab)
        pointee.partial.insert(slab)
      }
      slab.pointee.freeCount &+= 1
      pointee.freeItems &+= 1
      if Int(slab.pointee.freeCount) == pointee.layout.items {
        pointee.partial.remove(slab)
        pointee.free.insert(slab)
        pointee.freeSlabCount += 1
      }
    }
    let surplus = takeSurplusSlabs(keeping: pointee.slabsKept), trash = pointee.trash
    pointee.lock.unlock()
    release(surplus, trash)
    return count - refused
  }

  /// Reports what cannot be freed, without the lock, which is held before and after. What was counted as a free is none.
  @inline(never)
  private func refuse(_ what: StaticString, _ address: UInt) {
    pointee.lock.unlock()
    reportBadFree(what, address, keg: self)
    pointee.lock.lock()
    if let zone = pointee.zone { stave_add(&zone.pointee.directFrees, -1) }
  }

  /// Releases all wholly free slabs beyond what the reserve needs. Returns whether anything was released.
  @discardableResult
  func drain() -> Bool {
    guard !pointee.flags.contains(.noFree) || pointee.flags.contains(.dying) else { return false }
    pointee.lock.lock()
    let surplus = takeSurplusSlabs(keeping: 0), trash = pointee.trash
    pointee.lock.unlock()
    release(surplus, trash)
    return surplus != nil
  }

  /// Unlinks wholly free slabs, all counters put right, except `kept` and what the reserve needs. The lock is held.
  private func takeSurplusSlabs(keeping kept: Int) -> SlabPointer? {
    if pointee.flags.contains(.noFree) && !pointee.flags.contains(.dying) { return nil }
    var surplus: SlabPointer? = nil
    while pointee.freeSlabCount > kept, let slab = pointee.free.first {
      if pointee.freeItems - pointee.layout.items < pointee.reserve { break }
      pointee.free.remove(slab)
      pointee.freeSlabCount -= 1
      pointee.slabCount -= 1
      pointee.freeItems -= pointee.layout.items
      slab.pointee.next = surplus
      surplus = slab
    }
    return surplus
  }

  func giveOne(_ item: UnsafeMutableRawPointer) {
    var address = item.address
    give(&address, count: 1)
  }
}
