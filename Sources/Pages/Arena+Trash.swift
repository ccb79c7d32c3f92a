// SPDX-License-Identifier: BSD-2-Clause
//
// Trash in large blocks, while item checks are on (ItemChecks): a freed block whose pages are kept, a recent one, is filled, and looked
// at when it is handed out again. Of other freed blocks the addresses join what is free beside them, and the pages go back at some
// time: they are not filled, and counted as skipped.

import AddressMap
import CPlatform
import Primitives

extension UnsafeMutablePointer where Pointee == Arena {
  /// `wordB` of a recent block that is filled.
  private static var trashed: UInt { 3 }

  /// The block has become a recent one, with wordB 0. The lock is held.
  func fillRecent(_ entry: EntryPointer, stack: UInt32) {
    let divisor = itemChecks.divisorNow
    guard divisor != 0 else { return }
    guard Int(entry.pointee.start / unitBytes) % divisor == 0 else { return skipTrash() }
    let bytes = Int(entry.pointee.length) - LastOwner.bytes
    Trash.fill(entry.pointee.start, bytes: bytes)
    LastOwner(type: UInt32(entry.pointee.owner), stack: stack).write(at: entry.pointee.start + UInt(bytes))
    entry.pointee.wordB = Self.trashed
    stave_add(&itemChecks.pointee.trashed, 1)
  }

  /// Its memory is not kept.
  func skipTrash() {
    if itemChecks.divisorNow != 0 { stave_add(&itemChecks.pointee.skipped, 1) }
  }

  /// The block is recent no more; whether it was filled, and nobody might write to it since. The lock is held.
  func endTrash(_ entry: EntryPointer) -> Bool {
    guard entry.pointee.wordB == Self.trashed else { return false }
    entry.pointee.wordB = 0
    return itemChecks.divisorNow != 0
  }
}

/// A large block that was filled, and that its new holder has not touched yet. No lock is held.
func lookAtLarge(_ start: UInt, bytes: UInt) {
  stave_add(&itemChecks.pointee.checked, 1)
  let room = Int(bytes) - LastOwner.bytes
  let wrong = Trash.firstWrong(start, bytes: room), owner = LastOwner(at: start + UInt(room))
  guard wrong != nil || owner == nil else { return }
  stave_add(&itemChecks.pointee.damaged, 1)
  var report = Report("write after free")
  let offset = wrong ?? room
  report.writtenByte(wrong, in: start, orWordAt: room)
  report.text("; ")
  report.count(UInt(offset), "byte")
  report.text(" into the large block at ")
  report.address(start)
  report.text(" of ")
  report.number(bytes)
  report.text(" bytes; noticed when it was handed out again")
  itemChecks.describe(owner, "; freed last by type ", in: &report)
  report.text("\n")
  itemChecks.addStack(of: owner, "freed", to: &report)
  report.finish(next: Report.writeAdvice)
}

extension Report {
  /// "byte 24 is 0x41 instead of 0xde at ADDRESS"; nil is the word that says who freed it.
  public mutating func writtenByte(_ offset: Int?, in start: UInt, orWordAt last: Int) {
    if let offset {
      text("byte ")
      number(UInt(offset))
      text(" is ")
      address(UInt(UnsafePointer<UInt8>(bitPattern: start + UInt(offset))!.pointee))
      text(" instead of ")
      address(UInt(Trash.byte(at: offset)))
    } else {
      text("the last word, which says who freed it, is ")
      address(UInt(UnsafeRawPointer(bitPattern: start + UInt(last))!.loadUnaligned(as: UInt64.self)))
    }
    text(" at ")
    address(start + UInt(offset ?? last))
  }
}
