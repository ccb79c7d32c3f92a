// SPDX-License-Identifier: BSD-2-Clause
//
// A slab from the page source and back: pages, header, hooks of its items, entries of the owner map. Hooks and page source
// run without the keg's lock (L36).

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Keg {
  /// Fetches pages and puts the new slab on the free list; the lock is dropped meanwhile. False if the source refuses and
  /// nobody else has brought a free slab.
  func makeSlab(flags: WaitFlags) -> Bool {
    pointee.lock.unlock()
    let slab = flags.contains(.noVM) ? nil : fetchSlab(flags: flags)
    pointee.lock.lock()
    if let slab {
      pointee.free.insert(slab)
      pointee.freeSlabCount += 1
      pointee.slabCount += 1
      pointee.slabsMade += 1
      pointee.freeItems += pointee.layout.items
      return true
    }
    return pointee.partial.first != nil || pointee.free.first != nil
  }

  func fetchSlab(flags: WaitFlags) -> SlabPointer? {
    let layout = pointee.layout
    var header: UnsafeMutableRawPointer? = nil
    if layout.isOffPage {
      guard let raw = pointee.headerKeg!.takeOne() else { return nil }
      header = raw
    }
    guard let start = pointee.source.allocate(pointee.source.context, layout.slabBytes, flags.rawValue) else {
      if let header { pointee.headerKeg!.giveOne(header) }
      return nil
    }
    let slab: SlabPointer
    if let header {
      let prefix = header.assumingMemoryBound(to: OffPagePrefix.self)
      prefix.initialize(to: OffPagePrefix(base: start.address, reserved: [0, 0]))
      slab = (header + MemoryLayout<OffPagePrefix>.stride).assumingMemoryBound(to: Slab.self)
    } else {
      slab = (start + layout.headerOffset).assumingMemoryBound(to: Slab.self)
    }
    slab.initialize(
      to: Slab(
        next: nil, previous: nil, freeCount: UInt16(layout.items), flags: layout.isOffPage ? Slab.offPageFlag : 0, domain: 0,
        kegIndex: pointee.index))
    freeItems(of: slab).insertAll()
    if !pointee.flags.contains(.malloc) && !prepareItems(of: slab, flags: flags) {
      returnPages(of: slab)
      return nil
    }
    if layout.lookup == .metadata {
      var offset: UInt = 0
      while offset < UInt(layout.slabBytes) {
        ownerMap.pointee.set(unitOf: start.address + offset, slab: UnsafeMutableRawPointer(slab), cellOffset: pointee.cellOffset)
        offset += unitBytes
      }
    }
    return slab
  }

  /// Zeroes and initialises the items of a new slab in index order; on failure finishes those done, in reverse.
  func prepareItems(of slab: SlabPointer, flags: WaitFlags) -> Bool {
    let layout = pointee.layout
    if !pointee.source.isZeroed {
      UnsafeMutableRawPointer(bitPattern: item(0, of: slab))!
        .initializeMemory(as: UInt8.self, repeating: 0, count: layout.items * layout.itemBytes - (layout.itemBytes - layout.size))
    }
    guard let initialize = pointee.initialize else { return true }
    for index in 0..<layout.items {
      let address = UnsafeMutableRawPointer(bitPattern: item(index, of: slab))!
      if initialize(address, layout.size, flags.rawValue) != 0 {
        var done = index - 1
        while done >= 0 {
          pointee.finish?(UnsafeMutableRawPointer(bitPattern: item(done, of: slab))!, layout.size)
          done -= 1
        }
        return false
      }
    }
    return true
  }

  /// Finishes the items of slabs already unlinked and returns their pages; no lock is held.
  func release(_ slabs: SlabPointer?) {
    var rest = slabs
    while let slab = rest {
      rest = slab.pointee.next
      if let finish = pointee.finish {
        var index = pointee.layout.items - 1
        while index >= 0 {
          finish(UnsafeMutableRawPointer(bitPattern: item(index, of: slab))!, pointee.layout.size)
          index -= 1
        }
      }
      if pointee.layout.lookup == .metadata {
        ownerMap.pointee.clear(unitsOf: base(of: slab), bytes: UInt(pointee.layout.slabBytes))
      }
      returnPages(of: slab)
    }
  }

  func returnPages(of slab: SlabPointer) {
    let start = UnsafeMutableRawPointer(bitPattern: base(of: slab))!
    let header = slab.isOffPage ? UnsafeMutableRawPointer(slab.prefix) : nil
    pointee.source.free(pointee.source.context, start, pointee.layout.slabBytes)
    if let header { pointee.headerKeg!.giveOne(header) }
  }
}
