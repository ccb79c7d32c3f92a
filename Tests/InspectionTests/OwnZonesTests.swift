// SPDX-License-Identifier: BSD-2-Clause
//
// Zones of all kinds in the test's own process, looked at as another process would: what the reader says of them is what they say.

import CPlatform
import Glibc
import Testing

@testable import Exporters
@testable import Inspection
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// The tests' own core, from outside.
enum OwnRoot {
  static func reader() throws -> SnapshotReader {
    let location = RootLocation(modulePath: "", moduleBase: 0, address: UInt(bitPattern: stave_root_storage()), evidence: .note)
    return SnapshotReader(try LiveProcess(process: getpid()), location)
  }
  static func look() throws -> Snapshot { try reader().snapshot() }
}

extension Snapshot {
  func zone(_ name: String) throws -> ZoneSnapshot { try #require(zones.first { $0.label == name }, "no zone \(name)") }
  /// What all is that the sum is made of.
  var parts: Int { used + cached + inTransit + holes + metadata + purgeable + returned }
}

private nonisolated(unsafe) var lent: [UInt] = []

/// Suites of the tests' own core take turns.
@Suite(.serialized, .rootTurn) enum OnOwnRoot {}

extension OnOwnRoot {
  @Suite struct OwnZonesTests {
    init() { Stage.up() }

    private func expectClosed(_ snapshot: Snapshot) {
      #expect(snapshot.parts == snapshot.mapped && snapshot.inTransit == 0)
      #expect(snapshot.mapped == snapshot.arenaBytes - snapshot.foreign + snapshot.metadata + snapshot.outsideBytes)
      for zone in snapshot.zones { #expect(zone.counted == zone.usedBySlabs && zone.used == zone.counted, "\(zone.label)") }
    }

    @Test func `2.11.3 a keg that zones share is counted once, for the zone that it was made with`() throws {
      let primary = makeZone(name: FixedName("look-primary"), size: 200, flags: .offPage)!, other = makeZone(name: FixedName("look-other"), size: 200, flags: .offPage)!
      let second = makeSecondaryZone(name: FixedName("look-second"), primary: primary)!
      let both = makeSecondaryZone(name: FixedName("look-both"), primary: primary)!
      #expect(both.addKeg(of: other) == .done)
      var held: [(ZonePointer, UnsafeMutableRawPointer)] = []
      for (zone, count) in [(primary, 300), (other, 50), (second, 700), (both, 900)] {
        for _ in 0..<count { held.append((zone, zone.allocate()!)) }
      }
      for (zone, item) in held.prefix(100) + held.suffix(400) { zone.free(item) }
      held = Array(held.dropFirst(100).dropLast(400))
      let snapshot = try OwnRoot.look()
      expectClosed(snapshot)
      let (first, secondary, several) = (try snapshot.zone("look-primary"), try snapshot.zone("look-second"), try snapshot.zone("look-both"))
      #expect(first.used == 200 && secondary.used == 700 && several.used == 500)
      #expect(try snapshot.zone("look-other").used == 50)
      #expect(first.kind == .plain && secondary.kind == .secondary && secondary.kegName == "look-primary" && several.kegName == "look-primary+look-other")
      #expect(secondary.slabs == 0 && secondary.walkedSlabs == 0 && secondary.totalBytes == 0 && secondary.freeItems == 0 && secondary.free == secondary.cached)
      #expect(first.slabs == primary.pointee.keg.pointee.slabCount && first.free == primary.pointee.keg.pointee.freeItems + first.cached)
      // In a stream the bit says it, and a list counts the keg's free items once.
      let list = StatisticsList()
      list.fill(from: snapshot)
      let entry = try #require(list.find(.zone, "look-second"))
      #expect(entry.count == 700 && entry.figures.kegFree == 0 && entry.free == UInt64(secondary.cached))
      for (zone, item) in held { zone.free(item) }
      for zone in [both, second, other, primary] { #expect(zone.destroy() == 0) }
    }

    @Test func `2.22 a zone over several memory domains is one zone, with what is in each`() throws {
      let state = memoryDomains
      state.initialize(to: MemoryDomains(faked: 2, isKnown: 0, table: nil, place: nil))
      state.look()
      bind(toCPU: usableCPUs[0])
      defer {
        bindToAll()
        state.pointee.table?.end()
        state.initialize(to: MemoryDomains(faked: 0, isKnown: 0, table: nil, place: nil))
      }
      let near = makeZone(name: FixedName("look-near"), size: 200, flags: .firstTouch)!
      let spread = makeZone(name: FixedName("look-spread"), size: 200, flags: .roundRobin)!
      let second = makeSecondaryZone(name: FixedName("look-near-second"), primary: near)!
      var held = (0..<300).map { near.allocate(domain: $0 % 2)! }
      for item in held.suffix(100) { near.free(item) }
      held.removeLast(100)
      let (others, theirs) = ((0..<400).map { _ in spread.allocate()! }, (0..<30).map { _ in second.allocate()! })
      let snapshot = try OwnRoot.look()
      expectClosed(snapshot)
      #expect(!snapshot.zones.contains { $0.name.hasPrefix("look-near.") || $0.name.hasPrefix("look-spread.") })
      let (row, wide, shared) = (try snapshot.zone("look-near"), try snapshot.zone("look-spread"), try snapshot.zone("look-near-second"))
      #expect(row.used == 200 && row.crossFrees == 50 && row.kind == .plain && row.allocations == 300 && row.frees == 100)
      #expect(wide.used == 400 && wide.crossFrees == 0 && wide.kind == .plain)
      #expect(shared.used == 30 && shared.kind == .secondary && shared.kegName == "look-near" && shared.slabs == 0)
      for (zone, row) in [(near, row), (spread, wide)] {
        #expect(row.domains.map(\.number) == [0, 1] && row.slabs == row.domains.reduce(0) { $0 + $1.slabs })
        for (part, domain) in zip([0, 1].map { zone.pointee.domains!.pointee.parts[$0]! }, row.domains) {
          let keg = part.pointee.keg
          #expect(domain.slabs == keg.pointee.slabCount && domain.freeItems == keg.pointee.freeItems && domain.items == keg.outstanding)
          #expect(domain.cachedInDepot == part.pointee.depotItems)
        }
      }
      let tree = ControlTree(ControlSource(snapshot, largestFree: nil))
      #expect(try tree.find("vm.uma.look_near.stats.xdomain").map(\.value) == [.number(50)])
      #expect(try tree.find("vm.uma.look_near.keg.domain.1.free_items").map(\.value) == [.number(row.domains[1].freeItems)])
      #expect(try tree.find("vm.uma.look_near.domain").count == 10 && tree.find("vm.uma.look_near_second.keg.domain").count == 6)
      let list = StatisticsList()
      list.fill(from: snapshot)
      #expect(list.find(.zone, "look-near")?.figures.crossDomain == 50 && list.find(.zone, "look-near")?.count == 200)
      var table = ZoneTable()
      table.isWide = true
      let cells = try #require(table.table(snapshot).rows.first { $0[0] == "look-near:" })
      #expect(cells[8] == "50" && cells.contains(row.domains.map { String($0.items) }.joined(separator: "+")))
      #expect("\(table.json(snapshot))".contains("free-items"))
      for item in held { near.free(item) }
      for item in others { spread.free(item) }
      for item in theirs { second.free(item) }
      for zone in [second, near, spread] { #expect(zone.destroy() == 0) }
    }

    @Test func `2.9 a limit is shown with what counts against it, and who waits`() throws {
      let zone = makeZone(name: FixedName("look-limit"), size: 100)!
      zone.setLimit(10)
      let items = (0..<10).map { _ in zone.allocate()! }
      #expect(zone.allocate() == nil)
      let looks = Shared(UnsafeMutablePointer<Snapshot?>.allocate(capacity: 1))
      looks.value.initialize(to: nil)
      inThreads(2) { thread in
        if thread == 0 { return zone.free(zone.allocate(.wait)) }
        while zone.pointee.bound.waiters == 0 { usleep(1000) }
        looks.value.pointee = try? OwnRoot.look()
        for item in items { zone.free(item) }
      }
      let snapshot = try #require(looks.value.pointee)
      looks.value.deinitialize(count: 1)
      looks.value.deallocate()
      let row = try snapshot.zone("look-limit")
      #expect(row.limit == 10 && row.limited == 10 && row.waiters == 1 && row.failures == 1 && row.sleeps == 1)
      let tree = ControlTree(ControlSource(snapshot, largestFree: nil))
      for (name, value) in [("items", 10), ("max_items", 10), ("sleepers", 1), ("sleeps", 1)] {
        #expect(try tree.find("vm.uma.look_limit.limit.\(name)").map(\.value) == [.number(value)], "\(name)")
      }
      #expect(OpenMetrics.text(snapshot).contains("stave_zone_limit_items{zone=\"look-limit\"} 10\n"))
      let list = StatisticsList()
      list.fill(from: snapshot)
      #expect(list.find(.zone, "look-limit")?.figures.countLimit == 10)
      var table = ZoneTable()
      table.isWide = true
      let cells = try #require(table.table(snapshot).rows.first { $0[0] == "look-limit:" })
      #expect(cells[2] == "10" && table.table(snapshot).header.contains("WAITING"))
      #expect(try OwnRoot.look().zone("look-limit").waiters == 0)
      zone.destroy()
    }

    @Test func `a pool shows what is out, its limit and its marks, and objects in its caches as cached`() throws {
      let pool = makePool(name: FixedName("look-pool"), size: 100)!
      pool.setLow(20)
      pool.setLimit(500)
      let cache = pool.makeCache(constructor: nil, destructor: nil)!
      let items = (0..<60).map { _ in pool.get()! }, objects = (0..<40).map { _ in cache.get()! }
      for object in objects.prefix(25) { cache.put(object) }
      let snapshot = try OwnRoot.look()
      expectClosed(snapshot)
      let row = try snapshot.zone("look-pool")
      #expect(row.kind == .pool && row.limit == 500 && row.limited == 100 && row.used == 75 && row.cached == 25 && row.cachedInGroups == 25)
      #expect(row.lowWater == 20 && (row.highWater ?? 0) >= 500 && row.mostSlabs >= row.slabs && row.slabs > 0)
      for object in objects.dropFirst(25) { cache.put(object) }
      for item in items { pool.put(item) }
      #expect(pool.destroy() == 0)
    }

    @Test func `zones of other kinds: caches alone, copies for each CPU, readers, pages of the program's own`() throws {
      let before = try OwnRoot.look()
      let caches = makeCacheOnlyZone(
        name: FixedName("look-cache"), size: 5000, argument: nil,
        importItems: { _, store, count, _ in
          for index in 0..<count {
            store[index] = UInt(bitPattern: malloc(16)!)
            lent.append(store[index])
          }
          return count
        }, releaseItems: { _, _, _ in })!
      let copies = makeZone(name: FixedName("look-percpu"), size: 64, flags: .perCPU)!
      let readers = makeSMRZone(name: FixedName("look-smr"), size: 64)!
      let source = PageSource(
        allocate: { _, bytes, _, _ in
          let start = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
          return start == MAP_FAILED ? nil : start
        }, free: { _, start, bytes, _ in munmap(start, bytes) }, context: nil, isZeroed: true)
      let outside = makeZone(name: FixedName("look-outside"), size: 300, flags: .notPage, source: source)!
      let plain = (0..<20).map { _ in caches.allocate()! }, counters = (0..<5).map { _ in copies.allocatePerCPU()! }
      let nodes = (0..<200).map { _ in readers.allocateSMR()! }, foreign = (0..<50).map { _ in outside.allocate()! }
      for node in nodes.prefix(150) { readers.freeSMR(node) }
      let snapshot = try OwnRoot.look()
      expectClosed(snapshot)
      let rows = try ["cache", "percpu", "smr", "outside"].map { try snapshot.zone("look-\($0)") }
      #expect(rows.map(\.kind) == [.cacheOnly, .perCPU, .deferred, .plain])
      #expect(rows.map(\.used) == [20, 5, 50, 50])
      #expect(rows[0].totalBytes == 0 && rows[0].usedBytes == 0 && rows[0].kegName == "" && rows[0].free == rows[0].cached)
      #expect(rows[1].copies == perCPUCopies && rows[1].usedBytes == 5 * 64 * perCPUCopies)
      #expect(rows[2].cached >= 150 && rows[2].deferred <= rows[2].cachedInDepot && readers.pointee.deferral!.pointee.waiting == rows[2].deferred)
      #expect(!rows[3].isInArena && rows[3].walkedSlabs == outside.pointee.keg.pointee.slabCount && snapshot.outsideBytes == rows[3].totalBytes)
      #expect(snapshot.outsideBytes > 0 && before.outsideBytes == 0)
      let shown = ControlTree(ControlSource(snapshot, largestFree: nil))
      #expect(try shown.find("vm.uma.look_percpu.flags").map(\.value.text).first?.contains("pcpu") ?? false)
      #expect(try shown.find("vm.uma.look_cache.keg.name").map(\.value.text) == ["cache zone"])
      for item in plain { caches.free(item) }
      for item in counters { copies.freePerCPU(item) }
      for item in nodes.dropFirst(150) { readers.freeSMR(item) }
      for item in foreign { outside.free(item) }
      for zone in [caches, copies, readers, outside] { #expect(zone.destroy() == 0) }
      for item in lent { free(UnsafeMutableRawPointer(bitPattern: item)) }
      lent = []
    }
  }
}
