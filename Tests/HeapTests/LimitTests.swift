// SPDX-License-Identifier: BSD-2-Clause
//
// The arena's size by option, and what is given back early where little is left of the memory there may be.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct LimitTests {
    private static func configure(_ text: String) {
      var environment: [UnsafePointer<CChar>?] = [UnsafePointer(strdup("STAVE_OPTIONS=background:0," + text)), nil]
      environment.withUnsafeMutableBufferPointer { pointers in
        heap.configure(environment: UnsafeRawPointer(pointers.baseAddress!).assumingMemoryBound(to: UnsafePointer<CChar>?.self))
      }
    }

    private static var window: UInt { arena.pointee.windowEnd - arena.pointee.windowStart }

    @Test func `the size that is said is the size: what exceeds it fails with ENOMEM after all has been given up`() async {
      await #expect(processExitsWith: .success) {
        OnRoot.LimitTests.configure("kmem_size:64M")
        precondition(OnRoot.LimitTests.window == 64 << 20)
        errno = 0
        precondition(Heap.allocate(65 << 20) == nil && errno == ENOMEM)
        // Small blocks fill all of it.
        var blocks: [UnsafeMutableRawPointer] = []
        blocks.reserveCapacity(100_000)
        while let block = Heap.allocate(1024) { blocks.append(block) }
        precondition(blocks.count > 55_000 && blocks.count <= 65_536, "\(blocks.count)")
        precondition(arena.pointee.slabBytes <= 64 << 20)
        for block in blocks { Heap.free(block) }
        // What is in caches and slabs does not stand in the way of one large block.
        let large = Heap.allocate(60 << 20)
        precondition(large != nil)
        Heap.free(large)
        arena.checkInvariants()
      }
    }

    @Test func `by scale, between least and greatest, of the memory of the machine`() async {
      await #expect(processExitsWith: .success) {
        OnRoot.LimitTests.configure("kmem_size_scale:1000,kmem_size_min:100M,kmem_size_max:200M")
        let machine = UInt64(stave_memory_bytes())
        let limit = ContainerLimit.read().map { min($0, machine) } ?? machine
        let wanted = ArenaSize(size: 0, minimum: 100 << 20, maximum: 200 << 20, scale: 1000).bytes(memory: limit, page: 4096)!
        precondition(OnRoot.LimitTests.window == UInt(wanted).roundedUp(to: unitBytes), "\(OnRoot.LimitTests.window)")
      }
    }

    @Test func `nothing said is no limit, and opens no file at start`() async {
      await #expect(processExitsWith: .success) {
        OnRoot.LimitTests.configure("verbose:0")
        precondition(OnRoot.LimitTests.window >= 4 << 30)
        precondition(heap.pointee.containerLimit == 0)
      }
    }

    @Test func `sizes may be written with K, M, G and T`() {
      for (text, bytes) in [("1", 1), ("4K", 4096), ("512m", 512 << 20), ("3G", 3 << 30), ("1t", 1 << 40), ("8388607T", 8_388_607 << 40)] as [(String, Int64)] {
        let read = Array(text.utf8).withUnsafeBufferPointer { TextSlice(start: $0.baseAddress!, count: $0.count).bytes }
        #expect(read == bytes, "\(text)")
      }
      for text in ["", "K", "4KB", "-1", "4 K", "8388608T", "99999999999999999G", "0x10", "4P"] {
        let read = Array((text + "\0").utf8).withUnsafeBufferPointer { TextSlice(start: $0.baseAddress!, count: $0.count - 1).bytes }
        #expect(read == nil, "\(text)")
      }
    }

    @Test func `near the limit of its containers a period ends with all given back, needed lately or not`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        func churn() {
          let blocks = (0..<8).map { _ in Heap.allocate(2 << 20)! }
          for block in blocks { memset(block, 1, 2 << 20) }
          for block in blocks { Heap.free(block) }
        }
        // The first period only sees what came; in the second all of it is in use again.
        for isNear in [false, true] {
          heap.pointee.containerLimit = isNear ? 20 << 20 : 0
          churn()
          _ = Heap.endOfPeriod()
          churn()
          precondition(Heap.isNearLimit == isNear)
          _ = Heap.endOfPeriod()
          precondition((arena.pointee.cachedBytes < 1 << 20) == isNear, "\(arena.pointee.cachedBytes)")
          precondition(!Heap.isNearLimit)
        }
      }
    }
  }
}
