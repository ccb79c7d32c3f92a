// SPDX-License-Identifier: BSD-2-Clause
//
// Whose an address is that this copy of Stave does not own: a program or library may have zones of its own beside the process's malloc,
// and each address has one root. Asked for reports only. What is read of another copy is what readers outside read, and as they do it:
// without its locks, only where its version and layout are ours, from structures that stay readable.

import CPlatform
import Pages
import Primitives
import Zones

/// What a search is about, and where it says what it finds.
private struct Question {
  var address: UInt
  var report: UnsafeMutablePointer<Report>
}

extension Heap {
  /// Says in the report which other copy of Stave owns the address, if one does.
  static func describeOtherOwner(of address: UInt, in report: inout Report) -> Bool {
    withUnsafeMutablePointer(to: &report) { report in
      var question = Question(address: address, report: report)
      return withUnsafeMutablePointer(to: &question) { question in
        stave_find_other_root(
          { root, path, context in
            let question = context!.assumingMemoryBound(to: Question.self).pointee
            return OtherRoot(start: root).describe(question.address, path, in: &question.report.pointee)
          }, UnsafeMutableRawPointer(question))
      }
    }
  }
}

private struct OtherRoot {
  var start: UnsafeRawPointer

  func part<Part: ~Copyable>(_ type: Part.Type, _ offset: Int) -> UnsafePointer<Part> { (start + offset).assumingMemoryBound(to: type) }

  private var isReadable: Bool {
    let header = part(RootHeader.self, 0)
    return header.pointee.magic == RootLayout.magic && header.pointee.version == RootLayout.version
      && header.pointee.layoutDigest == layoutDigest() && header.pointee.process == root.pointee.process
  }

  func describe(_ address: UInt, _ path: UnsafePointer<CChar>, in report: inout Report) -> Bool {
    guard isReadable else { return false }
    let arena = part(Arena.self, RootLayout.arenaOffset)
    guard address >= arena.pointee.windowStart, address < arena.pointee.frontier,
      let owners = part(OwnerMap.self, RootLayout.ownersOffset).pointee.owners
    else { return false }
    let word = owners[Int((address - arena.pointee.windowStart) >> (unitShift - 1))]
    if word & 1 == 0, let slab = UnsafePointer<Slab>(bitPattern: word), let zone = zone(ofKeg: slab.pointee.kegIndex) {
      report.text("; it is of zone ")
      report.name(zone.pointee.name)
      if zone.pointee.instance > 0 {
        report.text("_")
        report.number(UInt(zone.pointee.instance))
      }
      report.text(" of another copy of stave, in ")
    } else {
      report.text("; it is of the memory of another copy of stave, in ")
    }
    if path.pointee == 0 { report.text("the program") }
    var next = path
    while next.pointee != 0 {
      report.byte(UInt8(bitPattern: next.pointee))
      next += 1
    }
    return true
  }

  /// The zone that the keg was made with. A zone that goes meanwhile leads on to those that are older.
  private func zone(ofKeg index: UInt32) -> UnsafePointer<Zone>? {
    var next = UnsafePointer(part(ZonesState.self, RootLayout.zonesOffset).pointee.first), steps = 0
    while let zone = next, steps < 65536 {
      if !zone.pointee.flags.contains(.secondary), zone.pointee.keg.pointee.index == index { return zone }
      next = UnsafePointer(zone.pointee.next)
      steps += 1
    }
    return nil
  }
}
