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

/// The hooks that ran, in order, and which of them refuses. They are C functions and find this by name.
private enum Ran {
  enum Hook: String { case kegInit, zoneInit, constructor, destructor, zoneFini, kegFini }
  struct Call: Equatable {
    var hook: Hook
    var item: UInt
  }

  nonisolated(unsafe) static var calls: [Call] = []
  nonisolated(unsafe) static var refusing: Hook?
  nonisolated(unsafe) static var argument: UnsafeMutableRawPointer?
  nonisolated(unsafe) static var wait: Int32 = 0
  /// All hooks may write to all of an item.
  nonisolated(unsafe) static var touches = true

  static var hooks: [Hook] { calls.map(\.hook) }

  static func note(_ hook: Hook, _ item: UnsafeMutableRawPointer, _ size: Int) -> Int32 {
    precondition(!FutexLock.threadHoldsAny, "a hook under a lock")
    calls.append(Call(hook: hook, item: item.address))
    if hook == .kegInit { precondition(holds(item, size, 0), "a new item is not zero") }
    if touches { fill(item, size, 0x5e) }
    return refusing == hook ? 12 : 0
  }

  static var all: ZoneHooks {
    ZoneHooks(
      constructor: { item, size, argument, wait in
        (Ran.argument, Ran.wait) = (argument, wait)
        return Ran.note(.constructor, item, size)
      },
      destructor: { item, size, argument in
        Ran.argument = argument
        _ = Ran.note(.destructor, item, size)
      },
      initialize: { item, size, wait in
        Ran.wait = wait
        return Ran.note(.kegInit, item, size)
      },
      finish: { item, size in _ = Ran.note(.kegFini, item, size) })
  }

  nonisolated(unsafe) private static let finishes = UnsafeMutablePointer<Int64>.allocate(capacity: 1)
  /// How often the last hook of a `countingZone` has run, in whatever thread.
  static var finished: Int { Int(stave_load64(finishes)) }

  static func countingZone() -> ZonePointer {
    finishes.initialize(to: 0)
    return makeTestZone("counted", 100, hooks: ZoneHooks(finish: { _, _ in stave_add(Ran.finishes, 1) }))
  }

  static func makeZone(_ name: StaticString = "orders", _ size: Int = 100, flags: ZoneFlags = .none) -> ZonePointer {
    let zone = makeTestZone(name, size, flags: flags, hooks: all)
    zone.setZoneHooks(initialize: { item, size, _ in Ran.note(.zoneInit, item, size) }, finish: { item, size in _ = Ran.note(.zoneFini, item, size) })
    return zone
  }
}

/// Swift does not let it be called by name.
private let libcFork = unsafeBitCast(dlsym(nil, "fork"), to: (@convention(c) () -> pid_t).self)

/// No block is guarded, none has been lost, and all that is counted agrees.
private func demandNothingOut(sourceLocation: SourceLocation = #_sourceLocation) {
  precondition(memGuard.pointee.guarded == memGuard.pointee.freed && memGuard.pointee.usedBytes == 0 && memGuard.pointee.wastedBytes == 0)
  memGuard.checkInvariants()
  checkAll(sourceLocation: sourceLocation)
}

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
        var settings = GuardSettings()
        settings.interval = 1
        settings.widthBytes = 4096
        settings.takesNoFree = true
        precondition(memGuard.configure(settings))
        memGuard.followZones()
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
      #expect(text.contains("zone destroyed with items out: leaky: 2 items, 1 pages lost; 1 of the items are guarded"), "\(text)")
      #expect(text.contains("zone destroyed with items out: only guarded: 1 items, 0 pages lost; 1 of the items are guarded\n  guarded item at 0x"), "\(text)")
      #expect(text.contains("#0"), "\(text)")
    }

    @Test func `T12 an item is finished once, whoever frees it twice at one time`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        guardUp()
        setGuard(.onreport, 1)
        // The destructor frees its own item: the hooks are running already.
        let zone = makeTestZone(
          "again", 100,
          hooks: ZoneHooks(destructor: { item, _, argument in
            Ran.calls.append(Ran.Call(hook: .destructor, item: item.address))
            if Ran.calls.count < 3 { argument!.assumingMemoryBound(to: Zone.self).free(item) }
          }))
        zone.free(zone.allocate()!, argument: UnsafeMutableRawPointer(zone))
        precondition(Ran.hooks == [.destructor] && memGuard.pointee.reports == 1)
        // Two threads with the same item, over and over: the hooks run once for each item.
        let both = Ran.countingZone(), rounds = 500
        let items = (0..<rounds).map { _ in both.allocate()! }
        // Threads that have come to an item; whoever is first waits for the other there.
        let come = UnsafeMutablePointer<Int64>.allocate(capacity: rounds)
        come.initialize(repeating: 0, count: rounds)
        inThreads(2) { _ in
          for (round, item) in items.enumerated() {
            stave_add(come + round, 1)
            while stave_load64(come + round) < 2 { _ = stave_yield() }
            both.free(item)
          }
        }
        precondition(Ran.finished == rounds && memGuard.pointee.reports == 1 + rounds, "\(Ran.finished) \(memGuard.pointee.reports)")
        demandNothingOut()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("double free: zone free of 0x"), "\(text.prefix(2000))")
    }

    @Test func `guarded items with threads and forks: each child has them as they were, and frees its own`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        setGuard(.memguard, 3)
        let zone = Ran.countingZone()
        let isDone = UnsafeMutablePointer<UInt32>.allocate(capacity: 1)
        isDone.pointee = 0
        inThreads(3) { thread in
          guard thread > 0 else {
            for round in 0..<20 {
              let mine = (0..<40).map { _ in zone.allocate()! }
              for (index, item) in mine.enumerated() { fill(item, 100, UInt8(index)) }
              Heap.prepareFork()
              let child = libcFork()
              if child == 0 {
                Heap.childAfterFork()
                for (index, item) in mine.enumerated() {
                  guard holds(item, 100, UInt8(index)) else { _exit(2) }
                  zone.free(item)
                }
                let more = (0..<40).map { _ in zone.allocate()! }
                guard more.contains(where: isGuarded) else { _exit(3) }
                for item in more { zone.free(item) }
                // Regions that other threads were opening or closing stay as they were.
                _exit(0)
              }
              Heap.parentAfterFork()
              var status: Int32 = 0
              precondition(child > 0 && waitpid(child, &status, 0) == child && status == 0, "round \(round): \(status)")
              for (index, item) in mine.enumerated() {
                precondition(holds(item, 100, UInt8(index)))
                zone.free(item)
              }
            }
            return stave_store32(isDone, 1)
          }
          while stave_load32(UnsafeRawPointer(isDone).assumingMemoryBound(to: Int32.self)) == 0 {
            let some = (0..<20).map { _ in zone.allocate()! }
            for item in some { zone.free(item) }
          }
        }
        demandNothingOut()
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `L51 random requests of two zones while guards and item checks are switched: each item is freed as what it is, hooks in pairs`() async {
      _ = Stage.seed
      await #expect(processExitsWith: .success) {
        guardUp()
        memGuard.pointee.kept = 16 << 20
        var lot = Generator(91)
        Ran.touches = false
        let zones = [Ran.makeZone("orders", 100), Ran.makeZone("others", 5000)]
        var held: [(item: UnsafeMutableRawPointer, zone: Int, mark: UInt8)] = []
        var guarded = 0, plain = 0
        for step in 0..<Stage.steps(4000, soak: 400_000) {
          switch lot.below(30) {
          case 0: setGuard(.memguard, [0, 1, 2, 10].randomElement(using: &lot)!)
          case 1: if lot.below(2) == 0 { setGuard(.memguardType, Int64(lot.below(2))) } else { guardTypes(["orders", "others+malloc"].randomElement(using: &lot)!) }
          case 2: setGuard(.memguardSide, Int64(lot.below(3)))
          case 3: if lot.below(4) == 0 { setGuard(.check, Int64(lot.below(2))) }
          case 4...17 where held.count < 300, 18...20 where held.isEmpty:
            let zone = lot.below(2), mark = UInt8(truncatingIfNeeded: step)
            Ran.calls = []
            Ran.refusing = lot.below(20) == 0 ? .constructor : nil
            let refuses = Ran.refusing != nil
            guard let item = zones[zone].allocate() else {
              precondition(refuses)
              continue
            }
            precondition(!refuses && Ran.calls.last == Ran.Call(hook: .constructor, item: item.address))
            if isGuarded(item) { guarded += 1 } else { plain += 1 }
            fill(item, zones[zone].pointee.size, mark)
            held.append((item, zone, mark))
          default:
            guard !held.isEmpty else { continue }
            let one = held.remove(at: lot.below(held.count))
            let size = zones[one.zone].pointee.size
            precondition(holds(one.item, size, one.mark))
            let wasGuarded = isGuarded(one.item)
            Ran.calls = []
            // As init leaves it, for items that stay in a cache.
            fill(one.item, size, 0)
            zones[one.zone].free(one.item)
            precondition(Ran.calls.first == Ran.Call(hook: .destructor, item: one.item.address))
            if wasGuarded { precondition(Ran.hooks == [.destructor, .zoneFini, .kegFini] && !isReadable(one.item.address)) }
          }
          if step % 64 == 0 && Stage.checks(step) {
            memGuard.checkInvariants()
            for index in 0..<2 { check(zones[index], holding: held.count { $0.zone == index && !isGuarded($0.item) }) }
          }
        }
        precondition(guarded > 100 && plain > 100, "\(guarded) \(plain)")
        for one in held { zones[one.zone].free(one.item) }
        setGuard(.check, 0)
        demandNothingOut()
        precondition(zones[0].destroy() == 0 && zones[1].destroy() == 0)
      }
    }
  }
}
