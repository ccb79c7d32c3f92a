// SPDX-License-Identifier: BSD-2-Clause
//
// What a request may ask for: zeroed items, waiting or not, no new memory, the reserve.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct RequestTests {
    init() { Stage.up() }

    @Test func `L31 zero on every path, without it an item keeps its contents`() {
      for flags in [ZoneFlags.none, .noBucket, .offPage, .malloc] {
        let zone = makeTestZone("zeroed", 320, flags: flags)
        func dirty(_ items: [UnsafeMutableRawPointer]) { for item in items { item.initializeMemory(as: UInt8.self, repeating: 0xDB, count: 320) } }
        let request = WaitFlags.noWait.union(.zero)
        // A new slab.
        var items = zone.takeMany(300, request)
        #expect(items.allSatisfy { isZero($0, 320) })
        dirty(items)
        // The cell, the depot, the keg's own free items: 300 items have been through all of them.
        zone.freeAll(items)
        items = zone.takeMany(300, request)
        #expect(items.allSatisfy { isZero($0, 320) })
        dirty(items)
        zone.freeAll(items)
        // The depot alone.
        for cpu in 0..<Int(root.pointee.cpuCount) { _ = emptyCaches(of: cpu) }
        items = zone.takeMany(300, request)
        #expect(items.allSatisfy { isZero($0, 320) })
        dirty(items)
        // Back to the keg, whose slabs stay because one item of each is kept.
        zone.freeAll(Array(items.dropFirst(150)))
        zone.reclaim(.drainCPU)
        let again = zone.takeMany(150, request)
        #expect(again.allSatisfy { isZero($0, 320) })
        check(zone, holding: 300)
        // Without the flag nothing is cleared.
        dirty([again[0]])
        zone.free(again[0])
        let same = zone.allocate()!
        if same == again[0] { #expect(same.load(fromByteOffset: 319, as: UInt8.self) == 0xDB) }
        zone.free(same)
        zone.freeAll(Array(again.dropFirst()) + items.prefix(150))
        check(zone, holding: 0)
        #expect(zone.destroy() == 0)
      }
    }

    @Test func `items of a new slab are zero even if the source gives dirty pages, except for malloc`() {
      for (flags, expected) in [(ZoneFlags.none, true), (.zeroInit, true), (.offPage, true), (.malloc, false)] {
        let mock = MockSource()
        mock.dirt = 0x99
        let zone = makeTestZone("fresh", 200, flags: flags, source: mock.source)
        let items = zone.takeMany(60)
        #expect(items.allSatisfy { isZero($0, 200) } == expected)
        zone.freeAll(items)
        #expect(zone.destroy() == 0)
      }
    }

    @Test func `L27 T17 exactly one wait flag; anything else means waiting`() {
      func repaired(_ flags: WaitFlags) -> WaitFlags { flags.checked }
      #expect(repaired(.wait) == .wait)
      #expect(repaired(.noWait) == .noWait)
      #expect(repaired(.noWait.union(.zero).union(.noVM)) == .noWait.union(.zero).union(.noVM))
      zones.pointee.badFlagReports = 10
      #expect(repaired(.none) == .wait)
      #expect(repaired(.zero) == .wait.union(.zero))
      #expect(repaired(.wait.union(.noWait)) == .wait)
      #expect(repaired(.wait.union(.noWait).union(.noVM)) == .wait.union(.noVM))
      let zone = makeTestZone("flags", 64)
      for flags in [WaitFlags.none, .zero, .wait.union(.noWait), .wait, .noWait, .useReserve] {
        let item = zone.allocate(flags)
        #expect(item != nil)
        zone.free(item)
      }
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
      zones.pointee.badFlagReports = 0
    }

    @Test func `L27 bad flags are reported ten times and no more`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestZone("flags", 64, flags: .noBucket)
        for _ in 0..<30 { zone.free(zone.allocate(.none)) }
        for _ in 0..<30 { zone.free(zone.allocate(.wait.union(.noWait))) }
        for _ in 0..<30 { zone.free(zone.allocate(.wait)) }
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.components(separatedBy: "bad wait flags").count - 1 == 10)
    }

    @Test func `L27 bad flags are reported on a hit too, and unknown ones`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestZone("hit", 64)
        zone.free(zone.allocate())
        for flags in [0, 3, 1 | 8, 2 | 0x8000, 1 | 0x100] as [Int32] { zone.free(zone.allocate(WaitFlags(rawValue: flags))) }
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      for flags in ["0x0", "0x3", "0x9", "0x8002"] { #expect(text.contains("bad wait flags: \(flags);"), "\(flags): \(text)") }
      #expect(!text.contains("0x101"))
    }

    @Test func `L37 noVM makes no call of the page source and does not wait`() {
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      for flags in [ZoneFlags.none, .offPage, .noBucket] {
        let mock = MockSource()
        let zone = makeTestZone("novm", 640, flags: flags, source: mock.source)
        let headers = headersOut()
        #expect(zone.allocate(.noWait.union(.noVM)) == nil)
        #expect(zone.allocate(.wait.union(.noVM)) == nil)
        #expect(mock.allocations == 0)
        #expect(headersOut() == headers)
        #expect(zone.pointee.failures == 2)
        check(zone, holding: 0)
        // With slabs at hand it works, until they are used up.
        let first = zone.allocate()!
        let calls = mock.allocations
        let rest = zone.takeMany(100, .noWait.union(.noVM))
        #expect(rest.count == calls * zone.pointee.keg.pointee.layout.items - 1)
        #expect(mock.allocations == calls)
        check(zone, holding: rest.count + 1)
        zone.freeAll(rest + [first])
        #expect(zone.destroy() == 0)
      }
    }

    @Test func `L37 a page source may allocate from a vm zone while it serves one`() {
      let mock = MockSource()
      let entries = makeTestZone("map entries", 96, flags: .vm)
      let zone = makeTestZone("served", 640, source: mock.source)
      var depth = 0
      var deepest = 0
      mock.onAllocate = {
        depth += 1
        deepest = max(deepest, depth)
        entries.free(entries.allocate())
        depth -= 1
      }
      let items = zone.takeMany(200)
      #expect(items.count == 200)
      #expect(deepest == 1)
      zone.freeAll(items)
      check(zone, holding: 0)
      check(entries, holding: 0)
      #expect(zone.destroy() == 0)
      #expect(entries.destroy() == 0)
    }

    @Test func `L22 a vm zone takes no off-page header, however large its items`() {
      let headers = headersOut()
      for size in [64, 2048, 4096, 9000] {
        let zone = makeTestZone("vm", size, flags: .vm)
        let items = zone.takeMany(40)
        #expect(items.count == 40)
        #expect(headersOut() == headers)
        zone.freeAll(items)
        check(zone, holding: 0)
        #expect(zone.destroy() == 0)
      }
    }

    @Test func `the reserve is for those who may use it`() {
      let mock = MockSource()
      let zone = makeTestZone("reserve", 640, flags: .noBucket, source: mock.source)
      let perSlab = zone.pointee.keg.pointee.layout.items
      zone.pointee.keg.pointee.reserve = 4
      let first = zone.allocate()!
      mock.isRefusing = true
      // Down to the reserve, no further, and no endless loop when the source refuses.
      let rest = zone.takeMany(100)
      #expect(rest.count == perSlab - 1 - 4)
      let reserved = zone.takeMany(100, .noWait.union(.useReserve))
      #expect(reserved.count == 4)
      check(zone, holding: perSlab)
      mock.isRefusing = false
      let more = zone.allocate()!
      check(zone, holding: perSlab + 1)
      zone.freeAll(rest + reserved + [first, more])
      zone.reclaim(.drainCPU)
      #expect(zone.pointee.keg.pointee.freeItems >= 4, "reclaim leaves the reserve")
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
      #expect(mock.bytesOut == 0)
    }

    @Test(.timeLimit(.minutes(30))) func `waiting lasts until memory comes, and not waiting does not`() {
      let mock = MockSource()
      let zone = makeTestZone("waiting", 640, source: mock.source)
      mock.isRefusing = true
      #expect(zone.allocate(.noWait) == nil)
      #expect(zone.pointee.failures == 1)
      mock.isRefusing = false
      mock.refuseAt = 1
      let once = zone.allocate(.wait)
      #expect(once != nil, "one refusal is waited out")
      #expect(zone.pointee.sleeps == 1)
      zone.free(once)
      zone.reclaim(.drainCPU)
      mock.isRefusing = true
      let shared = Shared((zone, mock))
      inThreads(2) { thread in
        let (zone, mock) = shared.value
        if thread == 0 {
          let item = zone.allocate(.wait)
          if item == nil { Issue.record("a waiting request gave nil") }
          zone.free(item)
        } else {
          usleep(30_000)
          mock.isRefusing = false
        }
      }
      check(zone, holding: 0)
      #expect(zone.destroy() == 0)
      #expect(mock.bytesOut == 0)
    }

    @Test func `a source that refuses its k-th call: nil or an item, nothing lost`() {
      for flags in [ZoneFlags.none, .offPage, .noBucket, .malloc] {
        for refusing in 1...12 {
          let mock = MockSource()
          let zone = makeTestZone("refused", 640, flags: flags, source: mock.source)
          mock.refuseAt = refusing
          var items: [UnsafeMutableRawPointer] = []
          var failures = 0
          for _ in 0..<100 {
            if let item = zone.allocate() { items.append(item) } else { failures += 1 }
            check(zone, holding: items.count)
          }
          #expect(failures <= 1)
          #expect(zone.pointee.failures == Int64(failures))
          zone.freeAll(items)
          check(zone, holding: 0)
          #expect(zone.destroy() == 0)
          #expect(mock.bytesOut == 0)
        }
      }
    }
  }
}
