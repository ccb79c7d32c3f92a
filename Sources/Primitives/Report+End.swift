// SPDX-License-Identifier: BSD-2-Clause
//
// How a report of a mistake ends: the stack that it was noticed on, unless the report has told of a stack already; when; what to do
// next. Then the process ends, by SIGABRT, or goes on if the option `onreport` says so and going on is sound. A program that goes on
// writes a thousand reports; those behind are only counted.
//
//     stave[4711/4715]: bad free: double free at 0x7f2a10000040; 0 bytes into the item at 0x7f2a10000040 of 64 bytes in zone malloc-64
//       #0 0x55d0c0de1188 /usr/bin/program+0x1188
//       at 2026-11-21 17:07:54.123 UTC, in thread "worker"
//       next: stave symbolize names the functions

import CPlatform

public enum ReportMode {
  public static let abort: UInt32 = 0
  public static let goOn: UInt32 = 1
}

extension Report {
  static var mostReports: Int64 { 1000 }

  /// What tells more of a write to what is not the writer's, and of a free of what is free, if it may be guarded.
  public static var writeAdvice: StaticString { "stave guard PID, or STAVE_OPTIONS=memguard:1, stops at the write itself" }
  public static var freeAdvice: StaticString { "STAVE_OPTIONS=memguard:1 says where it was freed before" }

  /// Whether the process ends after a report.
  public static var endsProcess: Bool { stave_reports().pointee.mode == ReportMode.abort }

  /// Writes the report. Returns only where the program is to go on: the caller then does as if it had not been asked. `next`: what
  /// would tell more.
  @inline(never)
  public mutating func finish(next: StaticString = "") {
    let before = stave_add_fetching(&stave_reports().pointee.count, 1)
    if Self.endsProcess { stopNow(next) }
    if before < Self.mostReports {
      conclude(next)
      if before == Self.mostReports - 1 { text("  further reports are counted, not written\n") }
      write()
    }
    end()
  }

  /// Writes a report that is of no mistake, and is not counted.
  @inline(never)
  public mutating func conclude(next: StaticString) {
    conclude(next)
    write()
    end()
  }

  /// Writes the report and ends the process: there is no going on.
  @inline(never)
  public mutating func stop(next: StaticString = "") -> Never {
    _ = stave_add_fetching(&stave_reports().pointee.count, 1)
    stopNow(next)
  }

  private mutating func stopNow(_ next: StaticString) -> Never {
    conclude(next)
    write()
    stave_abort_now()
  }

  @inline(never)
  private mutating func conclude(_ next: StaticString) {
    if !showsStack, let writer = stave_get_stack_writer() { withUnsafeMutablePointer(to: &self) { writer($0) } }
    text("  at ")
    time()
    text(", in thread \"")
    threadName()
    text("\"\n  next: ")
    text(next)
    if next.utf8CodeUnitCount > 0 { text("; ") }
    text("stave symbolize names the functions\n")
  }

  private mutating func threadName() {
    var name = InlineArray<16, UInt8>(repeating: 0)
    withUnsafeMutablePointer(to: &name) { _ = stave_prctl(16 /* PR_GET_NAME */, UInt(bitPattern: UnsafeMutableRawPointer($0)), 0, 0, 0) }
    var index = 0
    while index < 16 && name[index] != 0 {
      byte(name[index] >= 32 && name[index] < 127 && name[index] != 34 ? name[index] : 63)
      index += 1
    }
  }

  /// The wall's, in UTC, to the millisecond.
  mutating func time() {
    var now: (seconds: Int64, nanoseconds: Int64) = (0, 0)
    withUnsafeMutablePointer(to: &now) { stave_wall_time(UnsafeMutableRawPointer($0).assumingMemoryBound(to: Int64.self)) }
    date(seconds: now.seconds)
    text(".")
    twoDigits(now.nanoseconds / 100_000_000, 1)
    twoDigits(now.nanoseconds / 1_000_000 % 100, 2)
    text(" UTC")
  }

  /// Since 1970.
  mutating func date(seconds: Int64) {
    func days(of year: Int64) -> Int64 { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 366 : 365 }
    var day = Swift.max(0, seconds / 86400), year: Int64 = 1970, month: Int64 = 1
    while day >= days(of: year) {
      day -= days(of: year)
      year += 1
    }
    while true {
      let isShort = month == 4 || month == 6 || month == 9 || month == 11
      let length = month == 2 ? days(of: year) - 337 : isShort ? 30 : 31
      if day < length { break }
      day -= length
      month += 1
    }
    number(UInt(year))
    text("-")
    twoDigits(month, 2)
    text("-")
    twoDigits(day + 1, 2)
    text(" ")
    twoDigits(seconds / 3600 % 24, 2)
    text(":")
    twoDigits(seconds / 60 % 60, 2)
    text(":")
    twoDigits(seconds % 60, 2)
  }

  private mutating func twoDigits(_ value: Int64, _ width: Int) {
    if width == 2 { byte(UInt8(48 + value / 10 % 10)) }
    byte(UInt8(48 + value % 10))
  }
}
