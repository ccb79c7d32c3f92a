// SPDX-License-Identifier: BSD-2-Clause
//
// Bitmaps against a set of numbers, flag sets, rounding.

import Testing

@testable import Primitives
@testable import TestSupport

private struct Letters: FlagSet {
  let rawValue: UInt8
  static let a = Letters(rawValue: 1)
  static let b = Letters(rawValue: 2)
  static let ab = Letters(rawValue: 3)
}

@Suite struct BitmapTests {
  private func withBitmap(_ count: Int, _ body: (Bitmap) -> Void) {
    // One word beyond, to see that nothing writes there.
    let words = UnsafeMutablePointer<UInt64>.allocate(capacity: Bitmap.wordCount(for: count) + 1)
    words.initialize(repeating: 0, count: Bitmap.wordCount(for: count))
    words[Bitmap.wordCount(for: count)] = 0xA5A5_A5A5_A5A5_A5A5
    body(Bitmap(words: words, count: count))
    #expect(words[Bitmap.wordCount(for: count)] == 0xA5A5_A5A5_A5A5_A5A5)
    words.deallocate()
  }

  @Test(arguments: [1, 2, 63, 64, 65, 127, 128, 129, 501, 512, 4096])
  func `inserting all sets exactly the bits that exist`(count: Int) {
    withBitmap(count) { bitmap in
      #expect(bitmap.first == nil)
      bitmap.insertAll()
      #expect(bitmap.population == count)
      #expect(bitmap.first == 0)
      for bit in 0..<count where !bitmap.contains(bit) { Issue.record("bit \(bit) is missing") }
      bitmap.removeAll()
      #expect(bitmap.population == 0)
    }
  }

  @Test func `a bitmap is a set`() {
    var generator = Generator(11)
    for count in [1, 64, 65, 200, 512] {
      withBitmap(count) { bitmap in
        var model: Set<Int> = []
        for step in 0..<Stage.steps(2000, soak: 2_000_000) {
          let bit = Int.random(in: 0..<count, using: &generator)
          if Bool.random(using: &generator) {
            bitmap.insert(bit)
            model.insert(bit)
          } else {
            bitmap.remove(bit)
            model.remove(bit)
          }
          guard Stage.checks(step) else { continue }
          let agrees = bitmap.contains(bit) == model.contains(bit) && bitmap.population == model.count && bitmap.first == model.min()
          if !agrees { Issue.record("bitmap of \(count) differs from the set \(model.sorted()) (STAVE_SEED=\(Stage.seed))") }
        }
      }
    }
  }

  @Test func `flag sets`() {
    var flags = Letters.none
    #expect(flags.contains(.none))
    #expect(!flags.contains(.a))
    flags.insert(.a)
    #expect(flags == .a)
    #expect(!flags.contains(.ab), "contains means all of them")
    #expect(flags.union(.b) == .ab)
    #expect(Letters.ab.subtracting(.a) == .b)
    #expect(Letters.a.subtracting(.b) == .a)
  }

  @Test func `L49 rounding up says when the sum does not fit in a word`() {
    #expect(UInt(1).roundedUp(to: 16) == 16)
    #expect(UInt(16).roundedUp(to: 16) == 16)
    #expect(UInt(0).roundedUp(to: 4096) == 0)
    #expect((UInt.max - 4095).roundedUp(to: 4096) == UInt.max - 4095)
    #expect((UInt.max - 4094).roundedUp(to: 4096) == nil)
    #expect(UInt.max.roundedUp(to: 1) == .max)
    #expect(UInt.max.roundedDown(to: 4096) == UInt.max - 4095)
    #expect(UInt(4097).isPowerOfTwo == false)
    #expect(UInt(0).isPowerOfTwo == false)
    #expect((UInt(1) << 63).isPowerOfTwo)
    #expect(100.roundedUp(to: 8) == 104)
  }
}
