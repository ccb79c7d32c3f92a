// SPDX-License-Identifier: BSD-2-Clause
//
// What suites about guarded blocks share: MemGuard on, aimed and asked.

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

/// MemGuard on, with these options; `marks: false` as on a kernel without MADV_GUARD_INSTALL.
func guardUp(_ options: [(Heap.OptionName, Int64)] = [], marks: Bool = true) {
  Stage.up()
  heap.pointee.options.values[Option.memguard.rawValue] = 1
  for (option, value) in options { heap.pointee.options.values[option.rawValue] = value }
  precondition(Heap.configureGuards())
  guard !marks else { return }
  memGuard.pointee.usesMarks = false
  memGuard.shutLane()
  // As if none had been there from the start.
  precondition(stave_mmap(memGuard.pointee.start, Int(memGuard.pointee.opened), 0, mapPrivateAnonymous | mapNoReserve | mapFixed) > 0)
}

extension Heap { typealias OptionName = Option }

func setGuard(_ option: Option, _ value: Int64) {
  let answer = Heap.obey(Letter(request: 1, command: MailCommand.set, subject: UInt32(option.rawValue), value: value))
  precondition(answer.status == MailStatus.done)
}

func guardTypes(_ names: String) { precondition(nameTypes(.memguardType, names).allSatisfy { $0 == MailStatus.done }) }

/// Sends the letters of a list; what became of each.
func nameTypes(_ option: Heap.OptionName, _ text: String) -> [UInt32] {
  var names: [ListedName] = []
  Array(text.utf8).withUnsafeBufferPointer { forEachListedName(in: $0, withZones: option.takesZones) { names.append($0) } }
  return names.enumerated().map { index, name in
    Heap.obey(TypeNameLetter(option: option.rawValue, name, at: index, of: names.count, list: 1).letter(1)).status
  }
}

func isGuarded(_ block: UnsafeMutableRawPointer?) -> Bool { memGuard.liveBlock(at: UInt(bitPattern: block)) != nil }

/// Whether a byte can be read, as the system finds when it is asked to.
func isReadable(_ address: UInt) -> Bool {
  var ends: [Int32] = [0, 0]
  guard pipe(&ends) == 0 else { return false }
  defer { for end in ends { close(end) } }
  return write(ends[1], UnsafeRawPointer(bitPattern: address), 1) == 1
}

/// Reads a number of each kind that call frame information has, so that Swift makes no more of what it makes at their first use.
func useAllNumbersOfFrames() {
  let bytes = [UInt8](repeating: 1, count: 64)
  bytes.withUnsafeBytes { bytes in
    let start = UInt(bitPattern: bytes.baseAddress)
    var reader = ByteReader(AddressRange(start: start, end: start + UInt(bytes.count)), at: start)
    let sum = UInt64(reader.load(UInt8.self)) + UInt64(reader.load(UInt16.self)) + UInt64(reader.load(UInt32.self)) + reader.load(UInt64.self)
    precondition(sum > 0 && reader.load(Int32.self) != 0 && reader.unsigned() == 1 && reader.signed() == 1)
  }
}
