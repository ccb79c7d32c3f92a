// SPDX-License-Identifier: BSD-2-Clause
//
// A parser for lines of numbers. What it needs, a buffer and a table, is dear to make and the same for each line: so parsers come from
// an object cache, and keep both between their uses. `make` runs once for each parser that is in use at once, `reset` after each line.

import Stave
import Synchronization

struct Parser: ~Copyable, Sendable {
  static let made = Atomic(0)

  private var digits: [UInt8] = []
  private var isDigit = [Bool](repeating: false, count: 256)

  init() {
    Parser.made.wrappingAdd(1, ordering: .relaxed)
    digits.reserveCapacity(64)
    for byte in UInt8(ascii: "0")...UInt8(ascii: "9") { isDigit[Int(byte)] = true }
  }

  /// The sum of the line's numbers.
  mutating func sum(_ line: String) -> Int {
    var sum = 0
    for byte in line.utf8 {
      if isDigit[Int(byte)] { digits.append(byte) } else { sum += takeNumber() }
    }
    return sum + takeNumber()
  }

  private mutating func takeNumber() -> Int {
    defer { digits.removeAll(keepingCapacity: true) }
    return digits.reduce(0) { $0 * 10 + Int($1 & 15) }
  }

  mutating func forget() { digits.removeAll(keepingCapacity: true) }
}

let parsers = try ObjectCache<Parser>("parsers") { Parser() } reset: { $0.forget() }
let lines = (0..<10_000).map { "\($0) and \($0 + 1), \($0 % 7)" }

let total = await withTaskGroup(of: Int.self) { group in
  for start in stride(from: 0, to: lines.count, by: 100) {
    group.addTask {
      lines[start..<start + 100].reduce(0) { sum, line in
        // Nil only where there is no memory.
        guard var parser = parsers.object(.wait) else { return sum }
        return sum + parser.value.sum(line)
      }
    }
  }
  var total = 0
  for await sum in group { total += sum }
  return total
}

let made = Parser.made.load(ordering: .relaxed)
print("\(lines.count) lines, sum \(total), \(made) parsers made, \(parsers.itemsInUse) in use")
parsers.trim()
