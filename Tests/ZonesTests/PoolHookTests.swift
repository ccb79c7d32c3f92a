// SPDX-License-Identifier: BSD-2-Clause
//
// Drain hooks that ask pools for something themselves, that are set while they are asked for, and pools that give back for others.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// What the hooks below see. A hook that is in itself three deep goes no deeper: a test is to fail, not to die.
private enum Seen {
  nonisolated(unsafe) static var depth = 0
  nonisolated(unsafe) static var deepest = 0
  nonisolated(unsafe) static var calls = 0
  nonisolated(unsafe) static var isWithinOther = 0
  nonisolated(unsafe) static var other: PoolPointer?

  static func reset() { (depth, deepest, calls, isWithinOther, other) = (0, 0, 0, 0, nil) }

  static func enter(_ body: () -> Void) {
    calls += 1
    depth += 1
    deepest = max(deepest, depth)
    if depth < 4 { body() }
    depth -= 1
  }
}

extension OnRoot {
  @Suite struct PoolHookTests {
    init() {
      Stage.up()
      Seen.reset()
    }

    @Test func `the items that are out are never fewer than none, nor more than there can be`() {
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("counted", 512, allocator)
      pool.setHigh(0)
      let shared = Shared(pool)
      nonisolated(unsafe) var isOver = false
      inThreads(2) { thread in
        if thread == 0 {
          while !isOver { shared.value.put(shared.value.get(.wait)!) }
        } else {
          var wrong = 0
          for _ in 0..<Stage.steps(300_000, soak: 3_000_000) where !(0...1 ~= shared.value.itemsOut) { wrong += 1 }
          if wrong > 0 { Issue.record("\(wrong) times") }
          isOver = true
        }
      }
      #expect(pool.destroy() == 0)
      allocator.release()
    }
  }
}
