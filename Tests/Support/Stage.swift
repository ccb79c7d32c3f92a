// SPDX-License-Identifier: BSD-2-Clause
//
// The process's one core as tests use it. There is one root in a process, so tests that touch it take turns: within a target
// by one serialized suite, with other targets in the same process by the last word of the root, which nothing else uses.
//
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

extension Stage {
  /// Makes the process's heap, unless it exists, without the thread that gives memory back: tests call what it would.
  /// STAVE_TEST_MODE=locked runs everything with locked caches.
  static func up() {
    guard !heap.isReady else { return }
    precondition(heap.start())
    heap.pointee.options.values[Option.background.rawValue] = 0
    if ProcessInfo.processInfo.environment["STAVE_TEST_MODE"] == "locked" { useLockedCaches() }
  }

  /// Makes the heap with that thread, which starts when there is something for it. Swift's runtime makes the type of a lock's word where
  /// that is first waited for or woken, with thread-local variables that a thread without libc does not have: so it is made before.
  /// Embedded Swift makes no types.
  static func upWithThread() {
    FutexLock(rank: 0).wakeOne()
    precondition(heap.start())
  }

  static func useLockedCaches() { CPUCache.switchToLocked() }
}

/// Takes all metadata that is mapped already, so that the next need is a system call.
func exhaustMetadata() {
  while metadataPages.pointee.next < metadataPages.pointee.end || metadataPages.pointee.freePages != 0 {
    _ = metadataPages.allocate(bytes: pageBytes)
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

/// The same for any size and address, fast even where nothing is optimised: each byte equals the one before it.
func isZero(_ item: UnsafeMutableRawPointer, _ size: Int) -> Bool {
  size == 0 || item.load(as: UInt8.self) == 0 && memcmp(item, item + 1, size - 1) == 0
}
