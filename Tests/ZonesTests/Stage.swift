// SPDX-License-Identifier: BSD-2-Clause
//
// What the tests of this target share. There is one root in a process, so its tests take turns: within this target by one
// serialized suite, with other targets in the same process by the last word of the root, which nothing else uses.
//
// Environment: STAVE_SEED repeats random tests; STAVE_TEST_SCALE makes them longer (1: seconds; 100: a soak);
// STAVE_TEST_MODE=locked does without restartable sequences.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import Zones

/// Waits until no other target's tests use the root.
struct RootTurn: SuiteTrait, TestScoping {
  static var word: UnsafeMutablePointer<UInt32> { rootState(UInt32.self, at: RootLayout.bytes - 4) }

  func provideScope(for test: Test, testCase: Test.Case?, performing body: @Sendable () async throws -> Void) async throws {
    while !stave_claim(Self.word) { try await Task.sleep(for: .milliseconds(2)) }
    defer { Self.word.pointee = 0 }
    try await body()
  }
}

extension Trait where Self == RootTurn {
  static var rootTurn: RootTurn { RootTurn() }
}

/// Parent of all suites that touch the root.
@Suite(.serialized, .rootTurn) enum OnRoot {}

enum Stage {
  static let seed = ProcessInfo.processInfo.environment["STAVE_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0 ... .max)
  static let scale = ProcessInfo.processInfo.environment["STAVE_TEST_SCALE"].flatMap { Int($0) } ?? 1

  /// Makes the process's heap, unless it exists, without the thread that gives memory back: tests call what it would.
  /// STAVE_TEST_MODE=locked runs everything with locked caches.
  static func up() {
    guard !heap.isReady else { return }
    precondition(heap.start())
    heap.pointee.options.values[Option.background.rawValue] = 0
    if ProcessInfo.processInfo.environment["STAVE_TEST_MODE"] == "locked" { useLockedCaches() }
  }

  static func useLockedCaches() { CPUCache.switchToLocked() }
}

/// A generator that a seed repeats.
struct Generator: RandomNumberGenerator {
  var state: UInt64

  init(_ stream: UInt64 = 0) { state = Stage.seed &+ stream &* 0xD134_2543_DE82_EF95 }

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

/// Resident pages of a range, as the kernel counts them.
func residentPages(_ start: UInt, _ bytes: UInt) -> Int {
  let page = UInt(pageBytes)
  var states = [UInt8](repeating: 0, count: Int((bytes + page - 1) / page))
  guard mincore(UnsafeMutableRawPointer(bitPattern: start)!, Int(bytes), &states) == 0 else { return -1 }
  return states.count { $0 & 1 != 0 }
}

/// Whether every byte of the range is zero.
func isZero(_ start: UInt, _ bytes: UInt) -> Bool {
  var address = start
  while address < start + bytes {
    if UnsafePointer<UInt64>(bitPattern: address)!.pointee != 0 { return false }
    address += 8
  }
  return true
}

/// Carries what the compiler cannot know to be safe to share; the test says why it is.
struct Shared<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}

/// Runs `body` in `count` threads at once and returns when all have ended.
func inThreads(_ count: Int, _ body: @escaping (_ thread: Int) -> Void) {
  let shared = Shared(body)
  let done = DispatchGroup()
  for index in 0..<count {
    done.enter()
    let thread = Thread {
      shared.value(index)
      done.leave()
    }
    thread.stackSize = 1 << 20
    thread.start()
  }
  done.wait()
}
