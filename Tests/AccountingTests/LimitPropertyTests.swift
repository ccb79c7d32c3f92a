// SPDX-License-Identifier: BSD-2-Clause
//
// Random requests of limited types against a model; limits that change under threads at work.

import CPlatform
import Foundation
import Synchronization
import Testing

@testable import Accounting
@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct LimitPropertyTests {
    init() { Stage.up() }

    private struct Held {
      var block: UnsafeMutableRawPointer
      var type: Int
      var bytes: Int64
    }

    @Test func `V7 random requests under limits that change succeed exactly where a model has room`() throws {
      var generator = Generator(401)
      let authors = (0..<4).map { Author("bounded\($0)", limit: $0 < 2 ? 300_000 : 0) }
      let all = try authors.map { try #require(types.register($0.type)) }
      var held: [Held] = []
      var bytes = [Int64](repeating: 0, count: 4), limits: [Int64] = [300_000, 300_000, 0, 0]
      var refused = 0, limited = 0
      func fail(_ step: Int, _ what: String) { Issue.record("step \(step): \(what) (STAVE_SEED=\(Stage.seed))") }
      for step in 0..<Stage.steps(6000) {
        let type = generator.below(4)
        let size = UInt(generator.size(upTo: 200_000))
        let wanted = Int64(Request(size).bytes!)
        switch generator.below(12) {
        case 0...4:
          let hasRoom = limits[type] == 0 || bytes[type] + wanted <= limits[type]
          let flags: WaitFlags = generator.below(2) == 0 ? .noWait.union(.zero) : .noWait
          let block = Heap.allocate(size, type: all[type], flags)
          if (block != nil) != hasRoom { return fail(step, "\(size) of type \(type), \(bytes[type]) of \(limits[type]): \(block != nil)") }
          guard let block else { refused += 1; continue }
          held.append(Held(block: block, type: type, bytes: Int64(Heap.usableSize(block)!)))
          bytes[type] += held.last!.bytes
          if held.last!.bytes != wanted { return fail(step, "the request of \(size) has \(held.last!.bytes) bytes") }
        case 5...6 where !held.isEmpty:
          let index = generator.below(held.count)
          let old = held[index]
          let failures = all[type].pointee.failures
          guard let block = Heap.reallocate(old.block, size, type: all[type]) else {
            // Neither room for another block beside it, nor for what it grows by.
            if limits[type] == 0 || bytes[type] + wanted <= limits[type] || all[type].pointee.failures != failures + 1 { return fail(step, "realloc to \(size)") }
            refused += 1
            continue
          }
          // Whose it is now, its owner's count says.
          let now = Int64(Heap.usableSize(block)!)
          bytes[old.type] -= old.bytes
          let isOwners = TypeTotals(all[old.type]).usedBytes == bytes[old.type] + now
          held[index] = Held(block: block, type: isOwners ? old.type : type, bytes: now)
          bytes[held[index].type] += now
        case 7...10 where !held.isEmpty:
          let old = held.remove(at: generator.below(held.count))
          Heap.free(old.block)
          bytes[old.type] -= old.bytes
        case 11 where generator.below(20) == 0:
          // The last type never has a limit; the one before gets its first in the middle.
          let changed = generator.below(3)
          limits[changed] = generator.below(4) == 0 ? 0 : Int64(1 + generator.below(800_000))
          if !types.setLimit(all[changed], limits[changed]) { return fail(step, "the limit was refused") }
          limited += 1
        default: break
        }
        for (index, type) in all.enumerated() where Stage.checks(step) || step % 97 == 0 {
          guard TypeTotals(type).usedBytes == bytes[index], !type.hasAccount || type.pointee.charged == bytes[index], type.isEmpty else {
            return fail(step, "type \(index): \(TypeTotals(type).usedBytes), charged \(type.pointee.charged), model \(bytes[index])")
          }
        }
      }
      #expect(refused > 50 && limited > 3 && !all[3].hasAccount)
      for block in held { Heap.free(block.block) }
      for (author, type) in zip(authors, all) {
        for index in 0..<SizeClass.count { if let zone = type.pointee.zones[index] { check(zone, holding: 0) } }
        #expect(types.unregister(author.type) == 0)
      }
    }

    @Test func `V7 no number of threads has more than the limit`() throws {
      let author = Author("shared", limit: 50_000)
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      let out = Shared(UnsafeMutablePointer<Int64>.allocate(capacity: 2))
      out.value.initialize(repeating: 0, count: 2)
      let rounds = 2000 * Stage.scale
      inThreads(6) { thread in
        var generator = Generator(UInt64(410 + thread))
        var held: [(UnsafeMutableRawPointer, Int64)] = []
        for round in 0..<rounds {
          if generator.below(2) == 0, let block = Heap.allocate(UInt(generator.size(upTo: 45_000)), type: type) {
            let bytes = Int64(Heap.usableSize(block)!)
            // Held for certain: from behind the request to before the free.
            let sum = stave_add_fetching(out.value, bytes) + bytes
            if sum > 50_000 { Issue.record("thread \(thread), round \(round): \(sum) bytes are out (STAVE_SEED=\(Stage.seed))") }
            held.append((block, bytes))
          } else if !held.isEmpty {
            let (block, bytes) = held.remove(at: generator.below(held.count))
            _ = stave_add_fetching(out.value, -bytes)
            Heap.free(block)
          } else {
            stave_add(out.value + 1, 1)
          }
        }
        for (block, bytes) in held {
          _ = stave_add_fetching(out.value, -bytes)
          Heap.free(block)
        }
      }
      #expect(type.pointee.failures > 0)
      expectSettled(type, 0)
      out.value.deallocate()
    }

    @Test func `V7 a first limit set under threads at work leaves an account that is exact at rest`() throws {
      for round in 0..<(8 * Stage.scale) {
        let author = Author("sudden")
        let type = try #require(types.register(author.type))
        let left = Shared(UnsafeMutablePointer<UnsafeMutableRawPointer?>.allocate(capacity: 4))
        left.value.initialize(repeating: nil, count: 4)
        let isLimited = Shared(UnsafeMutablePointer<Int32>.allocate(capacity: 1))
        isLimited.value.initialize(to: 0)
        inThreads(4) { thread in
          if thread == 3 {
            usleep(UInt32(1000 + round * 300))
            if !types.setLimit(type, 3 << 20) { Issue.record("refused") }
            stave_add32(isLimited.value, 1)
            return
          }
          var generator = Generator(UInt64(430 + thread + 10 * round))
          var held: [UnsafeMutableRawPointer] = []
          var after = 0
          while after < 300 {
            if stave_load32(isLimited.value) > 0 { after += 1 }
            if held.count < 60, generator.below(2) == 0 {
              if let block = Heap.allocate(UInt(generator.size(upTo: generator.below(20) == 0 ? 100_000 : 2000)), type: type) { held.append(block) }
            } else if !held.isEmpty {
              let index = generator.below(held.count)
              if generator.below(8) == 0, let block = Heap.reallocate(held[index], UInt(generator.size(upTo: 50_000)), type: type) {
                held[index] = block
              } else {
                Heap.free(held.remove(at: index))
              }
            }
          }
          left.value[thread] = held.popLast()
          for block in held { Heap.free(block) }
        }
        let bytes = (0..<3).reduce(0) { $0 + Int(Heap.usableSize(left.value[$1]) ?? 0) }
        expectSettled(type, bytes)
        for thread in 0..<3 { Heap.free(left.value[thread]) }
        expectSettled(type, 0)
        #expect(types.unregister(author.type) == 0)
        left.value.deallocate()
        isLimited.value.deallocate()
      }
    }
  }
}
