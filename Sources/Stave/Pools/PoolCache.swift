// SPDX-License-Identifier: BSD-2-Clause
//
// Objects that stay made between their uses, in front of a pool (Zones/PoolCache): in groups of sixteen, which are given back to the pool
// where it can serve no request otherwise.
//
//   pool ── make ──►  groups, free  ◄──►  in use
//        ◄── end ──

internal import Zones

/// A cache of objects that keep their state between uses, in memory of a ``Pool``. To the pool they are in use, whether somebody has them
/// or not; where it needs them it has the unused ones ended.
///
/// ```swift
/// let memory = try Pool<[Int]>("tables", limit: 10)
/// let tables = try PoolCache(memory) { Array(repeating: 0, count: 1000) }
/// if var table = tables.object() {
///   table.value[5] = 1
/// }                                                   // back in the cache, as it is
/// print(tables.object()?.value[5] as Any, tables.hits)   // Optional(1) 1
/// ```
///
/// An object that is cached is nobody's, and the next one to have it may be any thread: so objects are `Sendable`. For speed on many CPUs
/// there is ``ObjectCache``.
public final class PoolCache<Object: ~Copyable & Sendable>: Sendable {
  @usableFromInline let core: PoolCacheCore

  /// A new cache, empty. A pool may have several, each with objects made in another way.
  ///
  /// - Parameters:
  ///   - pool: Where objects lie. It lives as long as the cache.
  ///   - make: Makes an object when none is cached; nil refuses the request. In the thread that asks, and not to ask this pool.
  /// - Throws: ``ZoneError/outOfMemory``.
  public init(_ pool: Pool<Object>, make: @escaping @Sendable () -> Object?) throws(ZoneError) {
    core = try PoolCacheCore(TypedObjectMaker(pool.core, make))
  }

  /// An object, as the last use left it or new; nil when `make` refuses, and where the pool gives nothing.
  @inlinable
  public func object(_ request: PoolRequest = []) -> PoolObject<Object>? {
    guard let object = core.get(request) else { return nil }
    return PoolObject(object.assumingMemoryBound(to: Object.self), core)
  }

  /// An object, as soon as there is one: ``Pool/itemWhenFree(_:)`` has what is said of tasks that wait.
  ///
  /// ```swift
  /// let lines = try PoolCache(try Pool<Int>("lines", limit: 1)) { 0 }
  /// var line = try await lines.objectWhenFree()
  /// line.value += 1
  /// ```
  ///
  /// - Throws: ``ZoneError/cancelled`` if the task is cancelled before. Where `make` refuses, the task waits behind all others that wait
  ///   now, and `make` is asked again.
  public func objectWhenFree() async throws(ZoneError) -> PoolObject<Object> {
    PoolObject(try await core.getInTurn().assumingMemoryBound(to: Object.self), core)
  }

  /// Ends all objects that are not in use.
  ///
  /// ```swift
  /// let words = try PoolCache(try Pool<String>("words")) { "new" }
  /// _ = words.object()
  /// words.trim()
  /// print(words.itemsCached)   // 0
  /// ```
  public func trim() { core.trim() }

  /// Objects that are made and not in use.
  public var itemsCached: Int { core.cache.pointee.held }
  /// Requests that found an object made.
  public var hits: Int { core.cache.pointee.gets - core.cache.pointee.misses }
  /// Requests that did not.
  public var misses: Int { core.cache.pointee.misses }
}

/// An object of a ``PoolCache`` while it is in use, with one owner, which keeps cache and pool alive. At the end of its life it goes back
/// to the cache as it is.
///
/// ```swift
/// let counters = try PoolCache(try Pool<Int>("counters")) { 0 }
/// do {
///   var counter = counters.object()
///   counter?.value += 1
/// }
/// counters.object()?.discard()   // another is made in its place
/// print(counters.object()?.value as Any)   // Optional(0)
/// ```
@frozen public struct PoolObject<Object: ~Copyable & Sendable>: ~Copyable, @unchecked Sendable {
  @usableFromInline let object: UnsafeMutablePointer<Object>
  /// Retained.
  @usableFromInline let core: Unmanaged<PoolCacheCore>

  @inlinable
  init(_ object: UnsafeMutablePointer<Object>, _ core: PoolCacheCore) {
    self.object = object
    self.core = Unmanaged.passRetained(core)
  }

  @inlinable
  deinit { core.takeRetainedValue().put(UnsafeMutableRawPointer(object)) }

  /// The object where it lies: read and changed without a copy.
  @inlinable public var value: Object {
    unsafeAddress { UnsafePointer(object) }
    unsafeMutableAddress { object }
  }

  /// Ends the object, which is not used again.
  @inlinable public consuming func discard() {
    let (object, core) = (object, core)
    discard self
    object.deinitialize(count: 1)
    core.takeRetainedValue().putMemory(UnsafeMutableRawPointer(object))
  }
}

/// A cache of the core, and what makes its objects.
@usableFromInline final class PoolCacheCore: @unchecked Sendable {
  // Unchecked: what the core does with a cache is safe in all threads.
  let cache: PoolCachePointer
  private let pool: PoolCore

  init(_ maker: ObjectMaker) throws(ZoneError) {
    let context = Unmanaged.passRetained(maker).toOpaque()
    let made = maker.pool.pool.makeCache(constructor: ObjectMaker.constructor, destructor: ObjectMaker.destructor, argument: context)
    guard let cache = made else {
      Unmanaged<ObjectMaker>.fromOpaque(context).release()
      throw .outOfMemory
    }
    self.cache = cache
    pool = maker.pool
  }

  // An object that is being ended may have had the last of the cache.
  deinit { cache.giveUp(ObjectMaker.whenGone) }

  @usableFromInline func get(_ request: PoolRequest) -> UnsafeMutableRawPointer? {
    pool.tellingOfGrowth { cache.get(request.subtracting(.zero).core) }
  }

  @usableFromInline func getInTurn() async throws(ZoneError) -> UnsafeMutableRawPointer {
    try await pool.turns.wait(pool) { [self] _ in
      var isRefused = false
      let object = pool.tellingOfGrowth { cache.get(.noWait, isCounted: false, isRefused: &isRefused) }
      return object.map { .item(UInt(bitPattern: $0)) } ?? (isRefused ? .refused : .nothing)
    }
  }

  @usableFromInline func put(_ object: UnsafeMutableRawPointer) {
    cache.put(object)
    pool.turns.notePut()
  }

  /// Of an object that has ended.
  @usableFromInline func putMemory(_ item: UnsafeMutableRawPointer) { pool.put(item) }

  func trim() {
    cache.invalidate()
    pool.turns.notePut()
  }
}

/// What the core's cache has for a context. It keeps it, and by it the pool, to its end.
class ObjectMaker: @unchecked Sendable {
  let pool: PoolCore

  init(_ pool: PoolCore) { self.pool = pool }

  func make(_ item: UnsafeMutableRawPointer) -> Bool { false }
  func end(_ item: UnsafeMutableRawPointer) {}

  static let constructor: Constructor = { item, _, argument, _ in of(argument!).make(item) ? 0 : 1 }
  static let destructor: Destructor = { item, _, argument in of(argument!).end(item) }

  static let whenGone: PoolCacheEnd = { argument in
    let maker = Unmanaged<ObjectMaker>.fromOpaque(argument!).takeRetainedValue()
    maker.pool.turns.notePut()
  }

  private static func of(_ argument: UnsafeMutableRawPointer) -> ObjectMaker { Unmanaged.fromOpaque(argument).takeUnretainedValue() }
}

final class TypedObjectMaker<Object: ~Copyable & Sendable>: ObjectMaker, @unchecked Sendable {
  private let makeObject: @Sendable () -> Object?

  init(_ pool: PoolCore, _ make: @escaping @Sendable () -> Object?) {
    makeObject = make
    super.init(pool)
  }

  override func make(_ item: UnsafeMutableRawPointer) -> Bool {
    guard let object = makeObject() else { return false }
    item.initializeMemory(as: Object.self, to: object)
    return true
  }

  override func end(_ item: UnsafeMutableRawPointer) { item.assumingMemoryBound(to: Object.self).deinitialize(count: 1) }
}
