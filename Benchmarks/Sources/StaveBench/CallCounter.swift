// SPDX-License-Identifier: BSD-2-Clause
//
// How often a program calls malloc: Programs/count-calls.c is built, preloaded, and counts into a file. Nothing is timed meanwhile.

import Foundation

struct CallCounter {
  var library: URL
  var file: URL

  /// nil if there is no C compiler.
  init?(_ suite: Suite) {
    library = suite.scratch.appendingPathComponent("count-calls.so")
    file = suite.scratch.appendingPathComponent("calls")
    let source = suite.folder.appendingPathComponent("Programs/count-calls.c")
    guard output(of: ["cc", "-O2", "-shared", "-fPIC", source.path, "-o", library.path]) != nil else { return nil }
  }

  /// For a program to be counted, which begins with 0.
  func environment() throws -> [String: String] {
    try Data(count: 8).write(to: file)
    return ["PATH": "/usr/bin:/bin", "LD_PRELOAD": library.path, "STAVE_BENCH_CALLS": file.path]
  }

  var calls: UInt64 { ((try? Data(contentsOf: file)) ?? Data()).prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) } }

  /// For each of the turns whose number is the last word of a command, times a hundred.
  func callsPerTurn(_ command: [String]) throws -> UInt64? {
    func count(_ turns: Int) throws -> UInt64? {
      guard output(of: command + [String(turns)], environment: try environment()) != nil else { return nil }
      return calls
    }
    guard let few = try count(16_000), let many = try count(32_000), many >= few else { return nil }
    return (many - few) / 160
  }
}
