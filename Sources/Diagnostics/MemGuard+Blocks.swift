// SPDX-License-Identifier: BSD-2-Clause
//
// A guarded block from its request to its end. Its pages are fresh from the system, or cleared, so it is zero; what of them is not the
// block's is filled, and looked at when it is freed: so a write next to the block that no guard can catch is found then. Where few blocks
// are guarded that is done to some bytes on each side only, so that a free does not bring pages of filling into the caches.

import Accounting
import CPlatform
import Pages
import Primitives
import Zones

/// What became of a free.
public enum GuardedFree {
  case done
  /// The block, if there is or was one: it was freed before, or the address is not its start.
  case bad(GuardedBlockPointer?)
}

/// Bytes of a block's pages beside it that are not as they were.
public struct GuardDamage {
  public var count: UInt = 0
  public var first: UInt = 0
  public var last: UInt = 0
  /// The block as it was then, if there are any: by now its record may be another's.
  public var block: GuardedBlock?

  public init() {}
}

extension UnsafeMutablePointer where Pointee == MemGuard {
  static var filling: UInt8 { 0x42 }
  /// A region has room for its block's alignment: a larger one would be page tables above all.
  static var mostAlignment: UInt { 4 << 20 }
  /// Bytes of it on each side of a block, where few are guarded.
  static var nearBytes: UInt32 { 128 }

  /// A block of `size` bytes, zeroed, at a multiple of `alignment`; nil if it is declined, which is counted.
  public func allocate(_ size: UInt, alignment: UInt, type: TypePointer?, zone: KegPointer? = nil, stack: UInt32) -> UnsafeMutableRawPointer? {
    let page = UInt(pageBytes)
    guard size > 0 else { return nil }
    guard size <= pointee.bytes / 16, alignment <= Self.mostAlignment else { return decline(&pointee.withoutAddresses) }
    let dataBytes = (size + page - 1) & ~(page - 1)
    guard UInt(clamping: usedNow) + dataBytes <= limitNow else { return decline(&pointee.withoutPages) }
    // Where pages are not enough for the alignment, the region has room to shift it.
    let extra = alignment > page ? UInt32(alignment / page) - 1 : 0
    let dataCount = UInt32(dataBytes / page)
    var isUneven = false
    pointee.lock.lock()
    let width = pointee.width, offset = offset(of: size, alignment: alignment, in: dataBytes)
    let mayMove = mayMove(offset: offset, size: size, pages: dataCount)
    let ready = mayMove ? takeReady(pages: dataCount) : nil
    guard let index = ready ?? takeRegion(2 * width + extra + dataCount, isUneven: &isUneven) else {
      pointee.lock.unlock()
      return decline(&pointee.withoutAddresses)
    }
    let block = record(index), dirt = (start: block.pointee.address, end: block.end)
    // A ready region's place is its own.
    var dataStart = address(ofPage: ready != nil ? block.pointee.dataPage : block.pointee.firstPage + width)
    if alignment > page { dataStart = (dataStart + alignment - 1) & ~(alignment - 1) }
    block.pointee.address = dataStart + offset
    block.pointee.size = size
    block.pointee.dataPage = UInt32((dataStart - pointee.start) / page)
    block.pointee.dataCount = dataCount
    block.pointee.type = type?.pointee.number ?? 0
    block.pointee.zone = zone?.pointee.index ?? 0
    block.pointee.typeHash = type?.pointee.name.hash ?? zone?.pointee.name.hash ?? 0
    block.pointee.allocationStack = stack
    block.pointee.freeStack = 0
    block.pointee.filled = guardsMany ? .max : Self.nearBytes
    block.pointee.state = GuardedState.closing
    pointee.mostUsedBytes = Swift.max(pointee.mostUsedBytes, usedNow + Int64(dataBytes))
    pointee.lock.unlock()
    if ready != nil {
      // The pages have another block's bytes.
      set(block.pointee.address, block.end, to: 0)
      beside(block) { set(Swift.max($0, dirt.start), Swift.min($1, dirt.end), to: Self.filling) }
    } else if open(block, isUneven: isUneven) {
      beside(block) { set($0, $1, to: Self.filling) }
      // Only pages that are there can be moved.
      if mayMove && dataCount > 1 { set(block.end - 1, block.end, to: 0) }
    } else {
      block.pointee.state = isUneven ? GuardedState.lost : GuardedState.freed
      return decline(&pointee.refused)
    }
    count(block, 1)
    stave_add(&pointee.guarded, 1)
    _ = stave_swap32(&block.pointee.state, GuardedState.closing, GuardedState.live)
    return UnsafeMutableRawPointer(bitPattern: block.pointee.address)
  }

  private var usedNow: Int64 { Int64(bitPattern: stave_load64(&pointee.usedBytes)) }
  /// Without the lock: who asks while it is changed has the old one or the new one.
  private var limitNow: UInt { pointee.limit }

  private func decline(_ counter: UnsafeMutablePointer<Int64>) -> UnsafeMutableRawPointer? {
    stave_add(counter, 1)
    return nil
  }

  /// From the first of its pages.
  private func offset(of size: UInt, alignment: UInt, in bytes: UInt) -> UInt {
    if alignment > UInt(pageBytes) || pointee.side == GuardSide.underflow { return 0 }
    // Of a size, the largest power of two that divides it.
    let natural = pointee.side == GuardSide.exact ? Swift.min(16, size & (0 &- size)) : 16
    let alignment = Swift.max(alignment, natural)
    return bytes - (size + alignment - 1) & ~(alignment - 1)
  }

  private func count(_ block: GuardedBlockPointer, _ sign: Int64) {
    let page = Int64(pageBytes), data = Int64(block.pointee.dataCount) * page
    stave_add(&pointee.usedBytes, sign * data)
    stave_add(&pointee.mappedBytes, sign * Int64(block.pointee.pageCount) * page)
    stave_add(&pointee.wastedBytes, sign * (data - Int64(block.pointee.size)))
    if isInLane(block.pointee.dataPage) { stave_add(&pointee.laneTaken, sign * Int64(block.pointee.pageCount)) }
  }

  /// The start of a zone's item whose hooks may run now, once; the block otherwise, if there is or was one.
  func finish(_ address: UInt, zone: UInt32) -> GuardedFree {
    let block = block(around: address)
    guard let block, block.pointee.address == address, block.pointee.zone == zone, stave_swap32(&block.pointee.state, GuardedState.live, GuardedState.finishing)
    else { return .bad(block) }
    return .done
  }

  /// `damage`: what was found beside the block, if anything. `zone`: whose item it must be, 0 for malloc's; an item was finished before.
  public func free(_ address: UInt, zone: UInt32 = 0, stack: UInt32, damage: inout GuardDamage) -> GuardedFree {
    guard let block = block(around: address) else { return .bad(nil) }
    guard block.pointee.address == address, block.pointee.zone == zone,
      stave_swap32(&block.pointee.state, zone == 0 ? GuardedState.live : GuardedState.finishing, GuardedState.closing)
    else { return .bad(block) }
    block.pointee.freeStack = stack
    count(block, -1)
    stave_add(&pointee.freed, 1)
    switch moveAway(block, &damage) {
    case true?: return .done
    case false?: break
    case nil: if canLookBeside(block) { damage = damageBeside(block) }
    }
    let isClosed = close(block)
    if !isClosed { stave_add(&pointee.refused, 1) }
    _ = stave_swap32(&block.pointee.state, GuardedState.closing, isClosed ? GuardedState.freed : GuardedState.lost)
    return .done
  }

  // MARK: - Beside the block

  /// Calls `body` with what is filled of its pages: before the block, and behind.
  @inline(__always)
  private func beside(_ block: GuardedBlockPointer, _ body: (UInt, UInt) -> Void) {
    let start = address(ofPage: block.pointee.dataPage), end = start + UInt(block.pointee.dataCount) * UInt(pageBytes)
    let near = UInt(block.pointee.filled)
    if block.pointee.address > start { body(block.pointee.address - Swift.min(near, block.pointee.address - start), block.pointee.address) }
    if block.end < end { body(block.end, block.end + Swift.min(near, end - block.end)) }
  }

  @inline(never)
  private func set(_ start: UInt, _ end: UInt, to byte: UInt8) {
    if start < end { UnsafeMutableRawPointer(bitPattern: start)!.initializeMemory(as: UInt8.self, repeating: byte, count: Int(end - start)) }
  }

  /// The program may itself have given back the last page of a block that begins at a page, and more: there is nothing to be looked at
  /// then, and in the lane it would be a fault.
  private func canLookBeside(_ block: GuardedBlockPointer) -> Bool {
    let first = block.pointee.dataPage
    guard isInLane(first) || block.pointee.address & UInt(pageBytes - 1) == 0 else { return true }
    return stave_is_resident(address(ofPage: first + block.pointee.dataCount - 1))
  }

  /// `shift`: how far above its own place the page lies that is looked at; the one behind the block, where that is another.
  func damageBeside(_ block: GuardedBlockPointer, shift: UInt = 0, shiftBehind: UInt = 0) -> GuardDamage {
    var damage = GuardDamage()
    beside(block) { start, end in
      let shift = start < block.pointee.address ? shift : shiftBehind
      var place = start &+ shift
      let to = end &+ shift
      while place < to {
        // A line at a time, where nothing has changed.
        if to &- place >= 64, stave_is_line_of(0x4242_4242_4242_4242, place) {
          place &+= 64
          continue
        }
        if UnsafePointer<UInt8>(bitPattern: place)!.pointee != Self.filling {
          if damage.count == 0 { damage.first = place &- shift }
          damage.last = place &- shift
          damage.count += 1
        }
        place += 1
      }
    }
    if damage.count > 0 { damage.block = block.pointee }
    return damage
  }
}
