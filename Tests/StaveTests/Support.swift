// SPDX-License-Identifier: BSD-2-Clause
//
// What the tests of zones share. Each runs in a process of its own, which starts its own core as a program does: the test process has one
// for the tests of the core.

import Synchronization

/// How many values there are of the kinds below.
let alive = Atomic(0)

/// A value that may not be copied and counts itself.
struct Counted: ~Copyable {
  var number: Int

  init(_ number: Int) {
    self.number = number
    alive.wrappingAdd(1, ordering: .sequentiallyConsistent)
  }

  deinit { alive.wrappingSubtract(1, ordering: .sequentiallyConsistent) }
}

/// A value that may be copied, and holds an object that counts itself.
struct Copied: Sendable {
  final class Part: Sendable {
    init() { alive.wrappingAdd(1, ordering: .sequentiallyConsistent) }
    deinit { alive.wrappingSubtract(1, ordering: .sequentiallyConsistent) }
  }
  var number: Int
  let part = Part()
}

var living: Int { alive.load(ordering: .sequentiallyConsistent) }

struct Broken: Error, Equatable {}

/// Waits for what other threads or tasks will bring about; false after a minute, of which a machine that builds beside may take a part.
func comesTrue(_ condition: () -> Bool) async -> Bool {
  for _ in 0..<30_000 {
    if condition() { return true }
    try? await Task.sleep(for: .milliseconds(2))
  }
  return condition()
}

/// precondition, for what has to be waited for.
func demand(_ condition: Bool, line: UInt = #line) { precondition(condition, "line \(line)") }
