// SPDX-License-Identifier: BSD-2-Clause
//
// What proves that a block has guard bytes, and what its bytes say, as pure functions.

import Testing

@testable import Diagnostics
@testable import TestSupport

@Suite struct RedZoneHeaderTests {
  private static let item: UInt = 0x2000_0123_4560, bytes: UInt = 176, key: UInt64 = 0x1234_5678_9abc_def1

  private static func header(_ state: RedZoneHeader.State, size: UInt = 100, at place: UInt) -> RedZoneHeader {
    RedZoneHeader(size: size, offset: 32, stack: 4711, state, at: place, key: key)
  }
  private static var live: RedZoneHeader { header(.live, at: item) }
  private static var copy: RedZoneHeader { header(.copy, at: item + bytes - 16) }

  private static func find(_ header: RedZoneHeader, _ copy: RedZoneHeader, item: UInt = item, key: UInt64 = key) -> RedZoneFinding {
    RedZone.find(header: header, copy: copy, item: item, bytes: bytes, key: key)
  }

  private static func isNone(_ finding: RedZoneFinding) -> Bool { if case .none = finding { true } else { false } }

  @Test func `a header and its copy tell size, place and stack; for another item or another process they tell nothing`() throws {
    guard case .live(let block) = Self.find(Self.live, Self.copy) else { return #expect(Bool(false), "no block") }
    #expect(block.address == Self.item + 32 && block.size == 100 && block.stack == 4711 && block.isHeaderWhole && block.isCopyWhole)
    #expect(block.guardBefore == block.address - 16 && block.guardBehind == block.address + 100 && block.copyPlace == Self.item + 160)
    #expect(Self.isNone(Self.find(Self.live, Self.copy, item: Self.item + 176)) && Self.isNone(Self.find(Self.live, Self.copy, key: Self.key + 2)))
    guard case .freed(let freed) = Self.find(Self.header(.freed, at: Self.item), RedZoneHeader(first: 0, second: 0)) else { return #expect(Bool(false), "not freed") }
    #expect(freed.address == block.address)
    guard case .young = Self.find(Self.header(.young, at: Self.item), Self.copy) else { return #expect(Bool(false), "not young") }
    // One that says more than the item holds is none.
    #expect(Self.isNone(Self.find(Self.header(.live, size: 113, at: Self.item), RedZoneHeader(first: 0, second: 0))))
    #expect(!Self.isNone(Self.find(Self.header(.live, size: 112, at: Self.item), RedZoneHeader(first: 0, second: 0))))
  }

  @Test func `L45 a header with any one bit changed is found out, and its copy tells what it said`() {
    for bit in 0..<128 {
      func changed(_ header: RedZoneHeader) -> RedZoneHeader {
        RedZoneHeader(first: header.first ^ (bit < 64 ? 1 << UInt64(bit) : 0), second: header.second ^ (bit >= 64 ? 1 << UInt64(bit - 64) : 0))
      }
      guard case .live(let first) = Self.find(changed(Self.live), Self.copy), case .live(let second) = Self.find(Self.live, changed(Self.copy)) else {
        Issue.record("bit \(bit)")
        continue
      }
      #expect(!first.isHeaderWhole && first.isCopyWhole && second.isHeaderWhole && !second.isCopyWhole && first.size == 100 && second.size == 100, "bit \(bit)")
      #expect(Self.isNone(Self.find(changed(Self.live), changed(Self.copy))), "bit \(bit)")
    }
  }

  @Test func `no other bytes are a header`() {
    var generator = Generator(730)
    for _ in 0..<200_000 {
      // As like one as chance can make it: a small size, an offset of 32, the mark.
      let random = RedZoneHeader(first: (generator.next() & 0x3f) | 0x5a05_0000_0000_0000, second: generator.next())
      if !Self.isNone(Self.find(random, random)) { Issue.record("\(random) (STAVE_SEED=\(Stage.seed))") }
    }
    #expect(Self.isNone(Self.find(RedZoneHeader(first: 0, second: 0), RedZoneHeader(first: 0, second: 0))))
    #expect(Self.isNone(RedZone.find(header: Self.live, copy: Self.copy, item: Self.item, bytes: 48, key: Self.key)), "no block fits such an item")
    #expect(RedZone.total(size: .max, alignment: 1) == nil && RedZone.total(size: 1, alignment: 1 << 60) == nil)
  }

  @Test func `what is overwritten is counted and measured from the block's edge`() {
    for pattern in 0..<(1 << 16) where pattern % 7 == 0 || pattern.nonzeroBitCount < 3 {
      var words: [UInt64] = [RedZone.guardWord, RedZone.guardWord]
      for index in 0..<16 where pattern >> index & 1 == 1 { words[index / 8] ^= 0x11 << UInt64(index % 8 * 8) }
      let places = (0..<16).filter { pattern >> $0 & 1 == 1 }
      let behind = RedZone.overwritten(words[0], words[1], isBefore: false), before = RedZone.overwritten(words[0], words[1], isBefore: true)
      let isRight =
        behind.count == places.count && before.count == places.count && behind.nearest == places.first.map { $0 + 1 } ?? 0
        && behind.farthest == places.last.map { $0 + 1 } ?? 0 && before.nearest == places.last.map { 16 - $0 } ?? 0
        && before.farthest == places.first.map { 16 - $0 } ?? 0
      if !isRight { Issue.record("\(pattern): \(behind) \(before)") }
    }
  }
}
