// SPDX-License-Identifier: BSD-2-Clause
//
// What the tests of zones share. Each runs in a process of its own, which starts its own core as a program does: the test process has one
// for the tests of the core.

import Foundation
import Synchronization

@testable import TestSupport

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

/// Calls `body` with a text whose memory is another's afterwards.
func withPassingText(_ text: String, _ body: (String) -> Void) {
  body(String(decoding: Array(text.utf8), as: UTF8.self))
  let others = (0..<100).map { _ in String(repeating: "-", count: text.utf8.count) }
  precondition(others.count == 100)
}

struct Broken: Error, Equatable {}

/// Waits for what other threads or tasks will bring about; false after a minute, of which a machine that builds beside may take a part.
func comesTrue(_ condition: () -> Bool) async -> Bool {
  for _ in 0..<30_000 {
    if condition() { return true }
    try? await Task.sleep(for: .milliseconds(2))
  }
  return condition()
}

/// How a child of fork ended: killed, if it has not after a minute.
func ending(of child: pid_t) async -> Int32 {
  var status: Int32 = 0
  if !(await comesTrue { waitpid(child, &status, WNOHANG) == child }) {
    kill(child, SIGKILL)
    waitpid(child, &status, 0)
  }
  return status
}

/// Ends this process, a test's own, in two minutes: so that one in which nobody goes on fails by its name, and does not keep all others.
func endInTime() { alarm(UInt32(clamping: 120 * Stage.scale)) }

/// precondition, for what has to be waited for.
func demand(_ condition: Bool, line: UInt = #line) { precondition(condition, "line \(line)") }
