// SPDX-License-Identifier: BSD-2-Clause
//
// A slab from the page source and back: pages, header, hooks of its items, entries of the owner map. Hooks and page source
// run without the keg's lock (L36).

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Keg {
  /// Fetches pages and puts the new slab on the free list; the lock is dropped meanwhile. False if the source refuses, or, with
  /// `isRefused`, if the init of items does.
  func makeSlab(flags: WaitFlags, _ isRefused: inout Bool) -> Bool {
    pointee.lock.unlock()
    let slab = flags.contains(.noVM) ? nil : fetchSlab(flags: flags, &isRefused)
    if slab != nil { stave_zone_grow_probe(shownName, shownSize, UInt64(pointee.layout.slabBytes), shownSlabs + 1) }
    pointee.lock.lock()
    guard let slab else { return false }
    if pointee.trash != 0 { fillFree(of: slab) }
    addFree(slab)
    if pointee.layout.lookup == .tree { enter(slab) }
    pointee.slabCount += 1
    pointee.slabsMade += 1
    pointee.slabsStart = Swift.min(pointee.slabsStart, base(of: slab))
    pointee.slabsEnd = Swift.max(pointee.slabsEnd, base(of: slab) + UInt(pointee.layout.slabBytes))
    pointee.freeItems += pointee.layout.items
    return true
  }

  /// Where a source of the author's has put its pages items are to be aligned as they were promised; else there is a report.
  private func demandAligned(_ start: UnsafeMutableRawPointer) -> Bool {
    let mask = UInt(pointee.alignMask) | 7
    guard start.address & mask != 0, !pointee.source.isOurs else { return true }
    var report = Report("page source")
    report.text("of zone ")
    sayName(in: &report)
    report.text(": pages at ")
    report.address(start.address)
    report.text(", which is no multiple of the ")
    report.number(mask + 1)
    report.text(" bytes to which items are aligned\n")
    report.finish()
    return false
  }

  func fetchSlab(flags: WaitFlags, _ isRefused: inout Bool) -> SlabPointer? {
    let layout = pointee.layout
    var header: UnsafeMutableRawPointer? = nil
    if layout.isOffPage {
      guard let raw = pointee.headerKeg!.takeOne() else { return nil }
      header = raw
    }
    FutexLock.enterHook(maySleep: flags.maySleep)
    var mark: UInt8 = 0
    let pages = pointee.source.allocate(pointee.source.context, layout.slabBytes, flags.rawValue, &mark)
    FutexLock.leaveHook(maySleep: flags.maySleep)
    guard let start = pages else {
      if let header { pointee.headerKeg!.giveOne(header) }
      return nil
    }
    guard demandAligned(start) else {
      returnPages(start, header: header, isPlaced: false, mark: mark)
      return nil
    }
    let isPlaced = memoryDomains.pointee.placeSlab?(UnsafeMutableRawPointer(self), start, true) ?? false
    guard hideFromDumps(start) else {
      returnPages(start, header: header, isPlaced: isPlaced, mark: mark)
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
        next: nil, previous: nil, freeCount: UInt16(layout.items),
        flags: (layout.isOffPage ? Slab.offPageFlag : 0) | (isPlaced ? Slab.placedFlag : 0),
        colour: takeColour(),
        kegIndex: pointee.index, mark: mark))
    freeItems(of: slab).insertAll()
    if layout.hasCounts { counts(of: slab).initialize(repeating: 0, count: layout.items) }
    if !pointee.flags.contains(.malloc) && !prepareItems(of: slab, flags: flags) {
      isRefused = true
      returnPages(of: slab)
      return nil
    }
    if layout.lookup == .metadata {
      var offset: UInt = 0
      while offset < UInt(layout.slabBytes) {
        ownerMap.pointee.set(unitOf: start.address + offset, slab: UnsafeMutableRawPointer(slab), cellOffset: cellNow)
        offset += unitBytes
      }
    }
    return slab
  }

  /// Zeroes and initialises the items of a new slab in index order; on failure finishes those done, in reverse.
  func prepareItems(of slab: SlabPointer, flags: WaitFlags) -> Bool {
    let layout = pointee.layout
    if !pointee.source.isZeroed && !pointee.flags.contains(.noTouch) {
      let bytes = layout.items * layout.itemBytes - (layout.itemBytes - layout.size)
      forEachCopy(of: item(0, of: slab)) { $0.initializeMemory(as: UInt8.self, repeating: 0, count: bytes) }
    }
    guard let initialize = pointee.initialize else { return true }
    for index in 0..<layout.items {
      let address = UnsafeMutableRawPointer(bitPattern: item(index, of: slab))!
      FutexLock.enterHook(maySleep: flags.maySleep)
      let isRefused = initialize(address, layout.size, flags.rawValue) != 0
      FutexLock.leaveHook(maySleep: flags.maySleep)
      if isRefused {
        var done = index - 1
        while done >= 0 {
          finish(item(done, of: slab))
          done -= 1
        }
        return false
      }
    }
    return true
  }

  /// Finishes the items of slabs already unlinked and returns their pages; no lock is held. `trash`: the keg's when they were
  /// unlinked.
  func release(_ slabs: SlabPointer?, _ trash: Int) {
    var rest = slabs
    while let slab = rest {
      rest = slab.pointee.next
      if trash != 0 { lookAtAll(of: slab, trash) }
      if pointee.finish != nil {
        var index = pointee.layout.items - 1
        while index >= 0 {
          finish(item(index, of: slab))
          index -= 1
        }
      }
      if pointee.layout.lookup == .metadata {
        ownerMap.pointee.clear(unitsOf: base(of: slab), bytes: UInt(pointee.layout.slabBytes))
      }
      stave_zone_release_probe(shownName, shownSize, UInt64(pointee.layout.slabBytes), shownSlabs)
      returnPages(of: slab)
    }
  }

  /// As probes want them.
  private var shownName: UInt64 { withUnsafeMutablePointer(to: &pointee.name) { UInt64(UInt(bitPattern: $0)) } }
  private var shownSize: UInt64 { UInt64(pointee.layout.size) }
  /// Without the lock: others may be making and releasing some.
  private var shownSlabs: UInt64 { UInt64(pointee.slabCount) }

  /// Without a lock: who sets it to 0 meanwhile has closed the cell, which takes nothing then (Accounting/TypeLimit).
  private var cellNow: UInt16 { pointee.cellOffset }

  private func finish(_ item: UInt) {
    guard let finish = pointee.finish else { return }
    FutexLock.enterHook(maySleep: false)
    finish(UnsafeMutableRawPointer(bitPattern: item)!, pointee.layout.size)
    FutexLock.leaveHook(maySleep: false)
  }

  func returnPages(of slab: SlabPointer) {
    returnPages(
      UnsafeMutableRawPointer(bitPattern: base(of: slab))!, header: slab.isOffPage ? UnsafeMutableRawPointer(slab.prefix) : nil,
      isPlaced: slab.pointee.flags & Slab.placedFlag != 0, mark: slab.pointee.mark)
  }

  private func returnPages(_ start: UnsafeMutableRawPointer, header: UnsafeMutableRawPointer?, isPlaced: Bool, mark: UInt8) {
    showInDumps(start)
    // Of ours none with another's policy.
    if !isPlaced || memoryDomains.pointee.placeSlab?(UnsafeMutableRawPointer(self), start, false) ?? true || !pointee.source.isOurs {
      FutexLock.enterHook(maySleep: false)
      pointee.source.free(pointee.source.context, start, pointee.layout.slabBytes, mark)
      FutexLock.leaveHook(maySleep: false)
    }
    if let header { pointee.headerKeg!.giveOne(header) }
  }

  /// Its zone is gone and items are not: from now on free() finds neither cell nor zone.
  func disown() {
    pointee.zone = nil
    pointee.cellOffset = 0
    guard pointee.layout.lookup == .metadata else { return }
    func hide(_ list: SlabList) {
      var next = list.first
      while let slab = next {
        var offset: UInt = 0
        while offset < UInt(pointee.layout.slabBytes) {
          ownerMap.pointee.set(unitOf: base(of: slab) + offset, slab: UnsafeMutableRawPointer(slab), cellOffset: 0)
          offset += unitBytes
        }
        next = slab.pointee.next
      }
    }
    hide(pointee.full)
    hide(pointee.partial)
  }
}
