// SPDX-License-Identifier: BSD-2-Clause
//
// The arena when there is no map entry to be had, and when somebody else sits in its window.

#if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused

import AddressMap
import CPlatform
import Foundation
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

/// From now on every system call is refused, and no entry is left that could be had without one.
func refuseEntries() {
  stave_inject().pointee.always = 12
  let supply = arena.pointee.map.supply
  while supply.pointee.take() != nil {}
}

func allowEntries() { stave_inject().pointee.always = 0 }

func ranges(of kind: UInt8) -> Int {
  var count = 0
  var entry = arena.pointee.map.entry(after: nil)
  while let range = entry {
    if range.pointee.kind == kind { count += 1 }
    entry = range.pointee.next
  }
  return count
}

extension OnRoot {
  @Suite struct ShortageTests {
    @Test func `L39 slabs whose release finds no map entry are had again as soon as there is one`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let slabs = (0..<7).map { _ in arena.takeSlab(bytes: unitBytes)!.address }
        precondition(zip(slabs, slabs.dropFirst()).allSatisfy { $0 + unitBytes == $1 }, "side by side: one entry")
        for slab in slabs { fill(slab, unitBytes) }
        let before = arena.pointee.slabBytes
        refuseEntries()
        for index in [1, 3, 5] {
          arena.releaseSlab(slabs[index], bytes: unitBytes)
          arena.checkInvariants()
        }
        allowEntries()
        let again = (0..<3).map { _ in arena.takeSlab(bytes: unitBytes)!.address }
        arena.checkInvariants()
        precondition(Set(again) == [slabs[1], slabs[3], slabs[5]], "the same three")
        precondition(arena.pointee.slabBytes == before)
        for slab in slabs { arena.releaseSlab(slab, bytes: unitBytes) }
        arena.checkInvariants()
        precondition(arena.pointee.slabBytes == before - 7 * unitBytes && arena.pointee.cachedBytes == 7 * unitBytes)
      }
    }

    @Test func `what was released without an entry is purged with the rest`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let slabs = (0..<3).map { _ in arena.takeSlab(bytes: unitBytes)!.address }
        for slab in slabs { fill(slab, unitBytes) }
        refuseEntries()
        arena.releaseSlab(slabs[1], bytes: unitBytes)
        allowEntries()
        precondition(arena.purge() == unitBytes)
        precondition(residentPages(slabs[1], unitBytes) == 0)
        arena.checkInvariants()
      }
    }

    @Test func `somebody else's large mapping is one entry, stepped over in few tries`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let obstacle = arena.pointee.frontier + 2 * mega
        let bytes = ((arena.pointee.windowEnd - arena.pointee.frontier) / 4).roundedDown(to: 2 * mega)
        let noReserve = Int32(0x4000), fixed = Int32(0x100000)
        let mapped = mmap(
          UnsafeMutableRawPointer(bitPattern: obstacle), Int(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | noReserve | fixed, -1, 0)!
        precondition(mapped.address == obstacle)
        let calls = stave_inject().pointee.calls
        let block = arena.takeLarge(size: 8 * mega)!
        precondition(block.start >= obstacle + bytes)
        precondition(stave_inject().pointee.calls - calls < 100, "\(stave_inject().pointee.calls - calls) calls")
        precondition(ranges(of: RangeKind.foreign) == 1)
        precondition(arena.pointee.foreignBytes <= 2 * bytes + 2 * mega)
        arena.checkInvariants()
        precondition(arena.releaseLarge(block.start))
      }
    }
  }
}
#endif
