// SPDX-License-Identifier: BSD-2-Clause
//
// How the slabs of memory domains share policies: runs of the arena, reserved ranges, and what there is beyond the bound.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension Placed {
  /// What has been given a policy, and what has lost one.
  static var made: [Call] { calls.filter { $0.domain >= 0 } }
  static var ended: [Call] { calls.filter { $0.domain < 0 } }

  /// At the end each has lost what it was given, at once and whole.
  static var areEven: Bool { made.map { "\($0.start) \($0.bytes)" }.sorted() == ended.map { "\($0.start) \($0.bytes)" }.sorted() }
}

private var policies: Int64 { memoryDomains.pointee.table!.pointee.policies }

extension OnRoot {
  @Suite struct DomainRunTests {
    init() { Stage.up() }

    @Test func `there are as many policies as runs, not as slabs, and none stays behind for others`() {
      withDomains(2) {
        Placed.record()
        let slabBytes = arena.pointee.slabBytes, zone = makeTestZone("many", 3000, flags: .firstTouch), other = makeTestZone("other", 700, flags: .roundRobin)
        var held = (0..<6000).map { zone.allocate(domain: $0 % 2)! }
        let others = other.takeMany(2000)
        let slabs = (zone.parts + other.parts).reduce(0) { $0 + $1.pointee.keg.pointee.slabCount }
        #expect(slabs > 1000 && Placed.calls.count <= slabs / 16 && Placed.ended.isEmpty, "\(Placed.calls.count) policies for \(slabs) slabs")
        let runs = Placed.made.sorted { $0.start < $1.start }
        for (run, next) in zip(runs, runs.dropFirst()) { #expect(run.start + UInt(run.bytes) <= next.start) }
        #expect(runs.allSatisfy { $0.start % unitBytes == 0 && $0.bytes >= 2 << 20 && $0.bytes % Int(unitBytes) == 0 })
        for (zone, items) in [(zone, held), (other, others)] {
          for item in items {
            let run = runs.last { $0.start <= item.address }
            #expect(run.map { Int($0.domain) == zone.domain(of: item) && item.address < $0.start + UInt($0.bytes) } ?? false)
          }
        }
        // Units are used again before there is another run: every other one, so that no run ends.
        func isOdd(_ item: UnsafeMutableRawPointer) -> Bool { item.address / unitBytes & 1 == 1 }
        let leaving = held.filter(isOdd), slabsBefore = zone.parts.map { $0.pointee.keg.pointee.slabCount }
        held.removeAll(where: isOdd)
        zone.freeAll(leaving)
        zone.reclaim(.drainCPU)
        #expect(zip(zone.parts, slabsBefore).allSatisfy { $0.pointee.keg.pointee.slabCount < $1 * 3 / 4 } && Placed.ended.isEmpty)
        held += (held.count..<6000).map { zone.allocate(domain: $0 % 2)! }
        #expect(Placed.made.count <= runs.count + 2, "\(Placed.made.count), \(runs.count) before")
        #expect(Int(policies) == Placed.made.count - Placed.ended.count)
        check(zone, holding: 6000)
        zone.freeAll(held)
        other.freeAll(others)
        zone.reclaim(.drainCPU)
        other.reclaim(.drainCPU)
        #expect(Placed.areEven && policies == 0 && arena.pointee.slabBytes == slabBytes)
        arena.checkInvariants()
        #expect(zone.destroy() == 0 && other.destroy() == 0)
      }
    }

    @Test func `slabs of all lengths share runs and never a page`() {
      withDomains(3) {
        Placed.record()
        let slabBytes = arena.pointee.slabBytes, sizes = [64, 5000, 70_000, 300_000, 1 << 20, 70 << 20]
        let zones = sizes.map { makeTestZone("lengths", $0, flags: .firstTouch.union(.noTouch)) }
        var generator = Generator(12)
        var held: [(kind: Int, item: UnsafeMutableRawPointer)] = []
        for step in 0..<600 {
          if generator.below(5) < 3 || held.isEmpty {
            let kind = generator.below(40) == 0 ? 5 : generator.below(5), domain = generator.below(3)
            guard let item = zones[kind].allocate(domain: domain) else { continue }
            #expect(zones[kind].domain(of: item) == domain)
            item.storeBytes(of: item.address, as: UInt.self)
            (item + sizes[kind] - 8).storeBytes(of: item.address, as: UInt.self)
            held.append((kind, item))
          } else {
            let (kind, item) = held.remove(at: generator.below(held.count))
            #expect(item.load(as: UInt.self) == item.address && (item + sizes[kind] - 8).load(as: UInt.self) == item.address, "step \(step)")
            zones[kind].free(item)
          }
          if step % 100 == 0 { arena.checkInvariants() }
        }
        for (kind, item) in held { zones[kind].free(item) }
        for zone in zones {
          check(zone, holding: 0)
          #expect(zone.destroy() == 0)
        }
        #expect(Placed.areEven && policies == 0 && arena.pointee.slabBytes == slabBytes)
      }
    }

    @Test func `where the system does not take a policy back the run stays, and serves its domain again`() {
      withDomains(2) {
        Placed.record()
        let slabBytes = arena.pointee.slabBytes, zone = makeTestZone("kept", 3000, flags: .firstTouch)
        Placed.keeps = true
        zone.free(zone.allocate(domain: 1))
        zone.reclaim(.drainCPU)
        #expect(zone.memory == 0 && Placed.ended.count == 1 && policies == 1 && arena.pointee.slabBytes > slabBytes)
        Placed.keeps = false
        zone.free(zone.allocate(domain: 1))
        #expect(Placed.made.count == 1 && zone.destroy() == 0 && policies == 0 && arena.pointee.slabBytes == slabBytes)
      }
    }

    @Test func `beyond the bound memory has no policy, which is counted`() {
      withDomains(2) {
        Placed.record()
        let table = memoryDomains.pointee.table!, most = DomainTable.mostPolicies
        table.pointee.policies = most - 1
        let zone = makeTestZone("bound", 3000, flags: .firstTouch), copies = makeTestZone("copies", 64, flags: .perCPU)
        let items = (0..<20).map { zone.allocate(domain: $0 % 2)! }
        #expect(Placed.calls.map(\.domain) == [0] && policies == most && table.pointee.refusedPolicies == 1 && zone.spread(items) == [10, 10])
        let copy = copies.allocatePerCPU()
        #expect(Placed.calls.count == 1 && policies == most && table.pointee.refusedPolicies == 2)
        copies.freePerCPU(copy)
        zone.freeAll(items)
        #expect(zone.destroy() == 0 && copies.destroy() == 0 && Placed.areEven && policies == most - 1)
        table.pointee.policies = 0
      }
    }

    @Test func `reserved addresses have one policy for each domain, an author's pages one for each slab`() {
      withDomains(2) {
        Placed.record()
        let zone = makeTestZone("reserved", 3000, flags: .firstTouch)
        #expect(zone.reserveAddresses(for: 200) && Placed.calls.map(\.domain) == [0, 1])
        let items = zone.takeMany(300)
        #expect(items.count == zone.limit && Placed.calls.count == 2)
        for item in items {
          let run = Placed.calls[zone.domain(of: item)]
          #expect(item.address >= run.start && item.address < run.start + UInt(run.bytes))
        }
        zone.freeAll(items)
        #expect(zone.destroy() == 0 && Placed.areEven && policies == 0)
        Placed.calls = []
        let mock = MockSource(), own = makeTestZone("own", 3000, flags: .firstTouch)
        for part in own.parts { part.setSource(mock.source) }
        let more = (0..<10).map { own.allocate(domain: $0 % 2)! }
        #expect(Placed.calls.count == own.parts.reduce(0) { $0 + $1.pointee.keg.pointee.slabCount } && Int(policies) == Placed.calls.count)
        own.freeAll(more)
        #expect(own.destroy() == 0 && Placed.areEven && policies == 0 && mock.bytesOut == 0)
      }
    }
  }
}
