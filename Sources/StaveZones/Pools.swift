// SPDX-License-Identifier: BSD-2-Clause
//
// stave_pool.h: pools, their back-ends and their caches.

import CPlatform
import Pages
import Primitives
import Zones

@_silgen_name("stave_pool_create")
public func poolCreate(
  _ name: UnsafePointer<CChar>, _ size: Int, _ align: Int, _ offset: Int, _ flags: UInt32, _ allocator: PoolAllocatorPointer?
) -> PoolPointer? {
  let known = ZoneFlags.noTouch.union(.offPage).union(.notPage).rawValue
  guard isReady(), let allocator = allocator ?? zones.sharedPoolAllocator() else {
    _ = stave_no_memory()
    return nil
  }
  guard flags & ~known == 0, allocator.layout(size: size, alignMask: align, offset: offset, flags: ZoneFlags(rawValue: flags)) != nil else {
    _ = stave_invalid()
    return nil
  }
  guard
    let pool = makePool(
      name: FixedName(cString: name), size: size, alignMask: align, offset: offset, flags: ZoneFlags(rawValue: flags), allocator: allocator)
  else {
    _ = stave_no_memory()
    return nil
  }
  return pool
}

@_silgen_name("stave_pool_destroy")
public func poolDestroy(_ pool: PoolPointer?) -> Int { pool?.destroy() ?? 0 }

@_silgen_name("stave_pool_get")
public func poolGet(_ pool: PoolPointer, _ flags: Int32) -> UnsafeMutableRawPointer? { pool.get(WaitFlags(rawValue: flags)) }

@_silgen_name("stave_pool_put")
public func poolPut(_ pool: PoolPointer, _ item: UnsafeMutableRawPointer?) {
  if let item { pool.put(item) }
}

@_silgen_name("stave_pool_prime")
public func poolPrime(_ pool: PoolPointer, _ items: Int, _ flags: Int32) -> Int32 {
  orNoMemory(items >= 0 && pool.prime(items, WaitFlags(rawValue: flags)))
}

@_silgen_name("stave_pool_setlowat")
public func poolSetLow(_ pool: PoolPointer, _ items: Int) { pool.setLow(items) }

@_silgen_name("stave_pool_sethiwat")
public func poolSetHigh(_ pool: PoolPointer, _ items: Int) { pool.setHigh(items < 0 ? .max : items) }

/// A negative number of items, which is size_t's greatest, is no limit.
@_silgen_name("stave_pool_sethardlimit")
public func poolSetHardLimit(_ pool: PoolPointer, _ items: Int, _ message: UnsafePointer<UInt8>?, _ seconds: UInt32) {
  pool.setLimitMessage(message, interval: Int64(seconds) * 1_000_000_000)
  pool.setLimit(items < 0 ? .max : items)
}

@_silgen_name("stave_pool_set_drain_hook")
public func poolSetDrainHook(_ pool: PoolPointer, _ hook: PoolDrainHook?, _ argument: UnsafeMutableRawPointer?) {
  pool.setDrainHook(hook, argument: argument)
}

@_silgen_name("stave_pool_reclaim")
public func poolReclaim(_ pool: PoolPointer, _ isUrgent: Int32) -> Int32 { pool.reclaim(isUrgent: isUrgent != 0) ? 1 : 0 }

@_silgen_name("stave_pool_drain")
public func poolDrain() -> Int32 { isReady() && drainNextPool() ? 1 : 0 }

@_silgen_name("stave_pool_get_stat")
public func poolGetStatistics(_ pool: PoolPointer, _ result: UnsafeMutablePointer<PoolCounts>) { result.initialize(to: pool.counts) }

// MARK: - Back-ends

@_silgen_name("stave_pool_allocator_create")
public func poolAllocatorCreate(
  _ allocate: PageSource.Allocate?, _ free: PageSource.Free?, _ argument: UnsafeMutableRawPointer?, _ pageSize: Int, _ alignment: Int
) -> PoolAllocatorPointer? {
  guard let allocate, let free, pageSize >= 512, pageSize & 7 == 0, alignment >= 0, alignment & (alignment &- 1) == 0,
    alignment > 0 || pageSize & (pageSize - 1) == 0
  else {
    _ = stave_invalid()
    return nil
  }
  guard isReady(),
    let allocator = makePoolAllocator(
      source: PageSource(allocate: allocate, free: free, context: argument, isZeroed: false), pageBytes: pageSize, alignment: alignment)
  else {
    _ = stave_no_memory()
    return nil
  }
  return allocator
}

@_silgen_name("stave_pool_allocator_release")
public func poolAllocatorRelease(_ allocator: PoolAllocatorPointer?) { allocator?.release() }

// MARK: - Caches

@_silgen_name("stave_pool_cache_create")
public func poolCacheCreate(
  _ pool: PoolPointer, _ constructor: Constructor?, _ destructor: Destructor?, _ argument: UnsafeMutableRawPointer?
) -> PoolCachePointer? {
  guard let cache = pool.makeCache(constructor: constructor, destructor: destructor, argument: argument) else {
    _ = stave_no_memory()
    return nil
  }
  return cache
}

@_silgen_name("stave_pool_cache_destroy")
public func poolCacheDestroy(_ cache: PoolCachePointer?) { cache?.destroy() }

@_silgen_name("stave_pool_cache_get")
public func poolCacheGet(_ cache: PoolCachePointer, _ flags: Int32) -> UnsafeMutableRawPointer? { cache.get(WaitFlags(rawValue: flags)) }

@_silgen_name("stave_pool_cache_put")
public func poolCachePut(_ cache: PoolCachePointer, _ object: UnsafeMutableRawPointer?) {
  if let object { cache.put(object) }
}

@_silgen_name("stave_pool_cache_invalidate")
public func poolCacheInvalidate(_ cache: PoolCachePointer) { cache.invalidate() }
