// SPDX-License-Identifier: BSD-2-Clause
//
// Several zones on one keg, and zones on none: whose hooks run when, whose items are whose, what is counted where.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// An author's pool of pointers for a cache-only zone; its functions are C functions.
private final class Pool {
  var free: [UInt] = (1...200).map { UInt($0) << 12 }
  var imports = 0
  var releases = 0
  var most = Int.max
  var sawLock = false
  var lastWait: Int32 = 0

  var context: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }
  static func of(_ context: UnsafeMutableRawPointer?) -> Pool { Unmanaged<Pool>.fromOpaque(context!).takeUnretainedValue() }

  func makeZone(_ hooks: ZoneHooks = ZoneHooks(), flags: ZoneFlags = .none) -> ZonePointer {
    makeCacheOnlyZone(
      name: FixedName("pool"), size: 4096, hooks: hooks, flags: flags, argument: context,
      importItems: { context, store, count, wait in
        let pool = Pool.of(context)
        if FutexLock.threadHoldsAny { pool.sawLock = true }
        pool.imports += 1
        pool.lastWait = wait
        let given = min(count, pool.free.count, pool.most)
        for index in 0..<given { store[index] = pool.free.removeLast() }
        return given
      },
      releaseItems: { context, store, count in
        let pool = Pool.of(context)
        if FutexLock.threadHoldsAny { pool.sawLock = true }
        pool.releases += 1
        for index in 0..<count { pool.free.append(store[index]) }
      })!
  }
}

extension OnRoot {
  @Suite struct SecondaryZoneTests {
    init() { Stage.up() }

    @Test func `L63 an item of a secondary zone sees the keg's init once in a slab's life, the zone's once in a stay in its caches, and goes back to its keg`() {
      let mock = MockSource()
      Hooks.reset()
      let primary = makeTestZone("primary", 640, hooks: ZoneHooks(initialize: Hooks.all.initialize, finish: Hooks.all.finish), source: mock.source)
      let second = makeSecondaryZone(
        name: FixedName("second"),
        hooks: ZoneHooks(
          constructor: Hooks.all.constructor, destructor: Hooks.all.destructor, initialize: Hooks.zoneInit, finish: Hooks.zoneFini), primary: primary)!
      #expect(second.pointee.keg == primary.pointee.keg && second.pointee.size == 640 && second.pointee.flags.contains(.secondary))
      let item = second.allocate()!
      let made = Hooks.count(.kegInit)
      #expect(made > 0 && made % 6 == 0 && Hooks.count(.constructor) == 1)
      let inits = Hooks.count(.zoneInit)
      #expect(inits >= 1)
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      for _ in 0..<10 {
        second.free(item)
        #expect(second.allocate() == item)
      }
      #expect(Hooks.count(.zoneInit) == inits && Hooks.count(.kegInit) == made && Hooks.count(.constructor) == 11)
      check(second, holding: 1)
      check(primary, holding: 0)
      second.free(item)
      second.reclaim(.drainCPU)
      #expect(Hooks.count(.zoneFini) == Hooks.count(.zoneInit) && second.pointee.keg.outstanding == 0)
      // Now the primary has it: no zone's init ran.
      let own = primary.takeMany(made)
      #expect(own.contains(item) && Hooks.count(.zoneInit) == Hooks.count(.zoneFini))
      primary.freeAll(own)
      #expect(second.destroy() == 0)
      let after = primary.allocate()!
      primary.free(after)
      #expect(primary.destroy() == 0 && mock.bytesOut == 0)
      #expect(Hooks.count(.kegFini) == Hooks.count(.kegInit))
    }

    @Test func `a secondary zone that is destroyed with items out says how many, and its keg lives until its last zone goes`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        let mock = MockSource()
        let primary = makeTestZone("primary", 100, source: mock.source)
        let second = makeSecondaryZone(name: FixedName("second"), primary: primary)!
        let lost = second.takeMany(3)
        precondition(second.destroy() == 3)
        let item = primary.allocate()!
        primary.free(item)
        primary.pointee.keg.checkInvariants()
        // Its items can be freed to the keg's other zones yet.
        primary.freeAll(lost)
        let third = makeSecondaryZone(name: FixedName("third"), primary: primary)!
        let kept = third.allocate()!
        _ = primary.destroy()
        third.free(kept)
        let again = third.allocate()!
        third.free(again)
        precondition(third.destroy() == 0 && mock.bytesOut == 0)
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("zone destroyed with items out: second: 3 items, 0 pages lost"), "\(text)")
    }

    @Test func `each zone on a keg has a limit and counts of its own`() {
      let primary = makeTestZone("primary", 200)
      let second = makeSecondaryZone(name: FixedName("second"), primary: primary)!
      second.setLimit(4)
      let some = second.takeMany(10), others = primary.takeMany(20)
      #expect(some.count == 4 && others.count == 20 && Set(some + others).count == 24)
      check(second, holding: 4)
      check(primary, holding: 20)
      second.freeAll(some)
      primary.freeAll(others)
      check(second, holding: 0)
      #expect(second.destroy() == 0 && primary.destroy() == 0)
    }

    @Test func `L63 random operations of several zones on a keg: each item is held once, and every count is right`() {
      var lot = Generator(81)
      for _ in 0..<4 {
        let mock = MockSource()
        Hooks.reset()
        let size = lot.size(upTo: 3000)
        let primary = makeTestZone("primary", size, source: mock.source)
        var all = [primary]
        for index in 0..<3 {
          let flags: [ZoneFlags] = [.none, .noBucket, .maxBucket]
          all.append(makeSecondaryZone(name: FixedName("second"), hooks: ZoneHooks(initialize: Hooks.zoneInit, finish: Hooks.zoneFini), flags: flags[index], primary: primary)!)
        }
        var held: [(item: UnsafeMutableRawPointer, zone: Int, mark: UInt8)] = []
        for step in 0..<Stage.steps(1500, soak: 200_000) {
          Hooks.calls.removeAll(keepingCapacity: true)
          let zone = lot.below(4)
          switch lot.below(12) {
          case 0: all[zone].reclaim([.trim, .drain, .drainCPU][lot.below(3)])
          case 1: if lot.below(4) == 0 { all[zone].setLimit([0, 5, 50, 500].randomElement(using: &lot)!) }
          case 2: mock.refuseAt = 1 + lot.below(3)
          case 3...7:
            guard held.count < 800, let item = all[zone].allocate() else { continue }
            let mark = UInt8(truncatingIfNeeded: step)
            item.initializeMemory(as: UInt8.self, repeating: mark, count: size)
            held.append((item, zone, mark))
          default:
            guard !held.isEmpty else { continue }
            let one = held.remove(at: lot.below(held.count))
            if !(0..<size).allSatisfy({ one.item.load(fromByteOffset: $0, as: UInt8.self) == one.mark }) { Issue.record("an item was overwritten (STAVE_SEED=\(Stage.seed))") }
            all[one.zone].free(one.item)
          }
          if step % 16 == 0 && Stage.checks(step) { for index in 0..<4 { check(all[index], holding: held.count { $0.zone == index }) } }
        }
        for one in held { all[one.zone].free(one.item) }
        for zone in all.reversed() where zone.destroy() != 0 { Issue.record("items are lost (STAVE_SEED=\(Stage.seed))") }
        #expect(mock.bytesOut == 0)
      }
    }

    @Test func `L63 a zone over several kegs takes from each, and each item goes back to the keg that it came from`() {
      let mocks = [MockSource(), MockSource(), MockSource()]
      let primaries = mocks.map { makeTestZone("primary", 1000, flags: .offPage, source: $0.source) }
      let zone = makeSecondaryZone(name: FixedName("over several"), primary: primaries[0])!
      #expect(zone.addKeg(of: primaries[1]) == .done && zone.addKeg(of: primaries[2]) == .done)
      #expect(primaries[0].addKeg(of: primaries[1]) == .invalid)
      let larger = makeTestZone("larger", 1008, flags: .offPage), inPage = makeTestZone("in page", 100)
      #expect(zone.addKeg(of: larger) == .size && zone.addKeg(of: inPage) == .invalid)
      var held: [UnsafeMutableRawPointer] = []
      var lot = Generator(83)
      func out() -> [Int] { (0..<3).map { zone.keg(number: $0).outstanding } }
      // One source at a time is there.
      for turn in 0..<6 {
        for (index, mock) in mocks.enumerated() { mock.isRefusing = index != turn % 3 }
        let before = out()
        held += zone.takeMany(200, turn % 2 == 0 ? .noWait : .wait)
        #expect(held.count == 200 * (turn + 1) && out()[turn % 3] >= before[turn % 3])
        check(zone, holding: held.count)
      }
      #expect(out().allSatisfy { $0 > 100 }, "\(out())")
      for mock in mocks { mock.isRefusing = true }
      while let item = zone.allocate() { held.append(item) }
      check(zone, holding: held.count)
      for _ in 0..<2000 where !held.isEmpty {
        zone.free(held.remove(at: lot.below(held.count)))
        if lot.below(50) == 0 { zone.reclaim(.drainCPU) }
      }
      #expect(held.isEmpty && zone.destroy() == 0)
      for primary in primaries + [larger, inPage] { #expect(primary.destroy() == 0) }
      #expect(mocks.allSatisfy { $0.bytesOut == 0 })
    }

    @Test func `T2 a cache-only zone caches what its author gives it, calls its hooks, and gives all of it back`() {
      let pool = Pool()
      Hooks.reset()
      let zone = pool.makeZone(ZoneHooks(initialize: Hooks.zoneInit, finish: Hooks.zoneFini))
      let items = zone.takeMany(300)
      #expect(items.count == 200 && Set(items).count == 200 && pool.free.isEmpty && zone.pointee.failures == 1)
      #expect(Hooks.count(.zoneInit) == 200)
      check(zone, holding: 200)
      zone.freeAll(items)
      let imports = pool.imports
      zone.free(zone.allocate())
      #expect(pool.imports == imports && zone.pointee.keg.pointee.slabCount == 0, "from the cache")
      check(zone, holding: 0)
      zone.reclaim(.drainCPU)
      #expect(pool.free.count == 200 && Hooks.count(.zoneFini) == 200 && !pool.sawLock)
      // Fewer than asked for will do; the request's flags come along.
      pool.most = 1
      let one = zone.allocate(.noWait.union(.useReserve))!
      #expect(pool.free.count == 199 && pool.lastWait == WaitFlags.noWait.union(.useReserve).rawValue)
      zone.free(one)
      #expect(zone.destroy() == 0 && pool.free.count == 200)
    }

    @Test func `a cache-only zone without caches asks and gives back each time; one with a limit has no more than that`() {
      let pool = Pool()
      let zone = pool.makeZone(flags: .noBucket)
      let item = zone.allocate()!
      #expect(pool.free.count == 199)
      zone.free(item)
      #expect(pool.free.count == 200 && pool.releases == 1)
      #expect(zone.destroy() == 0)
      let limited = pool.makeZone()
      limited.setLimit(7)
      let some = limited.takeMany(20)
      #expect(some.count == 7 && pool.free.count == 193)
      check(limited, holding: 7)
      limited.freeAll(some)
      #expect(limited.destroy() == 0 && pool.free.count == 200)
    }

    @Test func `an unmanaged zone keeps its caches when everybody has to give back, and gives when it is asked itself`() {
      let zone = makeTestZone("kept", 100, flags: .unmanaged)
      zone.freeAll(zone.takeMany(50))
      let cached = Int(ZoneCounts(zone).cached) + zone.pointee.depotItems
      #expect(cached > 0)
      reclaimAll(.drainCPU)
      for cpu in usableCPUs { _ = emptyCaches(of: cpu) }
      trimIdleDepots()
      #expect(Int(ZoneCounts(zone).cached) + zone.pointee.depotItems == cached)
      zone.reclaim(.drainCPU)
      #expect(Int(ZoneCounts(zone).cached) + zone.pointee.depotItems == 0)
      #expect(zone.destroy() == 0)
    }
  }
}
