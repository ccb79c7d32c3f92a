// SPDX-License-Identifier: BSD-2-Clause
//
// Filling ranges of the arena, asking whose they are, and an arena without gaps.

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

func isLargeStart(_ address: UInt) -> Bool { arena.largeBytes(at: address) != nil }

func isOwnerNone(_ address: UInt) -> Bool {
  if case .none = ownerMap.pointee.owner(of: address) { true } else { false }
}

/// Nothing cached and no gap between ranges while this lives, whatever other tests have left: what is taken lies side by side,
/// behind all that there is.
final class LevelGround {
  private var plugs: [(start: UInt, bytes: UInt)] = []

  init() {
    Stage.up()
    arena.purge(recentToo: true)
    arena.checkInvariants()
    var at = arena.pointee.windowStart
    var entry = arena.pointee.map.entry(after: nil)
    while let range = entry {
      if range.pointee.start > at { plugs.append((at, range.pointee.start - at)) }
      at = range.pointee.end
      entry = range.pointee.next
    }
    let attributes = EntryAttributes(kind: RangeKind.foreign, noMerge: true)
    for plug in plugs { precondition(arena.pointee.map.insert(start: plug.start, length: plug.bytes, attributes).value != nil) }
  }

  deinit {
    for plug in plugs { _ = arena.pointee.map.remove(start: plug.start, length: plug.bytes) }
    arena.checkInvariants()
  }
}
