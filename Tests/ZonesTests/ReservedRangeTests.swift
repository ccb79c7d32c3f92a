// SPDX-License-Identifier: BSD-2-Clause
//
// Reserved addresses: as many items as was said, each place once, and nothing left of a slab that was refused half-way.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct ReservedRangeTests {
    init() { Stage.up() }

    @Test(arguments: [64, 640, 2048, 70_000]) func `a zone has the items that addresses were reserved for, in whole slabs, and no more`(size: Int) {
      bind(toCPU: usableCPUs[0])
      defer { bindToAll() }
      for flags in [ZoneFlags.none, .noBucket, .refCount, .cacheSpread] {
        let slabBytes = arena.pointee.slabBytes, metadata = metadataPages.pointee.usedBytes
        let zone = makeTestZone("reserved", size, flags: flags)
        let keg = zone.pointee.keg, perSlab = keg.pointee.layout.items
        let wanted = perSlab * 2 + 1
        #expect(zone.reserveAddresses(for: wanted))
        #expect(keg.pointee.slabsMade == 0 && zone.pointee.flags.contains(.noFree) && zone.limit == perSlab * 3)
        let range = keg.pointee.range!
        let items = zone.takeMany(10 * wanted)
        #expect(items.count == perSlab * 3)
        #expect(items.allSatisfy { $0.address >= range.pointee.start && $0.address + UInt(size) <= range.pointee.start + 3 * range.pointee.stride })
        check(zone, holding: items.count)
        for item in items { item.initializeMemory(as: UInt8.self, repeating: 0x77, count: size) }
        zone.freeAll(items)
        zone.reclaim(.drainCPU)
        #expect(keg.pointee.slabCount == 3 && range.freePlaces == 0, "no slab is given back")
        #expect(zone.takeMany(10 * wanted).count == items.count)
        zone.freeAll(items)
        check(zone, holding: 0)
        #expect(zone.destroy() == 0)
        #expect(arena.pointee.slabBytes == slabBytes)
        reclaimAll(.drainCPU)
        #expect(metadataPages.pointee.usedBytes <= metadata + 4 * pageBytes)
        checkAll()
      }
    }

    @Test func `more addresses than there are cannot be reserved, and the zone stays as it was`() {
      let zone = makeTestZone("greedy", 70_000)
      for count in [0, -1, Int.max, 1 << 50] { #expect(!zone.reserveAddresses(for: count)) }
      #expect(!zone.pointee.flags.contains(.noFree) && zone.pointee.keg.pointee.range == nil)
      zone.freeAll(zone.takeMany(3))
      #expect(zone.destroy() == 0)
      checkAll()
    }

    @Test func `L23 threads never get one place, and a place given back is there for another`() {
      let range = arena.reserveRange(slabs: 70, slabBytes: 8192)!
      let owners = UnsafeMutablePointer<UInt32>.allocate(capacity: 70)
      owners.initialize(repeating: 0, count: 70)
      let shared = Shared((range, owners))
      func fail(_ what: String) { Issue.record(Comment(rawValue: what)) }
      inThreads(4) { _ in
        let (range, owners) = shared.value
        // Without their pages, so that there are many.
        for round in 0..<60_000 * Stage.scale {
          guard let place = range.takePlace() else { return fail("a place is lost") }
          if !stave_claim(owners + place) { return fail("a place was given out twice, in round \(round)") }
          stave_store32(owners + place, 0)
          range.givePlace(place)
        }
      }
      range.checkInvariants(slabs: 0)
      let source = PageSource.reserved(range)
      inThreads(4) { thread in
        for _ in 0..<200 {
          guard let slab = source.take(8192) else { return fail("a place is lost") }
          slab.storeBytes(of: thread, toByteOffset: 8000, as: Int.self)
          _ = stave_yield()
          if slab.load(fromByteOffset: 8000, as: Int.self) != thread { Issue.record("somebody else's pages") }
          source.free(source.context, slab, 8192, 0)
        }
      }
      range.checkInvariants(slabs: 0)
      arena.giveUpRange(range)
      owners.deallocate()
      arena.checkInvariants()
    }

    @Test func `L23 places are all there, lowest first, and then none`() {
      let range = arena.reserveRange(slabs: 130, slabBytes: 4096)!
      let source = PageSource.reserved(range)
      for place in 0..<130 {
        #expect(source.take(4096)?.address == range.pointee.start + UInt(place) * unitBytes)
      }
      #expect(source.take(4096) == nil)
      range.checkInvariants(slabs: 130)
      source.free(source.context, UnsafeMutableRawPointer(bitPattern: range.pointee.start + 64 * unitBytes)!, 4096, 0)
      #expect(source.take(4096)?.address == range.pointee.start + 64 * unitBytes)
      arena.giveUpRange(range)
    }

    #if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
    @Test func `L23 L39 a slab refused at any of its pages leaves no page and no place behind`() {
      let pages = 7
      let range = arena.reserveRange(slabs: 2, slabBytes: pages * pageBytes)!
      let source = PageSource.reserved(range)
      for page in 1...pages {
        stave_inject().pointee.error = 12
        stave_inject().pointee.after = page
        #expect(source.take(pages * pageBytes) == nil)
        #expect(stave_inject().pointee.after == 0)
        #expect(residentPages(range.pointee.start, UInt(pages * pageBytes)) == 0, "refused at page \(page)")
        #expect(range.freePlaces == 2)
      }
      let start = source.take(pages * pageBytes)
      #expect(start?.address == range.pointee.start && residentPages(range.pointee.start, UInt(pages * pageBytes)) == pages)
      if let start { source.free(source.context, start, pages * pageBytes, 0) }
      #expect(residentPages(range.pointee.start, UInt(pages * pageBytes)) == 0)
      arena.giveUpRange(range)
    }

    @Test func `L39 each kind of zone made, used and destroyed with each system call refused`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        var calls = 0
        for flags in [ZoneFlags.refCount, .refCount.union(.offPage), .cacheSpread, .noTouch, .perCPU, .noDump, .noBucket] {
          for isReserved in [false, true] {
            let refused = refusingEachCall(before: exhaustMetadata) {
              guard let zone = makeZone(name: FixedName("refused"), size: 640, flags: flags) else { return }
              let isSo = isReserved && zone.reserveAddresses(for: 30)
              zone.preallocate(20)
              var items: [UnsafeMutableRawPointer] = []
              while items.count < (isSo ? 25 : 40) {
                guard let item = flags.contains(.perCPU) ? zone.allocatePerCPU() : zone.allocate() else { break }
                items.append(item)
              }
              check(zone, holding: items.count)
              for item in items { if flags.contains(.perCPU) { zone.freePerCPU(item) } else { zone.free(item) } }
              let after = stave_inject().pointee.after
              stave_inject().pointee.after = 0
              zone.reclaim(.drainCPU)
              check(zone, holding: 0)
              precondition(zone.destroy() == 0, "items lost")
              stave_inject().pointee.after = after
            }
            precondition(refused < 200)
            calls += refused
            checkAll()
          }
        }
        precondition(calls > 20, "the failures reached the zones: \(calls)")
        precondition(zones.perCPUZone(bytes: 4) != nil)
      }
    }
    #endif
  }
}
