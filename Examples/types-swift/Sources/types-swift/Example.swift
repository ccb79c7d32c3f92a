// SPDX-License-Identifier: BSD-2-Clause
//
// An index of words: the words are one type, the index another, a picture of how long they are a third. `stave types PID` tells
// them apart while the program waits.

import Glibc
import Stave

extension MallocType {
  static let words = MallocType("words", "each word of the text")
  static let index = MallocType("index", "the lines that a word is on")
  static let picture = MallocType("picture", "how many words there are of each length")
}

/// A word too long to lie within a String itself: so it is a block of memory.
func word(_ number: Int) -> String { "word-number-\(number)-of-this-text" }

@main enum Example {
  static func main() {
    // All that Swift allocates in the closure: 2000 strings, and the array that holds them. What the making of a string takes and
    // frees is in its requests.
    let words = withMallocType(.words) { (0..<2000).map(word) }

    let index = withMallocType(.index) {
      var lines: [String: [Int]] = [:]
      for line in 0..<10_000 { lines[words[line &* line % words.count], default: []].append(line) }
      return lines
    }

    // One block, by name.
    let lengths = 64
    guard let picture = MallocType.picture.allocate(Int.self, capacity: lengths, .zero) else { return print("no memory") }
    defer { MallocType.picture.deallocate(picture) }
    for word in index.keys { picture[min(word.utf8.count, lengths - 1)] += 1 }

    print("\(index.count) of \(words.count) words, most of \((0..<lengths).max { picture[$0] < picture[$1] }!) letters")
    if CommandLine.arguments.count > 1 {
      print("now: stave types \(getpid())")
      fflush(nil)
      withExtendedLifetime((words, index)) { _ = pause() }
    }
  }
}
