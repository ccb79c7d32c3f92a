// SPDX-License-Identifier: BSD-2-Clause
//
// The window of addresses and its frontier: where they lie, limits of address space, other people's mappings.

import AddressMap
import CPlatform
import Foundation
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

extension OnRoot {
  @Suite struct ArenaWindowTests {
    private let ground = LevelGround()

    @Test func `L67 the window starts and grows at huge page boundaries`() {
      #expect(arena.pointee.windowStart % (2 * mega) == 0)
      #expect(arena.pointee.frontier % (2 * mega) == 0)
      let block = arena.takeLarge(size: 64 * mega)!
      #expect(arena.pointee.frontier % (2 * mega) == 0)
      #expect(arena.releaseLarge(block.start))
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

    @Test func `L68 the window is between its least and its greatest size, and no larger than the limit allows`() async {
      await #expect(processExitsWith: .success) {
        root.pointee.pageBytes = UInt32(stave_page_bytes())
        metadataPages.start(boot: stave_boot().address, bytes: Int(STAVE_BOOT_BYTES))
        let least: UInt = 4 << 30
        let greatest: UInt = 16 << 40
        func window() -> UInt {
          precondition(arena.start())
          return arena.pointee.windowEnd - arena.pointee.windowStart
        }
        let wished = UInt(stave_memory_bytes()) * 32
        let free = window()
        precondition(free >= min(max(wished, least), greatest) && free <= greatest && free < 2 * max(wished, 64 << 30), "\(free)")
        // Ever tighter: twice the limit at most, but never below the least.
        for shift in [40, 38, 36, 34, 33] {
          var limit = rlimit(rlim_cur: 1 << shift, rlim_max: .max)
          precondition(setrlimit(__rlimit_resource_t(9), &limit) == 0)
          let bytes = window()
          precondition(bytes >= least && bytes <= free, "limit 2^\(shift): \(bytes)")
          precondition(bytes <= UInt(2) << UInt(shift) || bytes == least, "limit 2^\(shift): \(bytes)")
          precondition(bytes == free || bytes > UInt(1) << UInt(shift) / 2, "limit 2^\(shift): needlessly small, \(bytes)")
        }
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

    private static func mappedBytes() -> UInt {
      UInt(try! String(contentsOfFile: "/proc/self/statm", encoding: .utf8).split(separator: " ")[0])! * UInt(pageBytes)
    }

    @Test func `a limit set late is noticed, and free memory in the middle is unmapped, then mapped again for who needs it`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let early = arena.takeLarge(size: 300 << 20)!
        let wall = arena.takeLarge(size: 100 << 10)!
        fill(early.start, 1 << 20)
        precondition(!arena.pointee.isTight)
        var limit = rlimit(rlim_cur: 1 << 40, rlim_max: 1 << 40)
        precondition(setrlimit(__rlimit_resource_t(9), &limit) == 0)
        let late = arena.takeLarge(size: 500 << 20)!
        let secondWall = arena.takeLarge(size: 100 << 10)!
        fill(late.start, 1 << 20)
        let most = Self.mappedBytes()
        for block in [early, late] {
          precondition(arena.releaseLarge(block.start))
          arena.checkInvariants()
        }
        precondition(Self.mappedBytes() + 790 << 20 <= most, "others can have it")
        precondition(ranges(of: RangeKind.unmapped) == 2)
        let frontier = arena.pointee.frontier
        let blocks = (0..<7).map { _ in arena.takeLarge(size: 100 << 20)! }
        for block in blocks {
          precondition(block.isZero && block.start < frontier && isZero(block.start, 1 << 20))
          fill(block.start, 100 << 20)
        }
        let aligned = arena.takeLarge(size: 40 << 20, alignment: 32 << 20)!
        precondition(aligned.start % (32 << 20) == 0)
        arena.checkInvariants()
        precondition(arena.pointee.frontier == frontier, "the holes come first")
        for block in blocks + [aligned] { precondition(arena.releaseLarge(block.start)) }
        arena.checkInvariants()
        precondition(Self.mappedBytes() + 790 << 20 <= most)
        // Somebody may have moved in.
        let hole = late.start + 8 << 20
        let theirs = mmap(UnsafeMutableRawPointer(bitPattern: hole), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | Int32(0x100000), -1, 0)!
        precondition(theirs.address == hole)
        let another = arena.takeLarge(size: 400 << 20)!
        precondition(another.start > hole || another.start + 400 << 20 <= hole)
        arena.checkInvariants()
        precondition(arena.releaseLarge(another.start) && arena.releaseLarge(wall.start) && arena.releaseLarge(secondWall.start))
        arena.purge(recentToo: true)
        arena.checkInvariants()
      }
    }

    @Test func `a purge notices a limit and unmaps what was cached before`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let block = arena.takeLarge(size: 500 << 20)!
        let wall = arena.takeLarge(size: 100 << 10)!
        precondition(arena.releaseLarge(block.start))
        let most = Self.mappedBytes()
        var limit = rlimit(rlim_cur: 1 << 40, rlim_max: 1 << 40)
        precondition(setrlimit(__rlimit_resource_t(9), &limit) == 0)
        arena.purge()
        precondition(Self.mappedBytes() + 490 << 20 <= most)
        arena.checkInvariants()
        precondition(arena.releaseLarge(wall.start))
      }
    }
  }
}
