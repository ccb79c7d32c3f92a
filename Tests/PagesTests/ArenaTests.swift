// SPDX-License-Identifier: BSD-2-Clause
//
// Blocks and slabs of the arena: what one of a size costs, whose it is, what is refused.

import AddressMap
import CPlatform
import Foundation
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

extension OnRoot {
  @Suite struct ArenaTests {
    private let ground = LevelGround()

    @Test(arguments: [1, 4095, 4096, 4097, 65535, 65536, 65537, 1 << 20, (1 << 20) + 1, 1 << 26] as [UInt])
    func `a block is zero when it says so, owned, and counted in whole pages`(size: UInt) {
      let bytes = arena.pointee.largeBytes
      let count = arena.pointee.largeCount
      let block = arena.takeLarge(size: size)!
      let used = blockBytes(size)
      #expect(block.start % UInt(pageBytes) == 0)
      #expect(block.isZero, "nothing is cached, so the memory is fresh")
      #expect(isZero(block.start, used))
      #expect(arena.largeBytes(at: block.start) == used)
      #expect(arena.pointee.largeBytes == bytes + used)
      #expect(arena.pointee.largeCount == count + 1)
      #expect(isLargeStart(block.start))
      fill(block.start, used)
      arena.checkInvariants()
      #expect(arena.releaseLarge(block.start))
      arena.checkInvariants()
      #expect(arena.pointee.largeBytes == bytes)
      #expect(arena.pointee.largeCount == count)
      #expect(!isLargeStart(block.start))
      #expect(arena.largeBytes(at: block.start) == nil)
    }

    @Test(arguments: [4, 16, 32, 64, 1024, 32768].map { UInt($0) << 10 })
    func `alignment up to tens of megabytes is kept`(alignment: UInt) {
      for size in [1, alignment - 1, alignment, alignment + 1] {
        let block = arena.takeLarge(size: size, alignment: alignment)!
        #expect(block.start % alignment == 0)
        arena.checkInvariants()
        #expect(arena.releaseLarge(block.start))
      }
      arena.checkInvariants()
    }

    @Test func `L49 absurd sizes and alignments give nil and change nothing`() {
      let frontier = arena.pointee.frontier
      let count = arena.pointee.largeCount
      for size in [.max, .max - 4095, .max / 2, 1 << 63, 1 << 62, (1 << 46) + 1, 1 << 46] as [UInt] {
        #expect(arena.takeLarge(size: size) == nil, "\(size) bytes")
        arena.checkInvariants()
      }
      #expect(arena.takeLarge(size: 1, alignment: 1 << 47) == nil)
      #expect(arena.takeLarge(size: 1, alignment: 1 << 63) == nil)
      #expect(arena.pointee.largeCount == count)
      #expect(arena.pointee.frontier == frontier)
      arena.checkInvariants()
    }

    @Test func `T16 a second release and addresses inside a block are refused`() {
      for size in [mega / 2, 8 * mega] {
        let block = arena.takeLarge(size: size)!
        for offset in [1, 16, 4096, unitBytes, size - 1] {
          #expect(!isLargeStart(block.start + offset))
          #expect(!arena.releaseLarge(block.start + offset), "offset \(offset)")
        }
        #expect(!arena.resizeLarge(block.start + 16, to: size * 2), "only a start can be resized")
        #expect(arena.moveLarge(block.start + 16, to: size * 2) == nil)
        #expect(arena.largeBytes(at: block.start) == size)
        arena.checkInvariants()
        #expect(arena.contains(block.start + size - 1))
        #expect(arena.releaseLarge(block.start))
        #expect(!arena.releaseLarge(block.start))
        arena.checkInvariants()
      }
      #expect(!arena.releaseLarge(0x1000))
      #expect(!arena.releaseLarge(0))
      #expect(!arena.resizeLarge(0x1000, to: 100))
      #expect(arena.moveLarge(0x1000, to: 100) == nil)
    }

    @Test func `slabs are units side by side, and their memory can become anything`() {
      let before = arena.pointee.slabBytes
      let slabs = (0..<100).map { _ in arena.takeSlab(bytes: unitBytes)!.address }
      #expect(Set(slabs).count == 100)
      #expect(slabs.allSatisfy { $0 % unitBytes == 0 })
      #expect(arena.pointee.slabBytes == before + 100 * unitBytes)
      arena.checkInvariants()
      for slab in slabs { arena.releaseSlab(slab, bytes: unitBytes) }
      arena.checkInvariants()
      #expect(arena.pointee.slabBytes == before)
      #expect(arena.pointee.cachedBytes == 100 * unitBytes)
      let block = arena.takeLarge(size: 50 * unitBytes)!
      #expect(!block.isZero)
      #expect(arena.releaseLarge(block.start))
    }

    @Test func `small slabs still take whole units`() {
      let before = arena.pointee.slabBytes
      let slab = arena.takeSlab(bytes: 4096)!.address
      #expect(arena.pointee.slabBytes == before + unitBytes)
      arena.releaseSlab(slab, bytes: 4096)
      #expect(arena.pointee.slabBytes == before)
      arena.checkInvariants()
    }

    @Test func `L23 threads never get overlapping ranges, slabs or blocks`() {
      let wrong = UnsafeMutablePointer<Int64>.allocate(capacity: 1)
      wrong.pointee = 0
      let shared = Shared(wrong)
      inThreads(4) { thread in
        var generator = Generator(UInt64(110 + thread))
        var held: [(start: UInt, bytes: UInt, isSlab: Bool, mark: UInt)] = []
        for round in 0..<8000 * Stage.scale + 20 {
          if round < 8000 * Stage.scale {
            let bytes = unitBytes * UInt(1 + generator.below(3))
            let isSlab = generator.below(4) > 0
            let start = isSlab ? arena.takeSlab(bytes: bytes)!.address : arena.takeLarge(size: bytes)!.start
            let mark = UInt(thread) << 32 | UInt(round)
            for offset in stride(from: 0, to: bytes, by: Int(unitBytes)) { UnsafeMutablePointer<UInt>(bitPattern: start + offset)!.pointee = mark }
            held.append((start, bytes, isSlab, mark))
          }
          guard held.count > 20 || round >= 8000 * Stage.scale, !held.isEmpty else { continue }
          let old = held.remove(at: generator.below(held.count))
          for offset in stride(from: 0, to: old.bytes, by: Int(unitBytes))
          where UnsafePointer<UInt>(bitPattern: old.start + offset)!.pointee != old.mark { stave_add(shared.value, 1) }
          if old.isSlab { arena.releaseSlab(old.start, bytes: old.bytes) } else if !arena.releaseLarge(old.start) { stave_add(shared.value, 1) }
        }
      }
      #expect(wrong.pointee == 0)
      arena.checkInvariants()
      wrong.deallocate()
    }

    @Test func `L5 concurrent large frees end with nothing lost`() {
      let bytes = arena.pointee.largeBytes
      let allocations = arena.pointee.largeAllocations
      let frees = arena.pointee.largeFrees
      let wrong = UnsafeMutablePointer<Int>.allocate(capacity: 4)
      wrong.initialize(repeating: 0, count: 4)
      let rounds = 500 * Stage.scale
      inThreads(4) { thread in
        var generator = Generator(UInt64(100 + thread))
        var held: [(UInt, UInt)] = []
        for round in 0..<rounds {
          let size = UInt(generator.size(upTo: 4 << 20))
          let block = arena.takeLarge(size: size)!.start
          UnsafeMutablePointer<Int>(bitPattern: block)!.pointee = thread << 32 | round
          held.append((block, UInt(thread << 32 | round)))
          if held.count > 16 {
            let (old, mark) = held.remove(at: generator.below(held.count))
            if UnsafePointer<UInt>(bitPattern: old)!.pointee != mark || !arena.releaseLarge(old) { wrong[thread] += 1 }
          }
          if round % 50 == 0 { arena.purge(atMost: mega, recentToo: thread == 0) }
        }
        for (old, mark) in held where UnsafePointer<UInt>(bitPattern: old)!.pointee != mark || !arena.releaseLarge(old) {
          wrong[thread] += 1
        }
      }
      arena.checkInvariants()
      #expect((0..<4).map { wrong[$0] } == [0, 0, 0, 0])
      #expect(arena.pointee.largeBytes == bytes)
      #expect(arena.pointee.largeAllocations - allocations == UInt(4 * rounds))
      #expect(arena.pointee.largeFrees - frees == UInt(4 * rounds))
      wrong.deallocate()
    }
  }
}
