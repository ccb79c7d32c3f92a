// SPDX-License-Identifier: BSD-2-Clause
//
// A set of small numbers, one bit each, in words that somebody else owns. The words beyond `count` bits stay zero.

public struct Bitmap {
  public let words: UnsafeMutablePointer<UInt64>
  public let count: Int

  @inline(__always)
  public init(words: UnsafeMutablePointer<UInt64>, count: Int) {
    self.words = words
    self.count = count
  }

  @inline(__always)
  public static func wordCount(for bits: Int) -> Int { (bits &+ 63) >> 6 }

  @inline(__always)
  public var wordCount: Int { Bitmap.wordCount(for: count) }

  @inline(__always)
  public func contains(_ bit: Int) -> Bool { words[bit >> 6] & (1 << UInt64(bit & 63)) != 0 }

  @inline(__always)
  public func insert(_ bit: Int) { words[bit >> 6] |= 1 << UInt64(bit & 63) }

  @inline(__always)
  public func remove(_ bit: Int) { words[bit >> 6] &= ~(1 << UInt64(bit & 63)) }

  public func insertAll() {
    for index in 0..<wordCount { words[index] = ~0 }
    if count & 63 != 0 { words[wordCount - 1] = (1 << UInt64(count & 63)) - 1 }
  }

  public func removeAll() {
    for index in 0..<wordCount { words[index] = 0 }
  }

  /// How many bits are set. Linear in the words.
  public var population: Int {
    var sum = 0
    for index in 0..<wordCount { sum += words[index].nonzeroBitCount }
    return sum
  }

  /// The lowest bit set, nil for none.
  public var first: Int? {
    for index in 0..<wordCount where words[index] != 0 { return index << 6 + words[index].trailingZeroBitCount }
    return nil
  }
}
