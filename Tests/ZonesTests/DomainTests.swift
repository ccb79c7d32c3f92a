// SPDX-License-Identifier: BSD-2-Clause
//
// Zones over several memory domains, on made-up ones: where items come from, and where they go back to.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct DomainTests {
    init() { Stage.up() }

    @Test func `a policy changes nothing where there is one domain`() {
      memoryDomains.forget()
      for flags in [ZoneFlags.firstTouch, .roundRobin] {
        let zone = makeTestZone("one", 64, flags: flags)
        #expect(zone.pointee.domains == nil && zone.parts.isEmpty && zone.pointee.moreKegCount == 0 && memoryDomains.count >= 1)
        #expect(zone.pointee.keg.pointee.layout.lookup == .mask && zone.pointee.cell != 0)
        let item = flags.contains(.firstTouch) ? zone.allocate(domain: 0)! : zone.allocate()!
        #expect(zone.domain(of: item) == 0)
        zone.free(item)
        check(zone, holding: 0)
        #expect(zone.pointee.crossFrees == 0 && zone.destroy() == 0)
      }
    }

    @Test(arguments: [2, 4]) func `first touch: items come from the domain of the CPU that asks, through caches and slabs`(_ count: Int) {
      withDomains(count) {
        let slabBytes = arena.pointee.slabBytes
        for (size, flags) in [(64, ZoneFlags.firstTouch), (640, .firstTouch), (3000, .firstTouch), (64, .firstTouch.union(.noBucket)), (48, .firstTouch.union(.refCount))] {
          let zone = makeTestZone("near", size, flags: flags)
          var held: [UnsafeMutableRawPointer] = []
          for round in 0..<3 * count {
            hop(to: round % count)
            let items = zone.takeMany(200)
            #expect(items.count == 200 && items.allSatisfy { zone.domain(of: $0) == round % count })
            held += items
            check(zone, holding: held.count)
            // Half of them go here, and are this domain's again when they come back.
            zone.freeAll(Array(held.suffix(100)))
            held.removeLast(100)
          }
          #expect(Set(held).count == held.count && zone.pointee.crossFrees == 0 && zone.spread(held) == [Int](repeating: 300, count: count))
          zone.freeAll(held)
          check(zone, holding: 0)
          #expect(zone.destroy() == 0)
        }
        #expect(arena.pointee.slabBytes == slabBytes)
      }
    }

    @Test func `first touch: what is freed elsewhere goes home, is counted, and serves its own domain again`() {
      withDomains(2) {
        let zone = makeTestZone("home", 64, flags: .firstTouch)
        hop(to: 0)
        let items = zone.takeMany(1000)
        let made = zone.parts[0].pointee.keg.pointee.slabsMade
        hop(to: 1)
        zone.freeAll(items)
        #expect(zone.pointee.crossFrees == 1000 && zone.parts[1].pointee.keg.pointee.slabsMade == 0)
        check(zone, holding: 0)
        let others = zone.takeMany(1000)
        #expect(zone.spread(others) == [0, 1000] && Set(others).isDisjoint(with: items))
        hop(to: 0)
        // A cell of the other CPU keeps some; all others are in the depot of their domain, or slabs.
        let again = zone.takeMany(700)
        #expect(zone.spread(again) == [700, 0] && zone.parts[0].pointee.keg.pointee.slabsMade == made)
        zone.freeAll(others)
        #expect(zone.pointee.crossFrees == 2000)
        check(zone, holding: 700)
        zone.freeAll(again)
        zone.reclaim(.drainCPU, domain: 1)
        #expect(zone.parts[1].pointee.keg.pointee.slabCount == 0 && zone.parts[0].pointee.keg.pointee.slabCount > 0)
        zone.reclaim(.drainCPU)
        #expect(zone.capacity == 0 && zone.memory == 0)
        check(zone, holding: 0)
        #expect(zone.destroy() == 0)
      }
    }

    @Test(arguments: [2, 3, 4]) func `round robin: each refill is spread over all domains, and items go back to their slabs`(_ count: Int) {
      withDomains(count) {
        hop(to: 0)
        let single = makeTestZone("single", 64, flags: .roundRobin.union(.noBucket))
        let few = single.takeMany(60 * count)
        #expect(single.spread(few) == [Int](repeating: 60, count: count))
        single.freeAll(few)
        check(single, holding: 0)
        #expect(single.destroy() == 0)
        for size in [64, 640, 3000] {
          let zone = makeTestZone("spread", size, flags: .roundRobin)
          // What comes with the first is for the cell, and of all domains, too.
          zone.free(zone.allocate())
          let first = zone.parts.map { $0.pointee.keg.outstanding }
          #expect(first.max() == (first.reduce(0, +) + count - 1) / count, "\(size): \(first)")
          let items = zone.takeMany(1200)
          let counts = zone.spread(items)
          // One refill brings 64 at most.
          #expect(items.count == 1200 && counts.max()! - counts.min()! <= 64, "\(size): \(counts)")
          check(zone, holding: 1200)
          zone.freeAll(items)
          check(zone, holding: 0)
          let again = zone.takeMany(1200)
          hop(to: 1)
          zone.freeAll(again)
          #expect(Set(again).count == 1200 && zone.pointee.crossFrees == 0, "a free does not look where its item is")
          hop(to: 0)
          zone.reclaim(.drainCPU)
          #expect(zone.capacity == 0)
          check(zone, holding: 0)
          #expect(zone.destroy() == 0)
        }
      }
    }

    @Test func `T3 the depot that gives a bucket is the near one with plenty, else the fullest; the one that gets it the near one, or the emptiest`() {
      var generator = Generator(31)
      for _ in 0..<20_000 {
        let count = 1 + generator.below(6), near = generator.below(count)
        let items = (0..<count).map { _ in generator.below(3) == 0 ? 0 : generator.below(700) }
        var loads = DomainLoads()
        for (domain, held) in items.enumerated() { loads.add(held, in: domain) }
        let source = loads.source(near: near), target = loads.target(near: near)
        #expect(items[near] > 254 ? source == near : items[source] == items.max()!)
        #expect(items[near] >= 2 * items.min()! ? items[target] == items.min()! : target == near)
      }
      withDomains(2) {
        hop(to: 0)
        let zone = makeTestZone("spread", 64, flags: .roundRobin)
        zone.freeAll(zone.takeMany(4000))
        let held = zone.parts.map { $0.pointee.depotItems }
        #expect(held.min()! > 0 && held.max()! <= 2 * held.min()! + 254 && zone.pointee.full == nil, "\(held)")
        // The near one has none: the other serves.
        zone.parts[0].drainDepot(keeping: 0)
        #expect(zone.chooseDepot(isTaking: true) == zone.parts[1] && zone.chooseDepot(isTaking: false) == zone.parts[0])
        let items = zone.takeMany(held[1] + 100)
        #expect(zone.parts[1].pointee.depotItems == 0)
        zone.freeAll(items)
        check(zone, holding: 0)
        #expect(zone.destroy() == 0)
      }
    }

    @Test func `a domain without memory is never asked: the next one serves it`() {
      withDomains(3, empty: [1]) {
        let near = makeTestZone("near", 64, flags: .firstTouch), spread = makeTestZone("spread", 64, flags: .roundRobin)
        #expect(near.pointee.domains!.pointee.parts[1] == nil && near.parts.count == 2)
        hop(to: 1)
        let items = near.takeMany(300), others = spread.takeMany(300)
        #expect(near.spread(items) == [0, 0, 300] && near.domain(of: near.allocate(domain: 1)!) == 2)
        let counts = spread.spread(others)
        #expect(counts[1] == 0 && abs(counts[0] - counts[2]) <= 64)
        near.freeAll(items)
        #expect(near.pointee.crossFrees == 0, "as near as can be")
        spread.freeAll(others)
        check(near, holding: 1)
        check(spread, holding: 0)
        #expect(near.destroy() == 1 && spread.destroy() == 0)
      }
    }

    @Test(arguments: [2, 4]) func `an item of a domain is asked for from any CPU, and never comes from another`(_ count: Int) {
      withDomains(count) {
        let zone = makeTestZone("chosen", 100, flags: .firstTouch, hooks: Hooks.all)
        Hooks.reset()
        var held: [UnsafeMutableRawPointer] = []
        for here in 0..<count {
          hop(to: here)
          for domain in 0..<count {
            for _ in 0..<150 {
              let item = zone.allocate(domain: domain, .noWait.union(.zero))!
              #expect(zone.domain(of: item) == domain)
              held.append(item)
            }
          }
        }
        #expect(Hooks.count(.constructor) == held.count && Set(held).count == held.count)
        zone.freeAll(held)
        check(zone, holding: 0)
        #expect(Hooks.count(.destructor) == held.count && zone.destroy() == 0)
        #expect(Hooks.count(.kegInit) == Hooks.count(.kegFini) && !Hooks.sawLock)
      }
    }

    @Test func `an item of a domain that is none, or of a zone without the policy, is refused with a report`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        stave_reports().pointee.mode = ReportMode.goOn
        withDomains(2) {
          let near = makeTestZone("near", 64, flags: .firstTouch), spread = makeTestZone("spread", 64, flags: .roundRobin)
          precondition(near.allocate(domain: 2) == nil && near.allocate(domain: -1) == nil && spread.allocate(domain: 0) == nil)
          precondition(makeTestZone("plain").allocate(domain: 0) == nil)
          precondition(near.allocate(domain: 1) != nil)
        }
      }
      let said = result.map { String(decoding: $0.standardErrorContent, as: UTF8.self) } ?? ""
      #expect(said.components(separatedBy: "bad request: an item of memory domain").count == 5, "\(said)")
    }

    @Test func `L39 a domain whose page source refuses: others serve, but for who wants that one alone`() {
      withDomains(2) {
        let mocks = [MockSource(), MockSource()]
        let zone = makeTestZone("refused", 3000, flags: .firstTouch)
        for (part, mock) in zip(zone.parts, mocks) { part.setSource(mock.source) }
        mocks[0].isRefusing = true
        hop(to: 0)
        let items = zone.takeMany(50)
        #expect(zone.spread(items) == [0, 50] && zone.allocate(domain: 0) == nil && zone.pointee.failures == 1)
        #expect(zone.allocate(domain: 0, .wait.union(.canFail)) == nil && zone.pointee.failures == 2 && zone.pointee.sleeps == 1)
        mocks[1].isRefusing = true
        let rest = zone.takeMany(1000)
        #expect(rest.count < 1000 && zone.spread(rest)[0] == 0)
        check(zone, holding: 50 + rest.count)
        // Both refuse, once: who may wait gets what there is then.
        (mocks[0].isRefusing, mocks[1].isRefusing) = (false, false)
        for mock in mocks { mock.refuseAt = 1 }
        let waited = zone.allocate(.wait)!
        #expect(mocks.contains { $0.lastWait & WaitFlags.wait.rawValue != 0 })
        mocks[0].refuseAt = 2
        #expect(zone.domain(of: zone.allocate(domain: 0, .wait)!) == 0)
        zone.freeAll(items + rest + [waited])
        check(zone, holding: 1)
        #expect(zone.destroy() == 1 && !mocks[0].sawLock && !mocks[1].sawLock && mocks[1].bytesOut == 0)
      }
    }

    @Test func `L39 a hook that refuses fails the request in all domains at once, and nothing is lost`() {
      withDomains(2) {
        for kind in [Hooks.Kind.kegInit, .zoneInit, .constructor] {
          for number in 1...70 {
            Hooks.reset()
            let zone = makeTestZone("hooked", 640, flags: number % 2 == 0 ? .roundRobin : .firstTouch, hooks: Hooks.all)
            zone.setZoneHooks(initialize: Hooks.zoneInit, finish: Hooks.zoneFini)
            Hooks.refuse[kind] = number
            let items = zone.takeMany(40)
            // Another domain is not asked.
            if kind == .zoneInit && number == 1 { #expect(items.isEmpty && zone.pointee.failures == 1 && Hooks.count(.zoneInit) == 1) }
            zone.freeAll(items)
            check(zone, holding: 0)
            #expect(zone.destroy() == 0 && Hooks.count(.kegInit) - Hooks.count(.kegFini) == (kind == .kegInit && Hooks.refuse[kind] == 0 ? 1 : 0))
            #expect(Hooks.count(.zoneInit) - Hooks.count(.zoneFini) == (kind == .zoneInit && Hooks.refuse[kind] == 0 ? 1 : 0))
          }
        }
      }
    }

    @Test func `memory is asked for near: a slab's in its domain, a copy's in its CPU's, and given back to nobody`() {
      withDomains(2) {
        Placed.record()
        let zone = makeTestZone("placed", 3000, flags: .firstTouch)
        for domain in 0..<2 {
          hop(to: domain)
          let item = zone.allocate()!
          let call = Placed.calls.last!
          #expect(Placed.calls.count == domain + 1 && call.domain == domain && call.start..<call.start + UInt(call.bytes) ~= item.address)
          zone.free(item)
        }
        Placed.calls = []
        zone.reclaim(.drainCPU)
        #expect(Placed.calls.map(\.domain) == [-1, -1] && zone.destroy() == 0)
        Placed.calls = []
        let copies = makeTestZone("copies", 64, flags: .perCPU), plain = makeTestZone("plain", 64)
        let item = copies.allocatePerCPU()!
        #expect(Placed.calls.count == perCPUCopies && Placed.calls.allSatisfy { $0.bytes == pageBytes })
        for cpu in 0..<perCPUCopies {
          #expect(Placed.calls[cpu].domain == cpu % 2 && perCPUCopy(of: item, cpu: cpu).address - Placed.calls[cpu].start < UInt(pageBytes))
        }
        Placed.calls = []
        // CPUs of one domain that follow each other have one policy.
        for cpu in 0..<perCPUCopies { memoryDomains.pointee.table!.cpus[cpu] = 1 }
        let many = (0...copies.pointee.keg.pointee.layout.items).map { _ in copies.allocatePerCPU()! }
        #expect(Placed.calls.map(\.domain) == [1] && Placed.calls[0].bytes == copies.pointee.keg.pointee.layout.slabBytes)
        for cpu in 0..<perCPUCopies { memoryDomains.pointee.table!.cpus[cpu] = UInt8(cpu % 2) }
        for item in many { copies.freePerCPU(item) }
        Placed.calls = []
        plain.free(plain.allocate())
        #expect(Placed.calls.isEmpty)
        copies.freePerCPU(item)
        #expect(copies.destroy() == 0 && plain.destroy() == 0 && Placed.calls.allSatisfy { $0.domain == -1 })
      }
    }
  }
}
