// SPDX-License-Identifier: BSD-2-Clause
//
// Waiting at a limit in a task: the task is suspended, and no thread waits for it.
//
//   queue of the zone:   thread ◄─ task ◄─ thread ◄─ task      first come, first served (the core's Zone+Turn)
//
// A turn is what the queue has of a task, at a place of its own. It ends in one of two ways, and exactly one: the core tells it that it
// has an item, or its cancellation has taken it out of the queue. The lock orders the beginning against a cancellation that comes
// first; whether an item or the cancellation was first is decided by the core's queue alone.

internal import CPlatform
internal import Synchronization
internal import Zones

final class LimitTurn: @unchecked Sendable {
  private struct Place {
    /// First, since the core gives back its address.
    var waiter = ZoneWaiter()
    var continuation: CheckedContinuation<Bool, Never>?
  }
  private enum State { case new, queued, cancelled }

  private let place = UnsafeMutablePointer<Place>.allocate(capacity: 1)
  private let state = Mutex(State.new)
  private let core: ZonePointer

  init(_ core: ZonePointer) {
    self.core = core
    place.initialize(to: Place())
    place.pointee.waiter.wake = { raw in
      let place = raw.assumingMemoryBound(to: Place.self)
      // The place may be gone as soon as the task goes on.
      let continuation = place.pointee.continuation!
      continuation.resume(returning: true)
    }
  }

  deinit {
    place.deinitialize(count: 1)
    place.deallocate()
  }

  private var waiter: ZoneWaiterPointer { UnsafeMutableRawPointer(place).assumingMemoryBound(to: ZoneWaiter.self) }

  func begin(_ continuation: CheckedContinuation<Bool, Never>) {
    let granted: GrantedWaiters? = state.withLock { state in
      guard case .new = state else { return nil }
      place.pointee.continuation = continuation
      state = .queued
      return core.wait(waiter)
    }
    guard let granted else { return continuation.resume(returning: false) }
    granted.tell()
  }

  func cancel() {
    let isGone = state.withLock { state in
      let wasQueued = if case .queued = state { true } else { false }
      state = .cancelled
      return wasQueued && core.giveUp(waiter)
    }
    if isGone { place.pointee.continuation!.resume(returning: false) }
  }
}

extension AnyZone {
  /// An item of a zone that may have a limit: at it, when it is this task's turn.
  final func itemInTurn(zero: Bool = false) async throws(ZoneError) -> UnsafeMutableRawPointer {
    let flags: WaitFlags = zero ? .noWait.union(.zero) : .noWait
    // Who goes on to wait has not failed.
    if let item = core.allocate(flags, isCounted: false) { return item }
    // Without a limit nobody frees room, and nobody is told.
    guard core.limit > 0, !Task.isCancelled else {
      core.noteFailure()
      throw core.limit > 0 ? .cancelled : .outOfMemory
    }
    let turn = LimitTurn(core)
    let isGranted = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        turn.begin(continuation)
        self.look()
      }
    } onCancel: {
      turn.cancel()
    }
    guard isGranted else {
      core.noteFailure()
      throw .cancelled
    }
    guard let item = core.allocateGranted(zero: zero) else { throw .outOfMemory }
    return item
  }

  /// An item that was freed just as a task began to wait may lie in a cache, and a waiting task cannot look for it. While tasks wait, one
  /// looks: at once, after 10 ms, and ever more rarely, up to once in a second.
  private func look() {
    core.lookForItems()
    guard home.beginLooking() else { return }
    Task.detached { [self] in
      var pause = 10
      while core.isWaitedFor {
        try? await Task.sleep(for: .milliseconds(pause))
        core.lookForItems()
        pause = min(pause * 2, 1000)
      }
      home.endLooking()
      // One that came between the last look and now has found somebody looking.
      if core.isWaitedFor { look() }
    }
  }
}
