// SPDX-License-Identifier: BSD-2-Clause
//
// What get and put look at, with a thousand pages and with many more: a hundred times as many in a soak.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct PoolCostTests {
    init() { Stage.up() }

    /// Steps of each get and put, at random, of a pool of so many pages of two items, of which three in four are out: pages of all kinds
    /// turn into each other. `most`: of one operation.
    private func steps(_ pool: PoolPointer, pages: Int) -> (mean: Double, most: Int) {
      var generator = Generator(UInt64(pages))
      var items = pool.getMany(pages * pool.perPage)
      #expect(items.count == pages * pool.perPage)
      items.shuffle(using: &generator)
      for _ in 0..<items.count / 4 { pool.put(items.removeLast()) }
      let rounds = 10_000
      var most = 0
      let before = pool.counts.steps
      var last = before
      func look() {
        let now = pool.pointee.pageSteps + pool.pointee.keg.pointee.treeSteps
        most = max(most, now - last)
        last = now
      }
      for _ in 0..<rounds {
        let index = generator.below(items.count)
        pool.put(items[index])
        look()
        items[index] = pool.get()!
        look()
      }
      let mean = Double(last - before) / Double(2 * rounds)
      pool.putAll(items)
      pool.checkInvariants()
      return (mean, most)
    }

    @Test func `V1 get and put look at one page, however many there are, and at a path of the tree`() {
      for flags in [ZoneFlags.noTouch, .noTouch.union(.notPage)] {
        for pages in [1000, Stage.steps(30_000, soak: 100_000)] {
          let region = UInt(bitPattern: stave_mmap(0, pages << 12, 0, mapPrivateAnonymous | mapNoReserve))
          Stack.next = region
          Stack.region = region
          let allocator =
            flags.contains(.notPage)
            ? makePoolAllocator(source: Stack.source, pageBytes: 1 << 12)! : makePoolAllocator(source: .arena, pageBytes: 1 << 16, isInOwnerMap: true)!
          let pool = makeTestPool("many", flags.contains(.notPage) ? 2048 : 32768, flags: flags, allocator)
          let (mean, most) = steps(pool, pages: pages)
          if flags.contains(.notPage) {
            #expect(most <= 1 + Int(2 * log2(Double(pages + 1))), "\(pages) pages: \(most)")
            #expect(mean <= 1 + log2(Double(pages)), "\(pages) pages: \(mean)")
          } else {
            #expect(most == 1 && mean == 1, "\(pages) pages: \(mean), \(most)")
          }
          #expect(pool.destroy() == 0)
          allocator.release()
          _ = stave_munmap(region, pages << 12)
        }
      }
    }
  }
}

/// Addresses, one page behind the other, of which no memory is wanted.
private enum Stack {
  nonisolated(unsafe) static var region: UInt = 0
  nonisolated(unsafe) static var next: UInt = 0
  static var source: PageSource {
    PageSource(
      allocate: { _, bytes, _, _ in
        defer { Stack.next += UInt(bytes) }
        return UnsafeMutableRawPointer(bitPattern: Stack.next)
      }, free: { _, _, _, _ in }, context: nil, isZeroed: true)
  }
}
