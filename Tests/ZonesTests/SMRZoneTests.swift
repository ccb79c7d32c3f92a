// SPDX-License-Identifier: BSD-2-Clause
//
// Zones with deferred reuse: what a freed item is until readers have left, what happens to it then, and what the zone does when memory,
// buckets or the system's help are not to be had.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

func makeTestSMRZone(
  _ name: StaticString = "deferred", _ size: Int = 64, flags: ZoneFlags = .none, hooks: ZoneHooks = ZoneHooks(), source: PageSource = .arena,
  smr: SMRPointer? = nil
) -> ZonePointer {
  makeSMRZone(name: FixedName(name), size: size, flags: flags, hooks: hooks, source: source, smr: smr)!
}

extension UnsafeMutablePointer where Pointee == Zone {
  func takeManySMR(_ count: Int, _ flags: WaitFlags = .noWait) -> [UnsafeMutableRawPointer] {
    var items: [UnsafeMutableRawPointer] = []
    while items.count < count, let item = allocateSMR(flags) { items.append(item) }
    return items
  }
  func freeAllSMR(_ items: [UnsafeMutableRawPointer]) { for item in items { freeSMR(item) } }
}

extension OnRoot {
  @Suite struct SMRZoneTests {
    init() { Stage.up() }

    @Test(arguments: [64, 640, 4096]) func `what is freed stays as it is, and out of reach, while a section is open`(size: Int) {
      let zone = makeTestSMRZone("kept", size)
      let reader = Player()
      reader.act { zone.smr!.enter() }
      let items = zone.takeManySMR(700)
      #expect(Set(items).count == 700)
      for (index, item) in items.enumerated() { item.initializeMemory(as: UInt8.self, repeating: UInt8(index & 255), count: size) }
      check(zone, holding: 700)
      zone.freeAllSMR(items)
      check(zone, holding: 0)
      for request in [Reclaim.trim, .drain, .drainCPU] { zone.reclaim(request) }
      let others = zone.takeManySMR(700)
      #expect(Set(others).isDisjoint(with: items), "reused while a reader is inside")
      for (index, item) in items.enumerated() {
        #expect(item.load(as: UInt8.self) == UInt8(index & 255) && item.load(fromByteOffset: size - 1, as: UInt8.self) == UInt8(index & 255))
      }
      reader.act { zone.smr!.exit() }
      let again = zone.takeManySMR(700)
      #expect(!Set(again).isDisjoint(with: items), "not reused when it has left")
      zone.freeAllSMR(again + others)
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
      checkAll()
    }

    @Test func `the destructor runs when readers have left, once, with no lock held and no argument`() {
      Hooks.reset()
      let zone = makeTestSMRZone("destructed", hooks: Hooks.all)
      let reader = Player()
      reader.act { zone.smr!.enter() }
      let items = zone.takeManySMR(300)
      #expect(Hooks.count(.constructor) == 300)
      zone.freeAllSMR(items)
      zone.reclaim(.drainCPU)
      #expect(Hooks.count(.destructor) == 0 && Hooks.count(.kegFini) <= Hooks.count(.kegInit) - 300)
      reader.act { zone.smr!.exit() }
      zone.reclaim(.drain)
      let destructed = Hooks.items(.destructor)
      #expect(destructed.count > 200 && Set(destructed).isSubset(of: items.map(\.address)))
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
      #expect(Hooks.items(.destructor).sorted() == items.map(\.address).sorted())
      #expect(Hooks.count(.kegInit) == Hooks.count(.kegFini))
      #expect(!Hooks.sawLock && Hooks.lastArgument == nil)
    }

    @Test func `zones that share a context hold each other's items, others do not`() {
      let smr = makeSMR()!
      let (one, two, apart) = (makeTestSMRZone("one", smr: smr), makeTestSMRZone("two", 128, smr: smr), makeTestSMRZone("apart"))
      #expect(one.smr == smr && two.smr == smr && apart.smr != smr && !smr.destroy())
      let reader = Player()
      reader.act { smr.enter() }
      for zone in [one, two, apart] {
        let items = zone.takeManySMR(300)
        zone.freeAllSMR(items)
        zone.reclaim(.drain)
        #expect((zone.pointee.deferral!.pointee.waiting == 0) == (zone == apart))
      }
      reader.act { smr.exit() }
      for zone in [one, two, apart] { #expect(zone.destroy() == 0) }
      #expect(smr.destroy())
    }

    @Test func `the flag alone gives a context of one's own, which goes with the zone`() {
      let zone = makeTestZone("by flag", flags: .smr)
      #expect(zone.smr != nil && zone.pointee.flags.contains(.smr) && zone.pointee.isGuarded == 0)
      let smr = zone.smr!
      zone.freeSMR(zone.allocateSMR())
      zone.freeSMR(nil)
      #expect(zone.destroy() == 0)
      var next = zones.pointee.smr!.pointee.first
      while let known = next {
        #expect(known != smr)
        next = known.pointee.next
      }
    }

    @Test func `destroying a zone waits for readers, and then gives everything back`() {
      let mock = MockSource()
      let smr = makeSMR()!
      let zone = makeTestSMRZone("destroyed", 640, source: mock.source, smr: smr)
      let items = zone.takeManySMR(200)
      let gate = Gate(), shared = Shared(smr)
      DispatchQueue.global().async { shared.value.read { gate.enterAndWait() } }
      gate.waitForReader()
      zone.freeAllSMR(items)
      let left = UnsafeMutablePointer<Bool>.allocate(capacity: 1)
      defer { left.deallocate() }
      left.pointee = false
      let flag = Shared(left)
      DispatchQueue.global().asyncAfter(deadline: .now() + 0.03) {
        flag.value.pointee = true
        gate.open()
      }
      #expect(zone.destroy() == 0)
      #expect(left.pointee, "did not wait")
      #expect(mock.bytesOut == 0 && !mock.sawLock)
      #expect(smr.synchronize() && smr.destroy())
      checkAll()
    }

    @Test func `a constructor that refuses gives the item back at once`() {
      Hooks.reset()
      let zone = makeTestSMRZone("refused", hooks: Hooks.all)
      Hooks.refuse[.constructor] = 3
      let items = zone.takeManySMR(5)
      #expect(items.count == 2 && zone.pointee.failures == 1 && Hooks.count(.destructor) == 0)
      check(zone, holding: 2)
      let zeroed = zone.allocateSMR(WaitFlags.noWait.union(.zero))
      #expect(zeroed != nil && isZero(zeroed!, 64))
      zone.freeAllSMR(items + [zeroed!])
      #expect(zone.destroy() == 0)
    }

    @Test func `deferred reuse is for no zone whose items have copies, or lie in several memory domains`() {
      for flags in [ZoneFlags.perCPU, .firstTouch, .roundRobin, .notPage.union(.roundRobin)] {
        #expect(makeSMRZone(name: FixedName("refused"), size: 64, flags: flags) == nil, "\(flags.rawValue)")
        #expect(makeZone(name: FixedName("refused"), size: 64, flags: flags.union(.smr)) == nil, "\(flags.rawValue)")
      }
      // What a flag implies holds here too.
      let counted = makeTestSMRZone("counted", flags: .refCount)
      #expect(counted.pointee.flags.contains(.noFree))
      #expect(counted.destroy() == 0)
    }

    @Test func `a destructor may free another item of the same zone`() {
      let zone = makeTestSMRZone("chain", hooks: ZoneHooks(destructor: { item, _, _ in
        if let next = item.load(as: UnsafeMutableRawPointer?.self) { Chain.zone!.freeSMR(next) }
        item.storeBytes(of: nil, as: UnsafeMutableRawPointer?.self)
      }))
      Chain.zone = zone
      for _ in 0..<300 {
        let (first, second) = (zone.allocateSMR(.wait)!, zone.allocateSMR(.wait)!)
        second.storeBytes(of: nil, as: UnsafeMutableRawPointer?.self)
        first.storeBytes(of: second, as: UnsafeMutableRawPointer?.self)
        zone.freeSMR(first)
      }
      // In a section too, where nothing may be freed.
      let more = zone.smr!.read { zone.takeManySMR(50) }
      #expect(more.count == 50)
      for item in more {
        item.storeBytes(of: nil, as: UnsafeMutableRawPointer?.self)
        zone.freeSMR(item)
      }
      // Each drain makes the destructor free what the next one finds.
      for _ in 0..<8 { zone.reclaim(.drainCPU) }
      check(zone)
      #expect(zone.destroy() == 0)
    }

    @Test func `items that wait are cached, not used; at rest all sums are exact`() {
      for flags in [ZoneFlags.none, .offPage, .noBucket] {
        let zone = makeTestSMRZone("counted", 128, flags: flags)
        for cpu in usableCPUs {
          bind(toCPU: cpu)
          let items = zone.takeManySMR(333)
          check(zone, holding: 333)
          zone.freeAllSMR(Array(items.prefix(222)))
          check(zone, holding: 111)
          zone.freeAllSMR(Array(items.suffix(111)))
        }
        bindToAll()
        check(zone, holding: 0)
        trimIdleDepots()
        trimIdleDepots()
        check(zone, holding: 0)
        let counts = ZoneCounts(zone)
        #expect(counts.allocations == Int64(333 * usableCPUs.count) && counts.frees == counts.allocations)
        #expect(zone.destroy() == 0)
      }
    }

    @Test func `while item checks pass the caches by, reuse is deferred as ever`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let zone = makeTestSMRZone("checked", 64)
        let early = zone.takeManySMR(100)
        zone.freeAllSMR(early)
        precondition(itemChecks.begin(divisor: 1))
        let reader = Player()
        reader.act { zone.smr!.enter() }
        let items = zone.takeManySMR(300)
        for item in items { item.storeBytes(of: 0x1234, as: Int.self) }
        zone.freeAllSMR(items)
        check(zone, holding: 0)
        zone.reclaim(.drainCPU)
        for item in items { precondition(item.load(as: Int.self) == 0x1234, "filled while a reader may look") }
        reader.act { zone.smr!.exit() }
        zone.reclaim(.drainCPU)
        let again = zone.takeManySMR(300)
        precondition(again.count == 300 && itemChecks.pointee.checked > 0 && itemChecks.pointee.damaged == 0)
        zone.freeAllSMR(again)
        itemChecks.end()
        precondition(zone.destroy() == 0)
        checkAll()
      }
    }

    // MARK: - Mistakes

    @Test func `a plain request of such a zone is reported`() async {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        Stage.up()
        _ = makeTestSMRZone("smr only").allocate()
      }
      #expect(said(result, "bad request: a plain one of zone smr only, whose reuse is deferred"))
    }

    @Test func `a plain free to such a zone is reported`() async {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestSMRZone("smr only")
        zone.free(zone.allocateSMR())
      }
      #expect(said(result, "free without deferral"))
    }

    @Test func `a deferred free of a plain zone's item is reported`() async {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestZone("plain")
        zone.freeSMR(zone.allocate())
      }
      #expect(said(result, "deferred free"))
    }

    @Test func `a free inside a section of the same context is reported`() async {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestSMRZone("inside")
        let items = zone.takeManySMR(200)
        zone.smr!.read { zone.freeAllSMR(items) }
      }
      #expect(said(result, "free inside a read section of the zone's own context"))
    }

    @Test func `a second free of what was freed last is reported`() async {
      let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestSMRZone("twice")
        let items = zone.takeManySMR(2)
        zone.freeSMR(items[0])
        zone.freeSMR(items[1])
        zone.freeSMR(items[1])
      }
      #expect(said(result, "double free"))
    }

    @Test func `where the process goes on after reports, wrong calls do nothing`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        stave_reports().pointee.mode = ReportMode.goOn
        let (zone, plain) = (makeTestSMRZone("smr"), makeTestZone("plain"))
        let items = zone.takeManySMR(100), others = plain.takeMany(3)
        precondition(zone.allocate() == nil && plain.allocateSMR() == nil)
        for item in items { zone.free(item) }
        plain.freeSMR(others[0])
        check(zone, holding: 100)
        check(plain, holding: 3)
        #if STAVE_CHECK_LOCKS
        zone.smr!.read { zone.freeAllSMR(items) }
        check(zone, holding: 100)
        #endif
        zone.freeAllSMR(items)
        plain.freeAll(others)
        precondition(zone.destroy() == 0 && plain.destroy() == 0)
      }
    }

    // MARK: - Failures

    #if STAVE_CHECK_LOCKS
    @Test func `L39 a zone with deferred reuse with each system call refused`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        var calls = 0
        for size in [32, 640, 4096] {
          for flags in [ZoneFlags.none, .offPage, .noBucket] {
            let zonesOut = zones.pointee.zoneZone!.outstanding
            let refused = refusingEachCall(before: exhaustMetadata) {
              guard let zone = makeSMRZone(name: FixedName("refused"), size: size, flags: flags) else { return }
              let items = zone.takeManySMR(300)
              check(zone, holding: items.count)
              zone.freeAllSMR(items)
              // Of refused membarriers items may be left out, and are said to be.
              let lost = used(zone)
              check(zone)
              zone.reclaim(.drainCPU)
              check(zone)
              let after = stave_inject().pointee.after
              stave_inject().pointee.after = 0
              precondition(zone.destroy() == lost, "items lost")
              stave_inject().pointee.after = after
            }
            calls += refused
            precondition(refused < 200 && zones.pointee.zoneZone!.outstanding == zonesOut)
          }
        }
        checkAll()
        precondition(calls > 10, "the failures reached the zones")
      }
    }

    @Test func `without a bucket a free waits for readers once for a bucket's worth of items`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        bind(toCPU: usableCPUs[0])
        let zone = makeTestSMRZone("bucketless")
        let smr = zone.smr!
        smr.pointee.fences = 1  // every system call is refused below
        let items = zone.takeManySMR(3000)
        exhaustMetadata()
        stave_inject().pointee.always = 12
        // None at all: what the cell held is released at a time.
        var before = smr.pointee.write
        zone.freeAllSMR(Array(items.prefix(1500)))
        let waits = Int((smr.pointee.write - before) / UInt64(STAVE_SMR_STEP))
        precondition(waits > 0 && waits <= 1500 / 64 + 1, "\(waits) waits for 1500 items")
        check(zone, holding: 1500)
        stave_inject().pointee.always = 0
        // One: it is used again and again, each time behind a wait.
        zones.pointee.triesLeft = 0
        zone.freeSMR(items[1500])
        for item in items[1501..<1600] { zone.freeSMR(item) }
        precondition(zone.pointee.deferral!.pointee.filling != nil)
        exhaustMetadata()
        stave_inject().pointee.always = 12
        before = smr.pointee.write
        zone.freeAllSMR(Array(items.suffix(1400)))
        stave_inject().pointee.always = 0
        precondition(Int((smr.pointee.write - before) / UInt64(STAVE_SMR_STEP)) <= 1400 / 64 + 1)
        check(zone, holding: 0)
        precondition(zone.destroy() == 0)
        checkAll()
      }
    }
    #endif
  }
}

private enum Chain {
  nonisolated(unsafe) static var zone: ZonePointer?
}
