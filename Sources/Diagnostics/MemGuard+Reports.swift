// SPDX-License-Identifier: BSD-2-Clause
//
// What is said of guarded blocks: a touch of what may not be touched, a free of what is no block, bytes beside a block that were
// written. Each report names the block, its size and its type, and shows up to three stacks: where it was noticed, where the block
// was asked for, and where it was freed.
//
//     stave[4711/4715]: memguard: write of 0x7f2a10002000, 12 bytes behind the end of the block at 0x7f2a10001f90 of 100 bytes, of type images
//       access:
//         #0 …
//       allocation:
//         #0 …

import CPlatform
import Pages
import Primitives
import Zones

extension UnsafeMutablePointer where Pointee == MemGuard {
  private var advice: StaticString { "see stave_memguard(3)" }

  /// In the handler of a fault. True if the program may go on, at the same instruction. No lock is taken.
  public func reportFault(_ fault: UnsafePointer<stave_fault>) -> Bool {
    let block = block(around: fault.pointee.address)
    // Nothing of ours keeps a program from its own block: its own protection does, or it jumps to data.
    if let block, block.isOut, fault.pointee.address >= block.pointee.address, fault.pointee.address < block.end { return false }
    stave_add(&pointee.reports, 1)
    var report = Report("memguard")
    switch fault.pointee.access {
    case 0: report.text("read of ")
    case 1: report.text("write of ")
    case 2: report.text("jump to ")
    default: report.text("access of ")
    }
    report.address(fault.pointee.address)
    describe(block, around: fault.pointee.address, in: &report)
    report.newline()
    report.text("  access:\n")
    report.stack(from: Frame(pc: fault.pointee.pc, sp: fault.pointee.sp, bp: fault.pointee.bp), isExact: true)
    describeStacks(of: block, in: &report)
    guard let region = region(around: fault.pointee.address) else { report.stop(next: advice) }
    report.finish(next: advice)
    // What is made accessible is no code.
    if fault.pointee.access == 2 { return false }
    if patch(fault.pointee.address, of: region) { return true }
    var end = Report("memguard")
    end.text("the system does not make the page accessible: the program cannot go on\n")
    end.stop()
  }

  /// A free or realloc of an address in the range that is no live block, or not of this zone. Returns only if the program is to go on.
  public func reportBadFree(_ call: StaticString, _ address: UInt, _ block: GuardedBlockPointer?, to zone: ZonePointer? = nil) {
    stave_add(&pointee.reports, 1)
    let isFreed = block.map { $0.pointee.address == address && stave_load32(&$0.pointee.state) != GuardedState.live } ?? false
    var report = Report("memguard", isFreed ? "double free" : "bad free")
    report.text(call)
    report.text(" of ")
    report.address(address)
    describe(block, around: address, in: &report)
    if let zone, block?.pointee.zone != zone.pointee.keg.pointee.index {
      report.text(", freed to zone ")
      report.name(zone.pointee.name)
    }
    report.newline()
    report.text("  call:\n")
    report.stackHere()
    describeStacks(of: block, in: &report)
    report.finish(next: advice)
  }

  /// Bytes beside the block were found changed when it was freed.
  public func reportDamage(_ call: StaticString, _ block: GuardedBlockPointer, _ damage: GuardDamage) {
    stave_add(&pointee.reports, 1)
    var report = Report("memguard", "damage")
    report.count(damage.count, "byte")
    report.text(damage.count == 1 ? " was" : " were")
    report.text(" written beside a block before its ")
    report.text(call)
    report.text(": at ")
    report.address(damage.first)
    describe(block, around: damage.first, isLive: true, in: &report)
    if damage.count > 1 {
      report.text("; the last at ")
      report.address(damage.last)
    }
    report.newline()
    report.text("  call:\n")
    report.stackHere()
    describeStacks(of: block, isLive: true, in: &report)
    report.finish(next: advice)
  }

  @inline(never)
  private func describe(_ known: GuardedBlockPointer?, around address: UInt, isLive: Bool = false, in report: inout Report) {
    guard let block = known else { return report.text(", where no block has been") }
    report.text(", ")
    if address < block.pointee.address {
      report.count(block.pointee.address - address, "byte")
      report.text(" before the block at ")
    } else if address >= block.end {
      report.count(address - block.end, "byte")
      report.text(" behind the end of the block at ")
    } else {
      report.count(address - block.pointee.address, "byte")
      report.text(" into the block at ")
    }
    report.address(block.pointee.address)
    report.text(" of ")
    report.count(block.pointee.size, "byte")
    report.text(", ")
    if !isLive && !block.isOut { report.text("freed, ") }
    block.describeOwner(in: &report)
  }

  private func describeStacks(of known: GuardedBlockPointer?, isLive: Bool = false, in report: inout Report) {
    guard let block = known else { return }
    report.text("  allocation:\n")
    report.stack(block.pointee.allocationStack)
    guard !isLive, !block.isOut else { return }
    report.text("  free:\n")
    report.stack(block.pointee.freeStack)
  }

  // MARK: - Watching

  /// Before a block is guarded: puts the handler in place, or before the one that the program has installed meanwhile. A system call
  /// for each signal; where few blocks are guarded at each eighth of them.
  public func watch() {
    guard guardsMany || pointee.guarded & 7 == 0 else { return }
    _ = stave_watch_faults(pointee.start, pointee.bytes, laneAddress) { fault in memGuard.reportFault(fault) }
  }
}
