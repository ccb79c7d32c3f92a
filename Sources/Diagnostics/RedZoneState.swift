// SPDX-License-Identifier: BSD-2-Clause
//
// What a process knows of its RedZone: the number that its headers are sealed with, for which types blocks have guard bytes, and
// what there is of them. Writing and looking at the bytes around a block is here as well.

import Accounting
import CPlatform
import Pages
import Primitives

/// All zeros: not used yet; when it is, for every type. Readers outside copy it.
public struct RedZoneState {
  /// 0 until it is first needed.
  public var key: UInt64
  /// What the live blocks take beyond their sizes, in bytes.
  public var extraBytes: Int64
  public var blocks: Int64
  /// Damaged blocks that were found, at free or realloc.
  public var damaged: Int64
  /// Of which one in so many is to have guard bytes.
  var requests: Int64
}

@inline(__always)
public var redZone: UnsafeMutablePointer<RedZoneState> { rootState(RedZoneState.self, at: RootLayout.redZoneOffset) }

extension UnsafeMutablePointer where Pointee == RedZoneState {
  /// The number that seals headers, drawn at first use.
  public var ownKey: UInt64 {
    if keyNow != 0 { return keyNow }
    var drawn: UInt64 = 0
    if stave_getrandom(&drawn, 8) != 8 { drawn = UInt64(truncatingIfNeeded: stave_nanoseconds()) &* 0x9e37_79b9_7f4a_7c15 }
    // Whoever comes first: a key never changes.
    _ = stave_replace_sample(&pointee.key, 0, drawn | 1)
    return keyNow
  }

  /// 0 if none is drawn yet.
  private var keyNow: UInt64 { stave_load64(&pointee.key) }

  /// Whether a request for this type, which this size class would serve, if any, is to have guard bytes: one in `rate`.
  public func isMeant(_ type: TypePointer?, _ sizeClass: Int?, oneIn rate: Int64) -> Bool {
    guard types.chooses(type, sizeClass, for: .redZone) else { return false }
    return rate <= 1 || stave_add_fetching(&pointee.requests, 1) % rate == 0
  }

  // MARK: - The bytes around a block

  /// What is said in the item of `bytes` bytes at `item`, which is one of malloc's.
  public func find(item: UInt, bytes: UInt) -> RedZoneFinding {
    guard bytes >= RedZone.leastItem, keyNow != 0 else { return .none }
    return RedZone.find(header: load(item), copy: load(item &+ bytes &- RedZone.headerBytes), item: item, bytes: bytes, key: keyNow)
  }

  /// Writes all that is not the block itself, around a new block or after `beginWriting`.
  public func write(_ block: RedZoneBlock) {
    store(header(of: block, .young, at: block.item), block.item)
    fill(block.guardBefore)
    fill(block.guardBehind)
    store(header(of: block, .copy, at: block.copyPlace), block.copyPlace)
    stave_store64(place(block.item + 8), header(of: block, .live, at: block.item).second)
  }

  /// From here until `write` nobody outside believes what is there.
  public func beginWriting(_ block: RedZoneBlock) {
    store(header(of: block, .young, at: block.item), block.item)
    store(RedZoneHeader(first: 0, second: 0), block.copyPlace)
  }

  public func damage(of block: RedZoneBlock) -> RedZoneDamage {
    let before = load(block.guardBefore), behind = load(block.guardBehind)
    return RedZoneDamage(block, before: (before.first, before.second), behind: (behind.first, behind.second))
  }

  /// The block's header says from now on that it is freed, with the stack where. False if another thread was faster.
  public func markFreed(_ block: RedZoneBlock, stack: UInt32) -> Bool {
    // One word decides: the header's seal, or the copy's where there is no header any more.
    let freed = RedZoneHeader(size: block.size, offset: block.offset, stack: stack, .freed, at: block.item, key: ownKey)
    if block.isHeaderWhole {
      guard replace(block.item + 8, header(of: block, .live, at: block.item).second, freed.second) else { return false }
    } else {
      guard replace(block.copyPlace + 8, header(of: block, .copy, at: block.copyPlace).second, 0) else { return false }
      store(freed, block.item)
    }
    store(RedZoneHeader(first: 0, second: 0), block.copyPlace)
    return true
  }

  public func count(_ block: RedZoneBlock, _ sign: Int64) {
    stave_add(&pointee.extraBytes, sign * Int64(block.extra))
    stave_add(&pointee.blocks, sign)
  }

  private func place(_ address: UInt) -> UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped }

  private func header(of block: RedZoneBlock, _ state: RedZoneHeader.State, at place: UInt) -> RedZoneHeader {
    RedZoneHeader(size: block.size, offset: block.offset, stack: block.stack, state, at: place, key: ownKey)
  }

  private func replace(_ address: UInt, _ old: UInt64, _ new: UInt64) -> Bool {
    stave_replace_sample(place(address).assumingMemoryBound(to: UInt64.self), old, new)
  }

  private func load(_ address: UInt) -> RedZoneHeader { place(address).loadUnaligned(as: RedZoneHeader.self) }

  /// The first word first.
  private func store(_ header: RedZoneHeader, _ address: UInt) {
    stave_store64(place(address), header.first)
    stave_store64(place(address + 8), header.second)
  }

  private func fill(_ address: UInt) {
    place(address).storeBytes(of: RedZone.guardWord, as: UInt64.self)
    place(address + 8).storeBytes(of: RedZone.guardWord, as: UInt64.self)
  }
}
