// SPDX-License-Identifier: BSD-2-Clause
//
// Tasks that wait for an item of a pool. The core's pool knows threads alone, which it wakes at each put, to look again (Zones/Pool+Wait);
// so it is here. Tasks stand in the order in which they came, and none but the first of them tries.
//
//   put, growth, another limit                     ┌─ has an item: it goes, and the next is the first
//        └─► the event's number goes up ─► tries ──┼─ there is none: stays the first, until the next number
//                                                  └─ its object's `make` refuses: goes behind all others
//
// Nobody tries twice with the same number; so whoever tries has the number noted before, and what comes meanwhile is not missed. What no
// put says is found by a task that looks now and then: a page that a sibling gave back, or a wake-up that a child of fork could not give.

internal import Synchronization

/// What a try had: an item's address, since pointers are not sent.
enum PoolAttempt: Sendable {
  case item(UInt)
  case nothing, refused
}

final class PoolTurns: Sendable {
  private final class Turn: @unchecked Sendable {
    // Under the queue's lock.
    /// While it waits; nil while it tries.
    var continuation: CheckedContinuation<Bool, Never>?
    var isCancelled = false
    /// The event's number at the last try.
    var tried: UInt64?
  }
  private struct Queue {
    var number: UInt64 = 0
    var turns: [Turn] = []

    /// The first one, if it waits and is to try now.
    mutating func next() -> CheckedContinuation<Bool, Never>? {
      guard let first = turns.first, first.tried != number, let continuation = first.continuation else { return nil }
      (first.continuation, first.tried) = (nil, number)
      return continuation
    }
  }

  /// Milliseconds until a task looks for the first time; tests set it.
  static let firstPause = Atomic(10)

  /// Tasks that wait, or are about to.
  private let waiting = Atomic(0)
  private let queue = Mutex(Queue())
  private let isLooking = Atomic(false)

  /// Something may be had now.
  func notePut() {
    guard waiting.load(ordering: .sequentiallyConsistent) > 0 else { return }
    let first = queue.withLockPatiently { queue in
      queue.number += 1
      return queue.next()
    }
    (first ?? nil)?.resume(returning: true)
  }

  /// What `attempt` has of the core's pool, when it is this task's turn and there is something.
  func wait(_ core: PoolCore, _ attempt: @Sendable (PoolCore) -> PoolAttempt) async throws(ZoneError) -> UnsafeMutableRawPointer {
    if waiting.load(ordering: .sequentiallyConsistent) == 0, case .item(let address) = attempt(core) {
      return UnsafeMutableRawPointer(bitPattern: address)!
    }
    waiting.add(1, ordering: .sequentiallyConsistent)
    defer { waiting.subtract(1, ordering: .sequentiallyConsistent) }
    look()
    let turn = Turn()
    change { queue in
      // Those that were refused with this number stand at the end, and let nobody behind them try before the next.
      if let last = queue.turns.last, last.tried == queue.number { queue.number += 1 }
      queue.turns.append(turn)
    }
    // Whoever sees the figure finds the task in the queue.
    core.pool.noteSleep()
    defer { change { queue in queue.turns.removeAll { $0 === turn } } }
    while await comes(turn) {
      switch attempt(core) {
      case .item(let address): return UnsafeMutableRawPointer(bitPattern: address)!
      case .nothing: break
      case .refused:
        change { queue in
          queue.turns.removeAll { $0 === turn }
          queue.turns.append(turn)
        }
      }
    }
    core.pool.noteFailure()
    throw .cancelled
  }

  /// Changes who stands where; who is the first then may try.
  private func change(_ body: (inout Queue) -> Void) {
    let first = queue.withLock { queue in
      body(&queue)
      return queue.next()
    }
    first?.resume(returning: true)
  }

  /// When the turn is the first and is to try; false if the task was cancelled.
  private func comes(_ turn: Turn) async -> Bool {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isCancelled = queue.withLock { _ in
          if !turn.isCancelled { turn.continuation = continuation }
          return turn.isCancelled
        }
        if isCancelled { continuation.resume(returning: false) } else { change { _ in } }
      }
    } onCancel: {
      let continuation = queue.withLock { _ in
        defer { turn.continuation = nil }
        turn.isCancelled = true
        return turn.continuation
      }
      continuation?.resume(returning: false)
    }
  }

  /// While tasks wait, the first of them tries after 10 ms, and ever more rarely, up to once in a second.
  private func look() {
    guard isLooking.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing).exchanged else { return }
    Task.detached { [self] in
      var pause = PoolTurns.firstPause.load(ordering: .relaxed)
      while waiting.load(ordering: .sequentiallyConsistent) > 0 {
        try? await Task.sleep(for: .milliseconds(pause))
        notePut()
        pause = min(pause * 2, max(pause, 1000))
      }
      isLooking.store(false, ordering: .sequentiallyConsistent)
      // One that came between the last look and now has found somebody looking.
      if waiting.load(ordering: .sequentiallyConsistent) > 0 { look() }
    }
  }
}
