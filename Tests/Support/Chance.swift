// SPDX-License-Identifier: BSD-2-Clause
//
// Chance that can be repeated, and how long random tests run.
//
// Environment: STAVE_SEED repeats random tests, in the processes that tests start, too; without it each run has a fresh seed.
// Either way it is printed at its first use. STAVE_TEST_SCALE makes tests longer (1: seconds; 100: a soak of half an hour).

import Foundation

enum Stage {
  static let seed: UInt64 = {
    let given = ProcessInfo.processInfo.environment["STAVE_SEED"].flatMap { UInt64($0) }
    let seed = given ?? UInt64.random(in: 0 ... .max)
    print("STAVE_SEED=\(seed) STAVE_TEST_SCALE=\(scale)")
    setenv("STAVE_SEED", "\(seed)", 1)
    return seed
  }()

  static let scale = max(1, ProcessInfo.processInfo.environment["STAVE_TEST_SCALE"].flatMap { Int($0) } ?? 1)

  /// Steps of a random test: `short` in an ordinary run; in a soak more, up to `long` at scale 100.
  static func steps(_ short: Int, soak long: Int = 10_000_000) -> Int {
    scale == 1 ? short : max(short, long / 100 * min(scale, 100) * max(1, scale / 100))
  }

  /// Whether a random test checks the whole structure after this step: in an ordinary run after each, in a soak after each
  /// of the first thousands and then so rarely that the checks cost no more than the steps.
  static func checks(_ step: Int) -> Bool { scale == 1 || step < 5000 || step % (scale * 5) == 0 }
}

/// A generator that a seed repeats.
struct Generator: RandomNumberGenerator {
  var state: UInt64

  /// Numbers that the run's seed and `stream` decide.
  init(_ stream: UInt64 = 0) { state = Stage.seed &+ stream &* 0xD134_2543_DE82_EF95 }

  /// The same numbers in every run.
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }

  mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }
  /// Sizes of all orders of magnitude up to `limit` alike.
  mutating func size(upTo limit: Int) -> Int {
    let top = below(64 - limit.leadingZeroBitCount) + 1
    return 1 + below(min(limit, 1 << top))
  }
}
