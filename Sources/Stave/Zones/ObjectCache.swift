// SPDX-License-Identifier: BSD-2-Clause
//
// Object caches: what UMA's init and fini, ctor and dtor are for. Objects that are expensive to make stay made between their uses.
//
//                make                     object()
//   zone below ─────────►  cache, free  ─────────────►  in use          make: once for many uses
//              ◄─────────               ◄─────────────                  reset: after each use
//                end                       reset
//
// In the core it is a cache-only zone (Zones/Zone+CacheOnly): per-CPU caches of addresses, whose slow paths call make and end.

internal import Zones

/// A cache of objects that keep their state between uses: parsers with their buffers, connections, compiled patterns.
///
///     let parsers = try ObjectCache<Parser>("parsers") { Parser(capacity: 4096) } reset: { $0.removeAll() }
///     if var parser = parsers.object() {
///       parser.value.parse(text)
///     }                                  // reset, and back in the cache
///
/// With a limit it is a pool: there are at most so many objects, in use and cached, and a request for one more can wait for its turn.
///
/// In a child of fork a cache can be used only if no other thread was making, waiting for or returning one of its objects at the fork.
///
/// A cached object belongs to nobody, and any thread may get it next, so objects are `Sendable`. They end in the thread that empties the
/// cache by ``trim()``, that finds it full, or that releases the cache; ``trimZones()`` leaves some to caches that have a limit.
public final class ObjectCache<Object: ~Copyable & Sendable>: AnyZone, @unchecked Sendable {
  @usableFromInline let resetter: ObjectResetter<Object>

  /// A new cache, empty.
  ///
  /// - Parameters:
  ///   - name: What the tools show: of its UTF-8, 31 bytes.
  ///   - limit: How many objects there may be, in use and cached; 0 for any number.
  ///   - zone: Where objects lie; nil for a zone of its own, of the same name.
  ///   - make: Makes an object when none is cached; nil refuses the request. It runs in the thread that asks, and may not use this cache.
  ///   - reset: Called at the end of each use, in the thread that ends it. It may not wait.
  /// - Throws: As ``Zone/init(_:flags:limit:reserve:preallocated:addresses:)``.
  public init(
    _ name: String, limit: Int = 0, in zone: Zone<Object>? = nil, make: @escaping @Sendable () -> Object?,
    reset: (@Sendable (inout Object) -> Void)? = nil
  ) throws(ZoneError) {
    // What lies below is cached above: the cache's objects alone.
    let memory = if let zone { zone } else { try Zone<Object>(name, flags: .noCaches) }
    let source = TypedObjectSource(memory, make)
    resetter = ObjectResetter(source, reset)
    let core = try makeCore(Object.self, name, []) { name, size, _ in
      makeCacheOnlyZone(
        name: name, size: size, argument: Unmanaged.passUnretained(source).toOpaque(), importItems: ObjectSource.importItems,
        releaseItems: ObjectSource.releaseItems)
    }
    // Objects that are out find it there.
    super.init(core, companion: resetter)
    source.core = core
    if limit > 0 { core.setLimit(limit) }
  }

  /// Ends all objects that are not in use.
  public override func trim() {
    super.trim()
    resetter.source.endKept()
  }

  /// Ends objects that nobody uses where there are more than the limit allows; what is in use above it ends when it comes back.
  override func limitHasChanged() {
    if limit > 0 { resetter.source.endKept(above: limit) }
  }

  /// Objects that are made and not in use, about.
  public override var itemsCached: Int { super.itemsCached + resetter.source.keptObjects }

  /// An object, as the last use left it or new; nil when `make` refuses, when there is no memory, or at the limit if the request does not
  /// wait. A cached one costs some twenty instructions.
  @inlinable @inline(__always)
  public func object(_ request: ZoneRequest = []) -> CachedObject<Object>? {
    if let item = HomePointer.pop(core, cell) { return CachedObject(item.assumingMemoryBound(to: Object.self), home, resetter) }
    return objectSlow(request)
  }

  /// An object; at the limit, when it is this task's turn: tasks and threads that wait are served in the order in which they came. An
  /// object that was already in another CPU's cache is found by looking again: after 10 ms, then ever more rarely, up to once a second.
  ///
  ///     let pool = try ObjectCache<Connection>("connections", limit: 4) { Connection() }
  ///     let connection = try await pool.objectWhenFree()
  ///
  /// - Throws: ``ZoneError/cancelled`` if the task is cancelled before its turn, ``ZoneError/outOfMemory`` if there is no memory or
  ///   `make` refuses.
  public func objectWhenFree() async throws(ZoneError) -> CachedObject<Object> {
    CachedObject(try await itemInTurn().assumingMemoryBound(to: Object.self), home, resetter)
  }

  @inline(never) @usableFromInline
  func objectSlow(_ request: ZoneRequest) -> CachedObject<Object>? {
    // Memory that is to be zero is no object.
    guard let item = core.allocate(request.subtracting(.zero).core) else { return nil }
    return CachedObject(item.assumingMemoryBound(to: Object.self), home, resetter)
  }
}

/// What is called at the end of each use; it keeps the source, too.
@usableFromInline final class ObjectResetter<Object: ~Copyable & Sendable>: Sendable {
  @usableFromInline let reset: (@Sendable (inout Object) -> Void)?
  let source: ObjectSource

  @inline(never) @usableFromInline
  func freeSlow(_ object: UnsafeMutableRawPointer, _ home: HomePointer) { source.free(object, home) }

  init(_ source: ObjectSource, _ reset: (@Sendable (inout Object) -> Void)?) {
    self.source = source
    self.reset = reset
  }
}
