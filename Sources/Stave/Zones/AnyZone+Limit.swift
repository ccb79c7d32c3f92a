// SPDX-License-Identifier: BSD-2-Clause
//
// Limits, and what is said and done when a request meets one.

internal import CPlatform
internal import Synchronization
internal import Zones

extension AnyZone {
  /// How many items there may be, in use and in caches; 0 for any number. A request that meets it gets nil, or waits for its turn: threads
  /// and tasks that wait are served in the order in which they came. It can be changed at any time: items in use stay in use, and
  /// those who wait are served if there is room now. Setting it costs a membarrier for each CPU, since a limit makes caches smaller.
  ///
  ///     let connections = try Zone<Connection>("connections", limit: 100)
  ///     connections.limit = 200
  public final var limit: Int {
    get { core.limit }
    set {
      core.setLimit(newValue)
      limitHasChanged()
    }
  }

  /// Whether the next request that no cache can serve would meet the limit.
  public final var isAtLimit: Bool { core.isExhausted }

  /// A text for standard error, printed when a request meets the limit, once in five minutes at most; nil for none.
  ///
  ///     let connections = try Zone<Connection>("connections", limit: 100)
  ///     connections.setWarning("raise connections.limit")
  ///
  /// Each call makes a copy of the text, which stays in memory as long as the program runs.
  public final func setWarning(_ text: String?) {
    guard let text else { return core.setWarning(nil) }
    let bytes = Array(text.utf8)
    let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: bytes.count + 1)
    for (index, byte) in bytes.enumerated() { copy[index] = byte }
    copy[bytes.count] = 0
    core.setWarning(copy)
  }

  /// A closure that is called when a request meets the limit, unless it is due already: soon after, in a thread of Stave's own,
  /// with no lock held. It may take locks that who asks holds, free items of this zone, and wait, but not at a limit that has a closure; a
  /// request that waits gets what it frees. The first closure of a process makes the thread, which never ends.
  ///
  ///     let connections = try Zone<Connection>("connections", limit: 100)
  ///     connections.atLimit { print("100 connections are in use") }
  ///
  /// The closure is kept until another one takes its place or the zone ends; nil removes it. It must not retain the zone, which would
  /// never end then: capture it weakly, if at all.
  public final func atLimit(_ action: (@Sendable () -> Void)?) { LimitActions.set(core, action) }
}

/// A closure in a structure: as a generic parameter alone it would be wrapped once more each time that a lock's holder reads it.
struct LimitAction {
  var run: (@Sendable () -> Void)?
}

/// The core calls a function without a context, and says which zone it is: its action is found in a list that only grows, without a lock
/// that other zones' actions take. Places of zones that have gone are used again. What is to be forgotten in a child of fork may stay:
/// of a zone that has gone nobody asks.
enum LimitActions {
  private final class Place: Sendable {
    let zone = Atomic<UInt>(0)
    let action = Mutex(LimitAction())
    let next: Place?
    init(before next: Place?) { self.next = next }
  }
  /// The address of the newest place.
  private static let first = Atomic<UInt>(0)
  /// Held by who gives places to zones, or takes them back.
  private static let giving = Mutex<Void>(())

  static func set(_ core: ZonePointer, _ action: (@Sendable () -> Void)?) {
    let zone = UInt(bitPattern: core)
    if action == nil { core.setLimitAction(nil, waits: false) }
    giving.withLock { _ in
      guard let place = place(of: zone) ?? (action == nil ? nil : place(of: 0) ?? add()) else { return }
      place.action.withLock { $0.run = action }
      place.zone.store(action == nil ? 0 : zone, ordering: .releasing)
    }
    guard action != nil else { return }
    let run: Zones.LimitAction = { raw in
      // In the worker, and without the lock: it may take its time, and free.
      LimitActions.place(of: UInt(bitPattern: raw))?.action.withLockPatiently { $0 }?.run?()
    }
    core.setLimitAction(run, waits: false)
  }

  static func forget(_ core: ZonePointer) {
    let zone = UInt(bitPattern: core)
    _ = giving.withLockPatiently { _ in
      guard let place = place(of: zone) else { return }
      place.zone.store(0, ordering: .relaxed)
      _ = place.action.withLockPatiently { $0.run = nil }
    }
  }

  private static var firstPlace: Place? {
    UnsafeRawPointer(bitPattern: first.load(ordering: .acquiring)).map { Unmanaged<Place>.fromOpaque($0).takeUnretainedValue() }
  }

  private static func place(of zone: UInt) -> Place? {
    var next = firstPlace
    while let place = next, place.zone.load(ordering: .acquiring) != zone { next = place.next }
    return next
  }

  private static func add() -> Place {
    let place = Place(before: firstPlace)
    first.store(UInt(bitPattern: Unmanaged.passRetained(place).toOpaque()), ordering: .releasing)
    return place
  }
}
