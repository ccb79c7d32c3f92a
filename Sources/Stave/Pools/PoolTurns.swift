// SPDX-License-Identifier: BSD-2-Clause
//
// Tasks that wait for an item of a pool. The core's pool knows threads alone, which it wakes at each put, to look again (Zones/Pool+Wait);
// so it is here: a put wakes the task that has waited longest, which tries again, and waits at the front where it fails.
//
//   put ─► the event's number goes up ─► the first of the queue is resumed ─► tries ─► has an item and resumes the next, or is first again
//
// A task reads the number before it tries, and waits only if it is still the same: what is put in between is not missed. What no put
// says is found by a task that looks now and then: a page that a sibling gave back, or a wake-up that a child of fork could not give.

internal import Synchronization

final class PoolTurns: Sendable {
  private final class Turn: @unchecked Sendable {
    // Under the queue's lock.
    var continuation: CheckedContinuation<Bool, Never>?
    var isCancelled = false
  }
  private struct Queue {
    var number: UInt64 = 0
    var turns: [Turn] = []
  }

  /// Tasks that wait, or are about to.
  private let waiting = Atomic(0)
  private let queue = Mutex(Queue())
  private let isLooking = Atomic(false)

  /// Something was put.
  func notePut() {
    if waiting.load(ordering: .sequentiallyConsistent) > 0 { wakeFirst() }
  }

  func wakeFirst() {
    let turn = queue.withLockPatiently { queue -> Turn? in
      queue.number += 1
      return queue.turns.isEmpty ? nil : queue.turns.removeFirst()
    }
    (turn ?? nil)?.continuation?.resume(returning: true)
  }

  func wakeAll() {
    guard waiting.load(ordering: .sequentiallyConsistent) > 0 else { return }
    let turns = queue.withLockPatiently { queue in
      defer { queue.turns = [] }
      queue.number += 1
      return queue.turns
    }
    for turn in turns ?? [] { turn.continuation?.resume(returning: true) }
  }

  /// What `attempt` has of the core's pool, as soon as it has something. The item's address, since pointers are not sent.
  func wait(_ core: PoolCore, _ attempt: @Sendable (PoolCore) -> UInt) async throws(ZoneError) -> UnsafeMutableRawPointer {
    if let item = UnsafeMutableRawPointer(bitPattern: attempt(core)) { return item }
    core.pool.noteSleep()
    waiting.add(1, ordering: .sequentiallyConsistent)
    defer { waiting.subtract(1, ordering: .sequentiallyConsistent) }
    look()
    var isFirst = false
    while true {
      let number = queue.withLock { $0.number }
      if let item = UnsafeMutableRawPointer(bitPattern: attempt(core)) {
        // A page has more items than one, and what empties a cache says so once: the next one tries, too.
        if isFirst { wakeFirst() }
        return item
      }
      guard await untilPut(after: number, isFirst: isFirst) else {
        core.pool.noteFailure()
        throw .cancelled
      }
      isFirst = true
    }
  }

  /// False if the task was cancelled.
  private func untilPut(after number: UInt64, isFirst: Bool) async -> Bool {
    let turn = Turn()
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let answer = queue.withLock { queue -> Bool? in
          if turn.isCancelled { return false }
          if queue.number != number { return true }
          turn.continuation = continuation
          queue.turns.insert(turn, at: isFirst ? 0 : queue.turns.count)
          return nil
        }
        if let answer { continuation.resume(returning: answer) }
      }
    } onCancel: {
      let continuation = queue.withLock { queue -> CheckedContinuation<Bool, Never>? in
        turn.isCancelled = true
        guard let index = queue.turns.firstIndex(where: { $0 === turn }) else { return nil }
        queue.turns.remove(at: index)
        return turn.continuation
      }
      continuation?.resume(returning: false)
    }
  }

  /// While tasks wait, one of them is woken after 10 ms, and ever more rarely, up to once in a second.
  private func look() {
    guard isLooking.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged else { return }
    Task.detached { [self] in
      var pause = 10
      while waiting.load(ordering: .sequentiallyConsistent) > 0 {
        try? await Task.sleep(for: .milliseconds(pause))
        wakeFirst()
        pause = min(pause * 2, 1000)
      }
      isLooking.store(false, ordering: .sequentiallyConsistent)
      // One that came between the last look and now has found somebody looking.
      if waiting.load(ordering: .sequentiallyConsistent) > 0 { look() }
    }
  }
}
