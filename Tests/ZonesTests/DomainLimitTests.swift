// SPDX-License-Identifier: BSD-2-Clause
//
// What concerns all parts of a zone over several memory domains: limits, reserves, memory made ahead, secondary zones, the end; and threads
// that go from domain to domain.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct DomainLimitTests {
    init() { Stage.up() }

    @Test func `how much is cached under a limit takes a bucket more for each CPU, and one for each domain`() {
      // Spec 2.9.7: buckets 3 × 4 CPUs + 1 × 2 domains.
      let two = CacheBound(limit: 1000, cpus: 4, domains: 2)
      #expect(two.bucket == 35 && two.cell == 52 && two.depot == (1000 - 14 * 35) / 2)
      #expect(CacheBound(limit: 13, cpus: 4, domains: 2).bucket == 0 && CacheBound(limit: 14, cpus: 4, domains: 2).bucket == 1)
      for limit in [1, 2, 3, 7, 8, 9, 63, 64, 100, 4095, 100_000] {
        for cpus in [1, 2, 3, 8, 64] {
          for domains in 1...8 {
            let bound = CacheBound(limit: limit, cpus: cpus, domains: domains)
            #expect(bound.cell * domains * cpus <= limit && bound.depot * domains <= limit)
          }
        }
      }
    }

    @Test(arguments: [ZoneFlags.firstTouch, .roundRobin]) func `L33 one limit holds for all domains`(_ policy: ZoneFlags) {
      withDomains(2) {
        for limit in [1, 5, 20, 300] {
          let zone = makeTestZone("limited", 100, flags: policy)
          #expect(zone.setLimit(limit) == limit)
          hop(to: 0)
          let items = zone.takeMany(limit + 10)
          #expect(items.count == limit && zone.isExhausted && zone.made == limit)
          hop(to: 1)
          #expect(zone.allocate() == nil && zone.pointee.failures == 2)
          check(zone, holding: limit)
          zone.freeAll(items)
          check(zone, holding: 0)
          // Cached for the domain where it lies, and at the limit for the other one too.
          let again = zone.takeMany(limit + 10)
          #expect(again.count == limit)
          zone.freeAll(again)
          zone.reclaim(.drainCPU)
          #expect(zone.made == 0)
          let others = zone.takeMany(limit + 10)
          #expect(others.count == limit && (policy == .roundRobin || zone.spread(others) == [0, limit]))
          zone.setLimit(0)
          let more = zone.takeMany(50)
          #expect(more.count == 50)
          zone.freeAll(others + more)
          check(zone, holding: 0)
          #expect(zone.destroy() == 0)
        }
        // With items out and cached when the limit is set.
        let zone = makeTestZone("later", 100, flags: policy)
        hop(to: 0)
        let items = zone.takeMany(200)
        hop(to: 1)
        zone.freeAll(Array(items.suffix(100)))
        zone.setLimit(150)
        check(zone, holding: 100)
        #expect(zone.takeMany(100).count == 50)
        #expect(zone.destroy() == 150)
      }
    }

    @Test(arguments: [ZoneFlags.firstTouch, .roundRobin]) func `L34 who waits at the limit is served by a free in another domain`(_ policy: ZoneFlags) {
      withDomains(2) {
        let zone = makeTestZone("awaited", 100, flags: policy)
        zone.setLimit(30)
        hop(to: 0)
        var items = zone.takeMany(30)
        for turn in 0..<5 {
          let shared = Shared(zone), done = DispatchGroup()
          done.enter()
          Thread {
            hop(to: turn % 2)
            let item = shared.value.allocate(.wait)!
            shared.value.free(item)
            done.leave()
          }.start()
          for _ in 0..<30_000 where zone.pointee.bound.waiters == 0 { usleep(1000) }
          hop(to: 1)
          zone.free(items[turn])
          done.wait()
          items[turn] = zone.allocate(.wait)!
          check(zone, holding: 30)
        }
        // All five went to who waited, from another domain than theirs.
        #expect(policy == .roundRobin ? zone.pointee.crossFrees == 0 : zone.pointee.crossFrees >= 5)
        // One that waits without a thread.
        var waiter = ZoneWaiter()
        waiter.wake = { _ in }
        withUnsafeMutablePointer(to: &waiter) { waiter in
          zone.wait(waiter).tell()
          #expect(waiter.pointee.isGranted == 0)
          zone.free(items[0])
          #expect(waiter.pointee.isGranted == 1)
        }
        let granted = zone.allocateGranted()!
        check(zone, holding: 30)
        zone.freeAll(items.dropFirst() + [granted])
        check(zone, holding: 0)
        #expect(zone.destroy() == 0)
      }
    }

    @Test(arguments: [ZoneFlags.firstTouch, .roundRobin]) func `reserve, slabs made ahead and addresses are shared out to the domains`(_ policy: ZoneFlags) {
      withDomains(2) {
        hop(to: 0)
        let zone = makeTestZone("shares", 1000, flags: policy.union(.noBucket))
        zone.setReserve(9)
        #expect(zone.parts.map { $0.pointee.keg.pointee.reserve } == [5, 5])
        #expect(zone.preallocate(100))
        #expect(zone.parts.allSatisfy { $0.pointee.keg.pointee.freeItems >= 50 })
        check(zone, holding: 0)
        #expect(zone.destroy() == 0)
        let bounded = makeTestZone("addresses", 1000, flags: policy)
        #expect(bounded.reserveAddresses(for: 100) && bounded.limit >= 100 && bounded.limit < 200)
        let items = bounded.takeMany(500)
        #expect(items.count == bounded.limit && Set(items).count == items.count, "one domain's addresses are not all")
        bounded.freeAll(items)
        check(bounded, holding: 0)
        #expect(bounded.destroy() == 0)
      }
    }

    @Test(arguments: [ZoneFlags.firstTouch, .roundRobin]) func `L63 a secondary zone has the domains of its primary`(_ policy: ZoneFlags) {
      withDomains(2) {
        let primary = makeTestZone("primary", 100, flags: policy)
        let second = makeSecondaryZone(name: FixedName("second"), hooks: ZoneHooks(initialize: Hooks.zoneInit, finish: Hooks.zoneFini), primary: primary)!
        Hooks.reset()
        hop(to: 1)
        let (ours, theirs) = (second.takeMany(300), primary.takeMany(300))
        #expect(policy == .roundRobin || second.spread(ours) == [0, 300])
        #expect(Set(ours).isDisjoint(with: theirs) && Hooks.count(.zoneInit) >= 300)
        hop(to: 0)
        second.freeAll(Array(ours.prefix(100)))
        check(second, holding: 200)
        check(primary, holding: 300)
        second.freeAll(Array(ours.dropFirst(100)))
        #expect(second.addKeg(of: primary) == .invalid && second.destroy() == 0)
        #expect(Hooks.count(.zoneInit) == Hooks.count(.zoneFini))
        primary.freeAll(theirs)
        check(primary, holding: 0)
        #expect(primary.destroy() == 0)
      }
    }

    @Test(arguments: [ZoneFlags.firstTouch, .roundRobin]) func `L16 what is out when the zone ends is reported and lost, all else goes back`(_ policy: ZoneFlags) async {
      let zonesBefore = zones.pointee.zoneCount, bytes = arena.pointee.slabBytes
      withDomains(2) {
        let zone = makeTestZone("ends", 640, flags: policy)
        for domain in 0..<2 {
          hop(to: domain)
          zone.freeAll(zone.takeMany(500))
        }
        #expect(zone.destroy() == 0)
      }
      #expect(zones.pointee.zoneCount == zonesBefore && arena.pointee.slabBytes == bytes)
      let raw = policy.rawValue
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) { [raw = raw as UInt32] in
        Stage.up()
        withDomains(2) {
          let zone = makeTestZone("lost", 640, flags: ZoneFlags(rawValue: raw).union(.noBucket))
          hop(to: 0)
          let items = zone.takeMany(4)
          hop(to: 1)
          precondition(items.count == 4 && zone.takeMany(2).count == 2 && zone.destroy() == 6)
        }
      }
      let said = result.map { String(decoding: $0.standardErrorContent, as: UTF8.self) } ?? ""
      #expect(said.components(separatedBy: "zone destroyed with items out: lost.").count == 3, "\(said)")
    }

    @Test(arguments: [ZoneFlags.firstTouch, .roundRobin]) func `item checks see what is freed on another domain`(_ policy: ZoneFlags) async {
      let raw = policy.rawValue
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) { [raw = raw as UInt32] in
        Stage.up()
        stave_reports().pointee.mode = ReportMode.goOn
        let policy = ZoneFlags(rawValue: raw)
        withDomains(2) {
          let zone = makeTestZone("checked", 640, flags: policy, hooks: ZoneHooks(destructor: Hooks.destructor))
          hop(to: 0)
          let items = zone.takeMany(100)
          precondition(itemChecks.begin(divisor: 1))
          hop(to: 1)
          zone.freeAll(Array(items.dropFirst()))
          check(zone, holding: 1)
          // Of the slab that the first is in.
          zone.free(items[policy == .firstTouch ? 1 : 2])
          let more = zone.takeMany(100)
          check(zone, holding: 101)
          zone.freeAll(more + [items[0]])
          itemChecks.end()
          check(zone, holding: 0)
          precondition(zone.destroy() == 0)
        }
      }
      let said = result.map { String(decoding: $0.standardErrorContent, as: UTF8.self) } ?? ""
      #expect(said.components(separatedBy: "double free").count == 2, "\(said)")
    }

    @Test func `L18 L28 threads that go from domain to domain and free each other's items, while somebody drains`() {
      withDomains(2) {
        for policy in [ZoneFlags.firstTouch, .roundRobin] {
          let zone = makeTestZone("hopping", 96, flags: policy)
          let count = 4, steps = Stage.steps(4000, soak: 2_000_000)
          let slots = UnsafeMutablePointer<UInt>.allocate(capacity: 256)
          slots.initialize(repeating: 0, count: 256)
          let lock = NSLock(), shared = Shared((zone, slots, lock))
          inThreads(count + 1) { thread in
            let (zone, slots, lock) = shared.value
            var generator = Generator(UInt64(thread) + 900)
            for step in 0..<(thread == count ? steps / 50 : steps) {
              if thread == count {
                zone.reclaim([.trim, .drain, .drainCPU][generator.below(3)])
                continue
              }
              if step % 64 == 0 { bind(toCPU: usableCPUs[generator.below(min(2, usableCPUs.count))]) }
              let item = generator.below(3) == 0 ? zone.allocate(domain: generator.below(2), policy: policy) : zone.allocate()
              guard let item else { continue }
              item.initializeMemory(as: UInt.self, repeating: item.address, count: 96 / 8)
              let index = generator.below(256)
              let old = lock.withLock {
                let old = slots[index]
                slots[index] = item.address
                return old
              }
              guard let before = UnsafeMutablePointer<UInt>(bitPattern: old) else { continue }
              if (0..<12).contains(where: { before[$0] != old }) { Issue.record("another's item (STAVE_SEED=\(Stage.seed))") }
              zone.free(before)
            }
          }
          let held = (0..<256).filter { slots[$0] != 0 }
          check(zone, holding: held.count)
          for index in held { zone.free(UnsafeMutableRawPointer(bitPattern: slots[index])) }
          check(zone, holding: 0)
          slots.deallocate()
          #expect(zone.destroy() == 0)
        }
      }
    }
  }
}

extension UnsafeMutablePointer where Pointee == Zone {
  fileprivate func allocate(domain: Int, policy: ZoneFlags) -> UnsafeMutableRawPointer? {
    guard policy == .firstTouch else { return allocate() }
    let item = allocate(domain: domain)
    if let item, self.domain(of: item) != domain { Issue.record("an item of another domain") }
    return item
  }
}
