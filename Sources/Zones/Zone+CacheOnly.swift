// SPDX-License-Identifier: BSD-2-Clause
//
// Cache-only zones: the caches of a zone for pointers that come from an author's function and go back to another. They own no
// memory. Connections, descriptors wrapped in objects, blocks of a fixed pool: whatever is dear to get and the same once had.
//
// There is no slab, and so no item check, no trash and no guard; what is freed is taken for what was imported.

import CPlatform
import Pages
import Primitives

/// Puts up to `count` items into `store`; how many. `wait` holds the request's wait flags: with `noWait` it may not sleep. Any thread,
/// no lock held.
public typealias ItemImport = @convention(c) (
  _ argument: UnsafeMutableRawPointer?, _ store: UnsafeMutablePointer<UInt>, _ count: Int, _ wait: Int32
) -> Int
/// Takes items back for good. May not sleep.
public typealias ItemRelease = @convention(c) (_ argument: UnsafeMutableRawPointer?, _ store: UnsafeMutablePointer<UInt>, _ count: Int) -> Void

/// A zone whose items come from `importItems`. `size` is for statistics and constructors. Hooks as for a secondary zone: initialize
/// and finish run when items come and go. Of the flags those count that concern caches (`ofCaches`). Nil when memory, cells or kegs run
/// out.
public func makeCacheOnlyZone(
  name: FixedName, size: Int, hooks: ZoneHooks = ZoneHooks(), flags: ZoneFlags = .none, argument: UnsafeMutableRawPointer?,
  importItems: @escaping ItemImport, releaseItems: @escaping ItemRelease
) -> ZonePointer? {
  guard let layout = SlabLayout.choose(size: size, alignMask: 7, flags: .offPage, pageBytes: pageBytes) else { return nil }
  guard let raw = zones.pointee.kegZone!.takeOne() else { return nil }
  let keg = raw.assumingMemoryBound(to: Keg.self)
  let flags = ZoneFlags(rawValue: flags.rawValue & ZoneFlags.ofCaches.rawValue).union(.cacheOnly)
  // It never has a slab.
  keg.setUp(name: name, layout: layout, alignMask: 7, flags: flags, source: .none, rank: LockRank.keg)
  let desired = Bucket.desiredCapacity(itemBytes: size)
  let zone = zones.addZone(
    name: name, flags: flags, keg: keg, isFirst: true, constructor: hooks.constructor, destructor: hooks.destructor,
    cellCapacity: flags.contains(.noBucket) ? 0 : desired * 2, bucketSize: desired, reciprocal: ~0
  ) { zone in
    zone.pointee.zoneInit = hooks.initialize
    zone.pointee.zoneFini = hooks.finish
    zone.pointee.importItems = importItems
    zone.pointee.releaseItems = releaseItems
    zone.pointee.argument = argument
  }
  if zone == nil { zones.pointee.kegZone!.giveOne(raw) }
  return zone
}

extension UnsafeMutablePointer where Pointee == Zone {
  func importInto(_ items: UnsafeMutablePointer<UInt>, count: Int, _ flags: WaitFlags) -> Int {
    FutexLock.enterHook(maySleep: flags.maySleep)
    let imported = pointee.importItems!(pointee.argument, items, count, flags.rawValue)
    FutexLock.leaveHook(maySleep: flags.maySleep)
    return Swift.max(0, Swift.min(imported, count))
  }

  func releaseImported(_ items: UnsafeMutablePointer<UInt>, count: Int) {
    guard count > 0 else { return }
    FutexLock.enterHook(maySleep: false)
    pointee.releaseItems!(pointee.argument, items, count)
    FutexLock.leaveHook(maySleep: false)
  }
}
