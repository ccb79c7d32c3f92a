// SPDX-License-Identifier: BSD-2-Clause
//
// A guarded block from its request to its end. Its pages are fresh from the system, so it is zero; what of them is not the block's is
// filled, and looked at when it is freed: so a write next to the block that no guard can catch is found then.

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

  public init() {}
}

extension UnsafeMutablePointer where Pointee == MemGuard {
  static var filling: UInt8 { 0x42 }

  /// A block of `size` bytes, zeroed, at a multiple of `alignment`; nil if it is declined, which is counted.
  public func allocate(_ size: UInt, alignment: UInt, type: TypePointer?, zone: KegPointer? = nil, stack: UInt32) -> UnsafeMutableRawPointer? {
    let page = UInt(pageBytes)
    guard size > 0 else { return nil }
    guard size <= pointee.bytes / 16, alignment <= 1 << 30 else { return decline(&pointee.withoutAddresses) }
    let dataBytes = (size + page - 1) & ~(page - 1)
    guard UInt(clamping: pointee.usedBytes) + dataBytes <= pointee.limit else { return decline(&pointee.withoutPages) }
    // Where pages are not enough for the alignment, the region has room to shift it.
    let extra = alignment > page ? UInt32(alignment / page) - 1 : 0
    let width = pointee.width, dataCount = UInt32(dataBytes / page)
    var isPatched = false
    pointee.lock.lock()
    let ready = dataCount == 1 && extra == 0 ? takeReady() : nil
    guard let index = ready ?? takeRegion(2 * width + extra + dataCount, isPatched: &isPatched) else {
      pointee.lock.unlock()
      return decline(&pointee.withoutAddresses)
    }
    let block = record(index)
    // A ready region's place is its own: it may have been made while guards had another width.
    var dataStart = address(ofPage: ready != nil ? block.pointee.dataPage : block.pointee.firstPage + width)
    if alignment > page { dataStart = (dataStart + alignment - 1) & ~(alignment - 1) }
    block.pointee.address = dataStart + offset(of: size, alignment: alignment, in: dataBytes)
    block.pointee.size = size
    block.pointee.dataPage = UInt32((dataStart - pointee.start) / page)
    block.pointee.dataCount = dataCount
    block.pointee.type = type?.pointee.number ?? 0
    block.pointee.zone = zone?.pointee.index ?? 0
    block.pointee.typeHash = type?.pointee.name.hash ?? zone?.pointee.name.hash ?? 0
    block.pointee.allocationStack = stack
    block.pointee.freeStack = 0
    block.pointee.isPatched = 0
    block.pointee.state = GuardedState.closing
    pointee.lock.unlock()
    if ready != nil {
      // The page has another block's bytes.
      UnsafeMutableRawPointer(bitPattern: block.pointee.address)!.initializeMemory(as: UInt8.self, repeating: 0, count: Int(size))
    } else if !open(block, isPatched: isPatched) {
      block.pointee.state = isPatched ? GuardedState.lost : GuardedState.freed
      return decline(&pointee.refused)
    }
    fill(block)
    count(block, 1)
    stave_add(&pointee.guarded, 1)
    _ = stave_swap32(&block.pointee.state, GuardedState.closing, GuardedState.live)
    return UnsafeMutableRawPointer(bitPattern: block.pointee.address)
  }

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
    damage = damageBeside(block)
    block.pointee.freeStack = stack
    makeReady(from: block)
    let isClosed = close(block)
    count(block, -1)
    stave_add(&pointee.freed, 1)
    if !isClosed { stave_add(&pointee.refused, 1) } else { block.pointee.isPatched = 0 }
    _ = stave_swap32(&block.pointee.state, GuardedState.closing, isClosed ? GuardedState.freed : GuardedState.lost)
    return .done
  }

  // MARK: - Beside the block

  /// Calls `body` with the parts of its pages that are not the block's: before it, and behind.
  @inline(__always)
  private func beside(_ block: GuardedBlockPointer, _ body: (UInt, UInt) -> Void) {
    let start = address(ofPage: block.pointee.dataPage), end = start + UInt(block.pointee.dataCount) * UInt(pageBytes)
    if block.pointee.address > start { body(start, block.pointee.address) }
    if block.end < end { body(block.end, end) }
  }

  private func fill(_ block: GuardedBlockPointer) {
    beside(block) { UnsafeMutableRawPointer(bitPattern: $0)!.initializeMemory(as: UInt8.self, repeating: Self.filling, count: Int($1 - $0)) }
  }

  @inline(__always)
  private func isFilled(_ words: UnsafePointer<UInt64>) -> Bool {
    let whole: UInt64 = 0x4242_4242_4242_4242
    return (words[0] ^ whole) | (words[1] ^ whole) | (words[2] ^ whole) | (words[3] ^ whole) == 0
  }

  private func damageBeside(_ block: GuardedBlockPointer) -> GuardDamage {
    var damage = GuardDamage()
    beside(block) { from, to in
      var place = from
      while place < to {
        // Thirty-two at a time, where nothing has changed.
        if place & 7 == 0, to - place >= 32, isFilled(UnsafePointer(bitPattern: place)!) {
          place += 32
          continue
        }
        if UnsafePointer<UInt8>(bitPattern: place)!.pointee != Self.filling {
          if damage.count == 0 { damage.first = place }
          damage.last = place
          damage.count += 1
        }
        place += 1
      }
    }
    return damage
  }

  /// At rest only: the table, the records and the sums agree; every region lies where its record says, and none in another.
  public func checkInvariants() {
    guard pointee.bytes != 0 else { return }
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    var page: UInt32 = 0
    var live = 0, used = 0, mapped = 0, regions = 0
    while page < openedPages {
      let index = pointee.table![Int(page)]
      guard index != 0 else {
        page += 1
        continue
      }
      precondition(index < pointee.recordCount, "a region without a record")
      let block = record(index)
      precondition(block.pointee.firstPage == page && block.pointee.pageCount > 0 && block.endPage <= openedPages, "a region elsewhere than its record says")
      for inside in page..<block.endPage { precondition(pointee.table![Int(inside)] == index, "a region in a region") }
      regions += 1
      if block.isOut {
        live += 1
        used += Int(block.pointee.dataCount) * pageBytes
        mapped += Int(block.pointee.pageCount) * pageBytes
        precondition(block.pointee.dataPage >= page + pointee.width || pointee.width > 1, "a block without a guard before it")
        precondition(block.pointee.dataPage + block.pointee.dataCount < block.endPage, "a block without a guard behind it")
        let start = address(ofPage: block.pointee.dataPage)
        precondition(block.pointee.address >= start && block.end <= start + UInt(block.pointee.dataCount) * UInt(pageBytes), "a block beyond its pages")
      } else {
        let state = block.pointee.state
        precondition(state == GuardedState.freed || state == GuardedState.lost || state == GuardedState.ready, "a region in somebody's hands")
      }
      page = block.endPage
    }
    var free = 0
    var next = pointee.freeRecord
    while next != 0 {
      precondition(record(next).pointee.state == GuardedState.none, "a free record with a block")
      free += 1
      next = record(next).pointee.next
    }
    precondition(regions + free + 1 == Int(pointee.recordCount), "records are lost")
    precondition(live == Int(pointee.guarded - pointee.freed) && used == Int(pointee.usedBytes) && mapped == Int(pointee.mappedBytes), "sums")
  }
}
