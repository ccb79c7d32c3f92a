// SPDX-License-Identifier: BSD-2-Clause
//
// What a caller says of the block that it frees: its size, as C++'s sized delete and C23's free_sized do, or its malloc type, as
// stave_free does. Freeing needs neither, and usually nobody looks. While item checks, guard bytes or guards are on, what is said is
// compared with what is known: of a block with guard bytes, or a guarded one, the size that was asked for; of any other, with item
// checks, the size of its class. Of an address that is no live block the free itself says what is wrong. Where there have been scopes,
// types are not compared: what a library takes by malloc inside one has the scope's type, of which the library knows nothing.

import Accounting
import CPlatform
import Diagnostics
import Pages
import Primitives
import Zones

extension Heap {
  /// Whether entries are to call what is below. One load.
  @inline(__always)
  public static var looksAtClaims: Bool { stave_hot().pointee.claims != 0 }

  /// Of a live block.
  private struct Known {
    var size: UInt
    /// As it was asked for; else the size of its class.
    var isExact: Bool
    var type: TypePointer?
    var stack: UInt32 = 0
  }

  private static func known(_ address: UInt) -> Known? {
    if let block = memGuard.liveBlock(at: address) {
      guard block.pointee.zone == 0 else { return nil }
      let type = types.type(Int(block.pointee.type)).flatMap { $0.pointee.name.hash == block.pointee.typeHash ? $0 : nil }
      return Known(size: block.pointee.size, isExact: true, type: type, stack: block.pointee.allocationStack)
    }
    if let (block, holder) = redZoneBlock(at: address) {
      return Known(size: block.size, isExact: true, type: types.type(Int(holder.type)), stack: block.stack)
    }
    guard CPUCache.isPassedBy, let holder = holder(of: address), holder.item == address, holder.keg?.isTaken(address) ?? true else { return nil }
    return Known(size: holder.bytes, isExact: false, type: types.type(Int(holder.type)))
  }

  /// Whether the block can have been asked for with this size. A class serves many, and realloc leaves a block in its place until it
  /// has shrunk to half. A C++ library's operator new, which is asked when memory is short, rounds 0 up to 1, and all to the alignment.
  private static func isPossible(_ size: UInt, _ alignment: UInt, _ known: Known) -> Bool {
    if known.isExact { return size == known.size || Swift.max(size, 1).roundedUp(to: alignment) == known.size }
    return Request(size, alignment: alignment).bytes == known.size || size <= known.size && size > known.size / 2
  }

  /// The size, in bytes, and the alignment that the caller says the block has.
  @inline(never)
  public static func demandSize(_ memory: UnsafeMutableRawPointer?, _ size: UInt, alignment: UInt, _ call: StaticString) {
    guard let memory, let known = known(memory.address), !isPossible(size, alignment, known) else { return }
    var report = begin(call, memory.address, known)
    report.text(", with a size of ")
    report.number(size)
    report.text(" bytes\n")
    finish(&report, known, next: "a delete of a class's base without a virtual destructor says the base's size")
  }

  /// The type that the caller says the block has. Any will do for memory that is malloc's.
  @inline(never)
  public static func demandType(_ memory: UnsafeMutableRawPointer?, _ author: UnsafeMutablePointer<stave_type>?, _ call: StaticString) {
    guard let memory, let author, stave_hot().pointee.scopes == 0, let known = known(memory.address), let type = known.type, type.isOfAnother(than: author) else { return }
    var report = begin(call, memory.address, known)
    report.text(", as one of type ")
    if author.pointee.magic == STAVE_TYPE_MAGIC, let name = author.pointee.name { report.name(FixedName(cString: name)) } else { report.text("(no malloc type)") }
    report.newline()
    finish(&report, known, next: "stave_free takes the type that stave_malloc was given")
  }

  private static func begin(_ call: StaticString, _ address: UInt, _ known: Known) -> Report {
    var report = Report("bad free")
    report.text(call)
    report.text(" of ")
    report.address(address)
    report.text(known.isExact ? ", a block of " : ", a block of the class of ")
    report.number(known.size)
    report.text(" bytes of type ")
    report.typeName(known.type?.pointee.number ?? 0)
    return report
  }

  private static func finish(_ report: inout Report, _ known: Known, next: StaticString) {
    if known.stack != 0 {
      report.text("  allocated by\n")
      report.stack(known.stack)
      report.text("  freed by\n")
    }
    report.stackHere()
    report.finish(next: next)
  }
}
