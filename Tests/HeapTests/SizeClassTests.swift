// SPDX-License-Identifier: BSD-2-Clause
//
// Size classes: index and size agree, waste is bounded, the layouts of heap slabs, and the multiply that tells a start of
// an item from any other address.

@testable import Accounting
import CPlatform
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

@Suite struct SizeClassTests {
  @Test func `every size gets the smallest class that holds it`() {
    var previous = 0
    for index in 0..<SizeClass.count {
      let size = SizeClass.size(index)
      #expect(size > previous)
      #expect(size % 16 == 0)
      previous = size
    }
    #expect(previous == SizeClass.largest)
    for size in 0...SizeClass.largest {
      let index = SizeClass.index(for: size)
      guard index >= 0, index < SizeClass.count, SizeClass.size(index) >= size, index == 0 || SizeClass.size(index - 1) < size else {
        Issue.record("size \(size) gets class \(index)")
        return
      }
    }
  }

  @Test func `every class is its own, and every power of two has one`() {
    for index in 0..<SizeClass.count { #expect(SizeClass.index(for: SizeClass.size(index)) == index) }
    for shift in 4...15 { #expect(SizeClass.size(SizeClass.index(for: 1 << shift)) == 1 << shift) }
  }

  @Test func `waste is at most an eighth above 128 bytes`() {
    for size in 129...SizeClass.largest {
      let given = SizeClass.size(SizeClass.index(for: size))
      if (given - size) * 8 > given { Issue.record("\(size) bytes get \(given)") }
    }
    for size in 1...128 where SizeClass.size(SizeClass.index(for: size)) - size >= 16 { Issue.record("\(size)") }
  }

  @Test func `L12 an aligned request gets the smallest class of that alignment`() {
    for shift in 0...15 {
      let alignment = 1 << shift
      for size in 0...SizeClass.largest where size < 600 || size % 13 == 0 || size > 32700 {
        guard let index = SizeClass.index(for: size, alignment: alignment) else {
          Issue.record("\(size) at \(alignment) has no class")
          return
        }
        let given = SizeClass.size(index)
        let smaller = (SizeClass.index(for: max(size, 1))..<index).contains { SizeClass.size($0) % alignment == 0 }
        if given < size || given % alignment != 0 || smaller { Issue.record("\(size) at \(alignment) gets \(given)") }
      }
    }
    #expect(SizeClass.index(for: SizeClass.largest + 1, alignment: 16) == nil)
    #expect(SizeClass.index(for: 16, alignment: SizeClass.largest * 2) == nil)
  }

  @Test func `heap slabs: whole items up to the unit's end, aligned like their size`() {
    for index in 0..<SizeClass.count {
      let size = SizeClass.size(index)
      let layout = SlabLayout.heap(size: size)
      #expect(layout.slabBytes == 65536)
      #expect(layout.items >= 1 && layout.items == 65536 / size)
      #expect(layout.isOffPage)
      #expect(layout.lookup == .metadata)
      #expect(layout.firstItem >= 0 && layout.firstItem < size)
      #expect(layout.firstItem + layout.items * size == 65536)
      #expect(layout.items <= SlabLayout.offPageHeaderItems(layout.items))
      #expect(layout.items <= 4096, "what the largest header has room for, and 16 bits can count")
      // L12: any power of two that divides the size, up to a page, divides the address, since units are aligned to 64 KiB.
      let natural = min(4096, 1 << size.trailingZeroBitCount)
      for item in 0..<layout.items where (layout.firstItem + item * size) % natural != 0 {
        Issue.record("item \(item) of class \(size) is not aligned to \(natural)")
      }
    }
  }

  @Test func `the membership test is right for every class and every distance`() {
    for index in 0..<SizeClass.count {
      let size = UInt32(SizeClass.size(index))
      let reciprocal = SizeClass.reciprocal(size: Int(size))
      var wrong = 0
      var distance: UInt32 = 1
      while distance <= 65536 {
        if (distance &* reciprocal < reciprocal) != (distance % size == 0) { wrong += 1 }
        distance += 1
      }
      #expect(wrong == 0, "class \(size)")
    }
  }

  @Test func `L13 what a CPU and a depot hold falls with size and is bounded in bytes`() {
    var previous = Int.max
    for index in 0..<SizeClass.count {
      let size = SizeClass.size(index)
      let capacity = SizeClass.cellCapacity(size: size)
      #expect(capacity <= previous)
      #expect(capacity * size <= (size <= 1024 ? 128 : 64) << 10)
      #expect(capacity >= 2)
      #expect(capacity < 65536, "the fill has 16 bits")
      let bucket = SizeClass.bucketSize(size: size)
      #expect(bucket >= 1 && bucket <= capacity && bucket <= 254)
      let limit = SizeClass.depotLimit(size: size)
      #expect(limit >= bucket && limit * size <= 1 << 20)
      previous = capacity
    }
  }
}
