// SPDX-License-Identifier: BSD-2-Clause
//
// A keg: slabs of one layout from one page source, on three lists by how many items are free. A slab is on exactly one of
// them whenever the lock is free, and a wholly free slab is on the free list (L26).
//
// Taking items is in Keg+Allocate, giving them back in Keg+Free, slabs and their pages in Keg+Slabs, the walk that checks
// all of it in Keg+Invariants.
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
  /// ceil(2^64 / itemBytes): to divide by multiplying, exactly for offsets below 4 GiB.
  var inverse: UInt64
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
  /// Of free items, each of which the number is a multiple of this is filled with trash (Keg+Trash); 0 for none.
  var trash: Int
  /// Zones on it beside the one it was made with. Under the list lock.
  public var secondaries: Int
  /// The wholly free slab that has been so for longest: the last of their list.
  var oldestFree: SlabPointer? = nil
  /// The slabs by address, with the lookup `tree`; and how many of them searches have looked at.
  var tree = RedBlackTree<SlabTail>()
  var treeSteps = 0
  /// Colours besides 0, and the next slab's.
  var colours: UInt8 = 0
  var nextColour: UInt8 = 0
  /// The memory domain of its slabs (Zone+Domains); 255 for none in particular.
  public internal(set) var domain: UInt8 = 255
  /// Of a pool's keg (Pool): the pool, and what it does when it is asked to give back.
  public internal(set) var pool: PoolPointer? = nil
  var reclaimPool: (@convention(c) (_ pool: UnsafeMutableRawPointer, _ isUrgent: Bool) -> Bool)? = nil
  /// Addresses that are this keg's alone; nil where the source has them (Zone+Cold).
  var range: ReservedRangePointer?
  /// Where slabs have been: from the lowest to the end of the highest.
  var slabsStart: UInt = .max
  var slabsEnd: UInt = 0

  /// With trash so many bytes of wholly free slabs stay: a write to what is given back would not be noticed.
  static var bytesWithTrash: Int { 4 << 20 }
}

public typealias KegPointer = UnsafeMutablePointer<Keg>

/// `init`: 0, or an errno that makes the allocation fail. `wait` holds the request's wait flags.
public typealias ItemHook = @convention(c) (_ item: UnsafeMutableRawPointer, _ size: Int, _ wait: Int32) -> Int32
/// `fini`.
public typealias ItemFinish = @convention(c) (_ item: UnsafeMutableRawPointer, _ size: Int) -> Void

extension UnsafeMutablePointer where Pointee == Keg {
  @inline(__always)
  func base(of slab: SlabPointer) -> UInt {
    slab.isOffPage ? slab.prefix.pointee.base : UInt(bitPattern: slab) - UInt(pointee.layout.headerOffset)
  }

  @inline(__always)
  func item(_ index: Int, of slab: SlabPointer) -> UInt {
    base(of: slab) &+ UInt(firstItem(of: slab) &+ index &* pointee.layout.itemBytes)
  }

  /// The index of the item that starts at `address`; nil if none does.
  @inline(__always)
  public func index(of address: UInt, in slab: SlabPointer) -> Int? {
    let offset = Int(bitPattern: address &- base(of: slab)) &- firstItem(of: slab)
    guard offset >= 0 && offset < pointee.layout.slabBytes else { return nil }
    let index =
      offset < 1 << 32
      ? Int(truncatingIfNeeded: UInt64(offset).multipliedFullWidth(by: pointee.inverse).high) : offset / pointee.layout.itemBytes
    return index &* pointee.layout.itemBytes == offset && index < pointee.layout.items ? index : nil
  }

  /// The start of the item that `address`, which is in `slab`, lies in; nil where there is none.
  public func start(ofItemHolding address: UInt, in slab: SlabPointer) -> UInt? {
    let offset = Int(bitPattern: address &- base(of: slab)) &- firstItem(of: slab)
    guard offset >= 0 && offset < pointee.layout.slabBytes else { return nil }
    let index = offset / pointee.layout.itemBytes
    return index < pointee.layout.items ? item(index, of: slab) : nil
  }

  /// Whether a slab's header can be read where that of an item at `address` would lie: an author's address may be anything. Some loads;
  /// outside of the arena a system call. The zone system's own items, whose slabs lie there, are never asked about.
  @inline(__always)
  func mayBeSlab(around address: UInt) -> Bool {
    guard pointee.layout.lookup == .mask, !pointee.flags.contains(.internal) else { return true }
    if address &- arena.pointee.windowStart < arena.pointee.frontier &- arena.pointee.windowStart { return true }
    return stave_can_read(address.roundedDown(to: UInt(pageBytes)) + UInt(pointee.layout.headerOffset))
  }

  /// The same without a system call: an address among the slabs that is in none of them may have nothing to read. Under the lock.
  @inline(__always)
  func isAmongSlabs(_ address: UInt) -> Bool { address >= pointee.slabsStart && address < pointee.slabsEnd }

  /// The slab that holds `address`, nil if it is not in one of this keg's slabs. For in-page slabs found by mask
  /// `mayBeSlab(around:)` has to be asked before, unless the address is known to be an item of this keg.
  @inline(__always)
  func slab(of address: UInt) -> SlabPointer? {
    if pointee.layout.lookup == .mask {
      return SlabPointer(bitPattern: address.roundedDown(to: UInt(pageBytes)) + UInt(pointee.layout.headerOffset))
    }
    if pointee.layout.lookup == .tree { return slabInTree(of: address) }
    guard case .slab(let header) = ownerMap.pointee.owner(of: address) else { return nil }
    let slab = header.assumingMemoryBound(to: Slab.self)
    return slab.pointee.kegIndex == pointee.index ? slab : nil
  }

  @inline(__always)
  func freeItems(of slab: SlabPointer) -> Bitmap { Bitmap(words: slab.words, count: pointee.layout.items) }

  /// Items that callers or caches above hold: pages × items − free.
  public var outstanding: Int { pointee.slabCount * pointee.layout.items - pointee.freeItems }
}
