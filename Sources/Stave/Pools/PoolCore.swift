// SPDX-License-Identifier: BSD-2-Clause
//
// A pool of the core, and what Swift has beside it. The pool, its items and its caches keep it: with the last of them it ends.
//
//   Pool, PoolItem, PoolCache ──► PoolCore ──► the core's pool, the drain hook, tasks that wait, the shared pages

internal import Synchronization
internal import Zones

@usableFromInline final class PoolCore: @unchecked Sendable {
  // Unchecked: what the core does with a pool is safe in all threads.
  let pool: PoolPointer
  let turns = PoolTurns()
  let hook = CalledClosure()
  private let pages: SharedPages?

  init(_ pool: PoolPointer, _ pages: SharedPages?) {
    self.pool = pool
    self.pages = pages
  }

  deinit {
    hook.set(nil)
    let end = PoolEnd(pool: pool, hook: hook, pages: pages)
    // Somebody who asks pools for pages may be in this pool's hook, in this thread, and its last item went there.
    if end.isUnused { end.end() } else { HomesGivenUp.add(end) }
  }

  @usableFromInline func get(_ request: PoolRequest) -> UnsafeMutableRawPointer? { tellingOfGrowth { pool.get(request.core) } }

  /// A task that tried while this thread fetched a page had nothing: it tries again.
  func tellingOfGrowth<Result>(_ body: () -> Result) -> Result {
    let before = pool.growthCount
    defer { if pool.growthCount != before { turns.notePut() } }
    return body()
  }

  @usableFromInline func put(_ item: UnsafeMutableRawPointer) {
    pool.put(item)
    turns.notePut()
  }

  @usableFromInline func getInTurn() async throws(ZoneError) -> UnsafeMutableRawPointer {
    try await turns.wait(self) { core in
      core.tellingOfGrowth { core.pool.get(.noWait, isCounted: false) }.map { .item(UInt(bitPattern: $0)) } ?? .nothing
    }
  }

  /// 0 for any number.
  var limit: Int {
    get { pool.pointee.limit == .max ? 0 : pool.pointee.limit }
    set {
      pool.setLimit(newValue <= 0 ? .max : newValue)
      turns.notePut()
    }
  }

  func setWarning(_ text: String, _ interval: Duration) {
    let bytes = Array(text.utf8)
    let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: bytes.count + 1)
    for (index, byte) in bytes.enumerated() { copy[index] = byte }
    copy[bytes.count] = 0
    // Up to three centuries.
    let seconds = max(0, min(interval.components.seconds, 9_000_000_000))
    pool.setLimitMessage(copy, interval: seconds * 1_000_000_000 + max(0, interval.components.attoseconds) / 1_000_000_000)
  }
}

/// The end of a pool.
private struct PoolEnd: GivenUp, @unchecked Sendable {
  let pool: PoolPointer
  let hook: CalledClosure
  let pages: SharedPages?

  var isUnused: Bool { !pool.isVisited }
  func end() { pool.destroy() }
}

/// A closure that the core calls, when a pool needs items back or at an event: its function has this for its context, whatever it does at
/// the moment.
final class CalledClosure: Sendable {
  private let action = Mutex(LimitAction())

  func set(_ action: (@Sendable () -> Void)?) { _ = self.action.withLockPatiently { $0.run = action } }

  static let hook: PoolDrainHook = { argument, _ in
    guard let argument else { return }
    // Called without the lock: it puts items back, and those who wait go on.
    Unmanaged<CalledClosure>.fromOpaque(argument).takeUnretainedValue().action.withLockPatiently { $0 }?.run?()
  }
}
