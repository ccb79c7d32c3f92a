// SPDX-License-Identifier: BSD-2-Clause
//
// What the tests of guarded zones have in common: hooks that write down when they run, and what must be true when nothing is out.

@testable import Accounting
import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// The hooks that ran, in order, and which of them refuses. They are C functions and find this by name.
enum Ran {
  enum Hook: String { case kegInit, zoneInit, constructor, destructor, zoneFini, kegFini }
  struct Call: Equatable {
    var hook: Hook
    var item: UInt
  }

  nonisolated(unsafe) static var calls: [Call] = []
  nonisolated(unsafe) static var refusing: Hook?
  nonisolated(unsafe) static var argument: UnsafeMutableRawPointer?
  nonisolated(unsafe) static var wait: Int32 = 0
  /// All hooks may write to all of an item.
  nonisolated(unsafe) static var touches = true

  static var hooks: [Hook] { calls.map(\.hook) }

  static func note(_ hook: Hook, _ item: UnsafeMutableRawPointer, _ size: Int) -> Int32 {
    precondition(!FutexLock.threadHoldsAny, "a hook under a lock")
    calls.append(Call(hook: hook, item: item.address))
    if hook == .kegInit { precondition(holds(item, size, 0), "a new item is not zero") }
    if touches { fill(item, size, 0x5e) }
    return refusing == hook ? 12 : 0
  }

  static var all: ZoneHooks {
    ZoneHooks(
      constructor: { item, size, argument, wait in
        (Ran.argument, Ran.wait) = (argument, wait)
        return Ran.note(.constructor, item, size)
      },
      destructor: { item, size, argument in
        Ran.argument = argument
        _ = Ran.note(.destructor, item, size)
      },
      initialize: { item, size, wait in
        Ran.wait = wait
        return Ran.note(.kegInit, item, size)
      },
      finish: { item, size in _ = Ran.note(.kegFini, item, size) })
  }

  nonisolated(unsafe) private static let finishes = UnsafeMutablePointer<Int64>.allocate(capacity: 1)
  /// How often the last hook of a `countingZone` has run, in whatever thread.
  static var finished: Int { Int(stave_load64(finishes)) }

  static func countingZone() -> ZonePointer {
    finishes.initialize(to: 0)
    return makeTestZone("counted", 100, hooks: ZoneHooks(finish: { _, _ in stave_add(Ran.finishes, 1) }))
  }

  static func makeZone(_ name: StaticString = "orders", _ size: Int = 100, flags: ZoneFlags = .none) -> ZonePointer {
    let zone = makeTestZone(name, size, flags: flags, hooks: all)
    zone.setZoneHooks(initialize: { item, size, _ in Ran.note(.zoneInit, item, size) }, finish: { item, size in _ = Ran.note(.zoneFini, item, size) })
    return zone
  }
}

/// No block is guarded, none has been lost, and all that is counted agrees.
func demandNothingOut(sourceLocation: SourceLocation = #_sourceLocation) {
  precondition(memGuard.pointee.guarded == memGuard.pointee.freed && memGuard.pointee.usedBytes == 0 && memGuard.pointee.wastedBytes == 0)
  memGuard.checkInvariants()
  checkAll(sourceLocation: sourceLocation)
}
