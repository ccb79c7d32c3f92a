// SPDX-License-Identifier: BSD-2-Clause
//
// A pool, its back-end and its cache where each of the things that they consist of is refused in turn.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

#if STAVE_CHECK_LOCKS
/// Takes what free items a keg has; what of it is left out at the end.
private func useUp(_ keg: KegPointer) -> [UnsafeMutableRawPointer] {
  var taken: [UnsafeMutableRawPointer] = []
  while keg.pointee.freeItems > 0, let item = keg.takeOne() { taken.append(item) }
  return taken
}

extension OnRoot {
  @Suite struct PoolMakingTests {
    init() { Stage.up() }

    @Test func `L39 each thing that a pool consists of refused in turn: none is made, nothing is left, and the next is made`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let bank = PageBank(), allocator = bank.allocator()
        let kinds = zones.poolKegs()!
        // In the order in which they are asked for; a zone's buckets and headers are there by now.
        let first = makeTestPool("first", 64, flags: .offPage, allocator)
        let kegs = [kinds.pools, zones.pointee.kegZone!, zones.pointee.zoneZone!, kinds.caches, kinds.allocators]
        for refused in kegs.indices {
          let taken = useUp(kegs[refused])
          let before = (kegs.map(\.outstanding), zones.pointee.zoneCount, zones.pointee.kegCount, bank.out)
          func demandNothingLeft() {
            precondition(kegs.map(\.outstanding) == before.0 && zones.pointee.zoneCount == before.1, "of \(refused)")
            precondition(zones.pointee.kegCount == before.2 && bank.out == before.3 && allocator.pointee.references == 2, "of \(refused)")
          }
          // Neither a page of metadata nor a system call.
          exhaustMetadata()
          stave_inject().pointee.always = 12
          for _ in 0..<3 {
            switch refused {
            case 3: precondition(first.makeCache(constructor: nil, destructor: nil) == nil)
            case 4: precondition(makePoolAllocator(source: bank.source, pageBytes: 4096) == nil)
            default: precondition(makePool(name: FixedName("refused"), size: 64, flags: .offPage, allocator: allocator) == nil)
            }
            demandNothingLeft()
          }
          stave_inject().pointee.always = 0
          for item in taken { kegs[refused].giveOne(item) }
          let pool = makeTestPool("made", 64, flags: .offPage, allocator), cache = pool.makeCache(constructor: nil, destructor: nil)!
          cache.put(cache.get()!)
          pool.checkInvariants()
          precondition(pool.destroy() == 0)
        }
        precondition(first.destroy() == 0 && bank.out == 0)
        allocator.release()
        precondition(kinds.pools.outstanding == 0 && kinds.caches.outstanding == 0)
        checkAll()
      }
    }
  }
}
#endif
