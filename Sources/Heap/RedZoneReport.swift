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

  @inline(never)
  private static func reportDamage(_ block: RedZoneBlock, _ damage: RedZoneDamage, _ holder: Holder, _ call: StaticString) {
    stave_add(&redZone.pointee.damaged, 1)
    // Both sides, whatever the first one was.
    if damage.isUnderflow { report("underflow", "before", damage.before, damage.isHeaderLost, block, holder, call) }
    if damage.isOverflow { report("overflow", "behind", damage.behind, damage.isCopyLost, block, holder, call) }
    var report = Report()
    report.text("allocated by\n")
    report.stack(block.stack)
    report.write()
    report.text("found by\n")
    report.stack(Stacks.record())
    report.stop()
  }

  private static func report(
    _ kind: StaticString, _ side: StaticString, _ overwrite: RedZoneOverwrite, _ isMarkLost: Bool, _ block: RedZoneBlock, _ holder: Holder,
    _ call: StaticString
  ) {
    var report = Report("redzone", kind)
    if overwrite.count > 0 {
      report.number(UInt(overwrite.count))
      report.text(overwrite.count == 1 ? " byte" : " bytes")
      report.text(" overwritten, ")
      report.number(UInt(overwrite.nearest))
      if overwrite.farthest > overwrite.nearest {
        report.text(" to ")
        report.number(UInt(overwrite.farthest))
      }
      report.text(overwrite.farthest == 1 ? " byte " : " bytes ")
      report.text(side)
    } else {
      report.text("bytes overwritten beyond the guard bytes ")
      report.text(side)
    }
    describe(block, holder, in: &report)
    if isMarkLost && overwrite.count > 0 { report.text(", and bytes beyond the guard bytes as well") }
    report.text("; found by ")
    report.text(call)
    report.newline()
    report.write()
  }

  /// " the block of 100 bytes at 0x… (zone malloc-160, type images)"
  private static func describe(_ block: RedZoneBlock, _ holder: Holder, in report: inout Report) {
    report.text(" the block of ")
    report.number(block.size)
    report.text(" bytes at ")
    report.address(block.address)
    report.text(" (")
    if let keg = holder.keg {
      report.text("zone ")
      report.name(keg.pointee.name)
    } else {
      report.text("a large block")
    }
    report.text(", type ")
    if let type = types.type(Int(holder.type)), holder.type != 0 { report.name(type.pointee.name) } else { report.text("malloc") }
    report.text(")")
  }

  @inline(never)
  static func reportFreedTwice(_ call: StaticString, _ block: RedZoneBlock, _ holder: Holder) -> Never {
    var report = Report("bad free")
    report.text(call)
    report.text(" of a block that has been freed:")
    describe(block, holder, in: &report)
    report.newline()
    report.write()
    if block.stack != 0 {
      report.text("freed first by\n")
      report.stack(block.stack)
      report.write()
    }
    report.text("freed again by\n")
    report.stack(Stacks.record())
    report.stop()
  }
}
