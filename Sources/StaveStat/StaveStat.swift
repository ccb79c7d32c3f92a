// SPDX-License-Identifier: BSD-2-Clause
//
// # StaveStat
//
// The list of statistics for C: libstavestat.so, as CStaveStat's stavestat.h declares it. All that is read, and all judgement of it,
// is Inspection's; here its objects get names that C can hold.
//
//   stavestat_list    a `CList`, retained once for the caller
//   stavestat_entry   a `CEntry`, which lies in a slot that `StatisticsEntry` has for its caller: so it stays as long as the entry
//
// A list is its caller's, one thread at a time; nothing is shared between lists. No argument ends the process but a pointer to
// what is no list and no entry: null is answered, other numbers than are declared are, and whatever lies in a process, a core file or
// a stream. Where memory is not to be had, Swift's runtime does end it.
//
// The library has Swift's runtime inside, hidden by an export list and never unloaded: a C program needs libc only, and one that is
// written in Swift keeps its own.

import CStaveStat
import Inspection

/// A list as C holds it.
final class CList {
  let list = StatisticsList()
  private(set) var message = CText("")
  private(set) var code: Int32 = 0

  /// Fills the list by `body`, and gives new entries what C needs of them.
  func fill(_ body: () throws(StatisticsError) -> Void) -> Int32 {
    do throws(StatisticsError) {
      try body()
      (code, message) = (0, CText(""))
    } catch {
      code = error.code == .undefined ? Int32(STAVESTAT_ERROR_OTHER) : error.code.rawValue
      message = CText(error.message)
    }
    for (place, entry) in list.entries.enumerated() {
      let own = CEntry.of(entry) ?? CEntry(entry, of: self)
      own.place = place
      entry.objects[0] = own
    }
    return code == 0 ? 0 : -1
  }

  func entry(at place: Int) -> OpaquePointer? {
    guard list.entries.indices.contains(place), let entry = CEntry.of(list.entries[place]) else { return nil }
    return OpaquePointer(Unmanaged.passUnretained(entry).toOpaque())
  }

  static func from(_ pointer: OpaquePointer?) -> CList? {
    pointer.map { Unmanaged<CList>.fromOpaque(UnsafeRawPointer($0)).takeUnretainedValue() }
  }
}

extension StatisticsAllocator {
  /// Nil for what C does not declare.
  init?(_ number: Int32) {
    switch Int(number) {
    case STAVESTAT_MALLOC: self = .malloc
    case STAVESTAT_ZONE: self = .zone
    case STAVESTAT_ANY: self = .any
    default: return nil
    }
  }
}
