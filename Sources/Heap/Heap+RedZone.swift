// SPDX-License-Identifier: BSD-2-Clause
//
// `redzone`: blocks that lie between guard bytes inside their items (Diagnostics/RedZone), which are looked at when the block is freed
// or reallocated. Whether a block has them is seen from its address and its item alone: plain blocks begin where their items do.
// So free's fast path turns them away by itself, the option may change at any time, and blocks from before are freed as they were made.
//
// A request that is to have guard bytes is a larger one, and everything counts what it takes: zones, malloc types and their limits,
// `sizes`. A block's usable size is what was asked for. Memory from contigmalloc, and what a limit has no room for otherwise, has none.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives
import Zones

extension Heap {
  /// The request with room for guard bytes; nil where it is to have none.
  @inline(never)
  static func withRedZone(_ request: Request) -> Request? {
    let rate = heap.pointee.options[.redZone]
    guard rate > 0, redZone.isMeant(request.type, request.index, oneIn: rate),
      let total = RedZone.total(size: request.size, alignment: request.alignment)
    else { return nil }
    var result = Request(total, alignment: request.alignment, type: request.type, isZeroed: request.isZeroed)
    result.zeroesAll = request.zeroesAll
    // At a type's limit the guard bytes must not be what makes the block impossible.
    guard let bytes = result.bytes else { return nil }
    if let limit = request.type?.pointee.limit, limit > 0, bytes > UInt(limit) { return nil }
    return result
  }

  /// The block of `size` bytes in what was taken for `request`.
  @inline(never)
  static func putRedZone(_ memory: UnsafeMutableRawPointer, _ request: Request, size: UInt) -> UnsafeMutableRawPointer {
    let block = RedZoneBlock(
      item: memory.address, itemBytes: request.bytes ?? 0, size: size, offset: RedZone.offset(alignment: request.alignment), stack: Stacks.record())
    redZone.write(block)
    redZone.count(block, 1)
    return memory + Int(block.offset)
  }

  // MARK: - Which block an address is

  /// What of malloc's an address lies in.
  struct Holder {
    var item: UInt
    var bytes: UInt
    var type: UInt32
    /// Nil for a large block.
    var keg: KegPointer?
  }

  static func holder(of address: UInt) -> Holder? {
    if case .slab(let header) = ownerMap.pointee.owner(of: address) {
      let slab = header.assumingMemoryBound(to: Slab.self), keg = keg(of: slab)
      guard keg.pointee.flags.contains(.malloc), let zone = keg.pointee.zone, let item = keg.start(ofItemHolding: address, in: slab) else { return nil }
      return Holder(item: item, bytes: UInt(keg.pointee.layout.size), type: zone.pointee.type, keg: keg)
    }
    guard let large = arena.largeBlock(holding: address) else { return nil }
    return Holder(item: large.start, bytes: large.bytes, type: large.type, keg: nil)
  }

  /// Only for an address that is no plain block's. Costs some loads; of a large block the arena's lock.
  static func redZoneFinding(at address: UInt) -> (finding: RedZoneFinding, holder: Holder)? {
    guard redZone.pointee.key != 0, let holder = holder(of: address) else { return nil }
    return (redZone.find(item: holder.item, bytes: holder.bytes), holder)
  }

  /// The live block that the program knows by this address.
  @inline(never)
  static func redZoneBlock(at address: UInt) -> (block: RedZoneBlock, holder: Holder)? {
    guard let (finding, holder) = redZoneFinding(at: address), case .live(let block) = finding, block.address == address else { return nil }
    return (block, holder)
  }

  // MARK: - Free and realloc

  enum TakenOff {
    /// What is to be freed.
    case item(UnsafeMutableRawPointer)
    /// It was freed before; said already.
    case freedTwice
    /// It is no such block.
    case none
  }

  /// Looks at the guard bytes of the block at `memory`, which from then on is a plain one: its item.
  @inline(never)
  static func takeOffRedZone(_ memory: UnsafeMutableRawPointer) -> TakenOff {
    guard let (finding, holder) = redZoneFinding(at: memory.address) else { return .none }
    switch finding {
    case .live(let block) where block.address == memory.address:
      _ = check(block, holder, "free()")
      if redZone.markFreed(block, stack: Stacks.record(.checked)), let item = UnsafeMutableRawPointer(bitPattern: block.item) {
        redZone.count(block, -1)
        return .item(item)
      }
      // Another thread has just done it.
      reportFreedTwice(block, holder)
      return .freedTwice
    case .freed(let block) where block.address == memory.address:
      reportFreedTwice(block, holder)
      return .freedTwice
    default: return reportFreed(memory, "double free") ? .freedTwice : .none
    }
  }

  /// Whether it is a block with guard bytes that was freed before; then it is reported, with `what` was to be done with it now. Where item
  /// checks have filled its item since, it is told by where such a block would begin.
  @inline(never)
  static func reportFreed(_ memory: UnsafeMutableRawPointer, _ what: StaticString) -> Bool {
    guard let (finding, holder) = redZoneFinding(at: memory.address) else { return false }
    if case .freed(let block) = finding {
      guard block.address == memory.address else { return false }
      reportFreedTwice(block, holder, what, "used again by")
      return true
    }
    let offset = memory.address &- holder.item
    guard CPUCache.isPassedBy, let keg = holder.keg, offset == RedZone.offset(alignment: offset), offset & (offset &- 1) == 0, !keg.isTaken(holder.item) else { return false }
    reportBadFree(what, memory.address, keg: keg, .again)
    return true
  }

  /// Looks at the guard bytes and reports what has been written to; afterwards, if the process goes on, they are as they should be.
  static func checkForRealloc(_ block: RedZoneBlock, _ holder: Holder) -> RedZoneBlock {
    guard check(block, holder, "realloc()") else { return block }
    var mended = block
    mended.isHeaderWhole = true
    mended.isCopyWhole = true
    redZone.beginWriting(mended)
    redZone.write(mended)
    return mended
  }

  /// The block in its place with another size, or a large one moved without copying; nil if neither can be: it is as it was.
  static func resize(_ block: RedZoneBlock, _ holder: Holder, to size: UInt) -> UnsafeMutableRawPointer? {
    guard let total = RedZone.total(size: size, alignment: block.offset) else { return nil }
    let wanted = Request(total, alignment: block.offset > RedZone.offset(alignment: 1) ? block.offset : 1)
    let memory = UnsafeMutableRawPointer(bitPattern: block.address).unsafelyUnwrapped
    var new = block
    new.size = size
    if holder.keg != nil {
      guard let index = wanted.index, UInt(SizeClass.size(index)) == block.itemBytes else { return nil }
    } else if wanted.index != nil {
      return nil
    }
    let isHeard = isTraced
    if isHeard { traceFree(memory) }
    redZone.beginWriting(block)
    if holder.keg == nil && wanted.bytes != block.itemBytes {
      if let moved = resizeLarge(block.item, from: block.itemBytes, to: total), let bytes = wanted.bytes {
        new.item = moved
        new.itemBytes = bytes
      } else {
        new.size = block.size
      }
    }
    redZone.write(new)
    let result = UnsafeMutableRawPointer(bitPattern: new.address).unsafelyUnwrapped
    if isHeard { traceAllocation(result, new.size) }
    return new.size == size ? result : nil
  }
}
