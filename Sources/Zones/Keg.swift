// SPDX-License-Identifier: BSD-2-Clause
//
// A keg: slabs of one layout from one page source, on three lists by how many items are free. A slab is on exactly one of
// them whenever the lock is free, and a wholly free slab is on the free list (L26).
//
// Lock: `lock` (rank keg, or internalKeg for kegs of headers and buckets). It is not held while hooks run or pages are
// fetched or returned (L36).

import CPlatform
import Pages
import Primitives
import Synchronization

public struct Keg: ~Copyable {
  // What the tables of statistics show, in the order in which readers outside copy it.
  public var name: FixedName
  public var index: UInt32
  public var flags: ZoneFlags
  public var layout: SlabLayout
  public var alignMask: Int
  /// Free items that only requests with `useReserve` may take.
  public var reserve: Int
  public var slabCount: Int
  public var freeSlabCount: Int
  public var freeItems: Int
  public var partial: SlabList
  public var free: SlabList
  public var full: SlabList
  /// Where free() finds the cell of this keg's items; 0 where it must look closely.
  public var cellOffset: UInt16
  /// The zone created with the keg; nil when it was destroyed while items were out.
  public var zone: UnsafeMutablePointer<Zone>?

  public var lock: FutexLock
  public var source: PageSource
  public var initialize: ItemHook?
  public var finish: ItemFinish?
  var headerKeg: UnsafeMutablePointer<Keg>?
  /// Slabs ever made: how tests see that memory was reused.
  public var slabsMade: Int
  /// Wholly free slabs that are kept rather than returned at once.
  var slabsKept: Int
}

public typealias KegPointer = UnsafeMutablePointer<Keg>

/// `init`: 0, or an errno that makes the allocation fail. `wait` holds the request's wait flags.
public typealias ItemHook = @convention(c) (_ item: UnsafeMutableRawPointer, _ size: Int, _ wait: Int32) -> Int32
/// `fini`.
public typealias ItemFinish = @convention(c) (_ item: UnsafeMutableRawPointer, _ size: Int) -> Void

extension UnsafeMutablePointer where Pointee == Keg {
  // MARK: - Slabs and items

  @inline(__always)
  func base(of slab: SlabPointer) -> UInt {
    slab.isOffPage ? slab.prefix.pointee.base : UInt(bitPattern: slab) - UInt(pointee.layout.headerOffset)
  }

  @inline(__always)
  func item(_ index: Int, of slab: SlabPointer) -> UInt {
    base(of: slab) &+ UInt(pointee.layout.firstItem &+ index &* pointee.layout.itemBytes)
  }

  /// The index of the item that starts at `address`; nil if none does.
  @inline(__always)
  public func index(of address: UInt, in slab: SlabPointer) -> Int? {
    let offset = Int(bitPattern: address &- base(of: slab)) &- pointee.layout.firstItem
    guard offset >= 0 else { return nil }
    let (index, rest) = offset.quotientAndRemainder(dividingBy: pointee.layout.itemBytes)
    return rest == 0 && index < pointee.layout.items ? index : nil
  }

  /// The slab that holds `address`, nil if it is not in one of this keg's slabs. For in-page slabs found by mask the address
  /// must be known to be an item of this keg.
  @inline(__always)
  func slab(of address: UInt) -> SlabPointer? {
    if pointee.layout.lookup == .mask {
      return SlabPointer(bitPattern: address.roundedDown(to: UInt(pageBytes)) + UInt(pointee.layout.headerOffset))
    }
    guard case .slab(let header) = ownerMap.pointee.owner(of: address) else { return nil }
    let slab = header.assumingMemoryBound(to: Slab.self)
    return slab.pointee.kegIndex == pointee.index ? slab : nil
  }

  @inline(__always)
  private func freeItems(of slab: SlabPointer) -> Bitmap { Bitmap(words: slab.words, count: pointee.layout.items) }

  // MARK: - Taking and giving items

  /// Takes up to `count` items into `buffer`, the lowest addresses last; how many. Fewer than asked for only if the page
  /// source refuses. With `noWait` or after the first item nothing sleeps.
  func take(into buffer: UnsafeMutablePointer<UInt>, count: Int, flags: WaitFlags) -> Int {
    var taken = 0
    pointee.lock.lock()
    while taken < count {
      if pointee.reserve > 0 && pointee.freeItems <= pointee.reserve && !flags.contains(.useReserve)
        && pointee.freeItems > 0
      {
        guard taken == 0, makeSlab(flags: flags), pointee.freeItems > pointee.reserve else { break }
      }
      guard let slab = pointee.partial.first ?? pointee.free.first else {
        if taken > 0 && !flags.contains(.noWait) { break }
        guard makeSlab(flags: flags) else { break }
        continue
      }
      if Int(slab.pointee.freeCount) == pointee.layout.items {
        pointee.free.remove(slab)
        pointee.freeSlabCount -= 1
      } else {
        pointee.partial.remove(slab)
      }
      // Not beyond the reserve, for those who may not use it.
      let limit = flags.contains(.useReserve) ? count : Swift.min(count, taken + Swift.max(1, pointee.freeItems - pointee.reserve))
      taken += takeItems(of: slab, into: buffer + taken, count: limit - taken)
      if slab.pointee.freeCount == 0 { pointee.full.insert(slab) } else { pointee.partial.insert(slab) }
      if flags.contains(.useReserve) && pointee.freeItems < pointee.reserve { break }
    }
    pointee.lock.unlock()
    var low = 0
    var high = taken - 1
    while low < high {
      (buffer[low], buffer[high]) = (buffer[high], buffer[low])
      low += 1
      high -= 1
    }
    return taken
  }

  private func takeItems(of slab: SlabPointer, into buffer: UnsafeMutablePointer<UInt>, count: Int) -> Int {
    let words = slab.words
    let wordCount = Bitmap.wordCount(for: pointee.layout.items)
    let itemBytes = UInt(pointee.layout.itemBytes)
    let first = item(0, of: slab)
    var taken = 0
    var index = 0
    while index < wordCount && taken < count {
      var word = words[index]
      while word != 0 && taken < count {
        let bit = word.trailingZeroBitCount
        word &= word &- 1
        buffer[taken] = first &+ UInt(index << 6 &+ bit) &* itemBytes
        taken &+= 1
      }
      words[index] = word
      index &+= 1
    }
    slab.pointee.freeCount &-= UInt16(taken)
    pointee.freeItems &-= taken
    return taken
  }

  /// Gives items back to their slabs. Slabs that become wholly free go back to the page source, except a few.
  /// An address that is no item of this keg, or is free already, ends the process with a report.
  func give(_ items: UnsafeMutablePointer<UInt>, count: Int) {
    pointee.lock.lock()
    for position in 0..<count {
      let address = items[position]
      guard let slab = slab(of: address), let index = index(of: address, in: slab) else {
        pointee.lock.unlock()
        reportBadFree("free of an address that is no item", address, keg: self)
      }
      let bits = freeItems(of: slab)
      if bits.contains(index) {
        pointee.lock.unlock()
        reportBadFree("double free", address, keg: self)
      }
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
    let surplus = takeSurplusSlabs(keeping: pointee.slabsKept)
    pointee.lock.unlock()
    release(surplus)
  }

  /// Releases all wholly free slabs beyond what the reserve needs. Returns whether anything was released.
  @discardableResult
  func drain() -> Bool {
    guard !pointee.flags.contains(.noFree) || pointee.flags.contains(.dying) else { return false }
    pointee.lock.lock()
    let surplus = takeSurplusSlabs(keeping: 0)
    pointee.lock.unlock()
    release(surplus)
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

  // MARK: - Making and releasing slabs

  /// Fetches pages and puts the new slab on the free list; the lock is dropped meanwhile. False if the source refuses and
  /// nobody else has brought a free slab.
  private func makeSlab(flags: WaitFlags) -> Bool {
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

  private func fetchSlab(flags: WaitFlags) -> SlabPointer? {
    let layout = pointee.layout
    var header: UnsafeMutableRawPointer? = nil
    if layout.isOffPage {
      guard let raw = pointee.headerKeg!.takeOne() else { return nil }
      header = raw
    }
    FutexLock.enterHook(maySleep: flags.maySleep)
    let pages = pointee.source.allocate(pointee.source.context, layout.slabBytes, flags.rawValue)
    FutexLock.leaveHook(maySleep: flags.maySleep)
    guard let start = pages else {
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
  private func prepareItems(of slab: SlabPointer, flags: WaitFlags) -> Bool {
    let layout = pointee.layout
    if !pointee.source.isZeroed {
      UnsafeMutableRawPointer(bitPattern: item(0, of: slab))!
        .initializeMemory(as: UInt8.self, repeating: 0, count: layout.items * layout.itemBytes - (layout.itemBytes - layout.size))
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

  /// Finishes the items of slabs already unlinked and returns their pages; no lock is held.
  private func release(_ slabs: SlabPointer?) {
    var rest = slabs
    while let slab = rest {
      rest = slab.pointee.next
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
      returnPages(of: slab)
    }
  }

  private func finish(_ item: UInt) {
    guard let finish = pointee.finish else { return }
    FutexLock.enterHook(maySleep: false)
    finish(UnsafeMutableRawPointer(bitPattern: item)!, pointee.layout.size)
    FutexLock.leaveHook(maySleep: false)
  }

  private func returnPages(of slab: SlabPointer) {
    let start = UnsafeMutableRawPointer(bitPattern: base(of: slab))!
    let header = slab.isOffPage ? UnsafeMutableRawPointer(slab.prefix) : nil
    FutexLock.enterHook(maySleep: false)
    pointee.source.free(pointee.source.context, start, pointee.layout.slabBytes)
    FutexLock.leaveHook(maySleep: false)
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

  // MARK: - Single items, for internal kegs

  func takeOne(flags: WaitFlags = .noWait) -> UnsafeMutableRawPointer? {
    var address: UInt = 0
    return take(into: &address, count: 1, flags: flags) == 1 ? UnsafeMutableRawPointer(bitPattern: address) : nil
  }

  func giveOne(_ item: UnsafeMutableRawPointer) {
    var address = item.address
    give(&address, count: 1)
  }

  // MARK: - Checking

  /// Items that callers or caches above hold: pages × items − free.
  public var outstanding: Int { pointee.slabCount * pointee.layout.items - pointee.freeItems }

  /// Walks the three lists: every slab is on the list its free count says, bitmaps agree with counts, sums agree.
  public func checkInvariants() {
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    var slabs = 0
    var items = 0
    func check(_ list: SlabList, _ isRight: (Int) -> Bool) -> Int {
      var count = 0
      var previous: SlabPointer? = nil
      var next = list.first
      while let slab = next {
        precondition(slab.pointee.previous == previous, "slab list: previous")
        precondition(slab.pointee.kegIndex == pointee.index, "slab on a foreign keg")
        precondition(freeItems(of: slab).population == Int(slab.pointee.freeCount), "free count and bitmap differ")
        precondition(isRight(Int(slab.pointee.freeCount)), "slab on the wrong list")
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
    precondition(slabs == pointee.slabCount, "slab count")
    precondition(items == pointee.freeItems, "free item count")
  }
}

/// Says what was done to which address, the nearest item and its zone, and ends the process.
@inline(never)
public func reportBadFree(_ what: StaticString, _ address: UInt, keg: KegPointer?) -> Never {
  var report = Report("bad free")
  report.text(what)
  report.text(" at ")
  report.address(address)
  describeNearest(to: address, keg: keg, in: &report)
  report.text("\n")
  report.stop()
}

public func describeNearest(to address: UInt, keg known: KegPointer?, in report: inout Report) {
  var keg = known
  var slab: SlabPointer? = nil
  if case .slab(let header) = ownerMap.pointee.owner(of: address) {
    slab = header.assumingMemoryBound(to: Slab.self)
    keg = stave_kegs()[Int(slab!.pointee.kegIndex)]?.assumingMemoryBound(to: Keg.self)
  }
  guard let keg else {
    report.text("; no zone of stave owns it")
    return
  }
  if let slab {
    let layout = keg.pointee.layout
    let offset = Int(bitPattern: address) - Int(bitPattern: keg.item(0, of: slab))
    let index = max(0, min(layout.items - 1, offset / layout.itemBytes))
    let nearest = keg.item(index, of: slab)
    report.text("; ")
    if address < nearest {
      report.number(nearest - address)
      report.text(" bytes before")
    } else {
      report.number(address - nearest)
      report.text(" bytes into")
    }
    report.text(" the item at ")
    report.address(nearest)
    report.text(" of ")
    report.number(UInt(layout.size))
    report.text(" bytes")
  }
  report.text(" in zone ")
  report.name(keg.pointee.name)
}
