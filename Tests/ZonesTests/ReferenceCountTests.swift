// SPDX-License-Identifier: BSD-2-Clause
//
// Reference counts: where they lie, that the allocator leaves them alone, and that a late reader still finds them.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// One less; what it was before.
private func release(_ count: UnsafeMutablePointer<UInt32>) -> UInt32 {
  while true {
    let old = UInt32(bitPattern: stave_load32(count))
    if stave_replace32(count, old, old &- 1) { return old }
  }
}

extension OnRoot {
  @Suite struct ReferenceCountTests {
    init() { Stage.up() }

    @Test(arguments: [8, 100, 512, 2048, 70_000]) func `each item has a count of its own, 0 at first and then the author's`(size: Int) {
      for flags in [ZoneFlags.refCount, .refCount.union(.offPage), .refCount.union(.vm), .refCount.union(.cacheSpread)] {
        let mock = MockSource()
        mock.dirt = 0xa5
        let headers = headersOut()
        let zone = makeTestZone("counted", size, flags: flags, source: mock.source)
        let items = zone.takeMany(size > 10_000 ? 10 : 700)
        let counts = items.map { zone.referenceCount(of: $0) }
        #expect(counts.allSatisfy { $0.pointee == 0 })
        #expect(Set(counts).count == items.count)
        for (index, item) in items.enumerated() {
          counts[index].pointee = UInt32(index) + 1
          item.initializeMemory(as: UInt8.self, repeating: 0xff, count: size)
        }
        #expect(counts.indices.allSatisfy { counts[$0].pointee == UInt32($0) + 1 }, "counts and items lie apart")
        check(zone, holding: items.count)
        let expected = Dictionary(uniqueKeysWithValues: zip(items, counts.map(\.pointee)))
        zone.freeAll(items)
        zone.reclaim(.drainCPU)
        check(zone, holding: 0)
        #expect(mock.frees == 0 && zone.pointee.keg.pointee.flags.contains(.noFree))
        for item in zone.takeMany(items.count) {
          #expect(zone.referenceCount(of: item).pointee == expected[item] ?? 0, "free and allocated again")
          zone.free(item)
        }
        #expect(zone.destroy() == 0)
        #expect(mock.bytesOut == 0 && headersOut() == headers)
      }
    }

    @Test func `a header that is used again begins with counts of 0`() {
      for _ in 0..<3 {
        let zone = makeTestZone("counted", 2048, flags: .refCount)
        let items = zone.takeMany(20)
        for item in items {
          #expect(zone.referenceCount(of: item).pointee == 0)
          zone.referenceCount(of: item).pointee = .max
        }
        zone.freeAll(items)
        #expect(zone.destroy() == 0)
      }
    }

    @Test func `L1 of two threads that give up the last reference the loser still reads the count, however much is drained`() {
      let mock = MockSource()
      mock.onFree = { Issue.record("a slab with counts was given back") }
      let zone = makeTestZone("buffers", 640, flags: .refCount, source: mock.source)
      for _ in 0..<20 * Stage.scale {
        let items = zone.takeMany(200)
        for item in items { zone.referenceCount(of: item).pointee = 2 }
        let shared = Shared(items)
        inThreads(3) { thread in
          if thread == 2 {
            for _ in 0..<20 { zone.reclaim(.drainCPU) }
            return
          }
          for item in shared.value {
            let count = zone.referenceCount(of: item)
            let before = release(count)
            if before == 1 { zone.free(item) }
            let after = UInt32(bitPattern: stave_load32(count))
            if before > 2 || after > 1 || before == 1 && after != 0 { Issue.record("\(before) references, then \(after)") }
          }
        }
        check(zone, holding: 0)
      }
      mock.onFree = nil
      #expect(zone.destroy() == 0)
      #expect(mock.bytesOut == 0)
    }

    @Test func `an item's count is with its slab, whichever of several kegs that is of`() {
      let (first, second, plain) = (makeTestZone("first", 2048, flags: .refCount), makeTestZone("second", 2048, flags: .refCount), makeTestZone("plain", 2048))
      let zone = makeSecondaryZone(name: FixedName("both"), primary: first)!
      #expect(zone.addKeg(of: plain) == .invalid && zone.addKeg(of: second) == .done)
      let others = second.takeMany(5), items = zone.takeMany(20)
      second.freeAll(others)
      for (index, item) in (items + others).enumerated() {
        #expect(zone.referenceCount(of: item).pointee == 0)
        zone.referenceCount(of: item).pointee = UInt32(index + 1)
      }
      for (index, item) in (items + others).enumerated() { #expect(zone.referenceCount(of: item).pointee == UInt32(index + 1)) }
      #expect(others.allSatisfy { second.referenceCount(of: $0) == zone.referenceCount(of: $0) })
      zone.freeAll(items)
      for made in [zone, second, first, plain] { made.destroy() }
    }

    @Test func `an address that is no item has no count, and is reported`() async {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestZone("counted", 64, flags: .refCount)
        _ = zone.referenceCount(of: zone.allocate()! + 8)
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("no reference count: asked for of an address that is no item") && text.contains("8 bytes into the item at"))
    }

    @Test func `a zone without counts has none, and that is reported`() async {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestZone("plain", 64)
        _ = zone.referenceCount(of: zone.allocate()!)
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("no reference count: asked for in a zone that has none") && text.contains("zone plain"))
    }
  }
}
