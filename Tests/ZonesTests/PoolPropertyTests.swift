// SPDX-License-Identifier: BSD-2-Clause
//
// Random operations on pools of many kinds against a simple model, everything checked after each step; the same pools under threads
// that get, put, prime, reclaim and destroy; every step that can fail refused in turn; fork in the midst of it.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// What a test knows of a pool.
private final class Subject {
  let pool: PoolPointer
  let cache: PoolCachePointer
  let size: Int
  let align: Int
  let offset: Int
  var held: [(item: UnsafeMutableRawPointer, mark: UInt8)] = []
  var objects: [UnsafeMutableRawPointer] = []
  var limit = Int.max
  var primed = 0

  init(_ generator: inout Generator, _ allocator: PoolAllocatorPointer?, pageBytes: Int) {
    let kinds: [ZoneFlags] = [.none, .none, .offPage, .noTouch, .notPage, .noTouch.union(.notPage)]
    let flags = kinds[generator.below(kinds.count)]
    size = generator.size(upTo: generator.below(5) == 0 ? 2 * pageBytes : pageBytes / 4)
    align = 1 << generator.below(8)
    offset = generator.below(size)
    pool = makeTestPool("subject", size, alignMask: align - 1, offset: offset, flags: flags, allocator)
    cache = pool.makeCache(constructor: nil, destructor: nil)!
  }

  func write(_ index: Int) { held[index].item.initializeMemory(as: UInt8.self, repeating: held[index].mark, count: size) }
  func isIntact(_ index: Int) -> Bool {
    let (item, mark) = held[index]
    return item.load(as: UInt8.self) == mark && item.load(fromByteOffset: size - 1, as: UInt8.self) == mark
  }
}

extension OnRoot {
  @Suite struct PoolPropertyTests {
    init() { Stage.up() }

    @Test func `random operations agree with the model`() {
      PoolClock.stop()
      defer { PoolClock.start() }
      var generator = Generator(80)
      let bank = PageBank()
      let allocators: [PoolAllocatorPointer?] = [bank.allocator(), nil]
      var subjects: [Subject] = []
      for step in 0..<Stage.steps(8000, soak: 500_000) {
        func demand(_ isTrue: Bool, _ what: String) {
          if !isTrue { Issue.record("step \(step): \(what) (STAVE_SEED=\(Stage.seed))") }
        }
        if subjects.isEmpty || subjects.count < 5 && generator.below(100) == 0 {
          let isShared = generator.below(4) == 0
          subjects.append(Subject(&generator, allocators[isShared ? 1 : 0], pageBytes: isShared ? 1 << 16 : 4096))
        }
        let at = generator.below(subjects.count), subject = subjects[at]
        let pool = subject.pool
        let before = pool.counts
        bank.quota = generator.below(8) == 0 ? bank.out : .max
        bank.refuseAt = generator.below(20) == 0 ? 1 : 0
        switch generator.below(16) {
        case 0...4:
          for _ in 0..<1 + generator.below(40) where subject.held.count < 1000 {
            let flags: WaitFlags = bank.quota == .max && bank.refuseAt == 0 && subject.limit == .max && generator.below(4) == 0 ? .wait : .noWait
            let (calls, isAtLimit) = (bank.calls, pool.itemsOut - subject.cache.pointee.held >= subject.limit)
            guard let item = pool.get(flags) else {
              demand(isAtLimit || bank.calls > calls, "nil without a reason")
              demand(flags == .noWait, "nil although it may wait")
              continue
            }
            demand(!isAtLimit, "beyond the limit")
            demand((item.address + UInt(subject.offset)) % UInt(subject.align) == 0, "alignment")
            subject.held.append((item, UInt8(truncatingIfNeeded: generator.next())))
            subject.write(subject.held.count - 1)
          }
        case 5...8:
          for _ in 0..<1 + generator.below(50) where !subject.held.isEmpty {
            let index = generator.below(subject.held.count)
            demand(subject.isIntact(index), "contents of an item of \(subject.size) bytes")
            pool.put(subject.held.remove(at: index).item)
          }
        case 9:
          if let object = subject.cache.get() { subject.objects.append(object) }
        case 10:
          for object in subject.objects { subject.cache.put(object) }
          subject.objects = []
          if generator.below(4) == 0 {
            subject.cache.invalidate()
            demand(subject.cache.pointee.held == 0, "invalidate")
          }
        case 11:
          let frees = pool.counts.pagesFreed, isUrgent = generator.below(4) == 0
          let hasFreed = pool.reclaim(isUrgent: isUrgent)
          demand(hasFreed == (pool.counts.pagesFreed > frees), "what reclaim says (V14)")
          // What is left of empty pages is young, or is to stay.
          if let oldest = pool.pointee.keg.pointee.oldestFree {
            let isYoung = !isUrgent && PoolClock.now - pool.pointee.keg.tail(of: oldest).pointee.idleSince < PoolsState.inactivity
            demand(isYoung || pool.pages <= pool.minimum || pool.counts.freeItems - pool.perPage < pool.pointee.lowItems, "an idle page stayed")
          }
          demand(before.pages == pool.counts.pages + (pool.counts.pagesFreed - frees), "pages")
        case 12:
          switch generator.below(4) {
          case 0:
            subject.limit = generator.below(2) == 0 ? .max : generator.below(200)
            pool.setLimit(subject.limit)
          case 1: pool.setHigh(generator.below(2) == 0 ? .max : generator.below(200))
          case 2: pool.setLow(generator.below(2) * generator.below(60))
          default:
            let wanted = generator.below(2 * pool.perPage)
            if pool.prime(wanted) { demand(pool.counts.pages - before.pages >= (wanted + pool.perPage - 1) / pool.perPage, "prime") }
            subject.primed = pool.pointee.primedPages
          }
        case 13: PoolClock.advance(Double(generator.below(12)))
        case 14:
          func freed() -> Int { subjects.reduce(0) { $0 + $1.pool.counts.pagesFreed } }
          let frees = freed()
          demand(drainNextPool() == (freed() > frees), "what drain says (V14)")
        default:
          guard generator.below(6) == 0 else { break }
          for index in subject.held.indices { demand(subject.isIntact(index), "contents at the end") }
          pool.putAll(subject.held.map(\.item) + subject.objects)
          pool.checkInvariants()
          demand(pool.destroy() == 0, "items out at the end")
          subjects.remove(at: at)
          continue
        }
        guard Stage.checks(step) else { continue }
        pool.checkInvariants()
        demand(pool.itemsOut == subject.held.count + subject.objects.count + subject.cache.pointee.held, "items out")
        demand(pool.counts.pages >= subject.primed, "primed pages stay")
      }
      bank.quota = .max
      for subject in subjects {
        subject.pool.putAll(subject.held.map(\.item) + subject.objects)
        subject.pool.checkInvariants()
        if subject.pool.destroy() != 0 { Issue.record("not all came back (STAVE_SEED=\(Stage.seed))") }
      }
      #expect(bank.out == 0 && bank.wrongFrees == 0 && !bank.sawLock)
      allocators[0]!.release()
      checkAll()
    }

    @Test func `threads that get, put, reclaim, make and destroy pools on one back-end lose and double nothing`() {
      let bank = PageBank(quota: 24), allocator = bank.allocator()
      let pools = [64, 500, 2000].map { makeTestPool("raced", $0, flags: $0 == 500 ? .noTouch : .none, allocator) }
      pools[1].setLimit(10)
      let rounds = Stage.steps(20_000, soak: 400_000)
      let shared = Shared((pools, allocator))
      nonisolated(unsafe) let running = UnsafeMutablePointer<Int64>.allocate(capacity: 1)
      running.pointee = 3
      inThreads(5) { thread in
        let (pools, allocator) = shared.value
        var generator = Generator(UInt64(90 + thread))
        if thread == 3 {
          while stave_add_fetching(running, 0) > 0 {
            for pool in pools { pool.reclaim(isUrgent: generator.below(2) == 0) }
            drainNextPool()
            trimIdleDepots()
            usleep(100)
          }
        } else if thread == 4 {
          while stave_add_fetching(running, 0) > 0 {
            let brief = makeTestPool("brief", 100, allocator)
            let cache = brief.makeCache(constructor: nil, destructor: nil)!
            let objects = (0..<50).compactMap { _ in cache.get() }
            for object in objects { cache.put(object) }
            if brief.destroy() != 0 { Issue.record("items out") }
            usleep(50)
          }
        } else {
          var held: [[UnsafeMutableRawPointer]] = [[], [], []]
          for round in 0..<rounds {
            let which = generator.below(3)
            if generator.below(2) == 0 && held[which].count < 12 {
              // Who holds nothing of it may wait: somebody else will put, or has an idle page.
              let mayWait = held.allSatisfy(\.isEmpty)
              guard let item = pools[which].get(mayWait ? .wait : .noWait) else {
                if mayWait { Issue.record("nil although it may wait") }
                continue
              }
              item.storeBytes(of: thread << 32 | round, as: Int.self)
              held[which].append(item)
            } else if !held[which].isEmpty {
              let item = held[which].remove(at: generator.below(held[which].count))
              if item.load(as: Int.self) >> 32 != thread { Issue.record("an item was given out twice (STAVE_SEED=\(Stage.seed))") }
              pools[which].put(item)
            }
          }
          for (pool, items) in zip(pools, held) { pool.putAll(items) }
          stave_add(running, -1)
        }
      }
      for pool in pools {
        pool.checkInvariants()
        #expect(pool.itemsOut == 0 && pool.destroy() == 0)
      }
      #expect(bank.out == 0 && bank.wrongFrees == 0 && !bank.sawLock && allocator.pointee.wanting == 0)
      allocator.release()
      running.deallocate()
      checkAll()
    }

    #if STAVE_CHECK_LOCKS
    @Test func `L39 making, using and destroying a pool where metadata ends at each step, or a page is refused`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        // How far it came, in items and objects.
        var ends: Set<Int> = []
        for flags in [ZoneFlags.none, .noTouch, .notPage] {
          @discardableResult func use(_ allocator: PoolAllocatorPointer?) -> Int {
            guard let pool = makePool(name: FixedName("refused"), size: 700, flags: flags, allocator: allocator) else { return 0 }
            var objectCount = 0
            pool.prime(3)
            pool.setLow(2)
            var items = pool.getMany(40)
            if let cache = pool.makeCache(constructor: nil, destructor: nil) {
              let objects = (0..<40).compactMap { _ in cache.get() }
              for object in objects { cache.put(object) }
              objectCount = objects.count + cache.pointee.held
              pool.checkInvariants()
              items += pool.getMany(5)
              cache.destroy()
            }
            for item in items { item.initializeMemory(as: UInt8.self, repeating: 7, count: 700) }
            pool.putAll(items)
            pool.reclaim(isUrgent: true)
            pool.checkInvariants()
            precondition(pool.itemsOut == 0 && pool.destroy() == 0)
            return 1 + items.count * 100 + objectCount
          }
          let bank = PageBank(), allocator = bank.allocator()
          // No system call succeeds, and there are so many pages of metadata.
          for pages in 0..<16 {
            let store = (0..<pages).map { _ in metadataPages.allocate(bytes: pageBytes)! }
            let pools = zones.pointee.pools
            for keg in [pools.poolKeg, pools.allocatorKeg, pools.cacheKeg, pools.groupKeg] + (0..<5).map({ zones.pointee.headerKegs[$0] }) { keg?.drain() }
            exhaustMetadata()
            for page in store { metadataPages.free(page, bytes: pageBytes) }
            stave_inject().pointee.always = 12
            ends.insert(use(allocator))
            stave_inject().pointee.always = 12
            use(nil)
            stave_inject().pointee.always = 0
          }
          for number in 1...60 {
            bank.refuseAt = number
            use(allocator)
            precondition(bank.out == 0 && !bank.sawLock)
          }
          allocator.release()
          precondition(zones.pointee.pools.poolKeg!.outstanding == 0 && zones.pointee.pools.groupKeg!.outstanding == 0)
          checkAll()
        }
        precondition(ends.count >= 4, "the failures reached the pools")
      }
    }
    #endif

    @Test func `fork: waiters and growers stay in the parent, and are not in the child`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        zones.pointee.pools.pause = -1
        let bank = PageBank(), allocator = bank.allocator()
        let limited = makeTestPool("limited", 512, allocator), growing = makeTestPool("growing", 512, allocator)
        let cache = limited.makeCache(constructor: nil, destructor: nil)!
        limited.setLimit(2)
        let items = limited.getMany(1) + [cache.get()!]
        let isHeld = Flag(true)
        let isInside = Flag()
        let shared = Shared((limited, growing, items, bank))
        inThreads(4) { thread in
          let (limited, growing, items, bank) = shared.value
          switch thread {
          case 1, 2: limited.put(limited.get(.wait)!)
          case 3:
            bank.onAllocate = {
              isInside.set()
              while isHeld.isSet { usleep(100) }
            }
            growing.put(growing.get(.wait)!)
          default:
            while limited.counts.sleeps < 2 || !isInside.isSet { usleep(100) }
            Heap.prepareFork()
            let child = stave_syscall6(Int(SYS_fork), 0, 0, 0, 0, 0, 0)
            if child == 0 {
              Heap.childAfterFork()
              isHeld.set(false)
              var isRight = limited.pointee.returned.waiters == 0 && !growing.pointee.isGrowing
              limited.put(items[0])
              isRight = isRight && limited.counts.itemsOut == 1 && limited.get(.noWait) != nil
              let item = growing.get(.noWait)
              isRight = isRight && item != nil
              if let item { growing.put(item) }
              limited.checkInvariants()
              growing.pointee.keg.checkInvariants()
              _exit(isRight ? 0 : 1)
            }
            Heap.parentAfterFork()
            var status: Int32 = -1
            precondition(child > 0 && waitpid(pid_t(child), &status, 0) == child)
            precondition(status == 0, "the child ended with \(status)")
            // Those that waited in the parent wait there still, and miss nothing.
            limited.put(items[0])
            isHeld.set(false)
          }
        }
        cache.put(items[1])
        limited.checkInvariants()
        growing.checkInvariants()
        precondition(limited.destroy() == 0 && growing.destroy() == 0)
      }
    }
  }
}
