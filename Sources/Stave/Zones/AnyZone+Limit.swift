// SPDX-License-Identifier: BSD-2-Clause
//
// Limits, and what is said and done when a request meets one.

internal import CPlatform
internal import Synchronization
internal import Zones

extension AnyZone {
  /// How many items there may be, in callers' hands and in caches; 0 for any number. Whoever meets it gets nil, or waits for its turn: who
  /// came first is served first, be it a thread or a task that waits. At any time: what is out stays out, and who waits is served if
  /// there is room now. Setting it costs a membarrier for each CPU, since caches are made small beside it.
  ///
  ///     let connections = try Zone<Connection>("connections", limit: 100)
  ///     connections.limit = 200
  public final var limit: Int {
    get { core.limit }
    set { core.setLimit(newValue) }
  }

  /// Whether the next request that no cache serves would meet the limit.
  public final var isAtLimit: Bool { core.isExhausted }

  /// What is said on standard error when a request meets the limit, once in five minutes at most; nil for nothing.
  ///
  ///     let connections = try Zone<Connection>("connections", limit: 100)
  ///     connections.setWarning("raise connections.limit")
  ///
  /// The text stays in memory as long as the program runs.
  public final func setWarning(_ text: String?) {
    guard let text else { return core.setWarning(nil) }
    let bytes = Array(text.utf8)
    let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: bytes.count + 1)
    for (index, byte) in bytes.enumerated() { copy[index] = byte }
    copy[bytes.count] = 0
    core.setWarning(copy)
  }

  /// What is done each time a request meets the limit, unless it is being done: in the thread that asks, with no lock held. It may free
  /// items of this zone and may not ask for any; if there is room then, the request gets it.
  ///
  ///     let connections = try Zone<Connection>("connections", limit: 100)
  ///     connections.atLimit { print("\(connections.limit) connections") }
  public final func atLimit(_ action: (@Sendable () -> Void)?) { LimitActions.set(core, action) }
}

/// The core calls a function without a context, and says which zone it is. Where the lock cannot be had, as it may be in a child of fork for
/// good, an action is left out, and what is to be forgotten stays: of a zone that has gone nobody asks.
enum LimitActions {
  private static let all = Mutex<[UInt: @Sendable () -> Void]>([:])

  static func set(_ core: ZonePointer, _ action: (@Sendable () -> Void)?) {
    let zone = UInt(bitPattern: core)
    if action == nil { core.setLimitAction(nil) }
    all.withLock { $0[zone] = action }
    guard action != nil else { return }
    core.setLimitAction { raw in
      let zone = UInt(bitPattern: raw)
      // Called without the lock: it may take its time, and free.
      (LimitActions.all.withLockIfAvailable { $0[zone] } ?? nil)?()
    }
  }

  static func forget(_ core: ZonePointer) {
    let zone = UInt(bitPattern: core)
    _ = all.withLockIfAvailable { _ = $0.removeValue(forKey: zone) }
  }
}
