// SPDX-License-Identifier: BSD-2-Clause
//
// Item checks: what of them lies in the root. What they do to caches and items is in Zones/Zones+Checks, what to large blocks
// in Arena+Trash, switching in Heap/Heap+Checks.

import CPlatform
import Primitives

public struct ItemChecks {
  // What readers outside copy.
  /// Items, and recent large blocks, that were filled.
  public var trashed: Int64
  /// Frees whose memory was not filled: by the divisor, or because its pages are not kept.
  public var skipped: Int64
  /// Items and blocks that were looked at when they were given out again, or with their slab given back.
  public var checked: Int64
  /// Of these, those that had been written to.
  public var damaged: Int64

  /// Not 0 while the caches are passed by, and so each free is checked. Changes under the region lock.
  public var isOn: UInt32
  /// Of items, each of which the number is a multiple of this is filled and looked at; 0 for none. Kegs have what they go by
  /// (Keg+Trash).
  public var divisor: Int
  /// Add to a report what is known only above: a type's name, a stack.
  public var addType: (@convention(c) (_ type: UInt32, _ report: UnsafeMutableRawPointer) -> Void)?
  public var addStack: (@convention(c) (_ stack: UInt32, _ report: UnsafeMutableRawPointer) -> Void)?
}

@inline(__always)
public var itemChecks: UnsafeMutablePointer<ItemChecks> { rootState(ItemChecks.self, at: RootLayout.checksOffset) }

extension UnsafeMutablePointer where Pointee == ItemChecks {
  /// Items that callers free go straight to their slab; nothing is in any cache.
  @inline(__always)
  public var isOn: Bool { pointee.isOn != 0 }

  /// Which items are filled and looked at, 0 for none, also while checks are off. Without a lock: they may be switched meanwhile.
  public var divisorNow: Int { isOn ? pointee.divisor : 0 }

  /// Says whose type it is, if `owner` is known.
  public func describe(_ owner: LastOwner?, _ what: StaticString, in report: inout Report) {
    guard let owner, owner != .nobody, let addType = pointee.addType else { return }
    report.text(what)
    withUnsafeMutablePointer(to: &report) { addType(owner.type, UnsafeMutableRawPointer($0)) }
  }

  /// Lines of their own: where it was freed, if that is known, and where the rest of the report is about.
  public func addStack(of owner: LastOwner?, _ what: StaticString, to report: inout Report) {
    guard let owner, owner.stack != 0, let addStack = pointee.addStack else { return }
    report.text("  ")
    report.text(what)
    report.text(" at\n")
    withUnsafeMutablePointer(to: &report) { addStack(owner.stack, UnsafeMutableRawPointer($0)) }
    report.text("  noticed at\n")
  }
}
