// SPDX-License-Identifier: BSD-2-Clause
//
// Pools as Swift has them: items, limits, marks, the hook, objects that stay made, the end.

import Foundation
import Stave
import Synchronization
import Testing

@testable import TestSupport

@Suite struct PoolTests {
  @Test func `items of a pool return themselves, by whatever way their life ends`() async {
    await #expect(processExitsWith: .success) {
      let pool = try Pool<Counted>("items")
      do {
        var item = pool.item(Counted(1))!
        item.value.number += 1
        precondition(item.value.number == 2 && pool.itemsInUse == 1 && living == 1 && pool.name == "items")
        precondition(item.borrow { $0.number } == 2 && item.update { $0.number += 1; return $0.number } == 3)
        precondition(UInt(bitPattern: item.address) % 8 == 0 && item.address.pointee.number == 3)
      }
      precondition(pool.itemsInUse == 0 && living == 0)
      precondition(pool.item(Counted(7))!.take().number == 7 && pool.itemsInUse == 0 && living == 0)
      let element = pool.item(Counted(8))!.release()
      precondition(pool.itemsInUse == 1 && living == 1)
      precondition(pool.adopt(element).value.number == 8 && living == 0)
      do throws(Broken) {
        _ = try pool.item { () throws(Broken) -> Counted in throw Broken() }
        preconditionFailure("it throws")
      } catch { precondition(error == Broken() && pool.itemsInUse == 0 && living == 0) }
      precondition(pool.item { Counted(9) }!.value.number == 9)
      let zero = pool.allocate([.wait, .zero])!
      precondition(zero.pointee.number == 0)
      pool.free(zero)
      let figures = pool.figures
      precondition(figures.requests == figures.returns && figures.requests == 6 && figures.failures == 0 && figures.waits == 0)
      pool.checkInvariants()
    }
  }

  @Test func `a limit counts what is in use alone, and says so`() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      let pool = try Pool<Counted>("bounded", limit: 2)
      withPassingText("raise the limit of bounded") { pool.setWarning($0, every: .seconds(100)) }
      do {
        let one = pool.item(Counted(1)), two = pool.item(Counted(2))
        precondition(one != nil && two != nil && pool.item(Counted(3)) == nil && pool.item(Counted(3), [.wait, .failAtLimit]) == nil)
        precondition(living == 2 && pool.figures.failures == 2 && pool.limit == 2)
        pool.limit = 3
        precondition(pool.item(Counted(4)) != nil)
        pool.limit = 0
        precondition(pool.limit == 0 && pool.item(Counted(5)) != nil)
      }
      precondition(living == 0 && pool.itemsInUse == 0)
      pool.checkInvariants()
    }
    let said = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(said.components(separatedBy: "raise the limit of bounded").count == 2, "\(said)")
  }

  @Test func `marks and priming say which pages stay`() async {
    await #expect(processExitsWith: .success) {
      try keepMarkedPages()
    }
  }

  @Test func `what is done at a shortage makes room, and is forgotten`() async {
    await #expect(processExitsWith: .success) {
      let pool = try Pool<Counted>("short", limit: 1)
      let spare = Mutex<[UInt]>([]), calls = Atomic(0)
      let element = pool.item(Counted(1))!.release()
      spare.withLock { $0.append(UInt(bitPattern: element)) }
      pool.atShortage { [weak pool] in
        calls.wrappingAdd(1, ordering: .relaxed)
        for address in spare.withLock({ all in defer { all = [] }; return all }) {
          _ = pool!.adopt(UnsafeMutablePointer(bitPattern: address)!)
        }
      }
      var item = pool.item(Counted(2))
      precondition(item != nil && living == 1 && calls.load(ordering: .relaxed) == 1)
      precondition(pool.item(Counted(3)) == nil && calls.load(ordering: .relaxed) == 2)
      // The round of all pools, of which there is one: a page goes back exactly if the hook frees the last item of one.
      pool.setHighWater(0)
      precondition(!reclaimNextPool() && calls.load(ordering: .relaxed) == 3)
      let spared = item.take()!.release()
      spare.withLock { $0.append(UInt(bitPattern: spared)) }
      precondition(reclaimNextPool() && calls.load(ordering: .relaxed) == 4 && living == 0 && pool.figures.pages == 0)
      pool.atShortage(nil)
      let another = pool.item(Counted(3))
      precondition(pool.item(Counted(4)) == nil && calls.load(ordering: .relaxed) == 4 && another != nil)
    }
  }

  @Test func `pools that cannot be are refused`() async {
    await #expect(processExitsWith: .success) {
      for flags in [.spread, .noCaches, [.noTouch, .referenceCounts]] as [ZoneFlags] {
        do throws(ZoneError) {
          _ = try Pool<Int>("contradictory", flags: flags)
          preconditionFailure("it cannot be")
        } catch { precondition(error == .impossible) }
      }
      for flags in [.noTouch, .offPage, []] as [ZoneFlags] {
        let pool = try Pool<InlineArray<7, Int>>("flags", flags: flags)
        let items = (0..<5000).map { _ in pool.allocate()! }
        precondition(Set(items).count == 5000)
        for item in items { pool.free(item) }
        pool.checkInvariants()
      }
    }
  }

  @Test func `an item keeps its pool, and a pool that goes while memory is out says so`() async {
    let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
      var pool: Pool<Counted>? = try Pool<Counted>("kept")
      weak let kept = pool
      var item = pool!.item(Counted(1))
      pool = nil
      precondition(kept == nil && item!.value.number == 1)
      item = nil
      precondition(living == 0)
      var lost: Pool<Int>? = try Pool<Int>("loses")
      precondition(lost!.allocate() != nil)
      lost = nil
      // What is released does not keep it.
      var left: Pool<Counted>? = try Pool<Counted>("is left")
      let element = left!.item(Counted(2))!.release()
      left = nil
      precondition(element.pointee.number == 2)
    }
    let said = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    #expect(said.contains("loses: 1 item,") && said.contains("is left: 1 item,") && !said.contains("kept"), "\(said)")
  }

  @Test func `objects of a pool's cache stay made until the pool needs them`() async {
    await #expect(processExitsWith: .success) {
      let made = Atomic(0)
      let pool = try Pool<Counted>("objects", limit: 3)
      let cache = try PoolCache(pool) { Counted(made.wrappingAdd(1, ordering: .relaxed).newValue) }
      for round in 0..<100 {
        var object = cache.object()!
        precondition(object.value.number == 1 + 1000 * round && living == 1)
        object.value.number += 1000
      }
      precondition(cache.itemsCached == 1 && cache.hits == 99 && cache.misses == 1 && pool.itemsInUse == 1)
      do {
        let one = cache.object(), two = cache.object(), three = cache.object()
        precondition(one != nil && two != nil && three != nil && cache.object() == nil && living == 3)
      }
      precondition(living == 3 && cache.itemsCached == 3)
      // The pool's limit calls them back.
      precondition(pool.item(Counted(0)) != nil)
      precondition(living == 0 && cache.itemsCached == 0)
      cache.object()!.discard()
      precondition(living == 0 && cache.itemsCached == 0 && pool.itemsInUse == 0)
      do { _ = cache.object() }
      cache.trim()
      precondition(living == 0 && cache.itemsCached == 0)
      let refusing = try PoolCache(pool) { nil }
      precondition(refusing.object() == nil && pool.itemsInUse == 0)
      pool.checkInvariants()
    }
  }

  @Test func `a warning leaves the marks and the limit as they are, however rarely it is to come`() async {
    await #expect(processExitsWith: .success) {
      let pool = try Pool<InlineArray<512, Int>>("marked")
      func pagesLeft() -> Int {
        for element in (0..<200).map({ _ in pool.allocate()! }) { pool.free(element) }
        return pool.figures.pages
      }
      pool.setHighWater(0)
      precondition(pagesLeft() == 0)
      pool.setWarning("seldom", every: .seconds(Int64.max))
      precondition(pagesLeft() == 0 && pool.limit == 0)
      pool.limit = 300
      pool.setHighWater(0)
      pool.setWarning("negative", every: .seconds(Int64.min))
      precondition(pagesLeft() == 0 && pool.limit == 300)
      pool.limit = 0
      precondition(pagesLeft() > 0)
    }
  }

  @Test func `a cache that goes with its last object is ended by who ends the object`() async {
    await #expect(processExitsWith: .success) {
      // By a reclaim, by a request that meets the limit, and by one of another pool on the same pages.
      for way in 0..<3 {
        let pages = try SharedPages(OnePage(), pageByteCount: 4096)
        let other = try Pool<Int>("other", pages: pages)
        var pool: Pool<Session>? = try Pool<Session>("sessions", pages: pages)
        weak let gone = pool
        do {
          let server = Server()
          server.cache = try PoolCache(pool!) { [weak server] in server.map { Session(server: $0) } }
          for _ in 0..<20 { _ = server.cache!.object() }
          let some = (0..<3).map { _ in HeldSession(server.cache!.object()!) }
          precondition(some.count == 3)
        }
        precondition(living == 1 && pool!.itemsInUse == 3)
        if way == 2 { pool = nil }
        Thread { [pool] in
          switch way {
          case 0: precondition(pool!.reclaim(urgently: true))
          case 1:
            pool!.limit = 3
            pool!.free(pool!.allocate()!)
          default: other.free(other.allocate()!)
          }
          endings.add(1, ordering: .sequentiallyConsistent)
        }.start()
        demand(await comesTrue { endings.load(ordering: .sequentiallyConsistent) == way + 1 })
        precondition(living == 0 && (way == 2 || pool!.itemsInUse == 0))
        pool?.checkInvariants()
        pool = nil
        // A pool that went while it was drained ends when the next is made.
        _ = try Pool<Int>("next")
        precondition(gone == nil)
      }
    }
  }

  @Test func `an object keeps its cache and its pool, and a cache that goes ends what it holds`() async {
    await #expect(processExitsWith: .success) {
      var object: PoolObject<Counted>?
      do {
        let cache = try PoolCache(try Pool<Counted>("gone")) { Counted(5) }
        do {
          let one = cache.object(), two = cache.object()
          precondition(one != nil && two != nil)
        }
        object = cache.object()
        precondition(living == 2)
      }
      precondition(object!.value.number == 5 && living == 2)
      object = nil
      precondition(living == 0)
    }
  }

  @Test func `a second free, and a free of another pool's item, are reported`() async {
    // By the pages that all share, and by an author's, whose items are found in another way.
    for (other, isSupplied) in [(false, false), (true, false), (false, true), (true, true)] {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        [other = other as Bool, isSupplied = isSupplied as Bool] in
        let pages = isSupplied ? try SharedPages(Malloced(), pageByteCount: 4096) : nil
        let pool = try Pool<Int>("wronged", pages: pages), owner = try Pool<Int>("owner", pages: pages)
        let element = other ? owner.allocate()! : pool.allocate()!
        if !other { pool.free(element) }
        pool.free(element)
      }
      let said = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(said.contains(other ? "in zone owner" : "double put"), "\(said)")
    }
  }

  @Test func `a child of fork goes on with its pools`() async {
    await #expect(processExitsWith: .success) {
      let pool = try Pool<Counted>("forked", limit: 5)
      let item = pool.item(Counted(1))!
      let child = libcFork()
      if child == 0 {
        for number in 0..<1000 {
          guard let item = pool.item(Counted(number)), item.value.number == number else { _exit(3) }
        }
        guard let other = try? Pool<Counted>("of the child"), other.item(Counted(5)) != nil else { _exit(4) }
        // No lock of the fork's is left over, which its own thread would not meet.
        inThreads(1) { _ in
          guard let third = try? Pool<Counted>("of its thread"), third.item(Counted(6)) != nil else { _exit(6) }
          guard pool.item(Counted(7)) != nil else { _exit(7) }
        }
        _exit(pool.itemsInUse == 1 && item.value.number == 1 ? 0 : 5)
      }
      let status = await ending(of: child)
      precondition(status == 0, "status \(status)")
      precondition(item.value.number == 1)
    }
  }
}

private let endings = Atomic(0)

/// An object that has its cache: a cycle, as long as an object is cached.
private final class Server: @unchecked Sendable {
  let counted = Copied(number: 1)
  var cache: PoolCache<Session>?
}
private struct Session: ~Copyable, Sendable { let server: Server }
private final class HeldSession {
  let session: PoolObject<Session>
  init(_ session: consuming PoolObject<Session>) { self.session = session }
}

private final class Malloced: PageSupply {
  func pages(byteCount: Int, alignment: Int, mayWait: Bool) -> UnsafeMutableRawPointer? {
    .allocate(byteCount: byteCount, alignment: alignment)
  }
  func takeBack(_ pages: UnsafeMutableRawPointer, byteCount: Int) { pages.deallocate() }
}

/// A supply of one page at a time.
private final class OnePage: PageSupply {
  private let isOut = Atomic(false)

  func pages(byteCount: Int, alignment: Int, mayWait: Bool) -> UnsafeMutableRawPointer? {
    guard isOut.compareExchange(expected: false, desired: true, ordering: .sequentiallyConsistent).exchanged else { return nil }
    return .allocate(byteCount: byteCount, alignment: alignment)
  }

  func takeBack(_ pages: UnsafeMutableRawPointer, byteCount: Int) {
    pages.deallocate()
    isOut.store(false, ordering: .sequentiallyConsistent)
  }
}

private func keepMarkedPages() throws {
  let pool = try Pool<InlineArray<512, Int>>("marks", primed: 20)
  let primed = pool.figures
  precondition(primed.itemsFree >= 20 && primed.pages == primed.pagesFree && primed.itemsInUse == 0)
  precondition(!pool.reclaim(urgently: true) && pool.figures.pages == primed.pages)
  precondition(pool.prime(20) && pool.figures.itemsFree >= 40)
  let kept = pool.figures.pages
  var held = (0..<200).map { _ in pool.allocate()! }
  precondition(Set(held).count == 200 && pool.figures.pages > kept)
  for element in held { pool.free(element) }
  precondition(pool.figures.itemsInUse == 0 && !pool.reclaim() && pool.reclaim(urgently: true))
  precondition(pool.figures.pages == kept && !pool.reclaim(urgently: true) && !reclaimNextPool())
  // Above the high water mark a page goes as soon as it is free.
  pool.setHighWater(0)
  held = (0..<200).map { _ in pool.allocate()! }
  for element in held { pool.free(element) }
  precondition(pool.figures.pages == kept && pool.figures.pagesReturned > 0)
  pool.setHighWater(nil)
  pool.setLowWater(300)
  precondition(pool.figures.itemsFree >= 300)
  let one = pool.allocate()!
  precondition(pool.figures.itemsFree >= 300)
  pool.free(one)
  pool.reclaim(urgently: true)
  precondition(!pool.reclaim(urgently: true) && pool.figures.itemsFree >= 300)
  pool.checkInvariants()
}
