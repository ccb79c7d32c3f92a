// SPDX-License-Identifier: BSD-2-Clause
//
// What a kernel would print on its console: text composed on the stack, and written without allocating. A report that does not fit
// the buffer goes out in parts, at ends of lines; other text is cut. Where reports go: Report+Sink; how one ends: Report+End.
// Nothing here is inlined: it runs once, and in each report it took 60 KB of the library together.

import CPlatform

public struct Report {
  static var mostBytes: Int { 768 }
  var buffer: InlineArray<768, UInt8>
  var used: Int
  /// Whether it is a report, not any text.
  let isReport: Bool
  /// Whether this report has the right to write, which it then keeps to its end.
  var isWriter = false
  /// Whether it says where in the program it happened, which it does at its end otherwise.
  public var showsStack = false

  /// Begins "stave[process/thread]: kind: ", or "kind detail: ".
  public init(_ kind: StaticString, _ detail: StaticString = "") {
    buffer = InlineArray(repeating: 0)
    used = 0
    isReport = true
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
    isReport = false
  }

  @inline(never)
  public mutating func byte(_ value: UInt8) {
    if used == Self.mostBytes && isReport { makeRoom() }
    if used < Self.mostBytes {
      buffer[used] = value
      used += 1
    }
  }

  @inline(never)
  public mutating func text(_ text: StaticString) {
    for index in 0..<text.utf8CodeUnitCount { byte(text.utf8Start[index]) }
  }

  @inline(never)
  public mutating func text(endingAtZero text: UnsafePointer<UInt8>, most: Int = .max) {
    var next = text
    while next.pointee != 0 && next - text < most {
      byte(next.pointee)
      next += 1
    }
  }

  @inline(never)
  public mutating func name(_ name: borrowing FixedName) {
    for index in 0..<name.count { byte(name.bytes[index]) }
  }

  @inline(never)
  public mutating func bytes(_ start: UnsafePointer<UInt8>, count: Int) {
    for index in 0..<count { byte(start[index]) }
  }

  @inline(never)
  public mutating func number(_ value: UInt) {
    var divisor: UInt = 1
    while value / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      byte(UInt8(48 + value / divisor % 10))
      divisor /= 10
    }
  }

  /// "1 byte", "2 bytes"
  @inline(never)
  public mutating func count(_ value: UInt, _ one: StaticString) {
    number(value)
    text(" ")
    text(one)
    if value != 1 { text("s") }
  }

  /// Right-aligned in `width` columns.
  @inline(never)
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

  @inline(never)
  public mutating func pad(_ count: Int) {
    var left = count
    while left > 0 {
      byte(32)
      left -= 1
    }
  }

  @inline(never)
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

  @inline(never)
  public mutating func newline() { byte(10) }
}
