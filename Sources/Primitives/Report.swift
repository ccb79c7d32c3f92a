// SPDX-License-Identifier: BSD-2-Clause
//
// What a kernel would print on its console: one text, composed on the stack, written with one system call, without
// allocating. Reports that end the process raise SIGABRT.

import CPlatform

public struct Report {
  var buffer: InlineArray<768, UInt8>
  var used: Int

  /// Begins "stave[process/thread]: kind: ", or "kind detail: ".
  public init(_ kind: StaticString, _ detail: StaticString = "") {
    buffer = InlineArray(repeating: 0)
    used = 0
    text("stave[")
    number(UInt(stave_getpid()))
    text("/")
    number(UInt(stave_gettid()))
    text("]: ")
    text(kind)
    if detail.utf8CodeUnitCount > 0 { text(" ") }
    text(detail)
    text(": ")
  }

  public init() {
    buffer = InlineArray(repeating: 0)
    used = 0
  }

  public mutating func byte(_ value: UInt8) {
    if used < 768 {
      buffer[used] = value
      used += 1
    }
  }

  public mutating func text(_ text: StaticString) {
    for index in 0..<text.utf8CodeUnitCount { byte(text.utf8Start[index]) }
  }

  public mutating func name(_ name: borrowing FixedName) {
    for index in 0..<name.count { byte(name.bytes[index]) }
  }

  public mutating func bytes(_ start: UnsafePointer<UInt8>, count: Int) {
    for index in 0..<count { byte(start[index]) }
  }

  public mutating func number(_ value: UInt) {
    var divisor: UInt = 1
    while value / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      byte(UInt8(48 + value / divisor % 10))
      divisor /= 10
    }
  }

  /// Right-aligned in `width` columns.
  public mutating func number(_ value: UInt, width: Int) {
    var digits = 1
    var rest = value / 10
    while rest > 0 {
      digits += 1
      rest /= 10
    }
    pad(width - digits)
    number(value)
  }

  public mutating func pad(_ count: Int) {
    var left = count
    while left > 0 {
      byte(32)
      left -= 1
    }
  }

  public mutating func address(_ value: UInt) {
    text("0x")
    var shift: UInt = 60
    while shift > 0 && value >> shift & 15 == 0 { shift -= 4 }
    while true {
      let digit = UInt8(truncatingIfNeeded: value >> shift & 15)
      byte(digit < 10 ? 48 + digit : 87 + digit)
      if shift == 0 { break }
      shift -= 4
    }
  }

  public mutating func newline() { byte(10) }

  /// Writes what has been composed to `file` (standard error if none is given) and empties the report.
  public mutating func write(to file: Int32 = 2) {
    let count = used
    withUnsafePointer(to: &buffer) { start in
      let raw = UnsafeRawPointer(start)
      var done = 0
      while done < count {
        let written = stave_write(file, raw + done, count - done)
        if written <= 0 { break }
        done += written
      }
    }
    used = 0
  }

  /// Writes the report and ends the process with SIGABRT.
  public mutating func stop() -> Never {
    write()
    stave_abort_now()
  }
}
