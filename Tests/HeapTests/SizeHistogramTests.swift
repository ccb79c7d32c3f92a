// SPDX-License-Identifier: BSD-2-Clause
//
// The histogram of requested sizes: which requests it counts, where, and that none is lost.

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
  @Suite struct SizeHistogramTests {
    static func total(_ key: (SizeBin) -> Int64 = { $0.requests }) -> Int64 { (0..<SizeRange.count).reduce(0) { $0 + key(sizeHistogram.sum($1)) } }

    static func isSet(_ value: Int64) -> Bool {
      Heap.obey(Letter(request: 1, command: MailCommand.set, subject: UInt32(Option.sizes.rawValue), value: value)).status == MailStatus.done
    }

    /// Allocations of malloc's zones since the start.
    static func allocations() -> Int64 {
      var sum: Int64 = 0
      forEachListedZone { if $0.pointee.flags.contains(.malloc) { sum += ZoneCounts($0).allocations } }
      return sum
    }

    @Test func `each size belongs to one range, and every class ends where a range does`() {
      for size in Array(0...40_000) + (16...50).flatMap({ [1 << $0 - 1, 1 << $0, 1 << $0 + 1] }) + [Int.max] {
        let range = SizeRange.index(for: UInt(size))
        #expect(size <= SizeRange.most(range) && (range == 0 || size > SizeRange.most(range - 1)), "\(size)")
        #expect((range >= SizeRange.smallCount) == (size > SizeClass.largest), "\(size)")
      }
      #expect(SizeRange.index(for: .max) == SizeRange.count - 1)
      for index in 0..<SizeClass.count { #expect(SizeRange.most(SizeRange.index(for: UInt(SizeClass.size(index)))) == SizeClass.size(index)) }
    }

    // In one table, CPUs meet at each count.
    @Test(arguments: [false, true]) func `threads that ask for random sizes lose no count, and what was given is what the zones gave`(_ isLocked: Bool) async {
      await #expect(processExitsWith: .success) { [isLocked] in
        precondition(heap.start())
        if isLocked { CPUCache.switchToLocked() }
        let open = stave_hot().pointee.small_limit
        precondition(OnRoot.SizeHistogramTests.isSet(1) && stave_hot().pointee.small_limit == 0 && stave_hot().pointee.typed_limit == 0)
        precondition(OnRoot.SizeHistogramTests.total() == 0 && sizeHistogram.pointee.tableCount > 0)
        if isLocked { sizeHistogram.pointee.tableCount = 1 }
        let before = OnRoot.SizeHistogramTests.allocations()
        let models = Shared(UnsafeMutablePointer<SizeBin>.allocate(capacity: 4 * SizeRange.count))
        models.value.initialize(repeating: SizeBin(), count: 4 * SizeRange.count)
        let largeOnes = Shared(UnsafeMutablePointer<Int64>.allocate(capacity: 4))
        largeOnes.value.initialize(repeating: 0, count: 4)
        inThreads(4) { thread in
          var generator = Generator(UInt64(thread))
          for round in 0..<20_000 {
            let size = UInt.random(in: 0...(round % 50 == 0 ? 100_000 : 2000), using: &generator)
            let block = round % 3 == 0 ? Heap.allocateZeroed(size)! : Heap.allocate(size)!
            let bin = models.value + thread * SizeRange.count + SizeRange.index(for: size)
            bin.pointee.requests += 1
            bin.pointee.asked += Int64(size)
            bin.pointee.given += Int64(Heap.usableSize(block)!)
            if size > UInt(SizeClass.largest) { largeOnes.value[thread] += 1 }
            Heap.free(block)
          }
        }
        for range in 0..<SizeRange.count {
          let sum = sizeHistogram.sum(range)
          let model = (0..<4).map { models.value[$0 * SizeRange.count + range] }
          precondition(sum.requests == model.reduce(0) { $0 + $1.requests } && sum.asked == model.reduce(0) { $0 + $1.asked }, "\(range)")
          precondition(sum.given == model.reduce(0) { $0 + $1.given }, "\(range)")
        }
        let large = (0..<4).reduce(0) { $0 + largeOnes.value[$1] }
        precondition(OnRoot.SizeHistogramTests.total() == 80_000)
        precondition(OnRoot.SizeHistogramTests.allocations() - before == 80_000 - large, "each request once")
        // Off: the fast path is as it was, nothing is counted, and what was counted can still be read.
        precondition(OnRoot.SizeHistogramTests.isSet(0) && stave_hot().pointee.small_limit == open && isLocked == (open == 0))
        for size: UInt in [0, 100, 50_000] { Heap.free(Heap.allocate(size)) }
        precondition(OnRoot.SizeHistogramTests.total() == 80_000)
        // On again while it is on changes nothing; off and on starts anew.
        let since = sizeHistogram.pointee.since
        precondition(OnRoot.SizeHistogramTests.isSet(1) && sizeHistogram.pointee.since > since && OnRoot.SizeHistogramTests.total() == 0)
        Heap.free(Heap.allocate(5))
        precondition(OnRoot.SizeHistogramTests.isSet(1) && OnRoot.SizeHistogramTests.total() == 1)
      }
    }

    @Test func `L55 what fails is not counted, what is aligned is counted at its class, a block that stays is no request`() async {
      await #expect(processExitsWith: .success) {
        precondition(heap.start())
        precondition(OnRoot.SizeHistogramTests.isSet(1))
        func counted(_ body: () -> Void) -> Int64 {
          let before = OnRoot.SizeHistogramTests.total()
          body()
          return OnRoot.SizeHistogramTests.total() - before
        }
        precondition(counted { precondition(Heap.allocate(.max) == nil && Heap.allocateZeroed(1 << 60) == nil && Heap.allocate(1 << 60, alignment: 4096) == nil) } == 0)
        heap.pointee.options.values[Option.failureRate.rawValue] = 1
        precondition(counted { precondition(Heap.allocate(100) == nil && Heap.allocateZeroed(100_000) == nil) } == 0)
        heap.pointee.options.values[Option.failureRate.rawValue] = 0
        precondition(counted { _ = Heap.allocate(100, alignment: 64) } == 1)
        let bin = sizeHistogram.sum(SizeRange.index(for: 128))
        precondition(bin.requests == 1 && bin.asked == 128 && bin.given == 128)
        // Large only by its alignment.
        precondition(counted { _ = Heap.allocate(100, alignment: 65536) } == 1)
        precondition(sizeHistogram.sum(SizeRange.smallCount).requests == 1 && sizeHistogram.sum(SizeRange.index(for: 100)).requests == 0)
        var block = Heap.allocate(1000)
        precondition(counted { block = Heap.reallocate(block, 990) } == 0)
        precondition(counted { block = Heap.reallocate(block, 5000) } == 1)
      }
    }

    @Test func `memory with a type is counted, too`() async {
      await #expect(processExitsWith: .success) {
        precondition(heap.start())
        let type = types.named(FixedName("typed"))!
        Heap.free(Heap.allocate(40, type: type))
        precondition(OnRoot.SizeHistogramTests.isSet(1))
        for _ in 0..<100 { Heap.free(Heap.allocate(40, type: type)) }
        Heap.free(Heap.allocate(100_000, type: type))
        precondition(sizeHistogram.sum(SizeRange.index(for: 40)).requests == 100 && OnRoot.SizeHistogramTests.total() == 101)
        precondition(OnRoot.SizeHistogramTests.total { $0.given } == 100 * 48 + 102_400)
      }
    }
  }
}
