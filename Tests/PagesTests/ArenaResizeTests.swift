// SPDX-License-Identifier: BSD-2-Clause
//
// Blocks that grow, shrink and move.

import AddressMap
import CPlatform
import Foundation
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

extension OnRoot {
  @Suite struct ArenaResizeTests {
    private let ground = LevelGround()

    @Test func `a block grows into the run or the gap behind it and shrinks in place`() throws {
      let block = arena.takeLarge(size: 2 * mega)!.start
      let behind = arena.takeLarge(size: 4 * mega)!.start
      try #require(behind == block + 2 * mega)
      fill(block, 2 * mega, 0x11)
      #expect(!arena.resizeLarge(block, to: 3 * mega), "somebody is there")
      #expect(arena.releaseLarge(behind))
      #expect(arena.resizeLarge(block, to: 3 * mega), "half of a cached run")
      arena.checkInvariants()
      #expect(arena.resizeLarge(block, to: 6 * mega), "the rest of it")
      arena.checkInvariants()
      #expect(arena.resizeLarge(block, to: 40 * mega), "the gap, and the frontier moves")
      arena.checkInvariants()
      try #require(arena.largeBytes(at: block) == 40 * mega)
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

    @Test func `blocks that are moved and freed, again and again, are still moved`() {
      let before = arena.pointee.apartCount
      for _ in 0..<200 {
        // Between two that are moved as well: what is left there the kernel joins with neither.
        var blocks = (0..<20).map { _ in arena.takeLarge(size: 600 << 10)!.start }
        for block in blocks { UnsafeMutablePointer<UInt>(bitPattern: block)!.pointee = block }
        for index in blocks.indices {
          guard let moved = arena.moveLarge(blocks[index], to: 700 << 10) else {
            Issue.record("not moved any more")
            return
          }
          blocks[index] = moved
        }
        blocks.sort()
        for index in stride(from: 1, to: 20, by: 2) { #expect(arena.releaseLarge(blocks[index])) }
        for index in stride(from: 0, to: 20, by: 2) { #expect(arena.releaseLarge(blocks[index])) }
      }
      #expect(arena.pointee.apartCount > before + 1000, "the case has not come up: \(arena.pointee.apartCount - before)")
      arena.purge(recentToo: true)
      arena.checkInvariants()
    }

    private var mappings: Int { kernelText("/proc/self/maps").utf8.count { $0 == 10 } }

    @Test func `blocks that are moved do not use up the mappings that a process may have`() {
      let before = mappings
      var blocks = (0..<1500).map { _ in arena.takeLarge(size: 600 << 10)!.start }
      for block in blocks { UnsafeMutablePointer<UInt>(bitPattern: block)!.pointee = block }
      var moves = 0
      for index in blocks.indices {
        guard let moved = arena.moveLarge(blocks[index], to: 700 << 10) else { continue }
        #expect(UnsafePointer<UInt>(bitPattern: moved)!.pointee == blocks[index])
        blocks[index] = moved
        moves += 1
      }
      #expect(moves >= 900, "some are moved")
      #expect(mappings < before + 2100, "not all of them: \(before), \(mappings)")
      // Cut blocks join their neighbours again as well.
      for block in blocks { #expect(arena.resizeLarge(block, to: 100 << 10)) }
      for block in blocks { #expect(arena.releaseLarge(block)) }
      arena.purge(recentToo: true)
      arena.checkInvariants()
      #expect(mappings < before + 100, "as before: \(before), \(mappings)")
      let again = arena.takeLarge(size: 4 * mega)!.start
      let moved = arena.moveLarge(again, to: 5 * mega)
      #expect(moved != nil, "and the next is moved again")
      #expect(arena.releaseLarge(moved ?? again))
    }
  }
}
