// SPDX-License-Identifier: BSD-2-Clause
//
// # Primitives
//
// What every target above needs and none of them owns: addresses, bitmaps, flags, names, pieces of text and how far two words are
// apart, the red-black tree, the futex lock, the report writer. Nothing here allocates, and nothing has state beyond what its
// caller gives it.
//
// Words
//   page     the system's unit of memory, read at run time (4 KiB on x86-64)
//   unit     64 KiB of address space, the grain of the arena and of the address → owner map
//   item     what a zone hands out
//
// Lock order: see `LockRank`. A lock may be taken only while every lock held by the thread has a lower rank; debug builds
// check each acquisition.

import CPlatform

/// The grain of the arena: 64 KiB, whatever the page size.
public let unitShift: UInt = 16
public let unitBytes: UInt = 1 << 16

extension UInt {
  /// Rounded up to a multiple of `alignment`, a power of two; nil if that does not fit in a word.
  @inline(__always)
  public func roundedUp(to alignment: UInt) -> UInt? {
    let (sum, overflow) = addingReportingOverflow(alignment &- 1)
    return overflow ? nil : sum & ~(alignment &- 1)
  }

  @inline(__always)
  public func roundedDown(to alignment: UInt) -> UInt { self & ~(alignment &- 1) }

  @inline(__always)
  public var isPowerOfTwo: Bool { self != 0 && self & (self &- 1) == 0 }
}

extension Int {
  /// Rounded up to a multiple of `alignment`, a power of two. For sizes known to be small.
  @inline(__always)
  public func roundedUp(to alignment: Int) -> Int { (self &+ alignment &- 1) & ~(alignment &- 1) }
}

extension UnsafeMutableRawPointer {
  @inline(__always)
  public var address: UInt { UInt(bitPattern: self) }
}

extension UnsafeRawPointer {
  @inline(__always)
  public var address: UInt { UInt(bitPattern: self) }
}

/// A name of at most 31 bytes, kept in place so that a reader in another process finds it with the structure.
public struct FixedName {
  public var bytes: InlineArray<32, UInt8>

  public init() { bytes = InlineArray(repeating: 0) }

  /// Truncates to 31 bytes.
  public init(_ text: StaticString) {
    self.init()
    var index = 0
    while index < text.utf8CodeUnitCount && index < 31 {
      bytes[index] = text.utf8Start[index]
      index += 1
    }
  }

  /// Truncates to 31 bytes; `text` ends with a zero byte.
  public init(cString text: UnsafePointer<CChar>) {
    self.init()
    var index = 0
    while text[index] != 0 && index < 31 {
      bytes[index] = UInt8(bitPattern: text[index])
      index += 1
    }
  }

  public var count: Int {
    var index = 0
    while index < 31 && bytes[index] != 0 { index += 1 }
    return index
  }

  /// Appends a text and a number, as in "images", "-" and 128. The number is kept whole: the name before it is cut if need be.
  public func appending(_ text: StaticString, number: Int) -> FixedName {
    var name = self
    var index = Swift.min(count, 25 - text.utf8CodeUnitCount)
    for position in index..<32 { name.bytes[position] = 0 }
    for position in 0..<text.utf8CodeUnitCount {
      name.bytes[index] = text.utf8Start[position]
      index += 1
    }
    return name.appending(number: number)
  }

  /// Appends a decimal number, as in "malloc-" and 128.
  public func appending(number: Int) -> FixedName {
    var name = self
    var index = count
    var divisor = 1
    while number / divisor >= 10 { divisor *= 10 }
    while divisor > 0 && index < 31 {
      name.bytes[index] = UInt8(48 + number / divisor % 10)
      index += 1
      divisor /= 10
    }
    return name
  }

  public func hasPrefix(_ text: StaticString) -> Bool {
    for index in 0..<Swift.min(31, text.utf8CodeUnitCount) where bytes[index] != text.utf8Start[index] { return false }
    return true
  }

  /// Appends a text and a number of at most eight digits in base 16. The name before it is cut if need be.
  public func appending(_ text: StaticString, hexadecimal number: UInt) -> FixedName {
    var name = self
    var index = Swift.min(count, 23 - text.utf8CodeUnitCount)
    for position in index..<32 { name.bytes[position] = 0 }
    for position in 0..<text.utf8CodeUnitCount {
      name.bytes[index] = text.utf8Start[position]
      index += 1
    }
    var shift: UInt = 28
    while shift > 0 && number >> shift == 0 { shift -= 4 }
    while true {
      let digit = UInt8(truncatingIfNeeded: number >> shift & 15)
      name.bytes[index] = digit < 10 ? 48 + digit : 87 + digit
      index += 1
      if shift == 0 { return name }
      shift -= 4
    }
  }

  public var hash: UInt32 {
    var hash: UInt32 = 2_166_136_261
    for index in 0..<32 where bytes[index] != 0 { hash = (hash ^ UInt32(bytes[index])) &* 16_777_619 }
    return hash
  }

  public func equals(_ other: borrowing FixedName) -> Bool {
    for index in 0..<32 where bytes[index] != other.bytes[index] { return false }
    return true
  }
}
