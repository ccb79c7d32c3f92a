// SPDX-License-Identifier: BSD-2-Clause
//
// Limits of types: at definition and live, with each way to ask, and who is woken.

import CPlatform
import Foundation
import Testing

@testable import Accounting
@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// What the account says, and the sums: the same when nobody is inside.
func expectSettled(_ type: TypePointer, _ bytes: Int, sourceLocation: SourceLocation = #_sourceLocation) {
  #expect(type.pointee.charged == Int64(bytes) && TypeTotals(type).usedBytes == Int64(bytes), sourceLocation: sourceLocation)
}

extension OnRoot {
  @Suite struct LimitTests {
    init() { Stage.up() }

    private static var canFail: WaitFlags { .wait.union(.canFail) }

    @Test func `V7 a limit given at definition counts what MemUse counts, and frees by anybody make room`() throws {
      let author = Author("limited", limit: 100_000)
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      let small = Heap.allocate(1000, type: type)!, large = Heap.allocate(90_000, type: type)!
      expectSettled(type, 1024 + 90_112)
      stave_set_errno(0)
      #expect(Heap.allocate(10_000, type: type) == nil && stave_errno() == 12 && type.pointee.failures == 1)
      #expect(Heap.allocate(40_000, type: type) == nil && type.pointee.failures == 2)
      let more = Heap.allocate(8_000, type: type)!
      expectSettled(type, 1024 + 90_112 + 8192)
      Heap.free(large)
      expectSettled(type, 1024 + 8192)
      // By realloc, which names no type, and by another thread.
      let moved = Heap.reallocate(small, 5000)!
      expectSettled(type, 8192)
      let shared = Shared(more)
      inThreads(1) { _ in Heap.free(shared.value) }
      expectSettled(type, 0)
      let all = Heap.allocate(100_000 - 100_000 % UInt(pageBytes), type: type)
      #expect(all != nil && Heap.allocate(4096, type: type) == nil)
      Heap.free(all)
      Heap.free(moved)
      expectSettled(type, 0)
    }

    @Test func `V7 a limit is exact to the byte, for all classes`() throws {
      let author = Author("exact", limit: 1)
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      for index in 0..<SizeClass.count {
        let size = SizeClass.size(index)
        #expect(types.setLimit(type, Int64(2 * size - 1)))
        let one = Heap.allocate(UInt(size), type: type)
        #expect(one != nil && Heap.allocate(UInt(size), type: type) == nil, "\(size)")
        #expect(types.setLimit(type, Int64(2 * size)))
        let other = Heap.allocate(UInt(size), type: type)
        #expect(other != nil && Heap.allocate(1, type: type) == nil, "\(size)")
        Heap.free(one)
        Heap.free(other)
        expectSettled(type, 0)
      }
    }

    @Test func `V7 a limit set while a type is in use counts what is out, and is respected at once`() throws {
      let author = Author("later")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      // Some freed again, so that cells and depots hold items.
      var blocks = (0..<600).map { Heap.allocate(UInt(100 + $0 % 3 * 1000), type: type)! } + [Heap.allocate(1 << 20, type: type)!]
      for _ in 0..<300 { Heap.free(blocks.removeFirst()) }
      let used = Int(TypeTotals(type).usedBytes)
      #expect(!type.hasAccount && type.pointee.charged == 0)
      #expect(types.setLimit(type, 1000) && type.hasAccount)
      expectSettled(type, used)
      #expect(Heap.allocate(16, type: type) == nil)
      for size in [100, 1100, 2100] { #expect(type.pointee.cells[SizeClass.index(for: size)] == 0) }
      #expect(types.setLimit(type, Int64(used + 112)))
      let block = Heap.allocate(100, type: type)
      #expect(block != nil && Heap.allocate(100, type: type) == nil)
      blocks.append(block!)
      // No limit any more: the account stays.
      #expect(types.setLimit(type, 0))
      blocks.append(Heap.allocate(500, type: type)!)
      expectSettled(type, used + 112 + 512)
      for block in blocks { Heap.free(block) }
      expectSettled(type, 0)
      for index in 0..<SizeClass.count { if let zone = type.pointee.zones[index] { check(zone, holding: 0) } }
    }

    @Test func `a thread that read a cell's number long before the limit finds the cell empty and full`() throws {
      guard root.pointee.mode == CacheMode.restartable else { return }
      let author = Author("straggler")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      for block in (0..<50).map({ _ in Heap.allocate(200, type: type)! }) { Heap.free(block) }
      let zone = type.pointee.zones[SizeClass.index(for: 200)]!
      let cell = UInt64(zone.pointee.cell * 32)
      #expect(cell != 0 && types.setLimit(type, 1 << 20))
      let block = Heap.allocate(200, type: type)!
      for cpu in usableCPUs {
        bind(toCPU: cpu)
        // Also on a CPU that has its cells only now.
        CPUCache.prepare()
        #expect(stave_pop(cell) == nil && stave_push(cell, block) == 1)
      }
      bindToAll()
      Heap.free(block)
      expectSettled(type, 0)
    }

    @Test func `L34 who may wait at the limit waits for a free, by anybody, and counts one sleep`() throws {
      let author = Author("waiting", limit: 10_000)
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      let block = Shared(Heap.allocate(8192, type: type)!)
      let before = stave_nanoseconds()
      inThreads(2) { thread in
        if thread == 0 {
          let other = Heap.allocate(4000, type: type, .wait)
          #expect(other != nil && stave_nanoseconds() - before > 240_000_000)
          Heap.free(other)
        } else {
          while stave_load32(&type.pointee.sleepers) == 0 { usleep(1000) }
          usleep(250_000)
          #expect(type.pointee.sleepers == 1)
          Heap.free(block.value)
        }
      }
      #expect(type.pointee.sleeps == 1 && type.pointee.failures == 0 && type.pointee.sleepers == 0)
      expectSettled(type, 0)
    }

    @Test func `L75 V7 who waits goes on when the limit is raised, or taken away`() throws {
      for limit in [20_000, 0] as [Int64] {
        let author = Author("raised", limit: 10_000)
        let type = try #require(types.register(author.type))
        let block = Heap.allocate(8192, type: type)!
        inThreads(2) { thread in
          if thread == 0 { Heap.free(Heap.allocate(8000, type: type, .wait)) } else {
            while stave_load32(&type.pointee.sleepers) == 0 { usleep(1000) }
            #expect(types.setLimit(type, limit))
          }
        }
        #expect(type.pointee.sleeps == 1 && type.pointee.failures == 0)
        Heap.free(block)
        types.unregister(author.type)
      }
    }

    @Test func `L34 many who wait for little room all get their turn`() throws {
      let author = Author("crowd", limit: 4 * 1024)
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      let rounds = 300 * Stage.scale
      inThreads(12) { thread in
        for round in 0..<rounds {
          let block = Heap.allocate(1000, type: type, .wait)
          if block == nil { Issue.record("thread \(thread), round \(round)") }
          if round & 15 == 0 { _ = stave_yield() }
          Heap.free(block)
        }
      }
      #expect(type.pointee.failures == 0)
      expectSettled(type, 0)
    }

    @Test func `V13 who may wait and may fail is not kept for ever at a limit: one failure, one sleep`() throws {
      let author = Author("impatient", limit: 10_000)
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      let block = Heap.allocate(8192, type: type)!
      var before = stave_nanoseconds()
      #expect(Heap.allocate(4000, type: type, Self.canFail) == nil)
      #expect(stave_nanoseconds() - before >= WaitFlags.patience)
      #expect(type.pointee.failures == 1 && type.pointee.sleeps == 1)
      // More than the limit itself: no free would help.
      before = stave_nanoseconds()
      #expect(Heap.allocate(12_000, type: type, Self.canFail) == nil && stave_nanoseconds() - before < WaitFlags.patience)
      // And if somebody frees in time it is served.
      let shared = Shared(block)
      inThreads(2) { thread in
        if thread == 1 {
          while stave_load32(&type.pointee.sleepers) == 0 && stave_load64(&type.pointee.failures) == 2 { usleep(1000) }
          return Heap.free(shared.value)
        }
        let other = Heap.allocate(4000, type: type, Self.canFail)
        #expect(other != nil)
        Heap.free(other)
      }
      #expect(type.pointee.failures == 2)
    }

    @Test func `V13 with a full arena requests that may fail end, those that may not are served when there is room`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let author = Author("full")
        let type = types.register(author.type)!
        let window = arena.pointee.windowEnd - arena.pointee.windowStart
        let foreign = arena.pointee.foreignBytes
        arena.pointee.foreignBytes = window - arena.pointee.largeBytes - (1 << 20)  // as if others had the rest
        stave_inject().pointee.always = 12
        let failures = heap.pointee.failures
        inThreads(6) { thread in
          if thread == 5 {
            while stave_load32(&type.pointee.sleepers) == 0 || stave_load64(&type.pointee.failures) < 4 { usleep(1000) }
            stave_inject().pointee.always = 0
            arena.pointee.foreignBytes = foreign
            return
          }
          let block = Heap.allocate(2 << 20, type: type, thread == 0 ? .wait : .wait.union(.canFail))
          precondition((block != nil) == (thread == 0))
          Heap.free(block)
        }
        precondition(type.pointee.failures == 4 && heap.pointee.failures == failures + 4)
        precondition(Heap.allocate(1 << 60, type: type, .wait) == nil, "what can never be had is not waited for")
      }
    }

    @Test func `a request that waits for memory counts no failure for each try, its zone neither`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let author = Author("patient")
        let type = types.register(author.type)!
        Heap.free(Heap.allocate(30_000, type: type))
        let zone = type.pointee.zones[SizeClass.index(for: 30_000)]!
        stave_inject().pointee.always = 12
        var held: [UnsafeMutableRawPointer] = []
        while let block = Heap.allocate(30_000, type: type) { held.append(block) }
        precondition(type.pointee.failures == 1 && zone.pointee.failures == 1 && heap.pointee.failures == 1)
        inThreads(2) { thread in
          if thread == 0 { precondition(Heap.allocate(30_000, type: type, .wait) != nil) } else {
            while stave_load32(&type.pointee.sleepers) == 0 { usleep(1000) }
            stave_inject().pointee.always = 0
          }
        }
        precondition(type.pointee.failures == 1 && zone.pointee.failures == 1 && type.pointee.sleeps == 1)
      }
    }

    @Test func `failure_rate fails those who may not wait, not those who may`() throws {
      let author = Author("injected")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      heap.pointee.options.values[Option.failureRate.rawValue] = 1
      heap.openFastPath()
      defer {
        heap.pointee.options.values[Option.failureRate.rawValue] = 0
        heap.openFastPath()
      }
      #expect(Heap.allocate(100, type: type, .noWait) == nil)
      let block = Heap.allocate(100, type: type, .wait)
      #expect(block != nil)
      Heap.free(block)
    }

    @Test func `large blocks grow within the limit of the type that they count for`() throws {
      let author = Author("growing", limit: 400_000)
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      var block = Heap.allocate(100_000, type: type)!
      for size in [110_000, 60_000, 150_000, 40_000, 120_000] as [UInt] {
        block = Heap.reallocate(block, size, type: type)!
        expectSettled(type, Int(Heap.usableSize(block)!))
      }
      #expect(Heap.reallocate(block, 500_000, type: type) == nil && Heap.reallocate(block, 1 << 60, type: type) == nil)
      expectSettled(type, Int(Heap.usableSize(block)!))
      // Who names no type takes it to malloc.
      block = Heap.reallocate(block, 500_000)!
      expectSettled(type, 0)
      Heap.free(block)
    }

    @Test func `L39 what is refused on the way of a limited request is not charged`() throws {
      let author = Author("refused", limit: 10 << 20)
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      for step in 1...40 {
        stave_inject().pointee.error = 12
        stave_inject().pointee.after = step
        var block = Heap.allocate(UInt(600 + step * 100), type: type)
        let large = Heap.allocate(3_000_000, type: type)
        if let old = block, let grown = Heap.reallocate(old, 700_000, type: type) { block = grown }
        stave_inject().pointee.after = 0
        expectSettled(type, Int((Heap.usableSize(block) ?? 0) + (Heap.usableSize(large) ?? 0)))
        Heap.free(block)
        Heap.free(large)
        expectSettled(type, 0)
        _ = Heap.trim()
      }
    }

    @Test func `a first limit that the system refuses changes nothing but speed`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        guard root.pointee.mode == CacheMode.restartable else { return }
        let author = Author("unclosed")
        let type = types.register(author.type)!
        let block = Heap.allocate(200, type: type)!
        stave_inject().pointee.always = 1
        precondition(!types.setLimit(type, 100) && !type.hasAccount && type.pointee.limit == 0)
        stave_inject().pointee.always = 0
        let other = Heap.allocate(200, type: type)!
        precondition(types.setLimit(type, 500) && type.pointee.charged == 2 * 208)
        Heap.free(block)
        Heap.free(other)
        precondition(type.pointee.charged == 0 && TypeTotals(type).used == 0)
      }
    }

    @Test func `L39 a first limit closes the caches also where there is no memory for a bucket`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let author = Author("bucketless")
        let type = types.register(author.type)!
        let held = Heap.allocate(200, type: type)!
        Heap.free(Heap.allocate(200, type: type))
        let zone = type.pointee.zones[SizeClass.index(for: 200)]!
        precondition(ZoneCounts(zone).cached > 0)
        stave_inject().pointee.always = 12
        while zone.takeEmptyBucket() != nil {}
        stave_inject().pointee.always = 0
        precondition(types.setLimit(type, 1 << 20) && type.pointee.charged == 208)
        CPUCache.forEachRegion { precondition($0[zone.pointee.cell].capacity == 0, "a cell is open still") }
        Heap.free(held)
        precondition(type.pointee.charged == 0)
      }
    }

    @Test func `in the child of a fork requests of other threads are not charged any more`() throws {
      let author = Author("forked", limit: 1 << 20)
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      let block = Heap.allocate(5000, type: type)!
      // As if another thread were between charge and zone.
      type.pointee.charged += 1000
      type.pointee.gate += 1
      type.pointee.sleepers = 3
      type.emptyInChild()
      type.settleInChild()
      #expect(type.isEmpty && type.pointee.sleepers == 0)
      expectSettled(type, 5120)
      Heap.free(block)
    }
  }
}
