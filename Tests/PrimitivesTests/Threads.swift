// SPDX-License-Identifier: BSD-2-Clause
//
// Real threads for tests of locks: the concurrency library's pool may not be blocked.

import Foundation

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
