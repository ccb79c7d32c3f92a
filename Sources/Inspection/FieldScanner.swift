// SPDX-License-Identifier: BSD-2-Clause
//
// The words and numbers of the kernel's text files, from bytes: no locale, no regular expression, no string per field.
// Numbers that do not fit are "no number", never a trap.

struct FieldScanner {
  private let bytes: [UInt8]
  private(set) var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { position >= bytes.count }

  private func isBlank(_ byte: UInt8) -> Bool { byte == 32 || byte == 9 }

  mutating func skipBlanks() {
    while position < bytes.count, isBlank(bytes[position]) { position += 1 }
  }

  /// Past the next newline.
  mutating func skipLine() {
    while position < bytes.count, bytes[position] != 10 { position += 1 }
    position += 1
  }

  /// Skips `byte` if it comes next.
  mutating func skip(_ byte: UInt8) -> Bool {
    guard position < bytes.count, bytes[position] == byte else { return false }
    position += 1
    return true
  }

  /// The next word of this line; empty at its end.
  mutating func field() -> ArraySlice<UInt8> {
    skipBlanks()
    let start = position
    while position < bytes.count, !isBlank(bytes[position]), bytes[position] != 10 { position += 1 }
    return bytes[start..<position]
  }

  /// What is left of this line, without the blanks before it.
  mutating func restOfLine() -> ArraySlice<UInt8> {
    skipBlanks()
    let start = min(position, bytes.count)
    while position < bytes.count, bytes[position] != 10 { position += 1 }
    return bytes[start..<max(start, min(position, bytes.count))]
  }

  mutating func decimal() -> UInt64? { number(radix: 10) }
  mutating func hexadecimal() -> UInt64? { number(radix: 16) }

  private mutating func number(radix: UInt64) -> UInt64? {
    skipBlanks()
    let start = position
    var value: UInt64 = 0
    while position < bytes.count, let digit = Self.digit(bytes[position]), digit < radix {
      let (product, overflow) = value.multipliedReportingOverflow(by: radix)
      let (sum, carry) = product.addingReportingOverflow(digit)
      if overflow || carry { return nil }
      value = sum
      position += 1
    }
    return position > start ? value : nil
  }

  private static func digit(_ byte: UInt8) -> UInt64? {
    switch byte {
    case 48...57: UInt64(byte - 48)
    case 97...102: UInt64(byte - 87)
    case 65...70: UInt64(byte - 55)
    default: nil
    }
  }
}
