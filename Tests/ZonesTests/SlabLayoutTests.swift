// SPDX-License-Identifier: BSD-2-Clause
//
// The layout function against worked values, then against its own rules for every size.

import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// A row of the table of worked values (page 4096, 64 bit).
struct LayoutRow: CustomTestStringConvertible, @unchecked Sendable {
  var size: Int, align: Int, itemBytes: Int, isOffPage: Bool, pages: Int, items: Int, efficiency: Int, lookup: SlabLayout.Lookup
  var testDescription: String { "\(size)/\(align)" }

  static let all: [LayoutRow] = [
    LayoutRow(size: 8, align: 8, itemBytes: 8, isOffPage: false, pages: 1, items: 501, efficiency: 97, lookup: .mask),
    LayoutRow(size: 16, align: 16, itemBytes: 16, isOffPage: false, pages: 1, items: 252, efficiency: 98, lookup: .mask),
    LayoutRow(size: 24, align: 8, itemBytes: 24, isOffPage: false, pages: 1, items: 168, efficiency: 98, lookup: .mask),
    LayoutRow(size: 64, align: 64, itemBytes: 64, isOffPage: false, pages: 1, items: 63, efficiency: 98, lookup: .mask),
    LayoutRow(size: 100, align: 8, itemBytes: 104, isOffPage: false, pages: 1, items: 39, efficiency: 99, lookup: .mask),
    LayoutRow(size: 256, align: 256, itemBytes: 256, isOffPage: false, pages: 1, items: 15, efficiency: 93, lookup: .mask),
    LayoutRow(size: 384, align: 8, itemBytes: 384, isOffPage: false, pages: 1, items: 10, efficiency: 93, lookup: .mask),
    LayoutRow(size: 512, align: 512, itemBytes: 512, isOffPage: true, pages: 1, items: 8, efficiency: 98, lookup: .metadata),
    LayoutRow(size: 640, align: 8, itemBytes: 640, isOffPage: false, pages: 1, items: 6, efficiency: 93, lookup: .mask),
    LayoutRow(size: 1024, align: 1024, itemBytes: 1024, isOffPage: true, pages: 1, items: 4, efficiency: 98, lookup: .metadata),
    LayoutRow(size: 1536, align: 8, itemBytes: 1536, isOffPage: false, pages: 2, items: 5, efficiency: 93, lookup: .metadata),
    LayoutRow(size: 2048, align: 1, itemBytes: 2048, isOffPage: true, pages: 1, items: 2, efficiency: 98, lookup: .metadata),
    LayoutRow(size: 2048, align: 8, itemBytes: 2048, isOffPage: true, pages: 1, items: 2, efficiency: 98, lookup: .metadata),
    LayoutRow(size: 2048, align: 2048, itemBytes: 2048, isOffPage: true, pages: 1, items: 2, efficiency: 98, lookup: .metadata),
    LayoutRow(size: 2304, align: 8, itemBytes: 2304, isOffPage: false, pages: 3, items: 5, efficiency: 93, lookup: .metadata),
    LayoutRow(size: 3000, align: 8, itemBytes: 3000, isOffPage: false, pages: 3, items: 4, efficiency: 97, lookup: .metadata),
    LayoutRow(size: 4096, align: 4096, itemBytes: 4096, isOffPage: true, pages: 1, items: 1, efficiency: 98, lookup: .metadata),
    LayoutRow(size: 4200, align: 8, itemBytes: 4200, isOffPage: false, pages: 9, items: 8, efficiency: 91, lookup: .metadata),
    LayoutRow(size: 6000, align: 8, itemBytes: 6000, isOffPage: false, pages: 3, items: 2, efficiency: 97, lookup: .metadata),
    LayoutRow(size: 9216, align: 8, itemBytes: 9216, isOffPage: false, pages: 5, items: 2, efficiency: 90, lookup: .metadata),
    LayoutRow(size: 65536, align: 4096, itemBytes: 65536, isOffPage: true, pages: 16, items: 1, efficiency: 99, lookup: .metadata),
  ]
}

/// The first rule that `layout` breaks.
private func brokenRule(_ layout: SlabLayout, align: Int, flags: ZoneFlags, pageBytes: Int) -> String? {
  let slack = layout.itemBytes - layout.size
  let isInternal = flags.contains(.internal) || flags.contains(.vm)
  if layout.items < 1 { return "no item (L24)" }
  if layout.items > SlabLayout.mostItems { return "too many items" }
  if layout.itemBytes < layout.size || layout.itemBytes < 8 { return "items overlap" }
  if layout.itemBytes % align != 0 || layout.firstItem % align != 0 { return "alignment" }
  if layout.itemBytes - max(layout.size, 8) >= align && layout.itemBytes > 8 { return "more padding than alignment needs" }
  if layout.slabBytes % pageBytes != 0 || layout.slabBytes <= 0 { return "not whole pages" }
  if isInternal && layout.isOffPage { return "off-page header of an internal zone (L22)" }
  if !isInternal && flags.contains(.offPage) && !layout.isOffPage { return "in-page header against the flag" }
  let end = layout.firstItem + layout.items * layout.itemBytes - slack
  if layout.isOffPage {
    if end > layout.slabBytes { return "items beyond the slab" }
    if layout.lookup != .metadata { return "an off-page header cannot be found by mask" }
  } else {
    if layout.headerOffset % 8 != 0 { return "header not aligned" }
    if end > layout.headerOffset { return "an item reaches the header" }
    if layout.headerOffset + SlabLayout.headerBytes(items: layout.items) > layout.slabBytes { return "header beyond the slab" }
    if layout.lookup == .mask && layout.slabBytes != pageBytes { return "mask look-up in a slab of many pages" }
    if layout.lookup == .mask && layout.headerOffset + 24 > pageBytes { return "header beyond the page" }
  }
  if flags.contains(.malloc) && layout.lookup != .metadata { return "malloc zones ask the owner map" }
  if layout.efficiency < 1 || layout.efficiency > 100 { return "efficiency" }
  return nil
}

@Suite struct SlabLayoutTests {
  @Test(arguments: LayoutRow.all) func `2.28 worked values`(row: LayoutRow) throws {
    let layout = try #require(SlabLayout.choose(size: row.size, alignMask: row.align - 1, flags: .none, pageBytes: 4096))
    #expect(layout.size == row.size)
    #expect(layout.itemBytes == row.itemBytes)
    #expect(layout.isOffPage == row.isOffPage)
    #expect(layout.slabBytes == row.pages * 4096)
    #expect(layout.items == row.items)
    #expect(layout.efficiency == row.efficiency)
    #expect(layout.lookup == row.lookup)
    let malloc = try #require(SlabLayout.choose(size: row.size, alignMask: row.align - 1, flags: .malloc, pageBytes: 4096))
    #expect(malloc.lookup == .metadata)
    #expect(malloc.items == row.items)
  }

  @Test func `sizes of headers`() {
    #expect(SlabLayout.headerBytes(items: 1) == 32)
    #expect(SlabLayout.headerBytes(items: 64) == 32)
    #expect(SlabLayout.headerBytes(items: 65) == 40)
    #expect(SlabLayout.headerBytes(items: 501) == 88)
    #expect(SlabLayout.offPageHeaderBytes(items: 1) == 80)
    #expect(SlabLayout.offPageHeaderBytes(items: 256) == 80)
    #expect(SlabLayout.offPageHeaderBytes(items: 257) == 112)
    #expect(SlabLayout.offPageHeaderBytes(items: 512) == 112)
    #expect(SlabLayout.offPageHeaderItems(4096) == 4096)
    #expect(MemoryLayout<Slab>.stride == 24)
    #expect(MemoryLayout<OffPagePrefix>.stride == 24)
  }

  // A soak looks at other page sizes too.
  @Test(arguments: 0..<13) func `L24 every size has a layout that keeps the rules`(shift: Int) {
    let align = 1 << shift
    let flagSets: [ZoneFlags] = [.none, .vm, .offPage, .malloc, .internal, .offPage.union(.malloc), .noFree]
    let pages = Stage.scale >= 10 ? [4096, 16384, 65536] : [4096]
    for pageBytes in pages {
      for flags in flagSets {
        var size = 1
        while size <= 70000 {
          if let layout = SlabLayout.choose(size: size, alignMask: align - 1, flags: flags, pageBytes: pageBytes) {
            if let rule = brokenRule(layout, align: align, flags: flags, pageBytes: pageBytes) {
              Issue.record("size \(size), align \(align), flags \(flags.rawValue), page \(pageBytes): \(rule)")
              return
            }
          } else {
            Issue.record("size \(size), align \(align), flags \(flags.rawValue), page \(pageBytes): no layout")
            return
          }
          size += 1
        }
      }
    }
  }

  @Test func `the layout is never worse than one page or one item would be`() {
    var poor = 0
    for size in 1...70000 where size < 9000 || size % 17 == 0 {
      let best = SlabLayout.choose(size: size, alignMask: 7, flags: .none, pageBytes: 4096)!
      let single = SlabLayout.choose(size: size, alignMask: 7, flags: .none, pageBytes: 4096, multiPage: false)!
      if best.efficiency < single.efficiency { Issue.record("size \(size): \(best.efficiency) % < \(single.efficiency) %") }
      if best.efficiency < 90 { poor += 1 }
    }
    #expect(poor == 0, "the search finds 90 % for every size when slabs may have many pages")
  }

  @Test func `absurd requests have no layout`() {
    for size in [0, -1, .min, (1 << 40) + 1, .max] {
      #expect(SlabLayout.choose(size: size, alignMask: 7, flags: .none, pageBytes: 4096) == nil)
    }
    for mask in [-2, 2, 4, 6, 100] {
      #expect(SlabLayout.choose(size: 64, alignMask: mask, flags: .none, pageBytes: 4096) == nil)
    }
  }

  @Test func `L22 large items of a vm zone have in-page headers`() {
    for size in [4000, 4096, 5000, 65536, 70000, 1 << 20] {
      let layout = SlabLayout.choose(size: size, alignMask: 7, flags: .vm, pageBytes: 4096)!
      #expect(!layout.isOffPage)
      #expect(layout.items >= 1)
    }
  }
}
