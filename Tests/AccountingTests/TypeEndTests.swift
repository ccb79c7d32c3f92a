// SPDX-License-Identifier: BSD-2-Clause
//
// Types that come and go: with blocks out that are freed later, by other threads, for ever; and what lies in structures that are
// registered.

import CPlatform
import Foundation
import Testing

@testable import Accounting
@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// With standard error on /dev/null: types that end with blocks out say so.
func quietly<Result>(_ body: () throws -> Result) rethrows -> Result {
  let kept = dup(2), nothing = open("/dev/null", O_WRONLY)
  dup2(nothing, 2)
  defer {
    dup2(kept, 2)
    close(kept)
    close(nothing)
  }
  return try body()
}

extension OnRoot {
  @Suite struct TypeEndTests {
    init() { Stage.up() }

    /// What grows if something of a type stays when it has ended.
    private struct Footprint: Equatable {
      var zones = Zones.zones.pointee.zoneCount
      var kegs = Zones.zones.pointee.kegCount
      var cells = Zones.zones.pointee.nextCell
      var numbers = Accounting.types.pointee.nextNumber
      var count = Accounting.types.pointee.count
      var ended = Accounting.types.pointee.endedZones
      var metadata = metadataPages.pointee.mappedBytes
    }

    @Test func `L53 types come and go for ever in bounded memory, whenever their blocks are freed`() throws {
      // On several CPUs' cells there lies more.
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      try quietly {
        func round(_ number: Int) throws {
          let author = Author("passing", limit: number % 3 == 0 ? 1 << 20 : 0)
          let type = try #require(types.register(author.type), "round \(number)")
          let small = Heap.allocate(100, type: type)!, other = Heap.allocate(2000, type: type)!
          let large = number % 16 == 0 ? Heap.allocate(50_000, type: type) : nil
          if number & 1 == 0 { Heap.free(small) }
          types.unregister(author.type)
          if number & 1 == 1 { Heap.free(small) }
          Heap.free(other)
          Heap.free(large)
        }
        for number in 0..<100 { try round(number) }
        types.sweep()
        let before = Footprint()
        #expect(before.ended == 0)
        let rounds = 3000 * Stage.scale
        for number in 0..<rounds { try round(number) }
        types.sweep()
        #expect(Footprint() == before)
      }
    }

    @Test func `L50 what a type leaves behind finds its slab, whether caches are used or passed by`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        bind(toCPU: usableCPUs[0])
        try quietly {
          for isDirect in [false, true, false] {
            let check = Letter(request: 1, command: MailCommand.set, subject: UInt32(Option.check.rawValue), value: isDirect ? 1 : 0)
            precondition(Heap.obey(check).status == MailStatus.done)
            func round() {
              let author = Author("left")
              let type = types.register(author.type)!
              let blocks = (0..<300).map { Heap.allocate([64, 3000, 50_000][$0 % 3], type: type)! }
              types.unregister(author.type)
              for block in blocks { Heap.free(block) }
              types.sweep()
            }
            round()
            let before = TypeEndTests.Footprint()
            for _ in 0..<20 { round() }
            precondition(TypeEndTests.Footprint() == before)
          }
        }
      }
    }

    @Test func `L53 a hundred thousand types in turn need no more than one`() throws {
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      let rounds = 100_000
      func round() throws {
        let author = Author("brief")
        let type = try #require(types.register(author.type))
        Heap.free(Heap.allocate(64, type: type))
        types.unregister(author.type)
      }
      for _ in 0..<10 { try round() }
      let before = Footprint()
      for _ in 0..<rounds { try round() }
      #expect(Footprint() == before)
    }

    @Test func `T4 no sweep takes a zone while a free is under way that found the type before it ended`() throws {
      try quietly {
        let author = Author("late")
        let type = Shared(try #require(types.register(author.type)))
        let block = Shared(Heap.allocate(100, type: type.value)!.assumingMemoryBound(to: UInt8.self))
        let zone = Shared(type.value.pointee.zones[SizeClass.index(for: 100)]!)
        // As such a free.
        _ = type.value.enter()
        inThreads(2) { thread in
          if thread == 0 {
            types.unregister(author.type)
            return
          }
          while zone.value.pointee.type == type.value.pointee.number { usleep(1000) }
          usleep(20_000)
          zone.value.freeSlow(UnsafeMutableRawPointer(block.value))
          types.sweep()
          var isThere = false
          forEachListedZone { if $0 == zone.value { isThere = true } }
          if !isThere { Issue.record("the zone went while it was being used") }
          type.value.leave()
        }
        var isThere = false
        forEachListedZone { if $0.pointee.type == types.pointee.ended!.pointee.number { isThere = true } }
        #expect(!isThere)
      }
    }

    @Test func `L53 zones of ended types go at the end of a period when their last block has been freed`() throws {
      try quietly {
        let author = Author("left behind")
        let type = try #require(types.register(author.type))
        let block = Heap.allocate(100, type: type)!
        types.unregister(author.type)
        #expect(types.pointee.endedZones == 1)
        _ = Heap.endOfPeriod()
        #expect(types.pointee.endedZones == 1)
        Heap.free(block)
        _ = Heap.endOfPeriod()
        #expect(types.pointee.endedZones == 0)
      }
    }

    @Test func `L62 T4 the last blocks of types that end are freed by other threads at that moment`() throws {
      let rounds = 400 * Stage.scale
      let mail = Shared(UnsafeMutablePointer<UInt64>.allocate(capacity: 64))
      mail.value.initialize(repeating: 0, count: 64)
      let done = Shared(UnsafeMutablePointer<Int32>.allocate(capacity: 1))
      done.value.initialize(to: 0)
      quietly {
        inThreads(5) { thread in
          if thread < 3 {
            var generator = Generator(UInt64(520 + thread))
            for round in 0..<rounds {
              let author = Author("moment\(thread)", limit: round % 2 == 0 ? 1 << 22 : 0)
              guard let type = types.register(author.type) else {
                Issue.record("no record")
                return
              }
              for place in 0..<20 {
                let block = Heap.allocate(UInt(generator.size(upTo: generator.below(10) == 0 ? 60_000 : 3000)), type: type)!
                // Another thread frees it, now or later; what has no place is freed here.
                let slot = mail.value + (thread * 20 + place)
                if stave_load64(slot) == 0 { stave_store64(slot, UInt64(UInt(bitPattern: block))) } else { Heap.free(block) }
              }
              types.unregister(author.type)
            }
            stave_add32(done.value, 1)
            return
          }
          // Each frees from places of its own.
          while true {
            let isLast = stave_load32(done.value) == 3
            for place in 0..<60 where place & 1 == thread & 1 {
              let word = stave_load64(mail.value + place)
              guard word != 0 else { continue }
              stave_store64(mail.value + place, 0)
              Heap.free(UnsafeMutableRawPointer(bitPattern: UInt(word)))
            }
            if isLast { break }
          }
        }
      }
      types.sweep()
      #expect(types.pointee.endedZones == 0)
      var left = 0
      forEachListedZone { if $0.pointee.type == types.pointee.ended!.pointee.number { left += 1 } }
      #expect(left == 0 && types.pointee.ended!.isEmpty)
      for number in 1..<Int(types.pointee.nextNumber) { #expect(arena.largeTotals(of: UInt32(number)).isEmpty) }
      mail.value.deallocate()
    }

    @Test func `L44 garbage in the library's field of a structure is not believed`() throws {
      let author = Author("garbage"), other = Author("other")
      let known = try #require(types.register(other.type))
      defer { types.unregister(other.type) }
      for garbage in [0x10, 0xdead_beef_0000, UInt(bitPattern: author.type), UInt(bitPattern: known) + 8] {
        author.type.pointee.internals = UnsafeMutableRawPointer(bitPattern: garbage)
        let count = types.pointee.count
        let type = try #require(types.register(author.type))
        #expect(type != known && type.pointee.name.equals(FixedName("garbage")) && types.pointee.count == count + 1)
        types.unregister(author.type)
      }
      // A copy of a registered structure is a type of its own.
      author.type.pointee.internals = other.type.pointee.internals
      let type = try #require(types.register(author.type))
      #expect(type != known)
      types.unregister(author.type)
      #expect(types.find(FixedName("other")) == known)
    }

    @Test func `L44 the end of a structure with garbage in it stops the process with a report`() async {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let author = Author("copied"), other = Author("original")
        types.register(other.type)
        author.type.pointee.internals = other.type.pointee.internals
        withExtendedLifetime(author) { types.unregister(author.type) }
      }
      expectSaid(result, "copied: it is not registered")
    }

    @Test func `L77 counts of threads that hop from CPU to CPU are exact at rest`() throws {
      let author = Author("hopping")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      let tallies = Shared(UnsafeMutablePointer<Int64>.allocate(capacity: 12))
      tallies.value.initialize(repeating: 0, count: 12)
      let left = Shared(UnsafeMutablePointer<UnsafeMutableRawPointer?>.allocate(capacity: 4 * 30))
      left.value.initialize(repeating: nil, count: 4 * 30)
      let rounds = 40_000 * Stage.scale
      inThreads(4) { thread in
        var generator = Generator(UInt64(540 + thread))
        let held = left.value + 30 * thread
        var requests: Int64 = 0
        for round in 0..<rounds {
          if round % 50 == 0 { bind(toCPU: usableCPUs[generator.below(usableCPUs.count)]) }
          let place = generator.below(30)
          Heap.free(held[place])
          held[place] = nil
          if generator.below(4) > 0 {
            held[place] = Heap.allocate(UInt(16 << generator.below(5)), type: type)!
            requests += 1
          }
        }
        bindToAll()
        tallies.value[thread] = requests
      }
      var count: Int64 = 0, bytes: Int64 = 0
      for place in 0..<120 where left.value[place] != nil {
        count += 1
        bytes += Int64(Heap.usableSize(left.value[place])!)
      }
      let totals = TypeTotals(type)
      #expect(totals.allocations == (0..<4).reduce(0) { $0 + tallies.value[$1] })
      #expect(totals.used == count && totals.usedBytes == bytes && totals.frees == totals.allocations - count)
      for place in 0..<120 { Heap.free(left.value[place]) }
      #expect(TypeTotals(type).used == 0)
    }
  }
}
