// SPDX-License-Identifier: BSD-2-Clause
//
// How large the arena may be: the formula, its ends, and an arena that is held to it.

import AddressMap
import CPlatform
import Foundation
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

private let gib: UInt64 = 1 << 30

@Suite struct ArenaSizeTests {
  private func bytes(_ memory: UInt64, size: UInt64 = 0, minimum: UInt64 = 0, maximum: UInt64 = 0, scale: UInt64 = 0) -> UInt64? {
    ArenaSize(size: size, minimum: minimum, maximum: maximum, scale: scale).bytes(memory: memory, page: 4096)
  }

  @Test func `L49 L68 the size is what is said, else a share between a least and a greatest, and never above twice the memory`() {
    #expect(bytes(8 * gib) == nil)
    #expect(bytes(8 * gib, scale: 1) == 8 * gib && bytes(8 * gib, scale: 4) == 2 * gib)
    // Whole pages, upwards.
    #expect(bytes(gib, scale: 3) == (gib / 3 + 4095) / 4096 * 4096 && bytes(gib, size: 1) == 4096 && bytes(gib, size: 4097) == 8192)
    // FreeBSD's i386: a third of the memory, at least 12 MiB, at most 320.
    let i386 = (minimum: 12 << 20 as UInt64, maximum: 320 << 20 as UInt64, scale: 3 as UInt64)
    #expect(bytes(16 << 20, minimum: i386.minimum, maximum: i386.maximum, scale: i386.scale) == 12 << 20)
    #expect(bytes(600 << 20, minimum: i386.minimum, maximum: i386.maximum, scale: i386.scale) == 200 << 20)
    #expect(bytes(4 * gib, minimum: i386.minimum, maximum: i386.maximum, scale: i386.scale) == 320 << 20)
    // The size overrides all but the last cap, which comes after the minimum too.
    #expect(bytes(4 * gib, size: 6 * gib, maximum: gib) == 6 * gib && bytes(4 * gib, size: 9 * gib) == 8 * gib)
    #expect(bytes(gib, minimum: 5 * gib) == 2 * gib)
    // Of a minimum above the maximum the maximum holds.
    #expect(bytes(8 * gib, minimum: 4 * gib, maximum: gib) == gib)
    #expect(bytes(8 * gib, minimum: gib) == 8 * gib && bytes(8 * gib, maximum: gib) == gib)
  }

  @Test func `L49 absurd figures overflow nowhere`() {
    let page: UInt64 = 4096, most = UInt64.max
    // Above 4 GiB nothing is cut to 32 bits.
    #expect(bytes(5 * gib, scale: 1) == 5 * gib && bytes(5 * gib, size: 10 * gib) == 10 * gib && bytes(1 << 46, size: 1 << 47) == 1 << 47)
    #expect(bytes(gib, scale: most) == 0 && bytes(gib, minimum: page, scale: most) == page)
    for memory in [0, 1, gib, 1 << 62, 1 << 63, most] {
      for size in [0, 1, 1 << 32, 1 << 63, most] {
        for scale in [0, 1, 3, most] {
          for bound in [0, 1, most] {
            let result = bytes(memory, size: size, minimum: bound, maximum: bound, scale: scale)
            guard let result else {
              #expect(size | scale | bound == 0)
              continue
            }
            #expect(result % page == 0)
            let twice = memory.multipliedReportingOverflow(by: 2)
            #expect(twice.overflow || result <= twice.partialValue.addingReportingOverflow(page).partialValue)
          }
        }
      }
    }
  }
}

extension OnRoot {
  @Suite struct ArenaLimitTests {
    @Test func `beyond its size the arena has no memory, and has it again when some is freed`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let start = arena.pointee.windowStart
        arena.limitWindow(to: 64 << 20)
        precondition(arena.pointee.windowEnd == start + 64 << 20 && arena.pointee.map.maximum == arena.pointee.windowEnd)
        arena.checkInvariants()
        precondition(arena.takeLarge(size: 65 << 20) == nil)
        var blocks: [UInt] = []
        while let block = arena.takeLarge(size: 1 << 20) {
          precondition(block.start + 1 << 20 <= arena.pointee.windowEnd)
          fill(block.start, 1 << 20)
          blocks.append(block.start)
          arena.checkInvariants()
        }
        precondition((55...64).contains(blocks.count), "\(blocks.count)")
        precondition(arena.pointee.frontier <= arena.pointee.windowEnd)
        precondition(arena.pointee.largeBytes <= 64 << 20)
        // Neither growing in place nor moving goes beyond, nor a hole or a slab.
        precondition(!arena.resizeLarge(blocks.last!, to: 20 << 20) && arena.moveLarge(blocks.last!, to: 20 << 20) == nil)
        precondition(arena.takeSlab(bytes: 2 << 20) == nil)
        precondition(arena.releaseLarge(blocks.removeLast()))
        arena.purge(recentToo: true)
        precondition(arena.takeSlab(bytes: 65536) != nil)
        for block in blocks { precondition(arena.releaseLarge(block)) }
        arena.purge(recentToo: true)
        precondition(arena.takeLarge(size: 32 << 20) != nil)
        arena.checkInvariants()
      }
    }

    @Test func `a size below what is mapped already ends there, and one above the window changes nothing`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let end = arena.pointee.windowEnd
        arena.limitWindow(to: end - arena.pointee.windowStart)
        arena.limitWindow(to: .max)
        precondition(arena.pointee.windowEnd == end)
        let block = arena.takeLarge(size: 100 << 20)!
        fill(block.start, 100 << 20)
        arena.limitWindow(to: 4096)
        precondition(arena.pointee.windowEnd == arena.pointee.frontier)
        arena.checkInvariants()
        precondition(arena.takeLarge(size: 100 << 20) == nil)
        precondition(arena.releaseLarge(block.start))
        precondition(arena.takeLarge(size: 90 << 20) != nil)
        arena.checkInvariants()
      }
    }

    @Test func `an empty arena may be limited, and below a limit of address space too`() async {
      await #expect(processExitsWith: .success) {
        var limit = rlimit(rlim_cur: 8 << 30, rlim_max: 8 << 30)
        precondition(setrlimit(__rlimit_resource_t(9), &limit) == 0)
        root.pointee.pageBytes = UInt32(stave_page_bytes())
        metadataPages.start(boot: stave_boot().address, bytes: Int(STAVE_BOOT_BYTES))
        precondition(arena.start())
        arena.limitWindow(to: 20 << 20)
        precondition(arena.pointee.windowEnd - arena.pointee.windowStart == 20 << 20)
        for _ in 0..<50 {
          let low = arena.takeLarge(size: 8 << 20)!, high = arena.takeLarge(size: 8 << 20)!
          precondition(arena.takeLarge(size: 8 << 20) == nil)
          arena.checkInvariants()
          precondition(arena.releaseLarge(low.start))
          arena.checkInvariants()
          precondition(arena.releaseLarge(high.start))
          arena.checkInvariants()
          let all = arena.takeLarge(size: 19 << 20)!
          precondition(arena.releaseLarge(all.start))
        }
      }
    }
  }
}
