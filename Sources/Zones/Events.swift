// SPDX-License-Identifier: BSD-2-Clause
//
// Events of the whole memory, and who wants to hear of them: a short table of handlers. A handler runs without locks; where memory is
// short in the thread that waits for it, which may wait itself; at limits of packet buffers in the worker.

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
}

/// What events keep in the root. The table is changed under the lock of the list of zones.
public struct EventTable: ~Copyable {
  var handlers: InlineArray<20, EventHandler>
  var count: Int
  /// When a shortage was last told of: monotonic nanoseconds.
  var shortageTold: Int64

  static var room: Int { 20 }
  /// Between two times that a shortage is told of, in nanoseconds.
  static var quiet: Int64 { 10_000_000_000 }
}

@inline(__always)
public var events: UnsafeMutablePointer<EventTable> { rootState(EventTable.self, at: RootLayout.eventsOffset) }

extension UnsafeMutablePointer where Pointee == EventTable {

  /// False where the table is full. Takes a lock.
  public func add(_ event: MemoryEvent, _ run: EventFunction, _ argument: UnsafeMutableRawPointer?) -> Bool {
    zones.pointee.listLock.lock()
    var index = 0
    while index < EventTable.room && pointee.handlers[index].run != nil { index += 1 }
    if index < EventTable.room {
      pointee.handlers[index] = EventHandler(run: run, argument: argument, event: event.rawValue)
      pointee.count += 1
    }
    zones.pointee.listLock.unlock()
    if index < EventTable.room && event == .packetShortage { zones.wantWorker() }
    return index < EventTable.room
  }

  /// Takes back what was added with the same function and argument; false if nothing was. A call that is under way goes on.
  public func remove(_ event: MemoryEvent, _ run: EventFunction, _ argument: UnsafeMutableRawPointer?) -> Bool {
    zones.pointee.listLock.lock()
    defer { zones.pointee.listLock.unlock() }
    for index in 0..<EventTable.room {
      let handler = pointee.handlers[index]
      guard handler.event == event.rawValue, handler.argument == argument, let other = handler.run else { continue }
      guard unsafeBitCast(other, to: UInt.self) == unsafeBitCast(run, to: UInt.self) else { continue }
      pointee.handlers[index].run = nil
      pointee.count -= 1
      return true
    }
    return false
  }

  /// Calls the handlers. No lock is held.
  public func tell(_ event: MemoryEvent) {
    guard pointee.count > 0 else { return }
    for index in 0..<EventTable.room {
      zones.pointee.listLock.lock()
      let handler = pointee.handlers[index]
      zones.pointee.listLock.unlock()
      if handler.event == event.rawValue { handler.run?(handler.argument) }
    }
  }

  /// A request that may wait has found no memory.
  func tellShortage() {
    guard pointee.count > 0 else { return }
    let now = stave_nanoseconds(), before = Int64(bitPattern: stave_load64(&pointee.shortageTold))
    guard before == 0 || now - before >= EventTable.quiet, stave_replace64(&pointee.shortageTold, before, now) else { return }
    tell(.shortage)
    tell(.packetShortage)
  }
}
