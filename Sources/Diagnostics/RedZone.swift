// SPDX-License-Identifier: BSD-2-Clause
//
// RedZone: how a block lies between its guard bytes, and what the bytes around it say. Pure functions of bytes and
// addresses, for the process itself (Heap+RedZone) and for who looks from outside (Inspection/RedZoneCheck).
//
//   item or large block
//   | header | padding | 16 × 0x42 | the block, `size` bytes | 16 × 0x42 | rest | copy of the header |
//   ^ item                         ^ item + offset                             ^ item + bytes - 16
//
// `offset` is 32, or the block's alignment if that is larger. A plain block begins where its item does, so an address inside an item
// can only be that of a block with guard bytes, if the item's header or its copy proves itself; nothing else says which blocks have
// them, and it does not matter what the options were when one was made. A header proves itself by a seal over its words, its own
// address and a number that each process draws. There are two, since what writes before the block may reach the first, what writes
// behind it the second: either alone tells of which block the damage is.
//
//   word 0   bits 0…47 size, 48…55 the binary logarithm of `offset`, 56…63 a mark
//   word 1   bits 0…31 the stack of the allocation, of a freed block's the stack of its free; 32…63 the seal
//
// The header says `young` while the rest is written, then `live`, then `freed`, each time by one store of word 1: who looks from
// outside sees no half-made block. A header of a freed block remains until the item's next user writes there.

public enum RedZone {
  public static var guardBytes: UInt { 16 }
  /// Of each of the guard bytes.
  public static var guardByte: UInt8 { 0x42 }
  public static var guardWord: UInt64 { 0x4242_4242_4242_4242 }
  public static var headerBytes: UInt { 16 }
  /// The smallest item that can hold a block with guard bytes.
  public static var leastItem: UInt { offset(alignment: 1) + guardBytes + headerBytes }

  /// From the item to the block; `alignment` is a power of two.
  public static func offset(alignment: UInt) -> UInt { max(headerBytes + guardBytes, alignment) }

  /// What a block takes beyond its size.
  public static func extra(offset: UInt) -> UInt { offset + guardBytes + headerBytes }

  /// What a block of `size` bytes takes in all; nil if that is no number of bytes.
  public static func total(size: UInt, alignment: UInt) -> UInt? {
    guard size < 1 << 47, alignment < 1 << 47 else { return nil }
    return size + extra(offset: offset(alignment: alignment))
  }

  /// What an item's first and last 16 bytes say of it.
  public static func find(header: RedZoneHeader, copy: RedZoneHeader, item: UInt, bytes: UInt, key: UInt64) -> RedZoneFinding {
    guard bytes >= leastItem, key != 0 else { return .none }
    let copyPlace = item &+ bytes &- headerBytes
    func block(_ header: RedZoneHeader, _ isHeaderWhole: Bool, _ isCopyWhole: Bool) -> RedZoneBlock? {
      let block = RedZoneBlock(
        item: item, itemBytes: bytes, size: header.size, offset: header.offset, stack: header.stack, isHeaderWhole: isHeaderWhole,
        isCopyWhole: isCopyWhole)
      // A seal that fits by chance must not lead astray.
      return block.offset >= 32 && block.offset < bytes && block.size <= bytes && extra(offset: block.offset) + block.size <= bytes ? block : nil
    }
    if header.fits(.live, at: item, key: key), let whole = block(header, true, copy.fits(.copy, at: copyPlace, key: key)) { return .live(whole) }
    if header.fits(.freed, at: item, key: key), let freed = block(header, true, true) { return .freed(freed) }
    if header.fits(.young, at: item, key: key) { return .young }
    if copy.fits(.copy, at: copyPlace, key: key), let whole = block(copy, false, true) { return .live(whole) }
    return .none
  }

  /// Which of 16 guard bytes, in two words as they lie in memory, are not what they were.
  public static func overwritten(_ low: UInt64, _ high: UInt64, isBefore: Bool) -> RedZoneOverwrite {
    var result = RedZoneOverwrite()
    for index in 0..<16 {
      let word = index < 8 ? low : high
      guard UInt8(truncatingIfNeeded: word >> UInt64((index & 7) * 8)) != guardByte else { continue }
      let distance = isBefore ? 16 - index : index + 1
      result.count += 1
      result.nearest = result.count == 1 ? distance : min(result.nearest, distance)
      result.farthest = max(result.farthest, distance)
    }
    return result
  }
}

/// The 16 bytes that tell what an item holds.
public struct RedZoneHeader: BitwiseCopyable {
  public enum State: UInt64 {
    /// The block is being made, or made another size.
    case young = 1
    case live, freed
    /// What the item's last 16 bytes are while the block lives.
    case copy
  }

  public var first: UInt64
  public var second: UInt64

  private static var mark: UInt64 { 0x5a }

  public init(first: UInt64, second: UInt64) {
    self.first = first
    self.second = second
  }

  public init(size: UInt, offset: UInt, stack: UInt32, _ state: State, at place: UInt, key: UInt64) {
    first = UInt64(size) | UInt64(offset.trailingZeroBitCount) << 48 | Self.mark << 56
    second = UInt64(stack)
    second |= seal(state, place, key) << 32
  }

  public var size: UInt { UInt(first & (1 << 48 - 1)) }
  public var offset: UInt { 1 << UInt(first >> 48 & 63) }
  public var stack: UInt32 { UInt32(truncatingIfNeeded: second) }

  public func fits(_ state: State, at place: UInt, key: UInt64) -> Bool { first >> 56 == Self.mark && second >> 32 == seal(state, place, key) }

  private func seal(_ state: State, _ place: UInt, _ key: UInt64) -> UInt64 {
    var sum = (first ^ key) &* 0x9e37_79b9_7f4a_7c15
    sum = (sum ^ sum >> 29 ^ UInt64(place)) &* 0xbf58_476d_1ce4_e5b9
    sum = (sum ^ sum >> 32 ^ UInt64(stack) ^ state.rawValue << 40) &* 0x94d0_49bb_1331_11eb
    return sum >> 32
  }
}

public enum RedZoneFinding {
  case none
  case live(RedZoneBlock)
  case freed(RedZoneBlock)
  /// Somebody is just writing it.
  case young
}

public struct RedZoneBlock: BitwiseCopyable, Sendable {
  public var item: UInt
  public var itemBytes: UInt
  /// What was asked for.
  public var size: UInt
  public var offset: UInt
  public var stack: UInt32
  public var isHeaderWhole: Bool
  public var isCopyWhole: Bool

  public init(item: UInt, itemBytes: UInt, size: UInt, offset: UInt, stack: UInt32, isHeaderWhole: Bool = true, isCopyWhole: Bool = true) {
    self.item = item
    self.itemBytes = itemBytes
    self.size = size
    self.offset = offset
    self.stack = stack
    self.isHeaderWhole = isHeaderWhole
    self.isCopyWhole = isCopyWhole
  }

  /// As the program knows it.
  public var address: UInt { item &+ offset }
  public var guardBefore: UInt { address &- RedZone.guardBytes }
  public var guardBehind: UInt { address &+ size }
  public var copyPlace: UInt { item &+ itemBytes &- RedZone.headerBytes }
  public var extra: UInt { RedZone.extra(offset: offset) }
}

/// Guard bytes on one side of a block that have been written to.
public struct RedZoneOverwrite: Equatable, Sendable {
  public var count = 0
  /// How far the nearest and the farthest are from the block; 1 touches it. 0 without any.
  public var nearest = 0
  public var farthest = 0

  public init() {}
}

/// What is wrong with a block.
public struct RedZoneDamage: Equatable, Sendable {
  public var before = RedZoneOverwrite()
  public var behind = RedZoneOverwrite()
  /// The header, before the guard bytes, or its copy, behind them, has been written to.
  public var isHeaderLost = false
  public var isCopyLost = false

  public init(_ block: RedZoneBlock, before: (UInt64, UInt64), behind: (UInt64, UInt64)) {
    self.before = RedZone.overwritten(before.0, before.1, isBefore: true)
    self.behind = RedZone.overwritten(behind.0, behind.1, isBefore: false)
    isHeaderLost = !block.isHeaderWhole
    isCopyLost = !block.isCopyWhole
  }

  public var isUnderflow: Bool { before.count > 0 || isHeaderLost }
  public var isOverflow: Bool { behind.count > 0 || isCopyLost }
  public var isAny: Bool { isUnderflow || isOverflow }
}
