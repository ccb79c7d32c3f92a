// SPDX-License-Identifier: BSD-2-Clause
//
// The worker: a thread in which the code of authors runs that is due at a limit. Who met the limit may hold locks of its author's, and
// may not wait; the worker holds none, and may.
//
//   request at the limit ─► its zone's action is due ─► the worker wakes ─► it runs what is due, one after the other
//
// There is no worker before the first action or handler (Events) is set, and none in a child of fork before something is due there.
// Who makes threads fills `startWorker` in (Own).
//
// Cost: at a limit one exchange, and a system call if the action was not due already.

import CPlatform
import Pages
import Primitives

/// What a zone's action is up to.
enum ActionState {
  static var idle: UInt32 { 0 }
  static var due: UInt32 { 1 }
  static var running: UInt32 { 2 }
  /// A request has met the limit meanwhile.
  static var runningAndDue: UInt32 { 3 }
}

/// Whether there is a worker.
enum WorkerState {
  static var unwanted: UInt32 { 0 }
  static var wanted: UInt32 { 1 }
  static var running: UInt32 { 2 }
}

extension UnsafeMutablePointer where Pointee == ZonesState {
  /// From now on there is to be a worker. Creates a thread.
  func wantWorker() {
    if stave_replace32(&pointee.worker, WorkerState.unwanted, WorkerState.wanted) { callWorker() }
  }

  /// A request has met the limit: its zone's action is to run, once more if it is running, and it is not the action's own request.
  func makeDue(_ zone: ZonePointer) {
    guard stave_load32(&pointee.worker) != WorkerState.unwanted else { return }
    while true {
      let state = UInt32(bitPattern: stave_load32(&zone.pointee.bound.actionState))
      if state == ActionState.idle {
        if stave_replace32(&zone.pointee.bound.actionState, ActionState.idle, ActionState.due) { return callWorker() }
      } else if state == ActionState.running {
        if isWorker { return }
        if stave_replace32(&zone.pointee.bound.actionState, ActionState.running, ActionState.runningAndDue) { return }
      } else {
        if stave_load32(&pointee.worker) == WorkerState.wanted { callWorker() }
        return
      }
    }
  }

  /// Something has become due. Where the system has no thread for the worker it stays due: the next call tries again.
  func callWorker() {
    guard stave_exchange32(&pointee.workerCalls, 1) == 0 || stave_load32(&pointee.worker) == WorkerState.wanted else { return }
    if stave_replace32(&pointee.worker, WorkerState.wanted, WorkerState.running) {
      if !(pointee.startWorker?() ?? false) { stave_store32(&pointee.worker, WorkerState.wanted) }
    } else {
      _ = stave_futex_wake(&pointee.workerCalls, 1)
    }
  }

  /// The life of the worker.
  public func work() {
    pointee.workerThread = stave_thread_pointer()
    while true {
      while stave_exchange32(&pointee.workerCalls, 0) == 0 { _ = stave_futex_wait(&pointee.workerCalls, 0, -1) }
      runDue()
    }
  }

  /// Runs what is due. No lock is held.
  func runDue() {
    while let zone = takeDue() {
      zone.pointee.bound.action?(UnsafeMutableRawPointer(zone))
      pointee.listLock.lock()
      if !stave_replace32(&zone.pointee.bound.actionState, ActionState.running, ActionState.idle) {
        stave_store32(&zone.pointee.bound.actionState, ActionState.due)
      }
      zone.pointee.walks -= 1
      pointee.listLock.unlock()
    }
    events.tellWhatIsDue()
  }

  /// A zone whose action is due, and runs from now on: it is not ended meanwhile.
  private func takeDue() -> ZonePointer? {
    pointee.listLock.lock()
    defer { pointee.listLock.unlock() }
    var next = pointee.first
    while let zone = next {
      if !zone.pointee.flags.contains(.dying) && stave_replace32(&zone.pointee.bound.actionState, ActionState.due, ActionState.running) {
        zone.pointee.walks += 1
        return zone
      }
      next = zone.pointee.next
    }
    return nil
  }

  var isWorker: Bool { pointee.workerThread == stave_thread_pointer() }

  /// In the child of a fork, which has no worker, unless it was the worker that forked, in an action.
  func forgetWorker() {
    guard !isWorker else { return }
    if pointee.worker == WorkerState.running { pointee.worker = WorkerState.wanted }
    pointee.workerCalls = 0
    pointee.workerThread = 0
  }
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// In the child of a fork, as above.
  func forgetAction() {
    let isOurs = isInAction && zones.isWorker
    pointee.walks = isOurs ? 1 : 0
    pointee.bound.actionState = isOurs ? ActionState.running : ActionState.idle
  }

  /// Ends the process where the worker is about to wait for itself.
  func demandOtherThread(_ what: StaticString) {
    guard zones.isWorker else { return }
    var report = Report("action at a limit")
    report.text("it ")
    report.text(what)
    report.text(" zone ")
    report.name(pointee.name)
    report.text(", which would wait for itself\n")
    report.stop()
  }
}
