// SPDX-License-Identifier: BSD-2-Clause
//
// What a zone's items know of it: where they return to. It outlives the Swift object, for as long as items are out.
//
//   Zone, ObjectCache …  ─┐
//   ZoneItem, CachedObject ─┼─►  ZoneHome  ─►  the core's zone
//
// A retain and a release of the zone for each item would cost more than the item. So items do not keep the Swift object alive: when that
// goes and items are out, the home is put aside, and with it the core's zone, until the last of them has come back. Frees that take
// the core's slow paths are counted here, so that who finds all items back also knows whether one of these is still at work; the fast
// path's last instruction is the one that counts the item as freed.

public import CPlatform
internal import Synchronization
public import Primitives
public import Zones

@frozen @usableFromInline struct ZoneHome {
  @usableFromInline let core: ZonePointer
  /// Offset of the zone's cell in a CPU's region; 0 where the restartable sections are not to be used.
  @usableFromInline let cell: UInt64
  /// Slow frees that are under way.
  var busy: Int64 = 0
  /// 1 while somebody looks for items on behalf of tasks that wait (LimitTurn).
  var looking: Int64 = 0
  /// What has to live as long as the core's zone does: the source of its items, the zone below it.
  var companion: Unmanaged<AnyObject>?

  init(core: ZonePointer, companion: AnyObject?) {
    self.core = core
    cell = CPUCache.offset(ofCell: core.pointee.cell)
    self.companion = companion.map { Unmanaged.passRetained($0) }
  }
}

@usableFromInline typealias HomePointer = UnsafeMutablePointer<ZoneHome>

extension UnsafeMutablePointer where Pointee == ZoneHome {
  static func make(_ core: ZonePointer, companion: AnyObject? = nil) -> HomePointer {
    let home = HomePointer.allocate(capacity: 1)
    home.initialize(to: ZoneHome(core: core, companion: companion))
    return home
  }

  // MARK: - The fast paths

  /// The item on top of this CPU's cell; nil leads to the core. What has to be looked at is whether MemGuard wants this zone's requests.
  @inlinable @inline(__always)
  static func pop(_ core: ZonePointer, _ cell: UInt64) -> UnsafeMutableRawPointer? {
    cell != 0 && core.pointee.isGuarded == 0 ? stave_pop(cell) : nil
  }

  /// Puts a free item into this CPU's cell; false leads to the core. Frees go round the cell while somebody waits for one, and where
  /// guarded items are out.
  @inlinable @inline(__always)
  static func push(_ core: ZonePointer, _ cell: UInt64, _ item: UnsafeMutableRawPointer) -> Bool {
    cell != 0 && !core.pointee.flags.intersects(.awaited) && core.pointee.guardedItems == 0 && stave_push(cell, item) == 0
  }

  @inlinable @inline(__always)
  func free(_ item: UnsafeMutableRawPointer) {
    if !HomePointer.push(pointee.core, pointee.cell, item) { freeSlow(item) }
  }

  @inline(never) @usableFromInline
  func freeSlow(_ item: UnsafeMutableRawPointer) { whileBusy { $0.free(item) } }

  /// Nobody destroys the zone meanwhile, although the item may be the last.
  func whileBusy(_ body: (ZonePointer) -> Void) {
    _ = stave_add_fetching(&pointee.busy, 1)
    body(pointee.core)
    _ = stave_add_fetching(&pointee.busy, -1)
  }

  func beginLooking() -> Bool { stave_replace64(&pointee.looking, 0, 1) }
  func endLooking() { _ = stave_replace64(&pointee.looking, 1, 0) }

  // MARK: - The end

  /// The Swift object goes. With items out it is said so on standard error, and the core's zone stays until they are back.
  func giveUp() {
    HomesGivenUp.sweep()
    let out = pointee.core.itemsOut
    if out > 0 { pointee.core.reportOut(out) }
    // A free that counted its item a moment ago; where it was another thread's of the parent of this process, it never ends.
    var tries = 0
    while out == 0 && !isUnused && !isInReadersSight && tries < 1000 {
      _ = stave_yield()
      tries += 1
    }
    let end = HomeEnd(home: self)
    if isUnused { end.end() } else { HomesGivenUp.add(end) }
  }

  /// Whether all items are back, and their frees have ended. Nobody can allocate any more, so they only become fewer. What is deferred
  /// ends with the zone, and so when this thread is in none of its readers' sections; and an action at the limit may be this thread's.
  fileprivate var isUnused: Bool {
    pointee.core.itemsOut == 0 && stave_load64(&pointee.busy) == 0 && !isInReadersSight && !pointee.core.isInAction
  }

  private var isInReadersSight: Bool { pointee.core.smr?.isInside ?? false }

  fileprivate func end() {
    LimitActions.forget(pointee.core)
    pointee.core.destroy()
    let companion = pointee.companion
    deallocate()
    companion?.release()
  }
}

extension Mutex where Value: ~Copyable {
  /// With the lock; nil where it cannot be had in a thousand tries: in a child of fork nobody may be left to open it.
  borrowing func withLockPatiently<Result>(_ body: (inout sending Value) -> sending Result) -> sending Result? {
    for _ in 0..<1000 {
      if let result = withLockIfAvailable(body) { return result }
      _ = stave_yield()
    }
    return nil
  }
}

/// What ends later.
protocol GivenUp: Sendable {
  var isUnused: Bool { get }
  func end()
}

private struct HomeEnd: GivenUp, @unchecked Sendable {
  let home: HomePointer
  var isUnused: Bool { home.isUnused }
  func end() { home.end() }
}

/// What was given up with items out: looked at whenever a zone or a pool is made, or a zone goes, and when all are trimmed. In a child of
/// fork it may stay where it is.
enum HomesGivenUp {
  private static let all = Mutex<[any GivenUp]>([])

  static func add(_ end: any GivenUp) { _ = all.withLockPatiently { $0.append(end) } }

  static func sweep() {
    let unused = all.withLockIfAvailable { ends in
      // Each is asked once: what has become unused since is the next one's.
      let split = Dictionary(grouping: ends) { $0.isUnused }
      ends = split[false] ?? []
      return split[true] ?? []
    }
    for end in unused ?? [] { end.end() }
  }
}
