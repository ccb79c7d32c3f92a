// SPDX-License-Identifier: BSD-2-Clause
//
// What free memory is filled with, so that a write to it shows: 0xdeadc0de, word for word; and the last word of a block of malloc's,
// which says who freed it. That word carries a check over itself and its place, so that it is known when it was written over.
//
//   | de c0 ad de | de c0 ad de | …                       | check 16 | type 16 | stack 32 |

public enum Trash {
  @inline(__always) public static var word: UInt32 { 0xdead_c0de }
  @inline(__always) private static var pair: UInt64 { 0xdead_c0de_dead_c0de }

  /// Fills `bytes` bytes, but for a rest that is no whole word of four.
  public static func fill(_ start: UInt, bytes: Int) {
    guard let memory = UnsafeMutableRawPointer(bitPattern: start) else { return }
    guard start & 7 == 0 else { return fillCrooked(memory, bytes: bytes) }
    let words = memory.assumingMemoryBound(to: UInt64.self)
    let count = bytes >> 3
    for index in 0..<count { words[index] = pair }
    if bytes & 4 != 0 { (memory + count * 8).storeBytes(of: word, as: UInt32.self) }
  }

  private static func fillCrooked(_ memory: UnsafeMutableRawPointer, bytes: Int) {
    var offset = 0
    while offset + 4 <= bytes {
      memory.storeBytes(of: word, toByteOffset: offset, as: UInt32.self)
      offset += 4
    }
  }

  /// The offset of the first byte that is not as `fill` left it; nil if there is none.
  public static func firstWrong(_ start: UInt, bytes: Int) -> Int? {
    guard let memory = UnsafeRawPointer(bitPattern: start) else { return nil }
    var offset = 0
    if start & 7 == 0 {
      let words = memory.assumingMemoryBound(to: UInt64.self)
      var index = 0
      while index < bytes >> 3 && words[index] == pair { index += 1 }
      offset = index * 8
    }
    while offset + 4 <= bytes {
      let found = memory.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
      if found != word { return offset + (found ^ word).trailingZeroBitCount / 8 }
      offset += 4
    }
    return nil
  }

  /// What `fill` stores at this offset.
  @inline(__always)
  public static func byte(at offset: Int) -> UInt8 { UInt8(truncatingIfNeeded: word >> UInt32(offset & 3 * 8)) }
}

/// Who freed a block.
public struct LastOwner: Equatable {
  /// The number of its malloc type, `nobody` if it has not been freed since it was filled for the first time.
  public var type: UInt32
  /// Of the free; 0 for none.
  public var stack: UInt32

  public static var bytes: Int { 8 }
  public static var nobody: LastOwner { LastOwner(type: 0xffff, stack: 0) }

  public init(type: UInt32, stack: UInt32) { (self.type, self.stack) = (type, stack) }

  /// As the word at `address` has it; nil if none was written there, or something since.
  public init?(at address: UInt) {
    let word = UnsafeRawPointer(bitPattern: address)!.loadUnaligned(as: UInt64.self)
    self.init(type: UInt32(truncatingIfNeeded: word >> 32 & 0xffff), stack: UInt32(truncatingIfNeeded: word))
    guard self.word(at: address) == word else { return nil }
  }

  public func write(at address: UInt) { UnsafeMutableRawPointer(bitPattern: address)!.storeBytes(of: word(at: address), as: UInt64.self) }

  private func word(at address: UInt) -> UInt64 {
    let content = UInt64(type & 0xffff) << 32 | UInt64(stack)
    let check = ((content ^ UInt64(address) &* 0x9e37_79b9_7f4a_7c15) &* 0xd6e8_feb8_6659_fd93) >> 48
    return check << 48 | content
  }
}
