// SPDX-License-Identifier: BSD-2-Clause
//
// Malloc types: what is counted for whom, registration and its end.

import CPlatform
import Foundation
import Testing

@testable import Accounting
@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// An author's type, as C's macro would define it.
final class Author {
  let type = UnsafeMutablePointer<stave_type>.allocate(capacity: 1)
  private let name: UnsafeMutablePointer<CChar>?

  init(_ name: String?, limit: Int = 0) {
    self.name = name.map { strdup($0) }
    type.initialize(to: stave_type())
    type.pointee.magic = STAVE_TYPE_MAGIC
    type.pointee.version = 1
    type.pointee.limit = UInt64(limit)
    type.pointee.name = self.name.map { UnsafePointer($0) }
  }

  deinit {
    type.deallocate()
    free(name)
  }
}

func expectSaid(_ result: ExitTest.Result?, _ text: String, sourceLocation: SourceLocation = #_sourceLocation) {
  let said = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
  #expect(said.contains(text), "\(said)", sourceLocation: sourceLocation)
}

func records() -> [TypePointer] {
  var all: [TypePointer] = []
  types.forEach { all.append($0) }
  return all
}

extension OnRoot {
  @Suite struct TypeTests {
    init() { Stage.up() }

    @Test func `L54 L55 a type counts blocks, bytes of classes and requests, on success only`() throws {
      let author = Author("counted")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      var blocks: [UnsafeMutableRawPointer] = []
      for size in [0, 1, 16, 17, 100, 1000, 32768, 32769, 1 << 20] as [UInt] { blocks.append(Heap.allocate(size, type: type)!) }
      var totals = TypeTotals(type)
      #expect(totals.allocations == 9 && totals.used == 9)
      // Classes: 16 three times, 32, 112, 1024, 32768; large blocks in whole pages.
      #expect(totals.usedBytes == 3 * 16 + 32 + 112 + 1024 + 32768 + 36864 + 1 << 20)
      #expect(totals.classes[0].nonzeroBitCount + totals.classes[1].nonzeroBitCount == 5)
      heap.pointee.options.values[Option.failureRate.rawValue] = 1
      let limit = stave_hot().pointee.small_limit
      stave_hot().pointee.small_limit = 0
      #expect(Heap.allocate(50, type: type) == nil && Heap.allocate(1 << 20, type: type) == nil)
      heap.pointee.options.values[Option.failureRate.rawValue] = 0
      stave_hot().pointee.small_limit = limit
      #expect(Heap.allocate(1 << 60, type: type) == nil)
      totals = TypeTotals(type)
      #expect(totals.allocations == 9 && totals.used == 9, "what failed is not counted")
      #expect(type.pointee.failures == 3)
      for block in blocks { Heap.free(block) }
      totals = TypeTotals(type)
      #expect(totals.used == 0 && totals.usedBytes == 0 && totals.allocations == 9)
    }

    @Test func `a free is charged back to the type that allocated, and untyped memory is what no type has`() throws {
      let first = Author("first"), second = Author("second")
      let one = try #require(types.register(first.type)), other = try #require(types.register(second.type))
      defer {
        types.unregister(first.type)
        types.unregister(second.type)
      }
      let a = Heap.allocate(64, type: one)!, b = Heap.allocate(64, type: other)!, c = Heap.allocate(64)!
      #expect(TypeTotals(one).used == 1 && TypeTotals(other).used == 1)
      Heap.free(a)
      Heap.free(c)
      #expect(TypeTotals(one).used == 0 && TypeTotals(other).used == 1 && TypeTotals(other).frees == 0)
      Heap.free(b)
      #expect(TypeTotals(other).used == 0)
      var typed: [UInt32] = []
      forEachListedZone { if $0.pointee.type != 0 { typed.append($0.pointee.type) } }
      #expect(typed.contains(one.pointee.number) && typed.contains(other.pointee.number))
      #expect(heap.pointee.classZones[SizeClass.index(for: 64)]!.pointee.type == 0)
    }

    @Test func `T9 L52 realloc keeps the type of a block that stays, and bytes follow its size`() throws {
      let author = Author("moving")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      var block = Heap.allocate(100, type: type)!
      #expect(Heap.reallocate(block, 110, type: type) == block && TypeTotals(type).allocations == 1)
      block = Heap.reallocate(block, 5000, type: type)!
      #expect(TypeTotals(type).allocations == 2 && TypeTotals(type).usedBytes == 5120)
      block = Heap.reallocate(block, 300_000, type: type)!
      #expect(TypeTotals(type).usedBytes == 303_104 && TypeTotals(type).used == 1)
      for size in [3 << 20, 900_000, 40_000_000, 70_000] as [UInt] {
        block = Heap.reallocate(block, size, type: type)!
        let usable = Int64(Heap.usableSize(block)!)
        #expect(TypeTotals(type).usedBytes == usable && TypeTotals(type).used == 1, "\(size)")
      }
      block = Heap.reallocate(block, 50)!
      #expect(TypeTotals(type).used == 0, "moved by somebody who names no type")
      Heap.free(block)
    }

    @Test func `T10 a request that failed sets no size, whatever was made on its way`() throws {
      let author = Author("sizes")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      Heap.free(Heap.allocate(100, type: type))
      let limit = stave_hot().pointee.small_limit
      stave_hot().pointee.small_limit = 0
      heap.pointee.options.values[Option.failureRate.rawValue] = 1
      #expect(Heap.allocate(1000, type: type) == nil)
      heap.pointee.options.values[Option.failureRate.rawValue] = 0
      stave_hot().pointee.small_limit = limit
      // One of the others' sizes, made for a block that no page is there for.
      #expect(type.zone(SizeClass.index(for: 5000)) != nil)
      let classes = TypeTotals(type).classes
      #expect(classes[0].nonzeroBitCount + classes[1].nonzeroBitCount == 1)
    }

    @Test func `L55 every request of a type that failed is counted, of whatever size and kind`() throws {
      let author = Author("failing")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      #expect(Heap.allocate(1 << 60, type: type) == nil && type.pointee.failures == 1)
      #expect(Heap.allocateZeroed(1 << 60, type: type) == nil && type.pointee.failures == 2)
      #expect(Heap.allocate(1 << 60, alignment: 4096, type: type) == nil && type.pointee.failures == 3)
      #expect(Heap.allocate(1 << 60, type: type, WaitFlags.wait.union(.zero)) == nil && type.pointee.failures == 4)
      #expect(Heap.reallocate(nil, 1 << 60, type: type) == nil && type.pointee.failures == 5)
    }

    @Test func `a type for which there is no keg has its memory from malloc's zones`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let author = Author("late")
        let type = types.register(author.type)!
        Heap.free(Heap.allocate(96))
        let table = stave_kegs()
        let free = (1..<Int(STAVE_MAX_KEGS)).filter { table[$0] == nil }
        for index in free { table[index] = table[1] }
        let block = Heap.allocate(96, type: type)
        precondition(block != nil && TypeTotals(type).used == 0 && type.pointee.failures == 0)
        for index in free { table[index] = nil }
        Heap.free(block)
      }
    }

    @Test func `types leave cells and kegs for malloc's own zones`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let author = Author("many")
        let type = types.register(author.type)!
        zones.pointee.nextCell = Int(STAVE_MAX_CELLS) - 100  // as if so many had been given out
        Heap.free(Heap.allocate(112, type: type))
        precondition(type.pointee.zones[6]!.pointee.cell == 0 && TypeTotals(type).allocations == 1)
        Heap.free(Heap.allocate(112))
        precondition(heap.pointee.classZones[6]!.pointee.cell != 0)
        zones.pointee.zoneCount += Int(STAVE_MAX_KEGS) - 100
        Heap.free(Heap.allocate(128, type: type))
        precondition(type.pointee.zones[7] == nil && heap.pointee.classZones[7] != nil)
      }
    }

    @Test func `who has come to a type that ends goes on to the others`() throws {
      let authors = (0..<3).map { Author("row\($0)") }
      let all = try authors.map { try #require(types.register($0.type)) }
      types.unregister(authors[1].type)
      #expect(all[1].pointee.next == all[0])
      types.unregister(authors[2].type)
      #expect(all[2].pointee.next == all[0] && all[1].pointee.next == all[0])
      types.unregister(authors[0].type)
    }

    @Test func `a name that has a type keeps it when there may be no more`() throws {
      let name = FixedName("libkept.so")
      let kept = try #require(types.named(name))
      let count = types.pointee.count
      #expect(types.named(FixedName("libnew.so"), most: count) == nil && types.pointee.count == count)
      #expect(types.named(name, most: count) == kept)
      #expect(types.named(FixedName("libnew.so"), most: count + 1) != nil)
    }

    @Test func `M_ZERO zeroes all that may be used, of large blocks too`() throws {
      let author = Author("zeroed")
      let type = try #require(types.register(author.type))
      defer { types.unregister(author.type) }
      for size in [1, 100, 5000, 40_000, 40_960, 1 << 20, (1 << 20) + 1] as [UInt] {
        for _ in 0..<20 {
          let dirty = Heap.allocate(size, type: type)!
          memset(dirty, 0x5a, Int(Heap.usableSize(dirty)!))
          Heap.free(dirty)
          let block = Heap.allocate(size, type: type, WaitFlags.noWait.union(.zero))!
          #expect(isZero(block, Int(Heap.usableSize(block)!)), "\(size)")
          Heap.free(block)
        }
      }
    }

    @Test func `L62 the count of types is the length of the list, and instances tell twins apart`() throws {
      let before = types.pointee.count
      let twins = (0..<3).map { _ in Author("twin") }
      let all = try twins.map { try #require(types.register($0.type)) }
      #expect(types.pointee.count == before + 3 && records().count == before + 3)
      #expect(Set(all.map { $0.pointee.instance }) == [0, 1, 2] && Set(all.map { $0.pointee.number }).count == 3)
      #expect(types.register(twins[1].type) == all[1] && types.pointee.count == before + 3, "known already")
      #expect(types.find(FixedName("twin")) == all[2])
      for twin in twins { types.unregister(twin.type) }
      #expect(types.pointee.count == before && records().count == before && types.find(FixedName("twin")) == nil)
    }

    @Test func `L53 a type that ends says what is still out, which may be freed yet`() throws {
      let author = Author("leaky")
      let type = try #require(types.register(author.type))
      let blocks = (0..<3).map { _ in Heap.allocate(200, type: type)! } + [Heap.allocate(100_000, type: type)!]
      let zone = type.pointee.zones[SizeClass.index(for: 200)]!
      #expect(types.unregister(author.type) == 4)
      #expect(zone.pointee.type == types.pointee.ended!.pointee.number)
      check(zone, holding: 3)
      for block in blocks { Heap.free(block) }
      check(zone, holding: 0)
      types.sweep()
      #expect(types.pointee.endedZones == 0)
    }

    @Test func `L53 the report of a type that ends names it, its blocks and bytes`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        let author = Author("leaky")
        let type = types.register(author.type)!
        for _ in 0..<3 { _ = Heap.allocate(200, type: type) }
        types.unregister(author.type)
      }
      expectSaid(result, "malloc type ended with blocks out: leaky: 3 blocks, 624 bytes\n")
      expectSaid(result, "\n  at 20")
      expectSaid(result, "\n  next: STAVE_OPTIONS=redzone:1 says where they were asked for; stave symbolize names the functions\n")
    }

    @Test func `L44 registration of what is no type ends the process there, in every build`() async {
      var result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let author = Author("garbage")
        author.type.pointee.magic = 0x1234
        types.register(author.type)
      }
      expectSaid(result, "does not begin with its mark")
      result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let author = Author("newer")
        author.type.pointee.version = 7
        types.register(author.type)
      }
      expectSaid(result, "newer: its version is not 1")
      result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let author = Author("never")
        withExtendedLifetime(author) { types.unregister(author.type) }
      }
      expectSaid(result, "never: it is not registered")
    }

    @Test func `L44 T14 types without a name, and with a long one, crash nobody`() throws {
      let nameless = Author(nil), long = Author(String(repeating: "long", count: 20))
      let one = try #require(types.register(nameless.type)), other = try #require(types.register(long.type))
      Heap.free(Heap.allocate(300, type: one))
      Heap.free(Heap.allocate(300, type: other))
      #expect(other.pointee.name.count == 31)
      #expect(other.pointee.zones[SizeClass.index(for: 300)]!.pointee.name.count <= 31)
      printZones(to: open("/dev/null", O_WRONLY))
      types.unregister(nameless.type)
      types.unregister(long.type)
    }

    @Test func `what depots of types hold counts towards giving back`() throws {
      let author = Author("idle")
      let type = try #require(types.register(author.type))
      _ = Heap.trim()
      #expect(zones.idleTypedBytes == 0)
      let blocks = (0..<2000).map { _ in Heap.allocate(1000, type: type)! }
      for block in blocks { Heap.free(block) }
      let zone = type.pointee.zones[SizeClass.index(for: 1000)]!
      #expect(zones.idleTypedBytes == UInt(zone.pointee.depotItems * 1024) && zone.pointee.depotItems > 0)
      #expect(Heap.idleBytes >= zones.idleTypedBytes)
      _ = Heap.trim()
      #expect(zones.idleTypedBytes == 0)
      let again = (0..<2000).map { _ in Heap.allocate(1000, type: type)! }
      for block in again { Heap.free(block) }
      types.unregister(author.type)
      #expect(zones.idleTypedBytes == 0, "also when the type ends")
    }

    @Test func `L60 the public structure has a size and layout that never change`() {
      #expect(MemoryLayout<stave_type>.size == 64)
      #expect(MemoryLayout<stave_type>.offset(of: \.magic) == 0 && MemoryLayout<stave_type>.offset(of: \.version) == 4)
      #expect(MemoryLayout<stave_type>.offset(of: \.name) == 8 && MemoryLayout<stave_type>.offset(of: \.description) == 16)
      #expect(MemoryLayout<stave_type>.offset(of: \.internals) == 24 )
      #expect(MemoryLayout<stave_type>.offset(of: \.limit) == 32 && MemoryLayout<stave_type>.offset(of: \.reserved) == 40)
    }

    @Test func `L39 a refused system call on the way of a type leaves nothing behind`() throws {
      let author = Author("refused")
      let count = types.pointee.count
      var failures = 0
      for step in 1...40 {
        stave_inject().pointee.error = 12
        stave_inject().pointee.after = step
        let record = types.register(author.type)
        let block = record.flatMap { Heap.allocate(700, type: $0) }
        let large = record.flatMap { Heap.allocate(700_000, type: $0) }
        let wasReached = stave_inject().pointee.after == 0
        stave_inject().pointee.after = 0
        if record == nil || block == nil || large == nil { failures += 1 }
        Heap.free(block)
        Heap.free(large)
        if let record {
          #expect(TypeTotals(record).used == 0)
          types.unregister(author.type)
        }
        #expect(types.pointee.count == count)
        if !wasReached { break }
      }
      _ = Heap.trim()
    }
  }
}
