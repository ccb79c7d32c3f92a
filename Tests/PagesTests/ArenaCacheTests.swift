// SPDX-License-Identifier: BSD-2-Clause
//
// What becomes of freed ranges: recent blocks, cached runs, purging, what is known to be zero.

import AddressMap
import CPlatform
import Foundation
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

extension OnRoot {
  @Suite struct ArenaCacheTests {
    private let ground = LevelGround()

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
        #expect(arena.pointee.recentBytes <= max(mega, min(4 * mega, arena.pointee.largeBytes / 16)))
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

    @Test func `dirty memory is used before fresh, of the runs of about the size the lowest`() {
      // Walls between the runs keep them from joining.
      let runs = [8, 3, 2].map { (run: arena.takeLarge(size: $0 * mega)!.start, wall: arena.takeLarge(size: 1)!.start) }
      for order in [1, 2, 0] { #expect(arena.releaseLarge(runs[order].run)) }
      #expect(arena.pointee.cachedBytes == 13 * mega)
      let blocks = (0..<3).map { _ in arena.takeLarge(size: 2 * mega - 5)! }
      #expect(blocks.map(\.start) == [runs[1].run, runs[2].run, runs[0].run])
      #expect(blocks.allSatisfy { !$0.isZero })
      arena.checkInvariants()
      for start in blocks.map(\.start) + runs.map(\.wall) { #expect(arena.releaseLarge(start)) }
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
  }
}
