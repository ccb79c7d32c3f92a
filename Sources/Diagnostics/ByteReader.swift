// SPDX-License-Identifier: BSD-2-Clause
//
// Reads numbers one after another out of a range of memory, and never outside: past the end everything is zero, and
// `hasFailed` remembers it.

struct ByteReader {
  let range: AddressRange
  private(set) var address: UInt
  private(set) var hasFailed = false

  init(_ range: AddressRange, at address: UInt) {
    self.range = range
    self.address = range.end
    move(to: address)
  }

  var isAtEnd: Bool { address >= range.end }

  mutating func fail() {
    hasFailed = true
    address = range.end
  }

  mutating func move(to place: UInt) {
    if !hasFailed && range.holds(place, 0) { address = place } else { fail() }
  }

  mutating func skip(_ bytes: UInt) {
    if range.holds(address, bytes) { address = address &+ bytes } else { fail() }
  }

  @inline(__always)
  mutating func load<Number: FixedWidthInteger>(_: Number.Type) -> Number {
    let bytes = UInt(MemoryLayout<Number>.size)
    guard range.holds(address, bytes), let place = UnsafeRawPointer(bitPattern: address) else {
      fail()
      return 0
    }
    address = address &+ bytes
    return place.loadUnaligned(as: Number.self)
  }

  /// DWARF's numbers of any length, seven bits to a byte; those beyond 64 bits are lost.
  mutating func unsigned() -> UInt {
    var value: UInt = 0
    var shift: UInt = 0
    while true {
      let byte = load(UInt8.self)
      if shift < 64 { value |= UInt(byte & 0x7f) &<< shift }
      shift = shift &+ 7
      if byte & 0x80 == 0 { return value }
    }
  }

  mutating func signed() -> Int {
    var value = 0
    var shift = 0
    while true {
      let byte = load(UInt8.self)
      if shift < 64 { value |= Int(byte & 0x7f) &<< shift }
      shift = shift &+ 7
      if byte & 0x80 == 0 {
        return byte & 0x40 != 0 && shift < 64 ? value | -1 &<< shift : value
      }
    }
  }
}
