// SPDX-License-Identifier: BSD-2-Clause
//
// Zones under MemGuard: which are, when their hooks run, what a refusal undoes, what is counted, what is said of wrong frees and at a
// zone's end. In processes of their own.

@testable import Accounting
import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct GuardedZoneTests {
    @Test(arguments: [true, false])
    func `a guarded item goes through its whole life at each request: inits, constructor; destructor, finis`(_ marks: Bool) async {
      await #expect(processExitsWith: .success) { [marks] in
        guardUp(marks: marks)
        let zone = Ran.makeZone()
        let token = UnsafeMutableRawPointer(bitPattern: 0x1234)!
        for round in 0..<5 {
          Ran.calls = []
          let item = zone.allocate(.noWait, argument: token)!
          precondition(isGuarded(item) && Heap.usableSize(item) == 100 && Ran.argument == token && Ran.wait == WaitFlags.noWait.rawValue)
          precondition(Ran.hooks == [.kegInit, .zoneInit, .constructor] && zone.pointee.guardedItems == 1)
          // Behind its end lies what rounds it up to 16, and the guard.
          precondition(item.address % 8 == 0 && !isReadable(item.address + 112))
          zone.free(item, argument: token + round)
          precondition(Ran.argument == token + round)
          precondition(Ran.hooks.suffix(3) == [.destructor, .zoneFini, .kegFini] && Ran.calls.count == 6)
          precondition(Ran.calls.allSatisfy { $0.item == item.address } && !isReadable(item.address) && zone.pointee.guardedItems == 0)
        }
        // With zeroing, after the constructor; and a request that may wait.
        let item = zone.allocate(.wait.union(.zero))!
        precondition(isGuarded(item) && holds(item, 100, 0) && Ran.wait == WaitFlags.wait.union(.zero).rawValue)
        zone.free(item)
        zone.free(nil)
        demandNothingOut()
        precondition(zone.destroy() == 0)
      }
    }

    @Test(arguments: [0, 1, 2])
    func `T12 a hook that refuses: what was done is undone, the guarded block goes back, nil, one failure`(_ number: Int) async {
      await #expect(processExitsWith: .success) { [number] in
        guardUp()
        let zone = Ran.makeZone()
        let order: [Ran.Hook] = [.kegInit, .zoneInit, .constructor], undone: [[Ran.Hook]] = [[], [.kegFini], [.zoneFini, .kegFini]]
        Ran.refusing = order[number]
        for round in 1...3 {
          Ran.calls = []
          precondition(zone.allocate(round == 2 ? .wait : .noWait) == nil)
          precondition(Ran.hooks == Array(order[...number]) + undone[number], "\(Ran.hooks)")
          precondition(memGuard.pointee.guarded == round && memGuard.pointee.freed == round && zone.pointee.failures == round && zone.pointee.guardedItems == 0)
          precondition(!isReadable(Ran.calls[0].item))
        }
        demandNothingOut()
        Ran.refusing = nil
        let item = zone.allocate()
        precondition(isGuarded(item))
        zone.free(item)
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `L69 zones are meant by name, also those to come, or with all; never malloc's own, those of an author's pages, and those that keep their type`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let orders = Ran.makeZone("orders"), keeps = makeTestZone("keeps", 100, flags: .noFree)
        let own = PageSource.arena
        let special = makeTestZone(
          "special", 100, source: PageSource(allocate: own.allocate, free: own.free, context: own.context, isZeroed: own.isZeroed))
        let system = makeTestZone("system", 100, flags: .vm)
        func demand(_ zone: ZonePointer, _ guarded: Bool, _ flags: WaitFlags = .noWait, line: UInt = #line) {
          let item = zone.allocate(flags)!
          precondition(isGuarded(item) == guarded, "line \(line)")
          fill(item, 100, 7)
          zone.free(item)
        }
        demand(orders, true)
        // What may not ask the system has what is there.
        setGuard(.memguard, 0)
        demand(orders, false)
        setGuard(.memguard, 1)
        demand(orders, false, .noWait.union(.noVM))
        for zone in [keeps, special, system] { demand(zone, false) }
        guardTypes("later")
        demand(orders, false)
        let later = Ran.makeZone("later")
        demand(later, true)
        guardTypes("malloc+orders")
        demand(orders, true)
        demand(later, false)
        // A size class of a type of this name is no zone of its own.
        guardTypes("orders-112")
        demand(orders, false)
        let odd = makeTestZone("orders-112", 100)
        demand(odd, true)
        setGuard(.memguardType, 1)
        for zone in [orders, later, odd] { demand(zone, false) }
        setGuard(.memguardType, 0)
        for zone in [orders, later, odd] { demand(zone, true) }
        setGuard(.memguardMax, 99)
        demand(orders, false)
        setGuard(.memguardMax, 0)
        setGuard(.memguard, 0)
        demand(orders, false)
        // Only where that is wanted: who reads an item that is free is right to, in a zone that keeps its memory.
        setGuard(.memguard, 1)
        demand(keeps, false)
        setGuard(.memguardNoFree, 1)
        demand(keeps, true)
        demand(special, false)
        // The zone that a class of malloc is made of is malloc's affair: nothing is guarded twice.
        let before = memGuard.pointee.guarded
        Heap.free(Heap.allocate(100))
        precondition(memGuard.pointee.guarded == before + 1)
        for zone in [orders, later, odd, keeps, special, system] { precondition(zone.destroy() == 0) }
        demandNothingOut()
      }
    }

    @Test func `the lot falls on one in so many of a zone's requests; its counters know the others only, and MemGuard's figures these`() async {
      await #expect(processExitsWith: .success) {
        guardUp([(.memguard, 20)])
        guardTypes("orders")
        Ran.touches = false
        let zone = makeTestZone("orders", 100)
        var guarded = 0, held: [UnsafeMutableRawPointer] = []
        for _ in 0..<20_000 {
          let item = zone.allocate()!
          if isGuarded(item) { guarded += 1 }
          held.append(item)
          if held.count > 200 { zone.free(held.removeFirst()) }
        }
        precondition(abs(guarded - 1000) < 150, "\(guarded)")
        precondition(memGuard.pointee.guarded == guarded && memGuard.pointee.hits == guarded)
        let out = held.count { isGuarded($0) }
        precondition(Int(zone.pointee.guardedItems) == out && used(zone) == held.count - out && zone.pointee.failures == 0)
        precondition(ZoneCounts(zone).allocations == Int64(20_000 - guarded))
        check(zone, holding: held.count - out)
        zone.freeAll(held)
        precondition(used(zone) == 0 && zone.pointee.guardedItems == 0)
        demandNothingOut()
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `beyond what guarded blocks may take, items are ordinary ones, and that is counted`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        let zone = Ran.makeZone()
        memGuard.pointee.limit = 5 * UInt(pageBytes)
        let items = zone.takeMany(30)
        precondition(items.count { isGuarded($0) } == 5 && memGuard.pointee.withoutPages == 25 && zone.pointee.guardedItems == 5)
        check(zone, holding: 25)
        zone.freeAll(items)
        demandNothingOut()
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `wrong frees are told before an author's destructor sees the item: twice, by another zone, by free and realloc, inside`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        guardUp([(.onreport, 1)])
        heap.applyReports()
        let zone = Ran.makeZone("orders"), other = Ran.makeZone("others")
        let item = zone.allocate()!, plain = Heap.allocate(100)!
        Ran.calls = []
        other.free(item)
        Heap.free(item)
        precondition(Heap.reallocate(item, 200) == nil)
        zone.free(item + 8)
        zone.free(plain)
        precondition(Ran.calls.isEmpty && isGuarded(item) && isGuarded(plain) && memGuard.pointee.reports == 5)
        zone.free(item)
        precondition(Ran.calls.count == 3)
        zone.free(item)
        precondition(Ran.calls.count == 3 && memGuard.pointee.reports == 6 && zone.pointee.guardedItems == 0)
        // What lies beside it is looked at, too.
        Ran.touches = false
        let written = zone.allocate()!
        written.storeBytes(of: 1, toByteOffset: 103, as: UInt8.self)
        zone.free(written)
        precondition(memGuard.pointee.reports == 7)
        Heap.free(plain)
        demandNothingOut()
        precondition(zone.destroy() == 0 && other.destroy() == 0)
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      for piece in [
        "memguard bad free: zone free of ", "memguard bad free: free() of ", "realloc() of ", "8 bytes into the block at ", "of 100 bytes, of type malloc",
        "memguard double free: zone free of ", "of 100 bytes, freed, of zone orders", "3 bytes behind the end", "before its zone free",
        ", of zone orders, freed to zone others\n", "of type malloc, freed to zone orders\n",
      ] { #expect(text.contains(piece), "\(piece) is missing in \(text)") }
    }

    @Test func `L16 a zone that is destroyed while guarded items are out names them, and nothing of it is freed by a later zone`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        guardUp()
        let zone = Ran.makeZone("leaky")
        let kept = zone.takeMany(2)
        setGuard(.memguard, 0)
        let plain = zone.allocate()
        precondition(!isGuarded(plain) && isGuarded(kept[0]))
        zone.free(kept[1])
        precondition(zone.destroy() == 2)
        setGuard(.memguard, 1)
        // Of the same name, perhaps in the same place: another zone.
        let again = Ran.makeZone("leaky")
        setGuard(.onreport, 1)
        Ran.calls = []
        again.free(kept[0])
        precondition(Ran.calls.isEmpty && isGuarded(kept[0]) && memGuard.pointee.reports == 1)
        // And one that has guarded items out only.
        let only = makeTestZone("only guarded", 300)
        precondition(isGuarded(only.allocate()))
        precondition(only.destroy() == 1)
        precondition(again.destroy() == 0)
        memGuard.checkInvariants()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("zone destroyed with items out: leaky: 2 items, 1 page lost; guarded: 1\n"), "\(text)")
      #expect(text.contains("zone destroyed with items out: only guarded: 1 item, 0 pages lost; guarded: 1\n  guarded item at 0x"), "\(text)")
      #expect(text.contains("#0"), "\(text)")
    }
  }
}
