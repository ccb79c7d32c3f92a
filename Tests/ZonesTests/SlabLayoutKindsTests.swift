// SPDX-License-Identifier: BSD-2-Clause
//
// Layouts of the special kinds of zones: counts, spreading, no touch, an item for each CPU.

import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// What says no to a set of flags, in the test's own words.
func contradict(_ flags: ZoneFlags) -> Bool {
  func has(_ flag: ZoneFlags) -> Bool { flags.contains(flag) }
  if has(.firstTouch) && has(.roundRobin) { return true }
  if has(.firstTouch) || has(.roundRobin), has(.vm) || has(.internal) || has(.perCPU) || has(.malloc) || has(.smr) || has(.notPage) { return true }
  if has(.maxBucket) && (has(.noBucket) || has(.perCPU)) { return true }
  if has(.vm) || has(.internal) { return has(.noTouch) || has(.perCPU) }
  return has(.noTouch) && has(.zeroInit) || has(.perCPU) && (has(.cacheSpread) || has(.malloc) || has(.smr))
}

/// The first rule that a layout of one of these kinds breaks.
private func brokenRule(_ layout: SlabLayout, align: Int, flags: ZoneFlags, cpuCount: Int) -> String? {
  let counted = flags.contains(.refCount)
  let end = layout.firstItem + layout.items * layout.itemBytes - (layout.itemBytes - layout.size)
  if layout.items < 1 || layout.items > SlabLayout.mostItems { return "\(layout.items) items (L24)" }
  if layout.itemBytes < max(8, layout.size) || layout.itemBytes % align != 0 { return "distance of items" }
  if layout.hasCounts != counted { return "counts" }
  if layout.slabBytes % 4096 != 0 { return "not whole pages" }
  if flags.contains(.noTouch) && !layout.isOffPage { return "a header among items that are not to be touched" }
  if flags.contains(.vm) && layout.isOffPage { return "off-page header of a vm zone (L22)" }
  if counted && layout.lookup != .metadata { return "counts are found by metadata" }
  if flags.contains(.cacheSpread) && layout.itemBytes / align % 2 == 0 { return "an even distance" }
  if flags.contains(.perCPU) {
    if layout.slabBytes != 4096 * cpuCount || end > 4096 || !layout.isOffPage { return "a page for each CPU" }
  } else if layout.isOffPage {
    if end > layout.slabBytes || layout.lookup != .metadata { return "off-page" }
  } else {
    if end > layout.headerOffset { return "an item reaches the header" }
    let header = 24 + (layout.items + 63) / 64 * 8 + (counted ? layout.items * 4 : 0)
    if layout.headerOffset % 8 != 0 || layout.headerOffset + header > layout.slabBytes { return "header beyond the slab" }
  }
  return nil
}

@Suite struct SlabLayoutKindsTests {
  private func layout(_ size: Int, _ align: Int, _ flags: ZoneFlags, cpuCount: Int = 4) -> SlabLayout? {
    SlabLayout.choose(size: size, alignMask: align - 1, flags: flags, pageBytes: 4096, cpuCount: cpuCount)
  }

  @Test func `2.28.3 worked values of spreading`() throws {
    let even = try #require(layout(256, 64, .cacheSpread))
    #expect(even.itemBytes == 320 && even.slabBytes == 20480 && even.items == 64 && even.isOffPage)
    #expect(Set((0..<64).map { $0 * even.itemBytes % 4096 / 64 }).count == 64, "every line of a page is some item's first")
    let odd = try #require(layout(192, 64, .cacheSpread))
    #expect(odd.itemBytes == 192 && odd.slabBytes == 192 * 64 && odd.items == 64)
    #expect(Set((0..<64).map { $0 * odd.itemBytes % 4096 / 64 }).count == 64)
    #expect(layout(256, 64, .none)!.itemBytes == 256)
    // No slab becomes longer than 128 KiB for it; an item may be.
    #expect(layout(4096, 64, .cacheSpread)!.slabBytes == 128 << 10 && layout(4096, 64, .cacheSpread)!.itemBytes == 4160)
    #expect(layout(200 << 10, 64, .cacheSpread)!.items >= 1)
    // As many items as a slab may have, with a small alignment.
    #expect(layout(16, 8, .cacheSpread)!.itemBytes == 24 && layout(16, 8, .cacheSpread)!.slabBytes == 24 * 512)
  }

  @Test func `headers with counts`() throws {
    #expect(SlabLayout.headerBytes(items: 1, counted: true) == 40)
    #expect(SlabLayout.headerBytes(items: 63, counted: true) == 32 + 256)
    #expect(SlabLayout.offPageHeaderBytes(items: 3, counted: true) == 80 + 1024)
    #expect(SlabLayout.offPageHeaderBytes(items: 300, counted: true) == 112 + 2048)
    // 39 items of 104 bytes leave 40 bytes: too few for 39 counts.
    let counted = try #require(layout(100, 8, .refCount)), plain = try #require(layout(100, 8, .none))
    #expect(plain.items == 39 && counted.items == 37 && !counted.isOffPage && counted.lookup == .metadata)
    #expect(layout(2048, 8, .refCount)!.hasCounts && !layout(2048, 8, .none)!.hasCounts)
  }

  @Test func `a page for each CPU`() throws {
    let eight = try #require(layout(8, 8, .perCPU))
    #expect(eight.items == 512 && eight.slabBytes == 4 * 4096 && eight.isOffPage && eight.lookup == .metadata)
    #expect(layout(4096, 8, .perCPU, cpuCount: 1)?.items == 1)
    #expect(layout(4097, 8, .perCPU) == nil)
    #expect(layout(100, 8, .perCPU, cpuCount: 8192)?.slabBytes == 8192 * 4096)
  }

  @Test func `L24 L22 every size and every set of flags has a layout that keeps the rules, or contradicts itself`() {
    let kinds: [ZoneFlags] = [.refCount, .cacheSpread, .noTouch, .perCPU, .vm, .malloc, .offPage, .zeroInit]
    for mask in 0..<1 << kinds.count {
      let flags = kinds.indices.reduce(ZoneFlags.none) { mask >> $1 & 1 == 1 ? $0.union(kinds[$1]) : $0 }
      for align in [1, 8, 64, 4096] {
        var size = 1
        while size <= 300_000 {
          let found = layout(size, align, flags)
          let isImpossible = contradict(flags) || flags.contains(.perCPU) && max(8, size).roundedUp(to: align) > 4096
          // Of an item that its alignment makes larger than a page, the part that counts may still fit.
          let isDoubtful = flags.contains(.perCPU) && size <= 4096
          if found == nil && !isImpossible || found != nil && isImpossible && (contradict(flags) || !isDoubtful) {
            Issue.record("size \(size), align \(align), flags \(flags.rawValue): \(found == nil ? "no" : "a") layout")
            return
          }
          if let found, let rule = brokenRule(found, align: align, flags: flags, cpuCount: 4) {
            Issue.record("size \(size), align \(align), flags \(flags.rawValue): \(rule)")
            return
          }
          size += 1 + size / 7
        }
      }
    }
  }
}
