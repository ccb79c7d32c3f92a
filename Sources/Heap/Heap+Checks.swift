// SPDX-License-Identifier: BSD-2-Clause
//
// Item checks (`check`), as the options say at start and at any time since: the heap's part of Zones/Zones+Checks. Off, they cost
// nothing; on, malloc and free find no cells on their fast paths, and every call takes its item from a slab or gives it back.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives
import Zones

extension UnsafeMutablePointer where Pointee == HeapState {
  /// As `check` and `check_divisor` say. False if the system refuses what that needs; then they are off, and `check` says so.
  /// Holding no lock. Fills what is free in slabs, which takes a second for some GiB.
  func applyChecks(runningHooks: Bool = true) -> Bool {
    defer { openFastPath() }
    guard pointee.options[.check] == 1 else {
      itemChecks.end()
      return true
    }
    if itemChecks.begin(divisor: Int(pointee.options[.checkDivisor]), runningHooks: runningHooks) { return true }
    pointee.options.values[Option.check.rawValue] = 0
    return false
  }
}

extension Heap {
  /// What reports say of a type's number, and of a stack's.
  static func nameReports() {
    itemChecks.pointee.addType = { type, report in report.assumingMemoryBound(to: Report.self).pointee.typeName(type) }
    itemChecks.pointee.addStack = { stack, report in report.assumingMemoryBound(to: Report.self).pointee.stack(stack) }
  }

  /// The stack of a free, for who will want to know who freed a block; 0 where item checks are off, or `stacks` does not want it.
  @inline(__always)
  static var stackOfFree: UInt32 { CPUCache.isPassedBy && itemChecks.pointee.divisor != 0 ? Stacks.record(.checked) : 0 }

  /// While item checks are on: the mark in an author's type is looked at with each request and each free of its memory (L45).
  @inline(__always)
  static func demandMarked(_ type: TypePointer) {
    if CPUCache.isPassedBy && !type.isMarked { reportUnmarked(type) }
  }

  @inline(never)
  private static func reportUnmarked(_ type: TypePointer) {
    var report = Report("bad malloc type")
    report.name(type.pointee.name)
    report.text(": the structure does not begin with its mark any more\n")
    report.finish()
  }

  /// While item checks are on: whether this is no free block of a zone; else there is a report. `what` was to be done with it.
  @inline(__always)
  public static func demandLive(_ memory: UnsafeMutableRawPointer, _ what: StaticString) -> Bool {
    !CPUCache.isPassedBy || isLive(memory, what)
  }

  @inline(never)
  private static func isLive(_ memory: UnsafeMutableRawPointer, _ what: StaticString) -> Bool {
    guard case .slab(let header) = ownerMap.pointee.owner(of: memory.address) else { return true }
    // Of a block with guard bytes, its item.
    let item = redZoneBlock(at: memory.address)?.block.item ?? memory.address
    return keg(of: header.assumingMemoryBound(to: Slab.self)).demandTaken(item, what)
  }
}
