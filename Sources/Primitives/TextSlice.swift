// SPDX-License-Identifier: BSD-2-Clause
//
// A piece of text in memory that somebody else owns: an option, a line of a file of the system's.

public struct TextSlice {
  public var start: UnsafePointer<UInt8>
  public var count: Int

  @inline(__always)
  public init(start: UnsafePointer<UInt8>, count: Int) {
    self.start = start
    self.count = count
  }

  public func equals(_ text: StaticString, ignoringCase: Bool = false) -> Bool {
    guard count == text.utf8CodeUnitCount else { return false }
    for index in 0..<count {
      var byte = start[index]
      if ignoringCase && byte >= 65 && byte <= 90 { byte += 32 }
      if byte != text.utf8Start[index] { return false }
    }
    return true
  }

  /// What comes behind `prefix`; nil if it does not begin so.
  public func following(_ prefix: StaticString) -> TextSlice? {
    let length = prefix.utf8CodeUnitCount
    guard count >= length, TextSlice(start: start, count: length).equals(prefix) else { return nil }
    return TextSlice(start: start + length, count: count - length)
  }

  /// What lies before the first such byte, which goes too, and what is left behind it in `self`; all of it if there is none.
  public mutating func cut(at byte: UInt8) -> TextSlice {
    var length = 0
    while length < count && start[length] != byte { length += 1 }
    let piece = TextSlice(start: start, count: length)
    let gone = Swift.min(count, length + 1)
    start += gone
    count -= gone
    return piece
  }

  /// A decimal number, nil for anything else.
  public var number: Int64? {
    guard count > 0, count < 18 else { return nil }
    var value: Int64 = 0
    for index in 0..<count {
      guard start[index] >= 48, start[index] <= 57 else { return nil }
      value = value * 10 + Int64(start[index] - 48)
    }
    return value
  }

  /// The same, perhaps with K, M, G or T behind it, for powers of 1024. Nil also for more than a number holds.
  public var bytes: Int64? {
    guard count > 1 else { return number }
    let shift: Int64
    switch start[count - 1] | 32 {
    case UInt8(ascii: "k"): shift = 10
    case UInt8(ascii: "m"): shift = 20
    case UInt8(ascii: "g"): shift = 30
    case UInt8(ascii: "t"): shift = 40
    default: return number
    }
    guard let value = TextSlice(start: start, count: count - 1).number, value <= Int64.max >> shift else { return nil }
    return value << shift
  }

  /// As `spellingDistance`.
  public func distance(to text: StaticString) -> Int {
    spellingDistance(
      UnsafeBufferPointer(start: start, count: count), UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }
}
