// SPDX-License-Identifier: BSD-2-Clause
//
// The core in a program that has it linked in for zones of its own, while its malloc is another, or another copy of this one: it comes
// into being at the first use, with the options of the environment, and has its own root. Malloc's zones are never made then.

import CPlatform
import COwn
import Heap
import Pages
import Zones

extension Heap {
  /// True once this copy of the core serves. The first call sets it up, and others wait for it: a few milliseconds at most; a thread that
  /// forks meanwhile waits as well, so that the child has the core, or none. False if the system has no memory for it; the next call
  /// tries again. Not to be called from signal handlers.
  @inline(never)
  public static func startOwn() -> Bool {
    if heap.isReady { return true }
    if root.pointee.isOwn == 0 { root.pointee.isOwn = 1 }
    return stave_begin_own(
      stave_own_steps(
        begin: {
          heap.configure(environment: $0)
          zones.pointee.answerBell = { Heap.answerMailbox(mayRunHooks: $0) }
          zones.pointee.startWorker = { stave_start_worker { zones.work() } }
          return heap.isReady
        },
        prepare_fork: { Heap.prepareFork() },
        parent_after_fork: { Heap.parentAfterFork() },
        child_after_fork: { Heap.childAfterFork() },
        finish: { heap.finish() }))
  }

  /// Runs `body` while no other thread is in such a body, or in `startOwn`, and none forks: what is done once, or one at a time. Takes a
  /// lock, which is not recursive. Not in signal handlers.
  public static func alone<Result>(_ body: () -> Result) -> Result {
    stave_lock_own()
    defer { stave_unlock_own() }
    return body()
  }
}
