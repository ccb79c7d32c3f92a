// SPDX-License-Identifier: BSD-2-Clause
//
// What is said of guard bytes that were written to, once for each side of the block: how many of them, how near to the block, whose
// block it is, and the stacks of its allocation and of this call.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives
import Zones

extension Heap {
  /// Whether anything was wrong; said already.
  static func check(_ block: RedZoneBlock, _ holder: Holder, _ call: StaticString) -> Bool {
    let damage = redZone.damage(of: block)
    guard damage.isAny else { return false }
    reportDamage(block, damage, holder, call)
    return true
  }

  /// One report for both sides, whatever the first one was.
  @inline(never)
  private static func reportDamage(_ block: RedZoneBlock, _ damage: RedZoneDamage, _ holder: Holder, _ call: StaticString) {
    stave_add(&redZone.pointee.damaged, 1)
    var report = Report("redzone")
    if damage.isUnderflow { describe("underflow", "before", damage.before, damage.isHeaderLost, block, in: &report) }
    if damage.isUnderflow && damage.isOverflow { report.text("; ") }
    if damage.isOverflow { describe("overflow", "behind", damage.behind, damage.isCopyLost, block, in: &report) }
    describe(block, holder, in: &report)
    report.text("; found by ")
    report.text(call)
    report.newline()
    if block.stack != 0 {
      report.text("  allocated by\n")
      report.stack(block.stack)
      report.text("  found by\n")
    }
    report.stackHere()
    if heap.pointee.options[.redZonePanic] != 0 { report.stop(next: Report.writeAdvice) }
    report.finish(next: Report.writeAdvice)
  }

  /// "overflow: 3 bytes overwritten, 1 to 3 bytes behind the block"
  private static func describe(
    _ kind: StaticString, _ side: StaticString, _ overwrite: RedZoneOverwrite, _ isMarkLost: Bool, _ block: RedZoneBlock, in report: inout Report
  ) {
    report.text(kind)
    report.text(": ")
    if overwrite.count > 0 {
      report.count(UInt(overwrite.count), "byte")
      report.text(" overwritten, ")
      report.number(UInt(overwrite.nearest))
      if overwrite.farthest > overwrite.nearest {
        report.text(" to ")
        report.number(UInt(overwrite.farthest))
      }
      report.text(overwrite.farthest == 1 ? " byte " : " bytes ")
      report.text(side)
      report.text(" the block")
      if isMarkLost { report.text(", and bytes beyond the guard bytes") }
    } else {
      report.text("bytes overwritten beyond the guard bytes ")
      report.text(side)
      report.text(" the block")
    }
  }

  /// " of 100 bytes at 0x… (zone malloc-160, type images)"
  private static func describe(_ block: RedZoneBlock, _ holder: Holder, in report: inout Report) {
    report.text(" of ")
    report.number(block.size)
    report.text(" bytes at ")
    report.address(block.address)
    report.text(" (")
    if let keg = holder.keg {
      report.text("zone ")
      keg.sayName(in: &report)
    } else {
      report.text("a large block")
    }
    report.text(", type ")
    report.typeName(holder.type)
    report.text(")")
  }

  /// Returns where the program is to go on: nothing has been freed then.
  @inline(never)
  static func reportFreedTwice(_ block: RedZoneBlock, _ holder: Holder, _ call: StaticString = "double free()", _ again: StaticString = "freed again by") {
    var report = Report("bad free")
    report.text(call)
    report.text("; the block")
    describe(block, holder, in: &report)
    report.text(" has been freed already\n")
    if block.stack != 0 {
      report.text("  freed first by\n")
      report.stack(block.stack)
      report.text("  ")
      report.text(again)
      report.text("\n")
    }
    report.stackHere()
    report.finish(next: block.stack != 0 ? "" : "STAVE_OPTIONS=redzone:1,stacks:1 says where it was freed before")
  }
}
