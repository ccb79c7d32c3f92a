// SPDX-License-Identifier: BSD-2-Clause
//
// `leaks:exit`: what is out when the program ends, by malloc type, and by the stack that asked for it where that is known: of blocks with
// guard bytes (RedZone), and of guarded ones (MemGuard). It does not say that any of it is lost: a program need not free what it uses
// to its end. Which blocks nothing leads to, `stave leaks` finds, from outside.
//
//     stave[4711/4711]: leaks: 1204 blocks of 86016 bytes are out at the end, lost or not
//       1200 blocks of 81920 bytes are of type malloc
//       4 blocks of 4096 bytes are of type images
//       4 blocks of 4096 bytes of type images were asked for here:
//       #0 …
//
// Exact as the counters are, when no other thread is inside the allocator. Allocates metadata pages for the sums, which it gives back;
// without them there is the first line alone.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives
import Zones

extension Heap {
  /// Types and stacks that are shown at most.
  private static var mostShown: Int { 20 }

  static func reportLeaks() {
    var blocks = Int64(clamping: arena.pointee.largeCount), bytes = Int64(clamping: arena.pointee.largeBytes)
    forEachListedZone { zone in
      guard zone.pointee.flags.contains(.malloc) else { return }
      let used = ZoneCounts(zone).used
      blocks += used
      bytes += used * Int64(zone.pointee.size)
    }
    let guarded = sumOfGuarded()
    blocks += guarded.blocks
    bytes += guarded.bytes
    var report = Report("leaks")
    report.showsStack = true
    report.amount(blocks, bytes)
    report.text(blocks == 1 ? " is" : " are")
    report.text(" out at the end, lost or not\n")
    if blocks > 0, var groups = BlockGroups(pages: 48) {
      addTypes(&groups, blocks, bytes)
      let isWhole = addStacks(&groups)
      show(groups, in: &report)
      if !isWhole { report.text("  who asked for them was not sought: a thread has the arena\n") }
      groups.discard()
    }
    report.conclude(next: "stave leaks, of a process or a core, lists what nothing leads to")
  }

  /// Ends an author's type (TypeList), and says of what is still out who asked for it, where that is known (L53).
  public static func unregister(_ author: UnsafeMutablePointer<stave_type>) {
    // Before it ends: from then on its blocks are of no type.
    let isRecorded = redZone.pointee.blocks > 0 || memGuard.pointee.guarded > memGuard.pointee.freed
    guard isRecorded, let type = types.known(author), var groups = BlockGroups(pages: 1) else {
      types.unregister(author)
      return
    }
    let name = type.pointee.name, guarded = sumOfGuarded(ofType: type.pointee.number)
    _ = addStacks(&groups, ofType: type.pointee.number)
    types.unregister(author, guarded: guarded, isSaidMore: !groups.isEmpty)
    if !groups.isEmpty {
      var report = Report("blocks of a malloc type that ended")
      report.showsStack = true
      report.name(name)
      report.newline()
      showStacks(groups, in: &report)
      report.conclude(next: "")
    }
    groups.discard()
  }

  private static func sumOfGuarded(ofType only: UInt32? = nil) -> (blocks: Int64, bytes: Int64) {
    var blocks: Int64 = 0, bytes: Int64 = 0
    memGuard.forEachLive { block in
      guard block.pointee.zone == 0, only == nil || only == block.typeNow else { return }  // not a zone's item
      blocks += 1
      bytes += Int64(clamping: block.pointee.size)
    }
    return (blocks, bytes)
  }

  /// What is of no type of its own is malloc's.
  private static func addTypes(_ groups: inout BlockGroups, _ blocks: Int64, _ bytes: Int64) {
    types.forEach { type in
      let totals = TypeTotals(type)
      groups.add(stack: 0, type: type.pointee.number, blocks: totals.used, bytes: totals.usedBytes)
    }
    memGuard.forEachLive { block in
      if block.pointee.zone == 0, block.typeNow != 0 { groups.add(stack: 0, type: block.typeNow, blocks: 1, bytes: Int64(clamping: block.pointee.size)) }
    }
    groups.add(stack: 0, type: 0, blocks: blocks - groups.ofTypes.blocks, bytes: Swift.max(0, bytes - groups.ofTypes.bytes))
  }

  /// Of one type or of all. False if the arena's lock cannot be had.
  private static func addStacks(_ groups: inout BlockGroups, ofType only: UInt32? = nil) -> Bool {
    memGuard.forEachLive { block in
      guard block.pointee.zone == 0, block.pointee.allocationStack != 0, only == nil || only == block.typeNow else { return }
      groups.add(stack: block.pointee.allocationStack, type: block.typeNow, blocks: 1, bytes: Int64(clamping: block.pointee.size))
    }
    guard redZone.pointee.key != 0 else { return true }
    return withUnsafeMutablePointer(to: &groups) { groups in
      arena.forEachBlock(
        slab: { header in
          guard let keg = KegPointer.keg(ofSlab: header), keg.pointee.flags.contains(.malloc), let zone = keg.pointee.zone,
            only == nil || only == zone.pointee.type
          else { return }
          keg.forEachItem(ofSlab: header) { addBlock($0, UInt(keg.pointee.layout.size), zone.pointee.type, groups) }
        }, large: { if only == nil || only == $2 { addBlock($0, $1, $2, groups) } })
    }
  }

  /// If there are guard bytes in what lies there. A program may have taken its block's pages from itself (mprotect).
  private static func addBlock(_ item: UInt, _ bytes: UInt, _ type: UInt32, _ groups: UnsafeMutablePointer<BlockGroups>) {
    guard bytes >= RedZone.leastItem, stave_can_read(item), stave_can_read(item + bytes - 8), case .live(let block) = redZone.find(item: item, bytes: bytes), block.stack != 0 else { return }
    groups.pointee.add(stack: block.stack, type: type, blocks: 1, bytes: Int64(clamping: block.size))
  }

  private static func show(_ groups: BlockGroups, in report: inout Report) {
    let rest = groups.forEachLargest(mostShown, ofStacks: false) { group in
      report.text("  ")
      report.amount(group.blocks, group.bytes)
      report.text(group.blocks == 1 ? " is of type " : " are of type ")
      report.typeName(group.type)
      report.newline()
    }
    if rest.blocks > 0 {
      report.text("  ")
      report.amount(rest.blocks, rest.bytes)
      report.text(" are of other types\n")
    }
    showStacks(groups, in: &report)
  }

  private static func showStacks(_ groups: BlockGroups, in report: inout Report) {
    var rest = groups.forEachLargest(mostShown, ofStacks: true) { group in
      report.text("  ")
      report.amount(group.blocks, group.bytes)
      report.text(" of type ")
      report.typeName(group.type)
      report.text(group.blocks == 1 ? " was asked for here:\n" : " were asked for here:\n")
      report.stack(group.stack)
    }
    rest.blocks += groups.others.blocks
    rest.bytes += groups.others.bytes
    if rest.blocks > 0 {
      report.text("  ")
      report.amount(rest.blocks, rest.bytes)
      report.text(" were asked for elsewhere\n")
    }
  }
}

extension Report {
  fileprivate mutating func amount(_ blocks: Int64, _ bytes: Int64) {
    count(UInt(Swift.max(0, blocks)), "block")
    text(" of ")
    count(UInt(Swift.max(0, bytes)), "byte")
  }
}
