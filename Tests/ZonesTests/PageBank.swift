// SPDX-License-Identifier: BSD-2-Clause
//
// A back-end for pools in tests: pages of any length from a quota, which counts, refuses and can be watched; and a clock for pools
// that goes when it is told to.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

final class PageBank {
  private let lock = NSLock()
  let pageBytes: Int
  /// Pages out at most; the rest is "no room".
  var quota: Int
  private(set) var allocations = 0
  private(set) var frees = 0
  private(set) var calls = 0
  private var isOut: Set<UInt> = []
  /// Refuses the call of this number (1 is the next).
  var refuseAt = 0
  var lastWait: Int32 = 0
  var sawLock = false
  var wrongFrees = 0
  var onAllocate: (() -> Void)?
  var out: Int { lock.withLock { isOut.count } }

  init(pageBytes: Int = 4096, quota: Int = .max) {
    self.pageBytes = pageBytes
    self.quota = quota
  }

  func allocator(alignment: Int = 0) -> PoolAllocatorPointer {
    makePoolAllocator(source: source, pageBytes: pageBytes, alignment: alignment)!
  }

  var source: PageSource {
    PageSource(
      allocate: { context, bytes, wait, _ in
        let bank = Unmanaged<PageBank>.fromOpaque(context!).takeUnretainedValue()
        if FutexLock.threadHoldsAny { bank.sawLock = true }
        bank.onAllocate?()
        return bank.lock.withLock { () -> UnsafeMutableRawPointer? in
          bank.calls += 1
          bank.lastWait = wait
          if bank.refuseAt > 0 {
            bank.refuseAt -= 1
            if bank.refuseAt == 0 { return nil }
          }
          guard bank.isOut.count < bank.quota else { return nil }
          let pages = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | 0x4000 /* NORESERVE */, -1, 0)!
          // The kernel puts mappings one below the other: neighbours, as the tree must tell apart.
          bank.isOut.insert(pages.address)
          bank.allocations += 1
          return pages
        }
      },
      free: { context, start, bytes, _ in
        let bank = Unmanaged<PageBank>.fromOpaque(context!).takeUnretainedValue()
        if FutexLock.threadHoldsAny { bank.sawLock = true }
        bank.lock.withLock {
          if bank.isOut.remove(start.address) == nil { bank.wrongFrees += 1 }
          bank.frees += 1
        }
        munmap(start, bytes)
      },
      context: Unmanaged.passUnretained(self).toOpaque(), isZeroed: true)
  }
}

enum PoolClock {
  nonisolated(unsafe) static var now: Int64 = 0

  /// From now on the pools' clock stands until it is moved.
  static func stop() { zones.pointee.pools.clock = { PoolClock.now } }
  static func start() { zones.pointee.pools.clock = nil }
  static func advance(_ seconds: Double) { now += Int64(seconds * 1e9) }
}

func makeTestPool(
  _ name: StaticString = "pool", _ size: Int = 512, alignMask: Int = 7, offset: Int = 0, flags: ZoneFlags = .none,
  _ allocator: PoolAllocatorPointer? = nil
) -> PoolPointer {
  makePool(name: FixedName(name), size: size, alignMask: alignMask, offset: offset, flags: flags, allocator: allocator)!
}

extension UnsafeMutablePointer where Pointee == Pool {
  func getMany(_ count: Int, _ flags: WaitFlags = .noWait) -> [UnsafeMutableRawPointer] {
    var items: [UnsafeMutableRawPointer] = []
    while items.count < count, let item = get(flags) { items.append(item) }
    return items
  }
  func putAll(_ items: [UnsafeMutableRawPointer]) { for item in items { put(item) } }
  var perPage: Int { pointee.keg.pointee.layout.items }
}
