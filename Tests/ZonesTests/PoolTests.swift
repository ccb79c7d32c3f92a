// SPDX-License-Identifier: BSD-2-Clause
//
// What a pool promises to one thread: which page an item comes from, where it lies, how many pages there are, what limits and marks
// do, what is said of misuse.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct PoolTests {
    init() { Stage.up() }

    private func finish(_ pool: PoolPointer, _ allocator: PoolAllocatorPointer?, _ bank: PageBank?) {
      pool.checkInvariants()
      #expect(pool.destroy() == 0)
      allocator?.release()
      if let bank {
        #expect(bank.out == 0 && bank.wrongFrees == 0)
        #expect(!bank.sawLock, "a lock was held over the back-end")
      }
    }

    @Test(arguments: [(40, 8, 0), (96, 32, 8), (100, 64, 4), (24, 16, 16), (3000, 128, 40), (700, 1024, 0)])
    func `items have the size, alignment and offset asked for`(_ size: Int, _ align: Int, _ offset: Int) {
      for flags in [ZoneFlags.none, .offPage, .noTouch, .notPage] where !(flags == .notPage && align > 4096) {
        for isShared in [true, false] {
          let bank = PageBank(), allocator = isShared ? nil : bank.allocator()
          let pool = makeTestPool("aligned", size, alignMask: align - 1, offset: offset, flags: flags, allocator)
          let items = pool.getMany(3 * pool.perPage).sorted { $0.address < $1.address }
          #expect(items.count == 3 * pool.perPage)
          for (item, next) in zip(items, items.dropFirst()) { #expect(next.address - item.address >= UInt(size)) }
          for item in items {
            #expect((item.address + UInt(offset)) % UInt(align) == 0)
            item.initializeMemory(as: UInt8.self, repeating: 0xee, count: size)
          }
          pool.checkInvariants()
          pool.putAll(items.shuffled())
          finish(pool, allocator, isShared ? nil : bank)
        }
      }
    }

    @Test func `absurd wishes are refused`() {
      let bank = PageBank(), allocator = bank.allocator(alignment: 4096)
      #expect(makePool(name: FixedName("absurd"), size: 0) == nil)
      #expect(makePool(name: FixedName("absurd"), size: 1 << 41) == nil)
      #expect(makePool(name: FixedName("absurd"), size: 64, alignMask: 6) == nil)
      #expect(makePool(name: FixedName("absurd"), size: 64, offset: 64) == nil)
      #expect(makePool(name: FixedName("absurd"), size: 64, alignMask: 8191, allocator: allocator) == nil)
      allocator.release()
    }

    @Test func `the first put into a full page makes it current, and holes are filled before other pages`() {
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("current", 200, allocator)
      let count = pool.perPage
      var pages: [[UnsafeMutableRawPointer]] = []
      for _ in 0..<4 { pages.append(pool.getMany(count)) }
      #expect(bank.out == 4)
      // A page partly used, which is current; then holes in two full ones: the last of them is.
      let partial = pool.getMany(1)
      pool.put(pages[1].removeLast())
      pool.put(pages[2].removeLast())
      let hole2 = pool.get()!, hole1 = pool.get()!
      #expect(pages[2].contains { abs(Int(bitPattern: hole2) - Int(bitPattern: $0)) < 4096 && $0.address & ~4095 == hole2.address & ~4095 })
      #expect(hole1.address & ~4095 == pages[1][0].address & ~4095)
      #expect(pool.get()!.address & ~4095 == partial[0].address & ~4095)
      // An empty page comes after partial ones.
      pool.putAll(pages[0])
      pool.put(pages[3].removeLast())
      #expect(pool.get()!.address & ~4095 == pages[3][0].address & ~4095)
      pool.checkInvariants()
      _ = pool.destroy()
      allocator.release()
    }

    @Test func `pages begin their items at rotating offsets within the slack`() {
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("coloured", 192, alignMask: 63, allocator)
      let layout = pool.pointee.keg.pointee.layout, colours = Int(pool.pointee.keg.pointee.colours)
      #expect(colours >= 1)
      var items: [UnsafeMutableRawPointer] = []
      for turn in 0..<2 * (colours + 1) {
        let page = pool.getMany(pool.perPage)
        let first = page.map { Int($0.address & 4095) }.min()!
        #expect(first == turn % (colours + 1) * 64)
        // The last one still ends before the header.
        #expect(page.map { Int($0.address & 4095) }.max()! + 192 <= layout.headerOffset)
        for item in page { item.initializeMemory(as: UInt8.self, repeating: 0x77, count: 192) }
        items += page
      }
      pool.checkInvariants()
      pool.putAll(items)
      pool.checkInvariants()
      #expect(pool.counts.idlePages == 2 * (colours + 1))
      finish(pool, allocator, bank)
    }

    @Test func `the memory of a no-touch pool is never written`() {
      PoolClock.stop()
      defer { PoolClock.start() }
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("untouched", 64, flags: .noTouch, allocator)
      let items = pool.getMany(3 * pool.perPage)
      pool.putAll(items)
      let again = pool.getMany(pool.perPage + 5)
      pool.putAll(again)
      for item in items { #expect(residentPages(item.address & ~4095, 4096) == 0) }
      finish(pool, allocator, bank)
    }

    @Test func `a low water mark makes the pool grow after a get, and keeps pages`() {
      PoolClock.stop()
      defer { PoolClock.start() }
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("low", 512, allocator)
      let each = pool.perPage
      pool.setLow(each + 1)
      #expect(bank.out == 2 && bank.lastWait == WaitFlags.noWait.rawValue)
      let items = pool.getMany(each)
      #expect(pool.counts.freeItems >= each + 1)
      // That it cannot is no error.
      bank.quota = bank.out
      let more = pool.getMany(each)
      #expect(more.count == each)
      pool.putAll(items + more)
      pool.reclaim(isUrgent: true)
      #expect(bank.out == 2, "the low water mark's pages")
      pool.setHigh(0)
      pool.put(pool.get()!)
      #expect(bank.out == 2)
      finish(pool, allocator, bank)
    }

    @Test func `beyond the high water mark a page that becomes empty goes back at once`() {
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("high", 512, allocator)
      let each = pool.perPage
      let items = pool.getMany(5 * each)
      pool.setHigh(2 * each)
      pool.putAll(items)
      #expect(bank.out == 2 && pool.counts.idlePages == 2 && pool.counts.pagesFreed == 3)
      finish(pool, allocator, bank)
    }

    @Test func `prime adds pages, which stay`() {
      PoolClock.stop()
      defer { PoolClock.start() }
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("primed", 512, allocator)
      #expect(pool.prime(2 * pool.perPage + 1))
      #expect(bank.out == 3 && pool.counts.idlePages == 3)
      let items = pool.getMany(5 * pool.perPage)
      pool.setHigh(0)
      pool.putAll(items)
      #expect(bank.out == 3)
      #expect(!pool.reclaim(isUrgent: true) && bank.out == 3)
      bank.refuseAt = 2
      #expect(!pool.prime(4 * pool.perPage))
      #expect(bank.out == 4 && pool.counts.pages == 4)
      #expect(!pool.reclaim(isUrgent: true))
      finish(pool, allocator, bank)
    }

    @Test func `reclaim leaves pages alone that have been idle for less than ten seconds`() {
      PoolClock.stop()
      defer { PoolClock.start() }
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("idle", 512, allocator)
      let each = pool.perPage
      let pages = (0..<4).map { _ in pool.getMany(each) }
      pool.putAll(pages[0])
      PoolClock.advance(6)
      pool.putAll(pages[1])
      PoolClock.advance(3.9)
      #expect(!pool.reclaim() && bank.out == 4)
      PoolClock.advance(0.1)
      #expect(pool.reclaim() && bank.out == 3)
      #expect(!pool.reclaim())
      PoolClock.advance(6)
      // What was used meanwhile has not been idle.
      let item = pool.get()!
      pool.put(item)
      #expect(!pool.reclaim() && bank.out == 3)
      PoolClock.advance(10)
      #expect(pool.reclaim() && bank.out == 2)
      pool.putAll(pages[2] + pages[3])
      // As the walks over all zones do.
      PoolClock.advance(10)
      trimIdleDepots()
      #expect(bank.out == 0)
      finish(pool, allocator, bank)
    }

    @Test func `drain takes the pools in turn and says whether it freed`() {
      PoolClock.stop()
      defer { PoolClock.start() }
      let bank = PageBank(), allocator = bank.allocator()
      let pools = [makeTestPool("turn", 512, allocator), makeTestPool("turn", 512, allocator), makeTestPool("turn", 512, allocator)]
      for pool in pools { pool.putAll(pool.getMany(1)) }
      PoolClock.advance(10)
      var seen: [Int] = []
      for _ in 0..<20 where bank.out > 0 {
        let before = pools.map { $0.counts.pages }
        let hasFreed = drainNextPool()
        let gone = pools.indices.filter { pools[$0].counts.pages < before[$0] }
        #expect(hasFreed == !gone.isEmpty && gone.count <= 1)
        seen += gone
      }
      #expect(seen.count == 3 && Set(seen).count == 3)
      for pool in pools { #expect(pool.destroy() == 0) }
      allocator.release()
    }

    @Test func `the drain hook is called without locks, when nothing is left and at each reclaim`() {
      final class Owner {
        var pool: PoolPointer?
        var spare: [UnsafeMutableRawPointer] = []
        var calls = 0
        var sawLock = false
      }
      let owner = Owner()
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("hooked", 512, allocator)
      owner.pool = pool
      pool.setDrainHook({ context, _ in
        let owner = Unmanaged<Owner>.fromOpaque(context!).takeUnretainedValue()
        owner.calls += 1
        if FutexLock.threadHoldsAny { owner.sawLock = true }
        if let item = owner.spare.popLast() { owner.pool!.put(item) }
      }, argument: Unmanaged.passUnretained(owner).toOpaque())
      owner.spare = pool.getMany(2)
      pool.setLimit(2)
      let first = pool.get()
      #expect(first != nil && owner.calls == 1, "the limit")
      bank.quota = 0
      owner.spare = [first!] + owner.spare
      pool.reclaim()
      #expect(owner.calls == 2 && owner.spare.count == 1)
      pool.setLimit(.max)
      let rest = pool.getMany(pool.perPage)
      #expect(rest.count == pool.perPage && owner.calls == 3, "the back-end")
      #expect(!owner.sawLock)
      pool.setDrainHook(nil)
      pool.putAll(rest)
      finish(pool, allocator, bank)
    }

    @Test func `at the limit there is nil, and the message once in its interval`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        PoolClock.stop()
        let pool = makeTestPool("limited", 64)
        pool.setLimit(3)
        pool.setLimitMessage(("too many sessions" as StaticString).utf8Start, interval: 1_000_000_000)
        let items = pool.getMany(10)
        precondition(items.count == 3)
        for _ in 0..<5 { precondition(pool.get(.wait.union(.limitFail)) == nil) }
        PoolClock.advance(1)
        for _ in 0..<5 { precondition(pool.get() == nil) }
        precondition(pool.counts.failures == 11 && pool.counts.itemsOut == 3)
        pool.put(items[0])
        precondition(pool.get() != nil && pool.get() == nil)
        pool.setLimit(5)
        precondition(pool.getMany(10).count == 2)
        pool.checkInvariants()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.components(separatedBy: "pool limit: limited: too many sessions; 3 items are out").count == 3, "\(text)")
    }

    @Test func `with an interval of nothing each request that meets the limit has the message once`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        let pool = makeTestPool("each", 64)
        pool.setLimit(1)
        pool.setLimitMessage(("one is all there is" as StaticString).utf8Start, interval: 0)
        let item = pool.get()!
        // What says it for ever looks at the clock each time, and ends there.
        zones.pointee.pools.clock = {
          PoolClock.now += 1
          if PoolClock.now > 1000 { _exit(3) }
          return 0
        }
        for _ in 0..<3 { precondition(pool.get() == nil && pool.get(.wait.union(.limitFail)) == nil) }
        pool.put(item)
        pool.checkInvariants()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.components(separatedBy: "pool limit: each: one is all there is; 1 items are out").count == 7, "\(text.prefix(1000))")
    }

    @Test func `the counters`() {
      let bank = PageBank(), allocator = bank.allocator()
      let pool = makeTestPool("counted", 512, allocator)
      let items = pool.getMany(2 * pool.perPage)
      bank.quota = 2
      #expect(pool.get() == nil)
      pool.putAll(Array(items.dropLast(pool.perPage)))
      let counts = pool.counts
      #expect(counts.gets == items.count && counts.failures == 1 && counts.puts == pool.perPage && counts.itemsOut == pool.perPage)
      #expect(counts.pagesMade == 2 && counts.pagesFreed == 0 && counts.mostPages == 2 && counts.pages == 2 && counts.idlePages == 1)
      pool.putAll(Array(items.suffix(pool.perPage)))
      pool.reclaim(isUrgent: true)
      #expect(pool.counts.pagesFreed == 2 && pool.counts.mostPages == 2 && pool.counts.pages == 0)
      // Tables of zones show it.
      #expect(ZoneCounts(pool.pointee.zone).allocations == items.count && ZoneCounts(pool.pointee.zone).used == 0)
      finish(pool, allocator, bank)
    }

    @Test func `misuse is reported and changes nothing`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        stave_reports().pointee.mode = ReportMode.goOn
        let one = makeTestPool("one", 80), other = makeTestPool("other", 80)
        let item = one.get()!, foreign = other.get()!
        one.put(foreign)
        one.put(item + 8)
        let heap = malloc(80)!
        one.put(heap)
        free(heap)
        one.checkInvariants()
        precondition(one.counts.puts == 0 && one.counts.itemsOut == 1)
        one.put(item)
        one.put(item)
        one.checkInvariants()
        precondition(one.counts.puts == 1 && one.destroy() == 0)
        precondition(other.destroy() == 1)
        checkAll()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.components(separatedBy: "bad free: put of an address that is no item of the pool").count == 4, "\(text)")
      #expect(text.components(separatedBy: "bad free: double put at").count == 2, "\(text)")
      #expect(text.contains("in zone other, freed to zone") && text.contains("zone destroyed with items out: other: 1 item, 16 pages lost\n"), "\(text)")
    }

    @Test func `with item checks on a write into a free item is noticed`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        stave_reports().pointee.mode = ReportMode.goOn
        precondition(itemChecks.begin(divisor: 1))
        let pool = makeTestPool("filled", 80), untouched = makeTestPool("unfilled", 80, flags: .noTouch)
        for one in [pool, untouched] {
          let item = one.get()!
          one.put(item)
          item.storeBytes(of: 7, toByteOffset: 16, as: UInt8.self)
          let again = one.get()
          precondition(again == item)
          one.put(item)
          one.checkInvariants()
        }
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.components(separatedBy: "write after free").count == 2 && text.contains("zone filled"), "\(text)")
    }

    @Test func `zones of memory that the owner map does not know`() {
      let bank = PageBank()
      for size in [24, 600, 5000] {
        let zone = makeTestZone("unknown", size, alignMask: 15, flags: .notPage, source: bank.source)
        let items = zone.takeMany(2000)
        #expect(items.count == 2000)
        for item in items { item.initializeMemory(as: UInt8.self, repeating: 1, count: size) }
        check(zone, holding: 2000)
        zone.freeAll(items.shuffled())
        check(zone, holding: 0)
        #expect(zone.destroy() == 0 && bank.out == 0)
      }
    }
  }
}
