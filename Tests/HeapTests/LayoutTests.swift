// SPDX-License-Identifier: BSD-2-Clause
//
// What readers outside rely on, and what C and Swift both know: layouts, the parts of the root, constants.

@testable import Accounting
import AddressMap
import CPlatform
@testable import Diagnostics
import Primitives
import Testing

@testable import Diagnostics
@testable import Heap
@testable import PacketBuffers
@testable import Pages
@testable import Zones

@Suite struct LayoutTests {
  @Test func `L56 fields that are read from outside have fixed widths and places`() {
    #expect(MemoryLayout<RootHeader>.offset(of: \.magic) == 0)
    #expect(MemoryLayout<RootHeader>.offset(of: \.version) == 8)
    #expect(MemoryLayout<RootHeader>.offset(of: \.layoutDigest) == 12)
    #expect(MemoryLayout<RootHeader>.offset(of: \.process) == 16)
    #expect(MemoryLayout<RootHeader>.offset(of: \.mode) == 20)
    #expect(MemoryLayout<RootHeader>.offset(of: \.pageBytes) == 24)
    #expect(MemoryLayout<RootHeader>.offset(of: \.cpuCount) == 28)
    #expect(MemoryLayout<RootHeader>.offset(of: \.regions) == 32)
    #expect(MemoryLayout<RootHeader>.offset(of: \.mailbox) == 48)
    #expect(RootLayout.mailboxOffset == 48 && MemoryLayout<RootHeader>.offset(of: \.release) == 104 && MemoryLayout<RootHeader>.offset(of: \.isOwn) == 108)
    #expect(MemoryLayout<Letter>.size == 32 && MemoryLayout<Letter>.offset(of: \.command) == 8 && MemoryLayout<Letter>.offset(of: \.subject) == 12)
    #expect(MemoryLayout<Letter>.offset(of: \.value) == 16 && MemoryLayout<Letter>.offset(of: \.seal) == 24)
    #expect(MemoryLayout<Mailbox>.size == 56 && MemoryLayout<Mailbox>.offset(of: \.answer) == 32)
    #expect(MemoryLayout<Mailbox>.offset(of: \.result) == 40 && MemoryLayout<Mailbox>.offset(of: \.status) == 48)
    #expect(MemoryLayout<FixedName>.size == 32)
    #expect(MemoryLayout<Bucket>.size == 16)
    #expect(MemoryLayout<Slab>.size == 24 && MemoryLayout<Slab>.offset(of: \.mark) == 22)
    #expect(MemoryLayout<stave_cell>.size == 32 && MemoryLayout<stave_cell>.offset(of: \.moved) == 8)
    #expect(MemoryLayout<stave_cell>.offset(of: \.capacity) == 16 && MemoryLayout<stave_cell>.offset(of: \.slots) == 24)
  }

  @Test func `L56 a field that readers copy and that moves raises the root's version`() {
    // Only addresses are computed; nothing is read.
    let place = UnsafeMutableRawPointer(bitPattern: 1 << 20)!
    func offset<Whole: ~Copyable, Field>(_ field: (UnsafeMutablePointer<Whole>) -> UnsafeMutablePointer<Field>) -> Int {
      UnsafeMutableRawPointer(field(place.assumingMemoryBound(to: Whole.self))) - place
    }
    let zone = [
      offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.next) }, offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.name) },
      offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.instance) }, offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.flags) },
      offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.keg) }, offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.size) },
      offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.cell) }, offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.bucketSize) },
      offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.depotItems) },
      offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.directAllocations) },
      offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.directFrees) }, offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.failures) },
      offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.sleeps) }, offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.type) },
    ]
    let keg = [
      offset { (k: UnsafeMutablePointer<Keg>) in pointer(&k.pointee.index) }, offset { (k: UnsafeMutablePointer<Keg>) in pointer(&k.pointee.layout) },
      offset { (k: UnsafeMutablePointer<Keg>) in pointer(&k.pointee.slabCount) },
      offset { (k: UnsafeMutablePointer<Keg>) in pointer(&k.pointee.freeSlabCount) },
      offset { (k: UnsafeMutablePointer<Keg>) in pointer(&k.pointee.freeItems) }, offset { (k: UnsafeMutablePointer<Keg>) in pointer(&k.pointee.slabsMade) },
    ]
    let kinds = [
      offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.bound) }, offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.moreKegs) },
      offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.moreKegCount) }, offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.deferral) },
      offset { (k: UnsafeMutablePointer<Keg>) in pointer(&k.pointee.partial) }, offset { (k: UnsafeMutablePointer<Keg>) in pointer(&k.pointee.pool) },
      offset { (d: UnsafeMutablePointer<Deferral>) in pointer(&d.pointee.filling) },
      offset { (d: UnsafeMutablePointer<Deferral>) in pointer(&d.pointee.first) }, offset { (d: UnsafeMutablePointer<Deferral>) in pointer(&d.pointee.waiting) }, offset { (p: UnsafeMutablePointer<Pool>) in pointer(&p.pointee.lowItems) },
      offset { (p: UnsafeMutablePointer<Pool>) in pointer(&p.pointee.highPages) }, offset { (p: UnsafeMutablePointer<Pool>) in pointer(&p.pointee.limit) },
      offset { (p: UnsafeMutablePointer<Pool>) in pointer(&p.pointee.mostPages) }, offset { (p: UnsafeMutablePointer<Pool>) in pointer(&p.pointee.returned) },
      offset { (p: UnsafeMutablePointer<Pool>) in pointer(&p.pointee.caches) }, offset { (c: UnsafeMutablePointer<PoolCache>) in pointer(&c.pointee.next) },
      offset { (c: UnsafeMutablePointer<PoolCache>) in pointer(&c.pointee.held) },
    ]
    let packets = [
      offset { (p: UnsafeMutablePointer<PacketState>) in pointer(&p.pointee.mbufZone) }, offset { (p: UnsafeMutablePointer<PacketState>) in pointer(&p.pointee.packetZone) },
      offset { (p: UnsafeMutablePointer<PacketState>) in pointer(&p.pointee.clusterZone) }, offset { (p: UnsafeMutablePointer<PacketState>) in pointer(&p.pointee.sixteenZone) },
      offset { (p: UnsafeMutablePointer<PacketState>) in pointer(&p.pointee.tagType) }, offset { (p: UnsafeMutablePointer<PacketState>) in pointer(&p.pointee.drains) },
      offset { (p: UnsafeMutablePointer<PacketState>) in pointer(&p.pointee.failedPullUps) },
    ]
    let arena = [
      offset { (a: UnsafeMutablePointer<Arena>) in pointer(&a.pointee.windowStart) }, offset { (a: UnsafeMutablePointer<Arena>) in pointer(&a.pointee.frontier) },
      offset { (a: UnsafeMutablePointer<Arena>) in pointer(&a.pointee.slabBytes) }, offset { (a: UnsafeMutablePointer<Arena>) in pointer(&a.pointee.largeBytes) },
      offset { (a: UnsafeMutablePointer<Arena>) in pointer(&a.pointee.largeCount) }, offset { (a: UnsafeMutablePointer<Arena>) in pointer(&a.pointee.cachedBytes) },
      offset { (a: UnsafeMutablePointer<Arena>) in pointer(&a.pointee.recentBytes) },
      offset { (a: UnsafeMutablePointer<Arena>) in pointer(&a.pointee.foreignBytes) },
      offset { (a: UnsafeMutablePointer<Arena>) in pointer(&a.pointee.purgedBytes) }, offset { (a: UnsafeMutablePointer<Arena>) in pointer(&a.pointee.unmappedBytes) },
      offset { (a: UnsafeMutablePointer<Arena>) in pointer(&a.pointee.largeTotals) },
      offset { (a: UnsafeMutablePointer<Arena>) in pointer(&a.pointee.map.counters) },
    ]
    let heap = [
      offset { (h: UnsafeMutablePointer<HeapState>) in pointer(&h.pointee.options) }, offset { (h: UnsafeMutablePointer<HeapState>) in pointer(&h.pointee.failures) },
      offset { (h: UnsafeMutablePointer<HeapState>) in pointer(&h.pointee.injectedFailures) },
      offset { (h: UnsafeMutablePointer<HeapState>) in pointer(&h.pointee.freeElsewhere) },
      offset { (h: UnsafeMutablePointer<HeapState>) in pointer(&h.pointee.containerLimit) },
    ]
    let type = [
      offset { (t: UnsafeMutablePointer<TypesState>) in pointer(&t.pointee.first) }, offset { (t: UnsafeMutablePointer<TypesState>) in pointer(&t.pointee.count) },
      offset { (t: UnsafeMutablePointer<TypeRecord>) in pointer(&t.pointee.next) }, offset { (t: UnsafeMutablePointer<TypeRecord>) in pointer(&t.pointee.name) },
      offset { (t: UnsafeMutablePointer<TypeRecord>) in pointer(&t.pointee.instance) }, offset { (t: UnsafeMutablePointer<TypeRecord>) in pointer(&t.pointee.number) },
      offset { (t: UnsafeMutablePointer<TypeRecord>) in pointer(&t.pointee.zones) }, offset { (t: UnsafeMutablePointer<TypeRecord>) in pointer(&t.pointee.failures) },
      offset { (t: UnsafeMutablePointer<TypeRecord>) in pointer(&t.pointee.limit) }, offset { (t: UnsafeMutablePointer<TypeRecord>) in pointer(&t.pointee.sleeps) },
    ]
    let sizes = [
      offset { (s: UnsafeMutablePointer<SizeHistogram>) in pointer(&s.pointee.bins) }, offset { (s: UnsafeMutablePointer<SizeHistogram>) in pointer(&s.pointee.tableCount) },
      offset { (s: UnsafeMutablePointer<SizeHistogram>) in pointer(&s.pointee.since) },
    ]
    #expect(MemoryLayout<ItemChecks>.offset(of: \.skipped) == 8 && MemoryLayout<ItemChecks>.offset(of: \.damaged) == 24)
    #expect(RootLayout.checksOffset == 4864 && MemoryLayout<ItemChecks>.size <= 128)
    let classes = UnsafeMutablePointer<HashClasses>(bitPattern: 1 << 20)!
    #expect(UnsafeMutableRawPointer(pointer(&classes.pointee.count)) == place && UnsafeMutableRawPointer(pointer(&classes.pointee.offset)) - place == 4)
    #expect(UnsafeMutableRawPointer(pointer(&classes.pointee.sites)) - place == 8)
    #expect(RootLayout.hashClassesOffset == 4992 && MemoryLayout<HashClasses>.size <= 128 && HashClasses.siteCount == 4096 && HashClasses.forwards == 0xffff)
    let hint: Comment = "raise RootLayout.version, and write the new offsets here"
    #expect(RootLayout.version == 12, hint)
    let parts = [
      offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.domains) }, offset { (z: UnsafeMutablePointer<Zone>) in pointer(&z.pointee.crossFrees) },
      offset { (k: UnsafeMutablePointer<Keg>) in pointer(&k.pointee.domain) },
    ]
    #expect(parts == [448, 456, 314], hint)
    #expect(zone == [0, 8, 40, 44, 48, 56, 64, 96, 120, 168, 176, 184, 192, 200], hint)
    #expect(keg == [32, 40, 128, 136, 144, 256], hint)
    #expect(arena == [0, 16, 24, 32, 40, 48, 56, 64, 72, 168, 96, 264], hint)
    #expect(kinds == [296, 392, 416, 440, 152, 320, 24, 32, 48, 40, 64, 72, 112, 128, 160, 8, 96], hint)
    #expect(packets == [0, 8, 16, 40, 48, 56, 72] && RootLayout.packetsOffset == 7424, hint)
    #expect(MemoryLayout<ZoneBound>.offset(of: \.items) == 0 && MemoryLayout<ZoneBound>.offset(of: \.word) == 8, hint)
    #expect(heap == [576, 960, 968, 1096, 1104], hint)
    let redZone = [
      offset { (r: UnsafeMutablePointer<RedZoneState>) in pointer(&r.pointee.key) }, offset { (r: UnsafeMutablePointer<RedZoneState>) in pointer(&r.pointee.extraBytes) },
      offset { (r: UnsafeMutablePointer<RedZoneState>) in pointer(&r.pointee.blocks) }, offset { (r: UnsafeMutablePointer<RedZoneState>) in pointer(&r.pointee.damaged) },
    ]
    #expect(redZone == [0, 8, 16, 24] && MemoryLayout<RedZoneState>.size <= 128 && MemoryLayout<RedZoneHeader>.size == 16, hint)
    #expect(RootLayout.chunksOffset == 5120 && MemoryLayout<MetadataChunks>.size <= 128 && MemoryLayout<ChunkRange>.size == 16, hint)
    #expect(offset { (c: UnsafeMutablePointer<MetadataChunks>) in pointer(&c.pointee.page) } == 8 && offset { (c: UnsafeMutablePointer<MetadataChunks>) in pointer(&c.pointee.ranges) } == 16, hint)
    #expect(MemoryLayout<GuardedBlock>.offset(of: \.state) == 32 && MemoryLayout<GuardedBlock>.offset(of: \.allocationStack) == 44 && GuardedBlock.perChunk == 4096, hint)
    #expect(MemoryLayout<MapEntry>.offset(of: \.kind) == 88 && MemoryLayout<MapEntry>.offset(of: \.left) == 16, hint)
    #expect(type == [0, 8, 0, 8, 40, 44, 48, 768, 776, 784], hint)
    #expect(MemoryLayout<LargeTotals>.size == 32, hint)
    #expect(sizes == [0, 8, 16] && MemoryLayout<SizeBin>.size == 24 && MemoryLayout<SizeBin>.offset(of: \.given) == 16, hint)
    #expect(RootLayout.typesOffset + MemoryLayout<TypesState>.size <= RootLayout.sizesOffset && RootLayout.sizesOffset + MemoryLayout<SizeHistogram>.size <= RootLayout.bytes - 8 && RootLayout.heapOffset + MemoryLayout<HeapState>.size <= RootLayout.typesOffset)
    let guards = [
      offset { (g: UnsafeMutablePointer<MemGuard>) in pointer(&g.pointee.start) }, offset { (g: UnsafeMutablePointer<MemGuard>) in pointer(&g.pointee.guarded) },
      offset { (g: UnsafeMutablePointer<MemGuard>) in pointer(&g.pointee.hits) }, offset { (g: UnsafeMutablePointer<MemGuard>) in pointer(&g.pointee.lots) },
      offset { (g: UnsafeMutablePointer<MemGuard>) in pointer(&g.pointee.cursor) },
    ]
    #expect(guards == [8, 40, 80, 128, 168] && MemoryLayout<stave_lot>.size == 64 && MemoryLayout<GuardedBlock>.stride == 64, hint)
    #expect(RootLayout.typeNamesOffset + 4 * MemoryLayout<TypeNames>.stride <= RootLayout.bytes - 8 && RootLayout.memguardOffset + MemoryLayout<MemGuard>.size <= 4736)
    #expect(MemoryLayout<OwnerMap>.offset(of: \.owners) == 0, hint)
    #expect(RootLayout.stacksOffset == 4096 && MemoryLayout<StacksState>.size <= 128 && RootLayout.reportsOffset == 4224 && MemoryLayout<stave_reports>.size <= 128 && RootLayout.memguardOffset >= 4352, hint)
    #expect(MemoryLayout<StacksState>.offset(of: \.table) == 0 && MemoryLayout<StacksState>.offset(of: \.words) == 8, hint)
    #expect(MemoryLayout<StacksState>.offset(of: \.count) == 16 && MemoryLayout<StacksState>.offset(of: \.leftOut) == 24, hint)
    #expect(MemoryLayout<StackTable>.size == 65536 + 2048 && MemoryLayout<StackTable>.offset(of: \.blocks) == 65536, hint)
    #expect(MemoryLayout<StackRecord>.size == 16 && MemoryLayout<StackRecord>.offset(of: \.count) == 8 && MemoryLayout<stave_reports>.offset(of: \.count) == 0, hint)
    #expect(MemoryLayout<SlabLayout>.offset(of: \.itemBytes) == 8 && MemoryLayout<SlabLayout>.offset(of: \.slabBytes) == 16, hint)
    #expect(MemoryLayout<SlabLayout>.offset(of: \.items) == 24 && MemoryLayout<SlabLayout>.offset(of: \.lookup) == 56, hint)
  }

  @Test func `L41 the memory of a zone is budgeted`() {
    // A zone with its keg, and what each CPU holds for it besides the slots.
    #expect(MemoryLayout<Zone>.stride + MemoryLayout<Keg>.stride <= 1024)
    #expect(MemoryLayout<stave_cell>.stride <= 32)
    // The boot memory holds the zone system's own first zones.
    #expect(2 * MemoryLayout<Keg>.stride <= 4096)
  }

  @Test func `L74 one definition for each constant: what says it twice agrees`() {
    #expect(Int(STAVE_UNIT_SHIFT) == Int(unitShift))
    #expect(unitBytes == 1 << unitShift)
    #expect(Int(STAVE_SMALL_LIMIT) == SizeClass.largest)
    #expect(SlabLayout.headerBytes(items: 1) == MemoryLayout<Slab>.stride + 8)
    #expect(SlabLayout.offPageHeaderBytes(items: 256) == MemoryLayout<OffPagePrefix>.stride + SlabLayout.headerBytes(items: 256))
    #expect(MemoryLayout<Bucket>.stride == 16, "bucket sizes count on it")
    // The parts of the root lie one behind the other, and leave the last word to the tests' turns.
    let parts = [
      (0, MemoryLayout<RootHeader>.size), (RootLayout.domainsOffset, MemoryLayout<MemoryDomains>.size), (RootLayout.metadataOffset, MemoryLayout<MetadataPages>.size),
      (RootLayout.ownersOffset, MemoryLayout<OwnerMap>.size), (RootLayout.supplyOffset, MemoryLayout<EntrySupply>.size),
      (RootLayout.arenaOffset, MemoryLayout<Arena>.size), (RootLayout.zonesOffset, MemoryLayout<ZonesState>.size),
      (RootLayout.heapOffset, MemoryLayout<HeapState>.size), (RootLayout.packetsOffset, MemoryLayout<PacketState>.size),
      (RootLayout.eventsOffset, MemoryLayout<EventTable>.size), (RootLayout.bytes - 4, 4),
    ]
    for (part, next) in zip(parts, parts.dropFirst()) {
      #expect(part.0 + part.1 <= next.0, "the part at \(part.0) reaches into that at \(next.0)")
      #expect(next.0 % 16 == 0 || next.0 == RootLayout.bytes - 4)
    }
  }
}

/// The address of a field.
private func pointer<Field>(_ field: UnsafeMutablePointer<Field>) -> UnsafeMutablePointer<Field> { field }
