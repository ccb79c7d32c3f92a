// SPDX-License-Identifier: BSD-2-Clause
//
// A file of the system's, line by line, without allocating: raw reads into a page that the caller lends.

import CPlatform
import Primitives

struct LineReader {
  private let file: Int32
  private let buffer: UnsafeMutablePointer<UInt8>
  private let capacity: Int
  private var position = 0
  private var filled = 0

  /// `path` ends with a zero byte.
  init(_ path: UnsafePointer<UInt8>, buffer: UnsafeMutableRawPointer, capacity: Int) {
    file = path.withMemoryRebound(to: CChar.self, capacity: 1) { Int32(truncatingIfNeeded: stave_open($0, 0o2000000 /* O_CLOEXEC */)) }
    self.buffer = buffer.assumingMemoryBound(to: UInt8.self)
    self.capacity = capacity
  }

  var isOpen: Bool { file >= 0 }

  func close() { if isOpen { _ = stave_close(file) } }

  /// The next line, without its end, until the next call; nil at the end of the file. A line longer than the buffer comes in pieces.
  mutating func next() -> TextSlice? {
    guard isOpen else { return nil }
    var length = 0
    while true {
      while position + length < filled {
        if buffer[position + length] == UInt8(ascii: "\n") {
          defer { position += length + 1 }
          return TextSlice(start: buffer + position, count: length)
        }
        length += 1
      }
      if length == capacity || !refill(keeping: length) {
        guard length > 0 else { return nil }
        defer { position += length }
        return TextSlice(start: buffer + position, count: length)
      }
    }
  }

  /// Moves what has been read of a line to the front, and reads on.
  private mutating func refill(keeping length: Int) -> Bool {
    for index in 0..<length { buffer[index] = buffer[position + index] }
    position = 0
    filled = length
    let count = stave_read(file, buffer + length, capacity - length)
    guard count > 0 else { return false }
    filled += count
    return true
  }
}
