// SPDX-License-Identifier: BSD-2-Clause
//
// Random requests of many types against a model, and types that come and go in many threads while somebody reads their sums.

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
  @Suite struct TypePropertyTests {
    init() { Stage.up() }

    private struct Held {
      var block: UnsafeMutableRawPointer
      var type: Int
      var bytes: Int64
    }

    private func usable(_ block: UnsafeMutableRawPointer) -> Int64 { Int64(Heap.usableSize(block)!) }

    @Test func `L52 L54 L58 random requests of many types are counted as a model counts them`() throws {
      var generator = Generator(301)
      let authors = (0..<8).map { Author("random\($0)") }
      let all = try authors.map { try #require(types.register($0.type)) }
      var held: [Held] = []
      var count = [Int64](repeating: 0, count: 8), bytes = count, requests = count
      for step in 0..<Stage.steps(4000) {
        let type = generator.below(8)
        switch generator.below(5) {
        case 0, 1:
          let block = Heap.allocate(UInt(generator.size(upTo: 200_000)), type: all[type])!
          held.append(Held(block: block, type: type, bytes: usable(block)))
          count[type] += 1
          requests[type] += 1
          bytes[type] += usable(block)
        case 2 where !held.isEmpty:
          let index = generator.below(held.count)
          let old = held[index]
          let block = Heap.reallocate(old.block, UInt(generator.size(upTo: 200_000)), type: all[type])!
          // What stays is its first owner's; what moves is a request of the new one's. The kernel moves large blocks, which stay whose they are.
          let before = TypeTotals(all[type]).allocations
          bytes[old.type] -= old.bytes
          if before > requests[type] {
            requests[type] += 1
            count[old.type] -= 1
            count[type] += 1
            held[index] = Held(block: block, type: type, bytes: usable(block))
          } else {
            held[index] = Held(block: block, type: old.type, bytes: usable(block))
          }
          bytes[held[index].type] += held[index].bytes
        case 3 where !held.isEmpty, 4 where !held.isEmpty:
          let old = held.remove(at: generator.below(held.count))
          Heap.free(old.block)
          count[old.type] -= 1
          bytes[old.type] -= old.bytes
        default: break
        }
        guard Stage.checks(step) || step % 97 == 0 else { continue }
        for (index, type) in all.enumerated() {
          let totals = TypeTotals(type)
          guard totals.used == count[index], totals.usedBytes == bytes[index], totals.allocations == requests[index] else {
            Issue.record("type \(index), step \(step): \(totals), model \(count[index]) \(bytes[index]) \(requests[index]) (STAVE_SEED=\(Stage.seed))")
            return
          }
        }
      }
      for block in held { Heap.free(block.block) }
      for (author, type) in zip(authors, all) {
        for index in 0..<SizeClass.count { if let zone = type.pointee.zones[index] { check(zone, holding: 0) } }
        #expect(types.unregister(author.type) == 0)
      }
    }

    @Test func `L62 T4 types come and go in many threads while their sums are read, and none is negative or nameless`() {
      let before = types.pointee.count
      let done = UnsafeMutablePointer<Int32>.allocate(capacity: 1)
      done.initialize(to: 0)
      let rounds = 60 * Stage.scale
      inThreads(5) { thread in
        if thread == 4 {
          while stave_load32(done) < 4 {
            var length = 0
            types.forEach { type in
              length += 1
              let totals = TypeTotals(type)
              if totals.used < 0 || totals.usedBytes < 0 || totals.allocations < 0 || type.pointee.name.count == 0 { Issue.record("a type's sums: \(totals)") }
            }
            usleep(100)
          }
          return
        }
        var generator = Generator(UInt64(310 + thread))
        for round in 0..<rounds {
          let author = Author("thread\(thread)")
          guard let type = types.register(author.type) else {
            Issue.record("round \(round): no record")
            break
          }
          let blocks = (0..<50).map { _ in Heap.allocate(UInt(generator.size(upTo: 100_000)), type: type)! }
          for block in blocks { Heap.free(block) }
          if types.unregister(author.type) != 0 { Issue.record("thread \(thread), round \(round): blocks out (STAVE_SEED=\(Stage.seed))") }
        }
        while true {
          let value = stave_load32(done)
          if stave_swap32(done, value, value + 1) { break }
        }
      }
      #expect(types.pointee.count == before)
      done.deallocate()
      _ = Heap.trim()
    }

    @Test func `all of malloc less all types is memory without a type`() throws {
      let author = Author("part")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      func untyped() -> Int64 {
        var sum = Int64(arena.pointee.largeBytes)
        forEachListedZone { if $0.pointee.flags.contains(.malloc) { sum += ZoneCounts($0).used * Int64($0.pointee.size) } }
        return sum - records().reduce(0) { $0 + TypeTotals($1).usedBytes }
      }
      let base = untyped()
      let blocks = [300, 5000, 100_000].map { Heap.allocate(UInt($0), type: type)! }
      #expect(untyped() == base)
      let other = Heap.allocate(300)!
      #expect(untyped() == base + 320)
      for block in blocks + [other] { Heap.free(block) }
      #expect(untyped() == base)
    }
  }
}
