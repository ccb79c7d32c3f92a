// SPDX-License-Identifier: BSD-2-Clause
//
// When hooks run, with what, in which order, and what happens when one refuses (spec 2.4).

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// A zone of 640-byte items: six to a slab, so that the calls can be counted by hand.
private func makeHooked(_ mock: MockSource, flags: ZoneFlags = .none, zoneHooks: Bool = false) -> ZonePointer {
  Hooks.reset()
  let zone = makeTestZone("hooked", 640, flags: flags, hooks: Hooks.all, source: mock.source)
  if zoneHooks { zone.setZoneHooks(initialize: Hooks.zoneInit, finish: Hooks.zoneFini) }
  return zone
}

/// What a destructor that uses its own zone needs to know.
private enum Slow {
  nonisolated(unsafe) static var hasEntered = false
  nonisolated(unsafe) static var hasLeft = false
}

private enum Recursion {
  nonisolated(unsafe) static var zone: ZonePointer?
  nonisolated(unsafe) static var depth = 0
  nonisolated(unsafe) static var deepest = 0
}

extension OnRoot {
  @Suite struct HookTests {
    init() { Stage.up() }

    @Test func `slab made: init on each item, in index order, with the request's wait flags`() {
      let mock = MockSource()
      let zone = makeHooked(mock, flags: .noBucket)
      let item = zone.allocate(.noWait.union(.zero))!
      let items = zone.pointee.keg.pointee.layout.items
      #expect(items == 6)
      let inits = Hooks.items(.kegInit)
      #expect(inits.count == items)
      #expect(inits == inits.sorted())
      #expect(zip(inits, inits.dropFirst()).allSatisfy { $1 - $0 == 640 })
      #expect(Hooks.lastWait == WaitFlags.noWait.union(.zero).rawValue)
      #expect(Hooks.lastSize == 640)
      #expect(mock.lastWait == WaitFlags.noWait.union(.zero).rawValue)
      #expect(inits.contains(item.address))
      zone.free(item)
      check(zone, holding: 0)
      // Once per life of the slab, however often the item goes round.
      for _ in 0..<20 { zone.free(zone.allocate()) }
      #expect(Hooks.count(.kegInit) == items)
      #expect(Hooks.count(.constructor) == 21)
      #expect(Hooks.count(.destructor) == 21)
      #expect(zone.destroy() == 0)
      #expect(Set(Hooks.items(.kegFini)) == Set(inits))
      #expect(Hooks.count(.kegFini) == items)
      #expect(mock.bytesOut == 0)
    }

    @Test func `init refuses at item k: finished in reverse, pages returned, nil, one failure`() {
      for offPage in [false, true] {
        for refusing in 1...6 {
          let mock = MockSource()
          let zone = makeHooked(mock, flags: offPage ? .offPage : .none)
          let headers = headersOut()
          Hooks.refuse[.kegInit] = refusing
          #expect(zone.allocate() == nil)
          let inits = Hooks.items(.kegInit)
          #expect(inits.count == refusing)
          #expect(Hooks.items(.kegFini) == inits.dropLast().reversed())
          #expect(mock.allocations == 1)
          #expect(mock.bytesOut == 0)
          #expect(headersOut() == headers)
          #expect(zone.pointee.failures == 1)
          check(zone, holding: 0)
          // Nothing is left behind: the next request works.
          let item = zone.allocate()
          #expect(item != nil)
          check(zone, holding: 1)
          zone.free(item)
          #expect(zone.destroy() == 0)
          #expect(mock.bytesOut == 0)
        }
      }
    }

    @Test func `a slab's init may refuse a request that waits`() {
      let mock = MockSource()
      let zone = makeHooked(mock)
      Hooks.refuse[.kegInit] = 1
      // The pages were there, so this is the hook's word: either nil or another try, but an end.
      let item = zone.allocate(.wait)
      check(zone, holding: item == nil ? 0 : 1)
      zone.free(item)
      #expect(zone.destroy() == 0)
    }

    @Test func `T19 keg to cache: zone init on each item; a refusal keeps the items before it`() {
      // 6 items in a slab, all asked for at once.
      for refusing in 1...6 {
        let mock = MockSource()
        let zone = makeHooked(mock, zoneHooks: true)
        Hooks.refuse[.zoneInit] = refusing
        let item = zone.allocate()
        #expect((item == nil) == (refusing == 1))
        #expect(Hooks.count(.zoneInit) == refusing)
        #expect(Hooks.count(.zoneFini) == 0, "items that were not initialised are not finished")
        #expect(zone.pointee.failures == (refusing == 1 ? 1 : 0), "a failure only if there was no item at all")
        #expect(zone.pointee.keg.outstanding == refusing - 1)
        check(zone, holding: item == nil ? 0 : 1)
        zone.free(item)
        #expect(zone.destroy() == 0)
        #expect(Hooks.count(.zoneFini) == refusing - 1)
        #expect(mock.bytesOut == 0)
      }
    }

    @Test func `L26 a slab that was fetched and not used is on the free list, and drained`() {
      for flags in [ZoneFlags.noBucket, .noBucket.union(.offPage), .none] {
        let mock = MockSource()
        let zone = makeHooked(mock, flags: flags, zoneHooks: true)
        let keg = zone.pointee.keg
        Hooks.refuse[.zoneInit] = 1
        #expect(zone.allocate() == nil)
        #expect(mock.allocations >= 1 && keg.pointee.slabCount == 1)
        #expect(keg.pointee.freeSlabCount == 1 && keg.pointee.free.first != nil && keg.pointee.partial.first == nil)
        check(zone, holding: 0)
        #expect(keg.drain())
        #expect(keg.pointee.slabCount == 0 && mock.bytesOut == 0)
        #expect(zone.destroy() == 0)
      }
    }

    @Test(.timeLimit(.minutes(1))) func `a waiting request ends with nil when zone init refuses`() {
      let mock = MockSource()
      Hooks.reset()
      let zone = makeTestZone("refusing", 640, source: mock.source)
      zone.setZoneHooks(initialize: { _, _, _ in 12 }, finish: nil)
      #expect(zone.allocate(.wait) == nil)
      #expect(zone.pointee.failures == 1)
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
    }

    @Test func `T1 a constructor that refuses: fini without destructor, nil even when waiting, counts given back`() {
      for flags in [ZoneFlags.none, .noBucket, .offPage] {
        for wait in [WaitFlags.noWait, .wait] {
          let mock = MockSource()
          let zone = makeHooked(mock, flags: flags, zoneHooks: true)
          // From the keg, from the cell, after some traffic.
          var out: [UnsafeMutableRawPointer] = []
          for round in 0..<8 {
            let before = ZoneCounts(zone)
            Hooks.calls = []
            Hooks.refuse[.constructor] = 1
            #expect(zone.allocate(wait) == nil)
            #expect(Hooks.count(.constructor) == 1)
            #expect(Hooks.count(.destructor) == 0)
            #expect(Hooks.items(.zoneFini).first == Hooks.items(.constructor).first)
            let after = ZoneCounts(zone)
            #expect(after.used == before.used)
            #expect(after.allocations == before.allocations)
            #expect(after.frees == before.frees)
            #expect(zone.pointee.failures == Int64(round + 1))
            check(zone, holding: out.count)
            out.append(zone.allocate(wait)!)
            check(zone, holding: out.count)
          }
          zone.freeAll(out)
          check(zone, holding: 0)
          #expect(zone.destroy() == 0)
          #expect(mock.bytesOut == 0)
        }
      }
    }

    @Test func `constructor and destructor run at every allocation and free, with their arguments`() {
      let mock = MockSource()
      let zone = makeHooked(mock)
      let token = UnsafeMutableRawPointer(bitPattern: 0x1234)!
      for round in 1...50 {
        let item = zone.allocate(.noWait, argument: token)!
        #expect(Hooks.lastArgument == token)
        #expect(Hooks.calls.last == Hooks.Call(kind: .constructor, item: item.address))
        zone.free(item, argument: token + 1)
        #expect(Hooks.lastArgument == token + 1)
        #expect(Hooks.calls.last == Hooks.Call(kind: .destructor, item: item.address))
        #expect(Hooks.count(.constructor) == round)
        #expect(Hooks.count(.destructor) == round)
        let item2 = zone.allocate()
        #expect(Hooks.lastArgument == nil)
        zone.free(item2)
        #expect(Hooks.lastArgument == nil)
        Hooks.calls.removeLast(2)
      }
      Hooks.calls = []
      zone.free(nil)
      #expect(Hooks.calls.isEmpty, "freeing nothing does nothing")
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
    }

    @Test func `without caches: init, constructor; destructor, fini; each time`() {
      let mock = MockSource()
      let zone = makeHooked(mock, flags: .noBucket, zoneHooks: true)
      for _ in 0..<3 {
        Hooks.calls = []
        let item = zone.allocate()!
        zone.free(item)
        let kinds = Hooks.calls.filter { $0.kind != .kegInit }
        #expect(kinds.map(\.kind) == [.zoneInit, .constructor, .destructor, .zoneFini])
        #expect(kinds.allSatisfy { $0.item == item.address })
        check(zone, holding: 0)
      }
      #expect(zone.destroy() == 0)
    }

    @Test func `cache to keg: zone fini per item when reclaimed, once per stay`() {
      let mock = MockSource()
      let zone = makeHooked(mock, zoneHooks: true)
      let items = zone.takeMany(30)
      zone.freeAll(items)
      #expect(Hooks.count(.zoneFini) == 0, "they are cached, and stay as init left them")
      let inited = Hooks.count(.zoneInit)
      zone.reclaim(.drainCPU)
      check(zone, holding: 0)
      #expect(Hooks.count(.zoneFini) == inited)
      #expect(Hooks.count(.kegFini) == Hooks.count(.kegInit))
      #expect(mock.bytesOut == 0)
      // What the zone's fini undid comes before what the keg's undoes.
      for item in Set(Hooks.items(.zoneFini)) {
        let last = Hooks.calls.lastIndex { $0.item == item && $0.kind == .zoneFini }!
        let keg = Hooks.calls.lastIndex { $0.item == item && $0.kind == .kegFini }!
        if last > keg { Issue.record("keg fini before zone fini") }
      }
      #expect(zone.destroy() == 0)
    }

    @Test func `L29 L36 no lock is held around hooks and page sources`() {
      let mock = MockSource()
      let zone = makeHooked(mock, zoneHooks: true)
      let items = zone.takeMany(700)
      zone.freeAll(items)
      zone.reclaim(.trim)
      zone.reclaim(.drain)
      zone.reclaim(.drainCPU)
      Hooks.refuse[.kegInit] = 3
      zone.free(zone.allocate())
      Hooks.refuse[.zoneInit] = 3
      zone.free(zone.allocate())
      Hooks.refuse[.constructor] = 1
      zone.free(zone.allocate())
      zone.reclaim(.drainCPU)
      #expect(mock.frees > 0)
      #expect(!Hooks.sawLock)
      #expect(!mock.sawLock)
      #expect(zone.destroy() == 0)
    }

    @Test func `L36 a fini may do all that an author may, under shortage too`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let mock = MockSource()
        let other = makeTestZone("other", 64)
        other.freeAll(other.takeMany(500))
        let zone = makeTestZone(
          "deep", 96,
          hooks: ZoneHooks(finish: { _, _ in
            guard Recursion.depth == 0 else { return }
            Recursion.depth += 1
            if FutexLock.threadHoldsAny { Hooks.sawLock = true }
            let inner = makeTestZone("inner", 200)
            inner.free(inner.allocate())
            inner.destroy()
            // What malloc does when memory is short.
            reclaimAll(.drainCPU)
            for cpu in 0..<Int(root.pointee.cpuCount) { _ = emptyCaches(of: cpu) }
            Heap.free(Heap.allocate(3000))
            Recursion.depth -= 1
          }), source: mock.source)
        zone.freeAll(zone.takeMany(1000))
        mock.onFree = {
          guard Recursion.depth == 0 else { return }
          Recursion.depth += 1
          reclaimAll(.drain)
          Recursion.depth -= 1
        }
        reclaimAll(.drainCPU)
        zone.freeAll(zone.takeMany(1000))
        for _ in 0..<3 { trimIdleDepots() }
        precondition(zone.destroy() == 0 && other.destroy() == 0)
        precondition(!Hooks.sawLock && !mock.sawLock && mock.bytesOut == 0)
        checkAll()
      }
    }

    @Test func `L36 a fini that runs into a shortage each time does not nest for ever`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let zone = makeTestZone(
          "nesting", 96,
          hooks: ZoneHooks(finish: { _, _ in
            Recursion.depth += 1
            Recursion.deepest = max(Recursion.deepest, Recursion.depth)
            reclaimAll(.drainCPU)
            Recursion.depth -= 1
          }))
        for request in [Reclaim.trim, .drain, .drainCPU] {
          zone.freeAll(zone.takeMany(3000))
          reclaimAll(request)
        }
        precondition(Recursion.deepest == 1, "\(Recursion.deepest) deep")
        check(zone, holding: 0)
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `L36 a zone is not destroyed under a walk that is at it`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        // The fini is slow, once; meanwhile another thread destroys the zone.
        let zone = makeTestZone(
          "slow", 4096,
          hooks: ZoneHooks(finish: { _, _ in
            guard !Slow.hasEntered else { return }
            Slow.hasEntered = true
            usleep(100_000)
            Slow.hasLeft = true
          }))
        let neighbours = [makeTestZone("before", 64), makeTestZone("behind", 64)]
        zone.freeAll(zone.takeMany(20))
        let shared = Shared((zone, neighbours))
        inThreads(2) { thread in
          if thread == 1 { return reclaimAll(.drainCPU) }
          while !Slow.hasEntered { usleep(100) }
          for neighbour in shared.value.1 { precondition(neighbour.destroy() == 0) }
          precondition(!Slow.hasLeft, "others can be destroyed at any time")
          precondition(shared.value.0.destroy() == 0)
          precondition(Slow.hasLeft)
        }
        checkAll()
      }
    }

    @Test func `L29 a destructor may allocate from its own zone and free to it`() {
      let zone = makeTestZone(
        "recursive", 96,
        hooks: ZoneHooks(destructor: { _, _, _ in
          guard Recursion.depth < 3, let zone = Recursion.zone else { return }
          Recursion.depth += 1
          zone.free(zone.allocate())
          Recursion.depth -= 1
        }))
      Recursion.zone = zone
      let items = zone.takeMany(2000)
      zone.freeAll(items)
      check(zone, holding: 0)
      zone.reclaim(.drainCPU)
      check(zone, holding: 0)
      Recursion.zone = nil
      #expect(zone.destroy() == 0)
    }
  }
}
