// SPDX-License-Identifier: BSD-2-Clause
//
// contigmalloc's memory counted for its type, and given back in whichever way.

import CPlatform
import Foundation
import Testing

@testable import Accounting
@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct ContiguousTests {
    init() { Stage.up() }

    private func take(_ size: UInt, _ type: TypePointer) -> UnsafeMutableRawPointer? {
      Heap.allocateContiguous(ContiguousRequest(size: size), type: type, .noWait)
    }

    @Test func `L54 contiguous memory counts for its type by the page, and sets no size`() throws {
      let author = Author("dma")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      var blocks: [UnsafeMutableRawPointer] = []
      var bytes: Int64 = 0
      for size in [1, 4096, 4097, 100_000, 1 << 20] as [UInt] {
        guard let block = take(size, type) else { continue }
        blocks.append(block)
        bytes += Int64((size + 4095) & ~4095)
        #expect(Heap.usableSize(block) == (size + 4095) & ~4095)
      }
      guard blocks.count > 1 else { return announceSkip("contiguous blocks with a type: no huge page is to be had here") }
      var totals = TypeTotals(type)
      #expect(totals.used == Int64(blocks.count) && totals.allocations == totals.used && totals.usedBytes == bytes)
      #expect(totals.classes[0] == 0 && totals.classes[1] == 0)
      // By contigfree, free, and a realloc, which makes it ordinary memory of whichever type is named.
      Heap.freeContiguous(blocks.removeFirst(), size: 1)
      let moved = try #require(Heap.reallocate(blocks.removeFirst(), 50_000, type: type))
      for block in blocks + [moved] { Heap.free(block) }
      totals = TypeTotals(type)
      #expect(totals.used == 0 && totals.usedBytes == 0 && totals.frees == totals.allocations)
      arena.checkInvariants()
    }

    @Test func `what cannot be had is a failure of its type, with errno`() throws {
      let author = Author("dma")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      for request in [
        ContiguousRequest(size: .max), ContiguousRequest(size: .max - 4095), ContiguousRequest(size: 1 << 63), ContiguousRequest(size: 1 << 50),
        ContiguousRequest(size: 8192, boundary: 4096),
        ContiguousRequest(size: 4096, low: 8192, high: 8192),
      ] {
        errno = 0
        let failures = type.pointee.failures
        #expect(Heap.allocateContiguous(request, type: type, .wait) == nil && errno == ENOMEM)
        #expect(type.pointee.failures == failures + 1)
      }
      #expect(TypeTotals(type).allocations == 0)
    }

    @Test func `failure_rate makes it fail`() throws {
      let author = Author("dma")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      heap.pointee.options.values[Option.failureRate.rawValue] = 1
      defer { heap.pointee.options.values[Option.failureRate.rawValue] = 0 }
      #expect(take(4096, type) == nil)
      #expect(type.pointee.failures == 1)
    }

    @Test func `what is no request ends the process with a report, and so does null`() async {
      for (size, alignment, boundary) in [(0, 1, 0), (4096, 0, 0), (4096, 3, 0), (4096, 1, 3)] as [(UInt, UInt, UInt)] {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) { [size = size as UInt, alignment = alignment as UInt, boundary = boundary as UInt] in
          Stage.up()
          let author = Author("dma")
          _ = Heap.allocateContiguous(
            ContiguousRequest(size: size, alignment: alignment, boundary: boundary), type: types.register(author.type)!, .noWait)
        }
        expectSaid(result, "stave_contigmalloc() of \(size) bytes, alignment \(alignment), boundary \(boundary)")
      }
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        Heap.freeContiguous(nil, size: 4096)
      }
      expectSaid(result, "0x0, which is no contiguous block")
    }
  }
}
