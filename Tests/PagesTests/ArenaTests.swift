// SPDX-License-Identifier: BSD-2-Clause
//
// The arena by scenario: what a block of a size costs and where it comes from, growth in place, purging, what is known to
// be zero.

import AddressMap
import CPlatform
import Foundation
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

let mega: UInt = 1 << 20

func fill(_ start: UInt, _ bytes: UInt, _ value: UInt8 = 0xC7) {
  UnsafeMutableRawPointer(bitPattern: start)!.initializeMemory(as: UInt8.self, repeating: value, count: Int(bytes))
}

/// What a block of `size` bytes occupies: whole pages, half a unit at least.
func blockBytes(_ size: UInt) -> UInt { max(size, unitBytes / 2).roundedUp(to: UInt(pageBytes))! }

func isLargeStart(_ address: UInt) -> Bool { arena.pointee.isLargeStart(address) }

func isOwnerNone(_ address: UInt) -> Bool {
  if case .none = ownerMap.pointee.owner(of: address) { true } else { false }
}

extension OnRoot {
  @Suite struct ArenaTests {
    /// Each test starts with nothing cached.
    init() {
      Stage.up()
      arena.purge(recentToo: true)
      arena.checkInvariants()
    }

    @Test func `L67 the window starts and grows at huge page boundaries`() {
      #expect(arena.pointee.windowStart % (2 * mega) == 0)
      #expect(arena.pointee.frontier % (2 * mega) == 0)
      let block = arena.takeLarge(size: 64 * mega)!
      #expect(arena.pointee.frontier % (2 * mega) == 0)
      #expect(arena.releaseLarge(block.start))
    }

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

    @Test func `a second release and addresses inside a block are refused`() {
      for size in [mega / 2, 8 * mega] {
        let block = arena.takeLarge(size: size)!
        for offset in [1, 16, 4096, unitBytes, size - 1] {
          #expect(!isLargeStart(block.start + offset))
          #expect(!arena.releaseLarge(block.start + offset), "T16: offset \(offset)")
        }
        #expect(!arena.resizeLarge(block.start + 16, to: size * 2), "T16: only a start can be resized")
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

    @Test func `blocks that come and go make no system call after the first`() {
      // 32 KiB to 1 MiB, one of each alive at a time: the recent ones, then cached runs.
      var sizes: [UInt] = []
      for shift in 15...20 { sizes.append(1 << UInt(shift)) }
      for size in sizes { #expect(arena.releaseLarge(arena.takeLarge(size: size)!.start)) }
      #if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
      let calls = stave_inject().pointee.calls
      #endif
      for round in 0..<200 {
        let size = sizes[round % sizes.count]
        #expect(arena.releaseLarge(arena.takeLarge(size: size)!.start))
      }
      #if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
      #expect(stave_inject().pointee.calls == calls)
      #endif
      arena.checkInvariants()
    }

    @Test func `a recent block comes back at the same place and is not called zero`() {
      let first = arena.takeLarge(size: mega)!
      #expect(first.isZero)
      fill(first.start, mega)
      #expect(arena.releaseLarge(first.start))
      #expect(arena.pointee.recentBytes == mega)
      let second = arena.takeLarge(size: mega)!
      #expect(second.start == first.start)
      #expect(!second.isZero)
      #expect(arena.pointee.recentBytes == 0)
      #expect(arena.releaseLarge(second.start))
    }

    @Test func `recent blocks are few and small in all`() {
      let blocks = (0..<40).map { _ in arena.takeLarge(size: mega)!.start }
      for block in blocks {
        #expect(arena.releaseLarge(block))
        #expect(arena.pointee.recentBytes <= 4 * mega)
        arena.checkInvariants()
      }
      let tiny = (0..<40).map { _ in arena.takeLarge(size: 1)!.start }
      for block in tiny {
        #expect(arena.releaseLarge(block))
        #expect(arena.pointee.recentCount <= 8)
        arena.checkInvariants()
      }
      arena.forgetRecentBlocks()
      #expect(arena.pointee.recentBytes == 0)
      arena.checkInvariants()
    }

    @Test func `dirty memory is used before fresh, the smallest run that fits`() {
      // Walls between the runs keep them from joining.
      let small = arena.takeLarge(size: 2 * mega)!.start
      let wall1 = arena.takeLarge(size: 1)!.start
      let large = arena.takeLarge(size: 3 * mega)!.start
      let wall2 = arena.takeLarge(size: 1)!.start
      #expect(arena.releaseLarge(large))
      #expect(arena.releaseLarge(small))
      #expect(arena.pointee.cachedBytes == 5 * mega)
      let block = arena.takeLarge(size: 2 * mega - 5)!
      #expect(block.start == small)
      #expect(!block.isZero)
      arena.checkInvariants()
      for start in [block.start, wall1, wall2] { #expect(arena.releaseLarge(start)) }
      arena.checkInvariants()
    }

    @Test func `neighbours that are freed become one run`() {
      let blocks = (0..<4).map { _ in arena.takeLarge(size: 2 * mega)!.start }
      #expect(zip(blocks, blocks.dropFirst()).allSatisfy { $0 + 2 * mega == $1 }, "fresh blocks lie side by side")
      for order in [0, 2, 3, 1] {
        #expect(arena.releaseLarge(blocks[order]))
        arena.checkInvariants()
      }
      let whole = arena.takeLarge(size: 8 * mega)!
      #expect(whole.start == blocks[0])
      #expect(!whole.isZero)
      #expect(arena.releaseLarge(whole.start))
    }

    @Test func `purged memory is returned to the system and reads as zero`() {
      let block = arena.takeLarge(size: 8 * mega)!.start
      fill(block, 8 * mega)
      #expect(residentPages(block, 8 * mega) == Int(8 * mega) / pageBytes)
      #expect(arena.releaseLarge(block))
      #expect(residentPages(block, 8 * mega) == Int(8 * mega) / pageBytes, "cached, not returned")
      let before = arena.pointee.purgedBytes
      let purged = arena.purge()
      #expect(purged == 8 * mega)
      #expect(arena.pointee.purgedBytes == before + purged)
      #expect(residentPages(block, 8 * mega) == 0)
      #expect(arena.pointee.cachedBytes == 0)
      arena.checkInvariants()
      let again = arena.takeLarge(size: 8 * mega)!
      #expect(again.isZero)
      #expect(isZero(again.start, 8 * mega))
      #expect(arena.releaseLarge(again.start))
    }

    @Test func `L8 two purges in a row both act`() {
      for _ in 0..<2 {
        let block = arena.takeLarge(size: 4 * mega)!.start
        fill(block, 4 * mega)
        #expect(arena.releaseLarge(block))
        #expect(arena.purge() >= 4 * mega)
        #expect(arena.pointee.cachedBytes == 0)
      }
      #expect(arena.purge() == 0)
    }

    @Test func `a limited purge takes whole runs until it has enough`() {
      let blocks = (0..<6).map { _ in arena.takeLarge(size: 2 * mega)!.start }
      for index in [0, 2, 4] { #expect(arena.releaseLarge(blocks[index])) }
      #expect(arena.purge(atMost: 1) == 2 * mega)
      arena.checkInvariants()
      #expect(arena.pointee.cachedBytes == 4 * mega)
      for index in [1, 3, 5] { #expect(arena.releaseLarge(blocks[index])) }
      #expect(arena.purge() == arena.pointee.cachedBytes + 10 * mega)
      arena.checkInvariants()
    }

    @Test func `idle purging takes what a whole period did not need`() {
      _ = arena.purgeIdle()
      let idle = arena.takeLarge(size: 6 * mega)!.start
      let wall = arena.takeLarge(size: 1)!.start
      #expect(arena.releaseLarge(idle))
      #expect(arena.purgeIdle() == 0, "it has not been cached for a whole period")
      #expect(arena.pointee.cachedBytes == 6 * mega)
      #expect(arena.purgeIdle() == 6 * mega)
      #expect(arena.pointee.cachedBytes == 0)
      #expect(arena.purgeIdle() == 0)
      // Used in the period: stays.
      let busy = arena.takeLarge(size: 6 * mega)!.start
      #expect(arena.releaseLarge(busy))
      _ = arena.purgeIdle()
      for _ in 0..<5 {
        #expect(arena.releaseLarge(arena.takeLarge(size: 6 * mega)!.start))
        #expect(arena.purgeIdle() == 0)
      }
      #expect(arena.releaseLarge(wall))
      arena.checkInvariants()
    }

    @Test func `a block grows into the run or the gap behind it and shrinks in place`() {
      let block = arena.takeLarge(size: 2 * mega)!.start
      let behind = arena.takeLarge(size: 4 * mega)!.start
      #expect(behind == block + 2 * mega)
      fill(block, 2 * mega, 0x11)
      #expect(!arena.resizeLarge(block, to: 3 * mega), "somebody is there")
      #expect(arena.releaseLarge(behind))
      #expect(arena.resizeLarge(block, to: 3 * mega), "half of a cached run")
      arena.checkInvariants()
      #expect(arena.resizeLarge(block, to: 6 * mega), "the rest of it")
      arena.checkInvariants()
      #expect(arena.resizeLarge(block, to: 40 * mega), "the gap, and the frontier moves")
      arena.checkInvariants()
      #expect(arena.largeBytes(at: block) == 40 * mega)
      #expect(UnsafePointer<UInt8>(bitPattern: block + 2 * mega - 1)!.pointee == 0x11)
      fill(block, 40 * mega)
      #expect(arena.resizeLarge(block, to: 1))
      #expect(arena.largeBytes(at: block) == 32768)
      #expect(arena.pointee.cachedBytes == 40 * mega - 32768)
      arena.checkInvariants()
      #expect(!arena.resizeLarge(block, to: .max))
      #expect(!arena.resizeLarge(block, to: 1 << 46))
      #expect(arena.releaseLarge(block))
      arena.checkInvariants()
    }

    @Test func `moving keeps the contents and leaves nothing behind`() {
      let block = arena.takeLarge(size: 4 * mega)!.start
      let wall = arena.takeLarge(size: 1)!.start
      var offset: UInt = 0
      while offset < 4 * mega {
        UnsafeMutablePointer<UInt>(bitPattern: block + offset)!.pointee = offset ^ 0x55
        offset += 4096
      }
      let moved = arena.moveLarge(block, to: 9 * mega)!
      arena.checkInvariants()
      #expect(moved != block)
      #expect(arena.largeBytes(at: moved) == 9 * mega)
      #expect(isOwnerNone(block))
      #expect(!isLargeStart(block))
      var wrong = 0
      offset = 0
      while offset < 4 * mega {
        if UnsafePointer<UInt>(bitPattern: moved + offset)!.pointee != offset ^ 0x55 { wrong += 1 }
        offset += 4096
      }
      #expect(wrong == 0)
      #expect(isZero(moved + 4 * mega, 5 * mega))
      #expect(residentPages(block, 4 * mega) == 0, "the place it left reads as zero and holds nothing")
      #expect(arena.releaseLarge(moved))
      let back = arena.takeLarge(size: 4 * mega)!
      if back.isZero { #expect(isZero(back.start, 4 * mega)) }
      #expect(arena.releaseLarge(back.start))
      #expect(arena.releaseLarge(wall))
      arena.checkInvariants()
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

    @Test func `someone else's mapping ahead of the frontier is stepped over`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let obstacle = arena.pointee.frontier + (2 << 20) + 65536
        let mapped = mmap(
          UnsafeMutableRawPointer(bitPattern: obstacle), 8192, PROT_READ | PROT_WRITE,
          MAP_PRIVATE | MAP_ANONYMOUS | Int32(0x100000), -1, 0)!
        precondition(mapped.address == obstacle)
        fill(obstacle, 8192, 0x77)
        var blocks: [UInt] = []
        for _ in 0..<20 {
          let block = arena.takeLarge(size: 1 << 20)!
          precondition(block.start + 1 << 20 <= obstacle || block.start >= obstacle + 8192)
          fill(block.start, 1 << 20)
          blocks.append(block.start)
          arena.checkInvariants()
        }
        precondition(arena.pointee.foreignBytes > 0)
        for block in blocks { precondition(arena.releaseLarge(block)) }
        arena.purge(recentToo: true)
        arena.checkInvariants()
        for offset in 0..<8192 { precondition(mapped.load(fromByteOffset: offset, as: UInt8.self) == 0x77) }
      }
    }

    @Test func `under a limit of address space the window is small and free memory at its end is unmapped`() async {
      await #expect(processExitsWith: .success) {
        var limit = rlimit(rlim_cur: 8 << 30, rlim_max: 8 << 30)
        precondition(setrlimit(__rlimit_resource_t(9), &limit) == 0)
        Stage.up()
        precondition(arena.pointee.isTight)
        precondition(arena.pointee.windowEnd - arena.pointee.windowStart <= 16 << 30)
        let start = arena.pointee.frontier
        let block = arena.takeLarge(size: 512 << 20)!
        arena.checkInvariants()
        precondition(arena.releaseLarge(block.start))
        arena.checkInvariants()
        precondition(arena.pointee.frontier <= start + (4 << 20), "the address space is free for others")
        precondition(arena.takeLarge(size: 16 << 30) == nil)
        arena.checkInvariants()
        let again = arena.takeLarge(size: 512 << 20)!
        precondition(again.isZero)
        precondition(isZero(again.start, 1 << 20))
        arena.checkInvariants()
      }
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
