// SPDX-License-Identifier: BSD-2-Clause
//
// A pool cache: objects that stay constructed while nobody has them, in groups of sixteen at most, in front of a pool. get and put touch
// the current group only; a full one goes on the list of full ones, and is idle from then on until its turn comes again, the newest
// first. The constructor runs when an object is made of an item, the destructor before the item goes back to the pool.
//
//   get ◄─┐ current ┌─ put        full: newest ─► … ─► oldest: idle ones go first       empty: room for objects
//         └─ ■■■□□ ◄┘
//
// For the pool, objects in groups are out. So where it can serve no request otherwise it has them all given back, and a put that
// somebody waits for goes straight to the pool. With item checks on (Trash) caches are passed by, as the CPUs' are.
//
// All of it is under the pool's lock, which is not held while constructors and destructors run.

import CPlatform
import Primitives

public struct PoolCache: ~Copyable {
  let pool: PoolPointer
  /// The pool's next cache.
  public internal(set) var next: PoolCachePointer?
  let constructor: Constructor?
  let destructor: Destructor?
  let argument: UnsafeMutableRawPointer?
  var current: PoolGroupPointer? = nil
  var full: PoolGroupPointer? = nil
  var empty: PoolGroupPointer? = nil
  /// Walks over the pool's caches that are at this one.
  var visits = 0
  public internal(set) var gets = 0
  public internal(set) var misses = 0
  public internal(set) var puts = 0
  /// Objects in groups.
  public internal(set) var held = 0
  /// Set when it has been given up: what is called once it has gone.
  var whenGone: PoolCacheEnd? = nil
}

public struct PoolGroup {
  static var room: Int { 16 }

  var next: UnsafeMutablePointer<PoolGroup>?
  var count = 0
  var idleSince: Int64 = 0
  var objects = InlineArray<16, UInt>(repeating: 0)
}

/// Told with the hooks' argument that a cache that was given up does not need it any more.
public typealias PoolCacheEnd = @convention(c) (_ argument: UnsafeMutableRawPointer?) -> Void
public typealias PoolCachePointer = UnsafeMutablePointer<PoolCache>
typealias PoolGroupPointer = UnsafeMutablePointer<PoolGroup>

extension UnsafeMutablePointer where Pointee == Pool {
  /// A cache of objects that `constructor` makes of the pool's items, and `destructor` makes items again; both get `argument`. Nil when
  /// memory is not to be had.
  public func makeCache(constructor: Constructor?, destructor: Destructor?, argument: UnsafeMutableRawPointer? = nil) -> PoolCachePointer? {
    guard let raw = zones.poolKegs()?.caches.takeOne() else { return nil }
    let cache = raw.assumingMemoryBound(to: PoolCache.self)
    pointee.keg.pointee.lock.lock()
    cache.initialize(to: PoolCache(pool: self, next: pointee.caches, constructor: constructor, destructor: destructor, argument: argument))
    pointee.caches = cache
    pointee.keg.pointee.lock.unlock()
    return cache
  }

  /// The lock is held.
  var cachesHoldObjects: Bool {
    var cache = pointee.caches
    while let some = cache {
      if some.pointee.held > 0 { return true }
      cache = some.pointee.next
    }
    return false
  }
}

extension UnsafeMutablePointer where Pointee == PoolCache {
  private var keg: KegPointer { pointee.pool.pointee.keg }

  /// An object; nil as the pool's get, and if the constructor refuses.
  public func get(_ given: WaitFlags = .noWait, isCounted: Bool = true) -> UnsafeMutableRawPointer? {
    var isRefused = false
    return get(given, isCounted: isCounted, isRefused: &isRefused)
  }

  /// The same; `isRefused` is set where the constructor refuses.
  @inline(never)
  public func get(_ given: WaitFlags, isCounted: Bool, isRefused: inout Bool) -> UnsafeMutableRawPointer? {
    let flags = given.checked, pool = pointee.pool
    keg.pointee.lock.lock()
    pointee.gets &+= 1
    let object = take()
    if object == nil { pointee.misses &+= 1 }
    keg.pointee.lock.unlock()
    if let object { return object }
    guard let item = pool.get(flags, isCounted: isCounted) else { return nil }
    guard let constructor = pointee.constructor else { return item }
    FutexLock.enterHook(maySleep: flags.maySleep)
    isRefused = constructor(item, keg.pointee.layout.size, pointee.argument, flags.rawValue) != 0
    FutexLock.leaveHook(maySleep: flags.maySleep)
    guard isRefused else { return item }
    pool.put(item)
    return nil
  }

  /// Takes an object back, as it is.
  public func put(_ object: UnsafeMutableRawPointer) {
    keg.pointee.lock.lock()
    pointee.puts &+= 1
    // The lock may have been dropped for room: who has begun to wait meanwhile has not seen this object.
    let isKept = pointee.pool.pointee.waiters == 0 && !CPUCache.isPassedBy && hasRoom() && pointee.pool.pointee.waiters == 0
    if isKept {
      let group = pointee.current!
      group.pointee.objects[group.pointee.count] = object.address
      group.pointee.count += 1
      pointee.held += 1
    }
    keg.pointee.lock.unlock()
    if !isKept { giveBack(object) }
  }

  /// Gives all objects that are in the cache at this moment back to the pool.
  public func invalidate() {
    keg.pointee.lock.lock()
    let groups = detachGroups(idleSince: .max)
    keg.pointee.lock.unlock()
    empty(groups)
  }

  // MARK: - Groups; the lock is held

  private func take() -> UnsafeMutableRawPointer? {
    if pointee.current?.pointee.count ?? 0 == 0 {
      guard let group = pointee.full else { return nil }
      pointee.full = group.pointee.next
      push(pointee.current, on: &pointee.empty)
      pointee.current = group
    }
    let group = pointee.current!
    group.pointee.count -= 1
    pointee.held -= 1
    return UnsafeMutableRawPointer(bitPattern: group.pointee.objects[group.pointee.count])
  }

  /// Whether the current group has room for an object, perhaps after another has become the current one. The lock may be dropped.
  private func hasRoom() -> Bool {
    while pointee.current?.pointee.count ?? PoolGroup.room == PoolGroup.room {
      if let group = pointee.empty {
        pointee.empty = group.pointee.next
        pointee.current?.pointee.idleSince = zones.pointee.pools.now
        push(pointee.current, on: &pointee.full)
        pointee.current = group
        return true
      }
      keg.pointee.lock.unlock()
      let group = zones.pointee.pools.groupKeg!.takeOne()?.assumingMemoryBound(to: PoolGroup.self)
      keg.pointee.lock.lock()
      guard let group else { return false }
      group.initialize(to: PoolGroup(next: nil))
      push(group, on: &pointee.empty)
    }
    return true
  }

  private func push(_ group: PoolGroupPointer?, on list: UnsafeMutablePointer<PoolGroupPointer?>) {
    guard let group else { return }
    group.pointee.next = list.pointee
    list.pointee = group
  }

  /// Takes out the groups that have been full since `latest` or earlier, which are the last of the full ones, and the empty ones; with
  /// `.max` all.
  func detachGroups(idleSince latest: Int64) -> PoolGroupPointer? {
    if latest == .max {
      push(pointee.current, on: &pointee.full)
      pointee.current = nil
    }
    var place = withUnsafeMutablePointer(to: &pointee.full) { $0 }
    while let group = place.pointee, latest != .max, group.pointee.idleSince > latest {
      place = withUnsafeMutablePointer(to: &group.pointee.next) { $0 }
    }
    var groups = place.pointee
    place.pointee = nil
    var next = groups
    while let group = next {
      pointee.held -= group.pointee.count
      next = group.pointee.next
    }
    while let group = pointee.empty {
      pointee.empty = group.pointee.next
      push(group, on: &groups)
    }
    return groups
  }

  // MARK: - Without the lock

  func empty(_ groups: PoolGroupPointer?) {
    var next = groups
    while let group = next {
      next = group.pointee.next
      for index in 0..<group.pointee.count { giveBack(UnsafeMutableRawPointer(bitPattern: group.pointee.objects[index])!) }
      zones.pointee.pools.groupKeg!.giveOne(UnsafeMutableRawPointer(group))
    }
  }

  /// An object becomes an item, and goes to the pool.
  private func giveBack(_ object: UnsafeMutableRawPointer) {
    if let destructor = pointee.destructor {
      if CPUCache.isPassedBy && !keg.demandTaken(object.address, "double put") { return }
      FutexLock.enterHook(maySleep: false)
      destructor(object, keg.pointee.layout.size, pointee.argument)
      FutexLock.leaveHook(maySleep: false)
    }
    pointee.pool.put(object)
  }
}
