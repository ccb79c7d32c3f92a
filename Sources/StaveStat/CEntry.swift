// SPDX-License-Identifier: BSD-2-Clause
//
// An entry as C holds it: its names as C has text, and the caller's slots.

import CStaveStat
import Inspection

/// Text that stays where it is, ended by a zero.
final class CText {
  let start: UnsafeMutablePointer<CChar>

  init(_ text: String) {
    let bytes = Array(text.utf8CString)
    start = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
    start.initialize(from: bytes, count: bytes.count)
  }

  deinit { start.deallocate() }
}

/// What the caller notes, of an entry or of one CPU of it.
struct CSlots {
  private var pointers = [UnsafeMutableRawPointer?](repeating: nil, count: STAVESTAT_SLOTS)
  private var numbers = [UInt64](repeating: 0, count: STAVESTAT_SLOTS)

  func pointer(_ slot: UInt32) -> UnsafeMutableRawPointer? { slot < STAVESTAT_SLOTS ? pointers[Int(slot)] : nil }
  func number(_ slot: UInt32) -> UInt64 { slot < STAVESTAT_SLOTS ? numbers[Int(slot)] : 0 }

  mutating func set(_ slot: UInt32, pointer: UnsafeMutableRawPointer?) -> Int32 {
    guard slot < STAVESTAT_SLOTS else { return -1 }
    pointers[Int(slot)] = pointer
    return 0
  }

  mutating func set(_ slot: UInt32, number: UInt64) -> Int32 {
    guard slot < STAVESTAT_SLOTS else { return -1 }
    numbers[Int(slot)] = number
    return 0
  }
}

/// An entry as C holds it: it lies in the first slot that Inspection has for its caller.
final class CEntry {
  /// Which holds this one.
  unowned let entry: StatisticsEntry
  unowned let list: CList
  /// Among the list's entries.
  var place = 0
  let name: CText
  let label: CText
  var slots = CSlots()
  private var ofCPUs: [UInt32: CSlots] = [:]

  init(_ entry: StatisticsEntry, of list: CList) {
    self.entry = entry
    self.list = list
    (name, label) = (CText(entry.name), CText(entry.label))
  }

  /// Nil for one that C has not seen.
  static func of(_ entry: StatisticsEntry) -> CEntry? { entry.objects[0] as? CEntry }

  static func from(_ pointer: OpaquePointer?) -> CEntry? {
    pointer.map { Unmanaged<CEntry>.fromOpaque(UnsafeRawPointer($0)).takeUnretainedValue() }
  }

  /// Of a CPU number that has a record.
  func slots(ofCPU cpu: UInt32) -> CSlots { ofCPUs[cpu] ?? CSlots() }

  func changeSlots(ofCPU cpu: UInt32, _ change: (inout CSlots) -> Int32) -> Int32 {
    guard cpu < UInt32(clamping: entry.figures.cpus.count) else { return -1 }
    return change(&ofCPUs[cpu, default: CSlots()])
  }
}
