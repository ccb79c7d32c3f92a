// SPDX-License-Identifier: BSD-2-Clause
//
// malloc's rules on the heap called directly, beside the process's own malloc: sizes, alignment, zeroing, reallocation.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct HeapTests {
    init() { Stage.up() }

    @Test func `L12 every size is aligned to 16, powers of two to themselves up to a page`() {
      let before = live()
      for size in Array(1...1100) + stride(from: 1101, through: 40000, by: 173) + [4096, 8192, 16384, 32768, 32769, 65536] {
        let block = Heap.allocate(UInt(size))!
        #expect(block.address % 16 == 0)
        if UInt(size).isPowerOfTwo { #expect(block.address % UInt(min(max(size, 16), 4096)) == 0, "\(size)") }
        let usable = Int(Heap.usableSize(block)!)
        if usable < size { Issue.record("\(size) bytes give \(usable)") }
        fill(block, usable, 0x5A)
        Heap.free(block)
      }
      #expect(live() == before)
      checkAll()
    }

    @Test func `L48 size zero gives distinct blocks`() {
      let blocks = (0..<100).map { _ in Heap.allocate(0)! }
      #expect(Set(blocks).count == 100)
      freeAll(blocks)
      let zeroed = Heap.allocateZeroed(0)
      let aligned = Heap.allocate(0, alignment: 4096)
      #expect(zeroed != nil && aligned != nil)
      Heap.free(zeroed)
      Heap.free(aligned)
      Heap.free(nil)
    }

    @Test func `L49 L55 absurd sizes fail with ENOMEM, are counted as failures and take nothing`() {
      let before = live()
      let failures = heap.pointee.failures
      let sizes: [UInt] = [.max, .max - 15, .max - 4096, UInt(Int.max), 1 << 48, 1 << 62]
      for size in sizes {
        errno = 0
        #expect(Heap.allocate(size) == nil)
        #expect(errno == ENOMEM)
        #expect(Heap.allocateZeroed(size) == nil)
        #expect(Heap.allocate(size, alignment: 4096) == nil)
        let block = Heap.allocate(100)!
        fill(block, 100, 7)
        #expect(Heap.reallocate(block, size) == nil)
        #expect(holds(block, 100, 7), "the old block is as it was")
        Heap.free(block)
      }
      #expect(Heap.allocate(1, alignment: 1 << 62) == nil)
      #expect(heap.pointee.failures >= failures + Int64(3 * sizes.count))
      #expect(live() == before, "counted on success only")
      checkAll()
    }

    @Test func `zeroed memory is zero, whatever lay there`() {
      for size in [1, 15, 16, 100, 1000, 4096, 32768, 32769, 100_000, 1 << 20, 3 << 20] {
        for _ in 0..<3 {
          let block = Heap.allocateZeroed(UInt(size))!
          #expect(holds(block, size, 0), "\(size)")
          fill(block, Int(Heap.usableSize(block)!), 0xEE)
          Heap.free(block)
        }
      }
    }

    @Test func `alignment up to megabytes, for small and large sizes`() {
      let before = live()
      for shift in 0...22 {
        for size in [0, 1, 17, 100, 1000, 5000, 32768, 40000, 1 << 20] {
          let alignment = UInt(1) << UInt(shift)
          let block = Heap.allocate(UInt(size), alignment: alignment)!
          if block.address % alignment != 0 { Issue.record("\(size) at \(alignment)") }
          #expect(Heap.usableSize(block)! >= UInt(size))
          fill(block, size, 1)
          Heap.free(block)
        }
      }
      #expect(live() == before)
      checkAll()
    }

    @Test func `L52 growing and shrinking step by step keeps the contents`() {
      let before = live()
      var generator = Generator(70)
      for _ in 0..<20 {
        var block = Heap.allocate(1)!
        var size = 1
        var mark: UInt8 = 1
        fill(block, 1, 1)
        for _ in 0..<60 {
          let new = generator.size(upTo: 2 << 20)
          let moved = Heap.reallocate(block, UInt(new))!
          if !holds(moved, min(size, new), mark) { Issue.record("\(size) → \(new) (STAVE_SEED=\(Stage.seed))") }
          block = moved
          size = new
          mark &+= 1
          fill(block, size, mark)
          if Heap.usableSize(block)! < UInt(size) { Issue.record("usable size") }
        }
        Heap.free(block)
        arena.checkInvariants()
      }
      #expect(live() == before)
      checkAll()
    }

    @Test func `T9 a block stays in place while its class would not change`() {
      // 2.28.4: class 1024 stays from 513 to 1024.
      var block = Heap.allocate(1024)!
      for size in [1024, 1000, 700, 513] as [UInt] { #expect(Heap.reallocate(block, size) == block) }
      let shrunk = Heap.reallocate(block, 512)!
      #expect(shrunk != block)
      block = shrunk
      let grown = Heap.reallocate(block, 1025)!
      #expect(grown != block)
      Heap.free(grown)
      let least = Heap.allocate(16)!
      #expect(Heap.reallocate(least, 1) == least)
      #expect(Heap.reallocate(least, 8) == least)
      Heap.free(least)
      let fromNull = Heap.reallocate(nil, 50)
      #expect(fromNull != nil)
      Heap.free(fromNull)
    }

    @Test func `usable size of what is no block`() {
      #expect(Heap.usableSize(nil) == 0)
      let small = Heap.allocate(100)!
      let large = Heap.allocate(1 << 20)!
      #expect(Heap.usableSize(small + 1) == nil)
      #expect(Heap.usableSize(large + 4096) == nil)
      #expect(Heap.usableSize(large + 16) == nil)
      var local = 0
      withUnsafeMutableBytes(of: &local) { #expect(Heap.usableSize($0.baseAddress!) == nil) }
      #expect(Heap.usableSize(UnsafeMutableRawPointer(bitPattern: UInt.max)) == nil)
      Heap.free(small)
      Heap.free(large)
      #expect(Heap.usableSize(large) == nil)
    }
  }
}
