// SPDX-License-Identifier: BSD-2-Clause
//
// Paths of the system's files, put together without allocating.

import Primitives

/// A path that is put together; what does not fit makes it none.
struct PathBuffer {
  static var capacity: Int { 4096 }
  let bytes: UnsafeMutablePointer<UInt8>
  var count = 0
  var isWhole = true

  init(_ memory: UnsafeMutableRawPointer) { bytes = memory.assumingMemoryBound(to: UInt8.self) }

  /// A text that a zero byte ends; nothing for nil.
  mutating func append(endingAtZero text: UnsafePointer<UInt8>?) {
    guard let text else { return }
    var length = 0
    while text[length] != 0 { length += 1 }
    append(TextSlice(start: text, count: length))
  }

  /// With `\040` and the like of mountinfo as what they stand for.
  mutating func append(_ text: TextSlice) {
    var index = 0
    while index < text.count {
      var byte = text.start[index]
      if byte == UInt8(ascii: "\\"), index + 3 < text.count {
        byte = (text.start[index + 1] & 7) << 6 | (text.start[index + 2] & 7) << 3 | text.start[index + 3] & 7
        index += 3
      }
      append(byte)
      index += 1
    }
  }

  mutating func append(_ text: StaticString) { append(TextSlice(start: text.utf8Start, count: text.utf8CodeUnitCount)) }

  mutating func append(number: Int) {
    var divisor = 1
    while number / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      append(UInt8(48 + number / divisor % 10))
      divisor /= 10
    }
  }

  private mutating func append(_ byte: UInt8) {
    isWhole = isWhole && count + 1 < Self.capacity
    if isWhole {
      bytes[count] = byte
      count += 1
      bytes[count] = 0
    }
  }

  mutating func shorten(to length: Int) {
    count = length
    bytes[count] = 0
    isWhole = true
  }

  var text: TextSlice { TextSlice(start: bytes, count: count) }
}
