// SPDX-License-Identifier: BSD-2-Clause
//
// Zones over several memory domains at their edges: their end, memory given back domain by domain, addresses that are not to be had, frees
// of what is not theirs, and what parts have of a limit.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// A fini that waits: items that have been out begin with 100 and their domain.
private enum EndGate {
  nonisolated(unsafe) static var holds = [false, false]
  static let entered = [DispatchSemaphore(value: 0), DispatchSemaphore(value: 0)]
  static let opened = [DispatchSemaphore(value: 0), DispatchSemaphore(value: 0)]

  /// False if nothing comes there within a minute: then the gates are open.
  static func isEntered(_ domain: Int) -> Bool {
    if entered[domain].wait(timeout: .now() + 60) == .success { return true }
    Issue.record("no item of domain \(domain) ends")
    holds = [false, false]
    for gate in opened { gate.signal() }
    return false
  }

  static let finish: ItemFinish = { item, _ in
    let domain = item.load(as: Int.self) - 100
    guard (0..<2).contains(domain), holds[domain] else { return }
    holds[domain] = false
    entered[domain].signal()
    opened[domain].wait()
  }
}

/// A fini in which a zone with a limit comes to lie where one was that has gone.
private enum Successor {
  nonisolated(unsafe) static var gone: ZonePointer?
  nonisolated(unsafe) static var zone: ZonePointer?
  nonisolated(unsafe) static var held: [UnsafeMutableRawPointer] = []

  static let finish: ItemFinish = { _, _ in
    guard let gone else { return }
    Successor.gone = nil
    var others: [ZonePointer] = []
    while others.count < 64 && others.last != gone { others.append(makeTestZone("next", 64, flags: .noBucket)) }
    if others.last == gone {
      zone = others.removeLast()
      zone!.setLimit(10)
      held = zone!.takeMany(20)
    }
    for other in others { other.destroy() }
  }
}

/// As a thread, until which has ended the group waits.
private func start(_ group: DispatchGroup, _ body: @escaping @Sendable () -> Void) {
  group.enter()
  Thread {
    body()
    group.leave()
  }.start()
}

extension OnRoot {
  @Suite struct DomainEndTests {
    init() { Stage.up() }

    @Test func `L18 a walk at a part of a zone that ends gives room to nobody else`() {
      withDomains(2) {
        let zone = makeTestZone("ends", 64, flags: .firstTouch)
        zone.setZoneHooks(initialize: nil, finish: EndGate.finish)
        zone.setLimit(1000)
        let items = (0..<80).map { number in
          let item = zone.allocate(domain: number % 2)!
          item.storeBytes(of: 100 + number % 2, as: Int.self)
          return item
        }
        zone.freeAll(items)
        #expect(zone.parts.allSatisfy { ZoneCounts($0).cached + Int64($0.pointee.depotItems) > 0 })
        EndGate.holds = [true, true]
        let first = DispatchGroup(), others = DispatchGroup(), shared = Shared(zone)
        start(first) { reclaimAll(.drainCPU) }
        guard EndGate.isEntered(1) else { return }
        // This one passes part 1 over, at which the first is.
        start(others) { reclaimAll(.drainCPU) }
        guard EndGate.isEntered(0) else { return }
        start(others) { #expect(shared.value.destroy() == 0) }
        while !zone.pointee.flags.contains(.dying) { usleep(1000) }
        usleep(100_000)
        let other = makeTestZone("other", 64, flags: .noBucket)
        other.setLimit(10)
        let held = other.takeMany(20)
        #expect(held.count == 10)
        EndGate.opened[1].signal()
        first.wait()
        #expect(other.made == 10 && other.allocate() == nil)
        EndGate.opened[0].signal()
        others.wait()
        other.freeAll(held)
        check(other, holding: 0)
        #expect(other.destroy() == 0)
      }
    }

    @Test func `what parts give back when their front has gone makes no room in a zone that lies where it was`() {
      withDomains(2) {
        let zone = makeTestZone("gone", 64, flags: .firstTouch)
        zone.setZoneHooks(initialize: nil, finish: Successor.finish)
        zone.setLimit(1000)
        zone.freeAll((0..<80).map { zone.allocate(domain: $0 % 2)! })
        Successor.gone = zone
        #expect(zone.destroy() == 0)
        guard let next = Successor.zone else {
          Issue.record("no zone lies there")
          return
        }
        #expect(Successor.held.count == 10 && next.made == 10 && next.allocate() == nil)
        next.freeAll(Successor.held)
        check(next, holding: 0)
        #expect(next.destroy() == 0)
      }
    }

    @Test(arguments: [ZoneFlags.firstTouch, .roundRobin]) func `L16 what is out of a secondary zone is reported once`(_ policy: ZoneFlags) async {
      let raw = policy.rawValue
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) { [raw = raw as UInt32] in
        Stage.up()
        withDomains(2) {
          let primary = makeTestZone("primary", 100, flags: ZoneFlags(rawValue: raw))
          let second = makeSecondaryZone(name: FixedName("second"), primary: primary)!
          hop(to: 0)
          let items = second.takeMany(8)
          hop(to: 1)
          second.freeAll(Array(items.prefix(5)))
          precondition(second.takeMany(2).count == 2 && second.itemsOut == 5 && second.destroy() == 5)
          precondition(primary.takeMany(100).count == 100)
        }
      }
      let said = result.map { String(decoding: $0.standardErrorContent, as: UTF8.self) } ?? ""
      #expect(said.components(separatedBy: "zone destroyed with items out").count == 2 && said.contains("second: 5 items"), "\(said)")
    }

    #if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
    @Test func `L23 addresses that are not to be had in all domains are taken in none`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        withDomains(2) {
          Placed.record()
          let slabBytes = arena.pointee.slabBytes
          var share = 128 << 20, refusals: [Int] = [0, 0], made: [ZonePointer] = []
          // The arena has to grow for each domain, each time: zones that have their addresses stay, and what others give back is too short.
          _ = refusingEachCall {
            Placed.calls = []
            let before = arena.pointee.slabBytes
            let zone = makeTestZone("half", 3000, flags: .firstTouch), layout = zone.pointee.keg.pointee.layout
            let stride = Int(UInt(layout.slabBytes).roundedUp(to: unitBytes)!)
            guard !zone.reserveAddresses(for: 2 * share / stride * layout.items) else { return made.append(zone) }
            share *= 2
            // The first domain's had a policy, and lost it, where it was the second's that were not to be had.
            precondition(Placed.areEven && Placed.calls.count <= 2)
            refusals[Placed.made.count] += 1
            precondition(arena.pointee.slabBytes == before && zone.limit == 0 && !zone.pointee.flags.contains(.noFree))
            precondition(zone.parts.allSatisfy { $0.pointee.keg.pointee.range == nil && !$0.pointee.flags.contains(.noFree) })
            zone.freeAll(zone.takeMany(500))
            zone.reclaim(.drainCPU)
            precondition(zone.memory == 0 && zone.destroy() == 0 && arena.pointee.slabBytes == before)
          }
          precondition(refusals[0] > 0 && refusals[1] > 0, "\(refusals)")
          for zone in made { precondition(zone.destroy() == 0) }
          precondition(arena.pointee.slabBytes == slabBytes)
        }
      }
    }
    #endif

    @Test func `L21 first touch: what is none of the zone's items is refused at the call, and in no domain`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        stave_reports().pointee.mode = ReportMode.goOn
        withDomains(2) {
          let zone = makeTestZone("zone", 64, flags: .firstTouch), other = makeTestZone("other", 64, flags: .firstTouch), plain = makeTestZone("plain", 64)
          hop(to: 0)
          let own = zone.allocate(domain: 1)!, theirs = other.allocate(domain: 1)!, item = plain.allocate()!
          let wrong = [theirs, item, own + 8, UnsafeMutableRawPointer(bitPattern: 4096)!]
          for address in wrong { zone.free(address) }
          precondition(Set(zone.takeMany(600)).isDisjoint(with: wrong) && zone.pointee.crossFrees == 0)
          check(zone, holding: 601)
          precondition(zone.domain(of: own) == 1 && zone.domain(of: theirs) == -1 && zone.domain(of: item) == -1 && zone.domain(of: nil) == -1)
          var local = 0
          withUnsafeMutablePointer(to: &local) { precondition(zone.domain(of: $0) == -1 && plain.domain(of: $0) == 0) }
          other.free(theirs)
          plain.free(item)
          zone.free(own)
          check(zone, holding: 600)
          check(other, holding: 0)
        }
      }
      let said = result.map { String(decoding: $0.standardErrorContent, as: UTF8.self) } ?? ""
      #expect(said.components(separatedBy: "bad free: free of an address that is no item").count == 5, "\(said)")
    }

    @Test func `memory is given back domain by domain; of a zone in turn the CPUs' caches too`() {
      withDomains(2) {
        func make(_ flags: ZoneFlags) -> ZonePointer {
          let zone = makeTestZone("back", 64, flags: flags)
          for domain in 0..<2 {
            hop(to: domain)
            zone.freeAll(zone.takeMany(2000))
          }
          return zone
        }
        let spread = make(.roundRobin)
        spread.reclaim(.drain, domain: 0)
        #expect(ZoneCounts(spread).cached > 0)
        spread.reclaim(.drainCPU, domain: 0)
        #expect(ZoneCounts(spread).cached == 0 && spread.memory > 0)
        spread.reclaim(.drainCPU, domain: 1)
        #expect(spread.memory == 0)
        check(spread, holding: 0)
        // The same of all zones at once, but for those that are left alone.
        let near = make(.firstTouch), kept = make(.firstTouch.union(.unmanaged)), plain = makeTestZone("plain")
        plain.freeAll(plain.takeMany(500))
        func slabs(_ zone: ZonePointer) -> [Int] { zone.parts.map { $0.pointee.keg.pointee.slabCount } }
        reclaimAll(.drainCPU, domain: 1)
        #expect(slabs(near)[0] > 0 && slabs(near)[1] == 0 && slabs(kept).allSatisfy { $0 > 0 } && plain.memory > 0)
        #expect((0..<8).allSatisfy { zones.pointee.bucketKeg($0)?.pointee.freeSlabCount ?? 0 == 0 }, "buckets")
        reclaimAll(.drainCPU, domain: 0)
        #expect(slabs(near) == [0, 0] && plain.memory == 0)
        for zone in [spread, near, kept, plain] { #expect(zone.destroy() == 0) }
      }
    }

    @Test func `L33 parts cache no more than their share of a limit`() {
      withDomains(2) {
        let zone = makeTestZone("share", 64, flags: .firstTouch), limit = 40 * Int(root.pointee.cpuCount)
        zone.freeAll(zone.takeMany(10))
        zone.setLimit(limit)
        let share = CacheBound(limit: limit, cpus: Int(root.pointee.cpuCount), domains: 2)
        #expect(share.bucket > 0 && share.bucket < Bucket.desiredCapacity(itemBytes: 64))
        for part in zone.parts { #expect(part.pointee.depotLimit == share.depot && part.pointee.bucketSize == share.bucket) }
        for domain in 0..<2 {
          hop(to: domain)
          zone.freeAll(zone.takeMany(limit))
          for part in zone.parts { CPUCache.forEachRegion { #expect(Int($0[part.pointee.cell].word & 0xffff) <= share.cell) } }
        }
        check(zone, holding: 0)
        #expect(zone.destroy() == 0)
      }
    }

    @Test func `L39 a page source that serves only who may wait: a zone in turn asks it so before it sleeps`() {
      withDomains(2) {
        let mock = MockSource(), zone = makeTestZone("patient", 64, flags: .roundRobin)
        for part in zone.parts { part.setSource(mock.source) }
        mock.wantsPatience = true
        #expect(zone.allocate() == nil)
        let item = zone.allocate(.wait.union(.canFail))
        #expect(item != nil && zone.pointee.sleeps == 0)
        zone.free(item)
        #expect(zone.destroy() == 0 && mock.bytesOut == 0)
      }
    }
  }
}
