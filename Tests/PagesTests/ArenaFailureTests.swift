// SPDX-License-Identifier: BSD-2-Clause
//
// Each operation of the arena with each of its system calls refused (L39).

import AddressMap
import CPlatform
import Foundation
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

#if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
extension OnRoot {
  @Suite struct ArenaFailureTests {
    private let ground = LevelGround()

    /// Runs `operation` with its first system call refused, then its second, until none is; how many there are.
    private func withEachCallRefused(_ error: Int, _ operation: (_ refused: Bool) -> Void) -> Int {
      var number = 1
      while number < 100 {
        stave_inject().pointee.error = error
        stave_inject().pointee.after = number
        operation(true)
        let left = stave_inject().pointee.after
        stave_inject().pointee.after = 0
        arena.checkInvariants()
        if left > 0 { return number - 1 }
        number += 1
      }
      return number
    }

    @Test(arguments: [12, 11]) func `L39 taking a block with each system call refused`(error: Int) {
      let bytes = arena.pointee.largeBytes
      let calls = withEachCallRefused(error) { _ in
        // Larger than what is mapped ahead, so that the frontier must move each time.
        let size = arena.pointee.windowStart + (64 << 20) + (arena.pointee.frontier - arena.pointee.windowStart) - arena.pointee.windowStart
        if let block = arena.takeLarge(size: size) {
          UnsafeMutablePointer<UInt>(bitPattern: block.start + size - 8)!.pointee = 1
          #expect(arena.releaseLarge(block.start))
        }
        arena.purge(recentToo: true)
        #expect(arena.pointee.largeBytes == bytes)
      }
      #expect(calls >= 1)
    }

    @Test func `L39 a refused madvise leaves the run cached`() {
      let block = arena.takeLarge(size: 8 * mega)!.start
      #expect(arena.releaseLarge(block))
      let cached = arena.pointee.cachedBytes
      stave_inject().pointee.error = 22
      stave_inject().pointee.after = 1
      #expect(arena.purge() == 0)
      stave_inject().pointee.after = 0
      #expect(arena.pointee.cachedBytes == cached)
      arena.checkInvariants()
      #expect(arena.purge() == cached)
    }

    @Test func `a run that the system does not take back does not keep the others from it`() {
      let blocks = (0..<5).map { _ in arena.takeLarge(size: 8 * mega)!.start }
      for block in blocks { fill(block, 8 * mega) }
      // Large ones are tried first, so let one be larger than the rest and locked.
      #expect(arena.resizeLarge(blocks[0], to: 8 * mega) && arena.resizeLarge(blocks[4], to: 20 * mega))
      let page = UnsafeMutableRawPointer(bitPattern: blocks[4] + 5 * mega)!
      #expect(mlock(page, pageBytes) == 0)
      for index in [0, 2, 4] { #expect(arena.releaseLarge(blocks[index])) }
      for freed in [16 * mega, 0] {
        #expect(arena.purge() == freed)
        #expect(arena.pointee.cachedBytes == 20 * mega)
        arena.checkInvariants()
      }
      #expect(residentPages(blocks[0], 8 * mega) == 0 && residentPages(blocks[2], 8 * mega) == 0)
      // What is refused is as idle as the rest, and must not make others go in its stead.
      _ = arena.purgeIdle()
      #expect(arena.releaseLarge(blocks[1]))
      #expect(arena.purgeIdle() == 0)
      #expect(munlock(page, pageBytes) == 0)
      #expect(arena.purge() == 28 * mega)
      #expect(arena.releaseLarge(blocks[3]))
      arena.checkInvariants()
    }

    @Test func `L39 a refused mremap leaves the block where it was`() {
      let calls = withEachCallRefused(12) { _ in
        let after = stave_inject().pointee.after
        stave_inject().pointee.after = 0
        let block = arena.takeLarge(size: 4 * mega)!.start
        fill(block, 4 * mega, 0x3C)
        stave_inject().pointee.after = after
        let moved = arena.moveLarge(block, to: 8 * mega)
        #expect(arena.largeBytes(at: moved ?? block) == (moved == nil ? 4 : 8) * mega)
        #expect(isLargeStart(block) == (moved == nil))
        #expect(UnsafePointer<UInt8>(bitPattern: (moved ?? block) + 4 * mega - 1)!.pointee == 0x3C)
        #expect(arena.releaseLarge(moved ?? block))
      }
      #expect(calls >= 1)
    }

    @Test func `L39 freeing a moved block with each system call refused`() {
      let bytes = arena.pointee.largeBytes
      let calls = withEachCallRefused(12) { _ in
        let after = stave_inject().pointee.after
        stave_inject().pointee.after = 0
        let moved = arena.moveLarge(arena.takeLarge(size: 2 * mega)!.start, to: 4 * mega)!
        fill(moved, 4 * mega)
        stave_inject().pointee.after = after
        #expect(arena.releaseLarge(moved))
        let left = stave_inject().pointee.after
        stave_inject().pointee.after = 0
        // Whatever became of the place: what is called zero is zero.
        let block = arena.takeLarge(size: 4 * mega)!
        if block.isZero { #expect(isZero(block.start, 4 * mega)) }
        #expect(arena.releaseLarge(block.start))
        arena.purge(recentToo: true)
        stave_inject().pointee.after = left
      }
      #expect(calls >= 1)
      #expect(arena.pointee.largeBytes == bytes)
    }

    @Test func `L39 growing in place beyond the frontier with each system call refused`() {
      let block = arena.takeLarge(size: mega)!.start
      let calls = withEachCallRefused(12) { _ in
        let size = arena.pointee.frontier - block + 3 * mega
        let old = arena.largeBytes(at: block)
        if !arena.resizeLarge(block, to: size) { #expect(arena.largeBytes(at: block) == old) }
      }
      #expect(calls >= 1)
      #expect(arena.releaseLarge(block))
      arena.purge(recentToo: true)
    }

    @Test func `L32 when the owner map is refused room it knows what it knew`() {
      let block = arena.takeLarge(size: mega)!.start
      let covered = ownerMap.pointee.unitCount
      let calls = withEachCallRefused(12) { _ in
        let beyond = arena.takeLarge(size: arena.pointee.frontier - arena.pointee.windowStart + 64 * mega)
        #expect(isLargeStart(block))
        #expect(ownerMap.pointee.unitCount >= covered)
        ownerMap.pointee.checkInvariants()
        if let beyond {
          #expect(isLargeStart(beyond.start))
          #expect(arena.releaseLarge(beyond.start))
        }
      }
      #expect(calls >= 2)
      #expect(arena.releaseLarge(block))
    }

    @Test func `L39 starting with each system call refused`() async {
      await #expect(processExitsWith: .success) {
        root.pointee.pageBytes = UInt32(stave_page_bytes())
        metadataPages.start(boot: stave_boot().address, bytes: Int(STAVE_BOOT_BYTES))
        for number in 1...40 {
          stave_inject().pointee.error = 12
          stave_inject().pointee.after = number
          if arena.start() {
            stave_inject().pointee.after = 0
            let block = arena.takeLarge(size: 1 << 20)!
            arena.checkInvariants()
            precondition(arena.releaseLarge(block.start))
          }
          stave_inject().pointee.after = 0
        }
      }
    }
  }
}
#endif
