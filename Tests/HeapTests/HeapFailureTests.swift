// SPDX-License-Identifier: BSD-2-Clause
//
// Every function of the heap with every system call refused (L39).

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

#if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
extension OnRoot {
  @Suite struct HeapFailureTests {
    init() { Stage.up() }

    @Test func `L39 each function with each system call refused: nil or a block, nothing lost`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        var calls = 0
        let sizes: [Int] = [16, 100, 3000, 32_768, 40_000, 700_000, 9 << 20]
        for size in sizes {
          for number in 1..<100 {
            // No metadata in store, nothing cached, so that all needs reach the system.
            _ = Heap.trim()
            exhaustMetadata()
            let base = live()
            stave_inject().pointee.error = 12
            stave_inject().pointee.after = number
            var blocks: [UnsafeMutableRawPointer] = []
            for round in 0..<6 {
              let block =
                switch round % 3 {
                case 0: Heap.allocate(UInt(size))
                case 1: Heap.allocateZeroed(UInt(size))
                default: Heap.allocate(UInt(size), alignment: 8192)
                }
              guard let block else { continue }
              if round % 3 == 1 { precondition(holds(block, size, 0)) }
              fill(block, size, UInt8(round))
              if let bigger = Heap.reallocate(block, UInt(size) * 3) {
                precondition(holds(bigger, size, UInt8(round)))
                blocks.append(bigger)
              } else {
                precondition(holds(block, size, UInt8(round)))
                blocks.append(block)
              }
            }
            freeAll(blocks)
            let left = stave_inject().pointee.after
            stave_inject().pointee.after = 0
            precondition(live() == base, "lost: \(live()) \(base)")
            checkAll()
            if left > 0 { break }
            calls += 1
          }
        }
        precondition(calls > 5, "the failures reached the heap: \(calls)")
      }
    }

    @Test func `L39 giving back with each system call refused`() {
      for number in 1..<20 {
        freeAll((0..<200).map { Heap.allocate(UInt($0 * 500))! })
        stave_inject().pointee.error = 22
        stave_inject().pointee.after = number
        _ = Heap.trim()
        _ = Heap.endOfPeriod()
        let left = stave_inject().pointee.after
        stave_inject().pointee.after = 0
        checkAll()
        if left > 0 { break }
      }
      _ = Heap.trim()
      #expect(arena.pointee.cachedBytes == 0)
      checkAll()
    }
  }
}
#endif
