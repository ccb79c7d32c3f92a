// SPDX-License-Identifier: BSD-2-Clause
//
// Events of the whole memory, and who wants to hear of them: a short table of handlers. A handler runs without locks; where memory is
// short in the thread that waits for it, which may wait itself; at limits of packet buffers, and where these are changed from outside, in
// the worker.

import CPlatform
import Pages
import Primitives

public enum MemoryEvent: Int32 {
  /// The system has no memory for a request that may wait. Once in ten seconds at most; then all zones give back what they cache.
  case shortage = 1
  /// A limit of packet buffers is met, or memory is short: whoever keeps packets drops what can be spared.
  case packetShortage = 2
  /// A limit of packet buffers has changed.
  case packetLimits = 3
}

public typealias EventFunction = @convention(c) (_ argument: UnsafeMutableRawPointer?) -> Void

struct EventHandler {
  var run: EventFunction?
  var argument: UnsafeMutableRawPointer?
  var event: Int32
  /// Threads that are in it, and the one that came last.
  var calls: Int32
  var lastCaller: UInt
}

/// What events keep in the root. The table is changed under the lock of the list of zones.
public struct EventTable: ~Copyable {
  var handlers: InlineArray<12, EventHandler>
  /// Bits of events that the worker is to tell of.
  var due: Int32
  /// When a shortage was last told of: monotonic nanoseconds.
  var shortageTold: Int64

  static var room: Int { 12 }
  /// Between two times that a shortage is told of, in nanoseconds.
  static var quiet: Int64 { 10_000_000_000 }
}

@inline(__always)
public var events: UnsafeMutablePointer<EventTable> { rootState(EventTable.self, at: RootLayout.eventsOffset) }

extension UnsafeMutablePointer where Pointee == EventTable {
  /// False where the table is full. Takes a lock; what the worker tells of makes the worker.
  public func add(_ event: MemoryEvent, _ run: EventFunction, _ argument: UnsafeMutableRawPointer?) -> Bool {
    zones.pointee.listLock.lock()
    var index = 0
    while index < EventTable.room && (pointee.handlers[index].run != nil || pointee.handlers[index].calls > 0) { index += 1 }
    if index < EventTable.room {
      pointee.handlers[index] = EventHandler(run: run, argument: argument, event: event.rawValue, calls: 0, lastCaller: 0)
    }
    zones.pointee.listLock.unlock()
    if index < EventTable.room && event != .shortage { zones.wantWorker() }
    return index < EventTable.room
  }

  /// Takes back what was added with the same function and argument; false if nothing was. With `waits` no call is under way at the return,
  /// unless it is that which calls.
  public func remove(_ event: MemoryEvent, _ run: EventFunction, _ argument: UnsafeMutableRawPointer?, waits: Bool = true) -> Bool {
    zones.pointee.listLock.lock()
    defer { zones.pointee.listLock.unlock() }
    for index in 0..<EventTable.room {
      let handler = pointee.handlers[index]
      guard handler.event == event.rawValue, handler.argument == argument, let other = handler.run else { continue }
      guard unsafeBitCast(other, to: UInt.self) == unsafeBitCast(run, to: UInt.self) else { continue }
      pointee.handlers[index].run = nil
      var tries = 0
      while waits && pointee.handlers[index].calls > 0 && pointee.handlers[index].lastCaller != stave_thread_pointer() {
        zones.pointee.listLock.unlock()
        tries += 1
        pauseBriefly(after: tries)
        zones.pointee.listLock.lock()
      }
      return true
    }
    return false
  }

  /// Calls the handlers. No lock is held.
  public func tell(_ event: MemoryEvent) {
    for index in 0..<EventTable.room {
      zones.pointee.listLock.lock()
      let handler = pointee.handlers[index], isMeant = handler.event == event.rawValue && handler.run != nil
      if isMeant {
        pointee.handlers[index].calls += 1
        pointee.handlers[index].lastCaller = stave_thread_pointer()
      }
      zones.pointee.listLock.unlock()
      guard isMeant else { continue }
      handler.run?(handler.argument)
      zones.pointee.listLock.lock()
      if pointee.handlers[index].calls > 0 { pointee.handlers[index].calls -= 1 }
      zones.pointee.listLock.unlock()
    }
  }

  /// Has the worker call them.
  public func tellLater(_ event: MemoryEvent) {
    guard hears(event) else { return }
    stave_or32(&pointee.due, 1 << event.rawValue)
    zones.callWorker()
  }

  func tellWhatIsDue() {
    let due = stave_exchange32(&pointee.due, 0)
    for event in MemoryEvent.packetShortage.rawValue...MemoryEvent.packetLimits.rawValue where due >> event & 1 != 0 {
      tell(MemoryEvent(rawValue: event)!)
    }
  }

  /// A request that may wait has found no memory.
  func tellShortage() {
    guard hears(.shortage) || hears(.packetShortage) else { return }
    let now = stave_nanoseconds(), before = Int64(bitPattern: stave_load64(&pointee.shortageTold))
    guard before == 0 || now - before >= EventTable.quiet, stave_replace64(&pointee.shortageTold, before, now) else { return }
    tell(.shortage)
    tell(.packetShortage)
  }

  /// Whether there is a handler, and this thread is in none: what a handler itself meets is told to nobody.
  private func hears(_ event: MemoryEvent) -> Bool {
    zones.pointee.listLock.lock()
    defer { zones.pointee.listLock.unlock() }
    var isHeard = false
    for index in 0..<EventTable.room where pointee.handlers[index].event == event.rawValue {
      if pointee.handlers[index].calls > 0 && pointee.handlers[index].lastCaller == stave_thread_pointer() { return false }
      if pointee.handlers[index].run != nil { isHeard = true }
    }
    return isHeard
  }

  /// In the child of a fork only the thread that forked may be in a handler.
  func forgetCalls() {
    for index in 0..<EventTable.room where pointee.handlers[index].calls > 0 {
      pointee.handlers[index].calls = pointee.handlers[index].lastCaller == stave_thread_pointer() ? 1 : 0
    }
  }
}
