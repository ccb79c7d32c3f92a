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

    @Test func `L67 the window starts and grows at huge page boundaries, and is back at one after a growth that was refused`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        precondition(arena.pointee.windowStart % (2 * mega) == 0)
        precondition(arena.pointee.frontier % (2 * mega) == 0)
        #if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
        let mapped = arena.pointee.frontier - arena.pointee.windowStart
        precondition(mapped < 24 * mega)
        (stave_inject().pointee.error, stave_inject().pointee.after) = (12, 1)
        precondition(arena.takeLarge(size: mapped + 3 * unitBytes) != nil && stave_inject().pointee.after == 0)
        // As little as was needed.
        precondition(arena.pointee.frontier % (2 * mega) != 0)
        #endif
        let block = arena.takeLarge(size: 64 * mega)!
        precondition(arena.pointee.frontier % (2 * mega) == 0)
        precondition(arena.releaseLarge(block.start))
        arena.checkInvariants()
      }
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

    @Test func `under a limit a hole at the end joins what lies beyond, so that one block may have nearly all of the window`() async {
      await #expect(processExitsWith: .success) {
        var limit = rlimit(rlim_cur: 64 << 30, rlim_max: 64 << 30)
        precondition(setrlimit(__rlimit_resource_t(9), &limit) == 0)
        Stage.up()
        let window = arena.pointee.windowEnd - arena.pointee.windowStart
        // No more than the system overcommits.
        let rest = window - (min(window, UInt(stave_memory_bytes())) / 4).roundedDown(to: 2 * mega)
        arena.pointee.lock.lock()
        let unit = arena.takeRange(bytes: 65536, alignment: 65536, kind: RangeKind.slab)!
        let first = arena.pointee.windowStart + 65536
        precondition(unit.start + 65536 == first)
        arena.pointee.slabBytes += 65536
        // All but the end of the window belongs to others.
        let end = arena.pointee.windowStart + rest
        precondition(arena.pointee.map.insert(start: first, length: end - first, EntryAttributes(kind: RangeKind.foreign, noMerge: true)).value != nil)
        _ = stave_munmap(first, Int(arena.pointee.frontier - first))
        arena.pointee.frontier = end
        precondition(ownerMap.pointee.cover(upTo: end))
        arena.pointee.lock.unlock()
        let room = arena.pointee.windowEnd - end
        func use(_ bytes: UInt) {
          let block = arena.takeLarge(size: bytes)
          precondition(block != nil, "\(bytes) of \(room)")
          precondition(arena.releaseLarge(block!.start))
          arena.checkInvariants()
          precondition(arena.pointee.frontier == end && arena.pointee.unmappedBytes == 0)
        }
        use(room / 16 * 7 + 4096)
        use(room / 8 * 5)
        // A hole, and then a block behind it that goes too.
        let low = arena.takeLarge(size: room / 2)!, high = arena.takeLarge(size: room / 4 + 65536)!
        precondition(arena.releaseLarge(low.start))
        arena.checkInvariants()
        precondition(arena.pointee.unmappedBytes == room / 2)
        precondition(arena.releaseLarge(high.start))
        arena.checkInvariants()
        use(room / 8 * 7)
        // A hole, and a gap behind it that a purge leaves.
        let hole = arena.takeLarge(size: room / 2)!, small = arena.takeLarge(size: 1 << 20)!
        precondition(arena.releaseLarge(hole.start) && arena.releaseLarge(small.start))
        precondition(arena.pointee.unmappedBytes == room / 2)
        arena.purge(recentToo: true)
        use(room / 8 * 7)
      }
    }

    @Test func `aligned blocks map one hole each, also where alignment spoils many gaps`() async {
      await #expect(processExitsWith: .success) {
        var limit = rlimit(rlim_cur: 64 << 30, rlim_max: 64 << 30)
        precondition(setrlimit(__rlimit_resource_t(9), &limit) == 0)
        Stage.up()
        let align: UInt = 1 << 20
        func isGoodPlace(_ start: UInt) -> Bool { start.roundedUp(to: align)! + 950 << 10 <= start + 1200 << 10 }
        // Blocks of 1200 KiB in a row, of which those go that hold no place for an aligned one; then holes.
        let row = (0..<64).map { _ in arena.takeLarge(size: 1200 << 10)!.start }
        var holes: [UInt] = []
        for _ in 0..<12 {
          holes.append(arena.takeLarge(size: 16 << 20)!.start)
          _ = arena.takeLarge(size: 1 << 20)!
        }
        // Nothing that was mapped ahead is left.
        _ = arena.takeLarge(size: arena.pointee.frontier - arena.pointee.map.last!.pointee.end)!
        for (index, block) in row.enumerated() where index % 2 == 1 && !isGoodPlace(block) { precondition(arena.releaseLarge(block)) }
        for block in holes { precondition(arena.releaseLarge(block)) }
        arena.purge(recentToo: true)
        let unmapped = arena.pointee.unmappedBytes
        precondition(unmapped == 12 * 16 << 20, "\(unmapped)")
        precondition(arena.pointee.cachedBytes == 0)
        let big = arena.takeLarge(size: 950 << 10, alignment: align)!
        arena.checkInvariants()
        precondition(big.start % align == 0)
        precondition(unmapped - arena.pointee.unmappedBytes <= 3 << 20, "\(unmapped - arena.pointee.unmappedBytes) bytes of holes mapped for one block")
      }
    }

    @Test func `under a limit the cost of a block does not grow with blocks that are no holes`() async {
      await #expect(processExitsWith: .success) {
        var limit = rlimit(rlim_cur: 64 << 30, rlim_max: 64 << 30)
        precondition(setrlimit(__rlimit_resource_t(9), &limit) == 0)
        Stage.up()
        for _ in 0..<40_000 { _ = arena.takeLarge(size: 40 << 10)! }
        let hole = arena.takeLarge(size: 2 << 30)!
        _ = arena.takeLarge(size: 4 << 20)!
        precondition(arena.releaseLarge(hole.start))
        precondition(arena.pointee.unmappedBytes == 2 << 30, "\(arena.pointee.unmappedBytes)")
        let time = spent { for _ in 0..<40_000 { _ = arena.takeLarge(size: 40 << 10)! } }
        precondition(arena.pointee.unmappedBytes < 2 << 30 - 700 << 20, "they come from the hole")
        // A walk over all ranges at each block takes ten times as long as it all does.
        precondition(time < 8_000_000_000, "\(time) ns")
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
