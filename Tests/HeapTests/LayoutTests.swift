// SPDX-License-Identifier: BSD-2-Clause
//
// What readers outside rely on, and what C and Swift both know: layouts, the parts of the root, constants.

import AddressMap
import CPlatform
import Primitives
import Testing

@testable import Heap
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
    #expect(MemoryLayout<Mailbox>.size == 24)
    #expect(MemoryLayout<FixedName>.size == 32)
    #expect(MemoryLayout<Bucket>.size == 16)
    #expect(MemoryLayout<Slab>.size == 24 && MemoryLayout<Slab>.offset(of: \.kegIndex) == 20)
    #expect(MemoryLayout<stave_cell>.size == 32 && MemoryLayout<stave_cell>.offset(of: \.moved) == 8)
    #expect(MemoryLayout<stave_cell>.offset(of: \.capacity) == 16 && MemoryLayout<stave_cell>.offset(of: \.slots) == 24)
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
      (0, MemoryLayout<RootHeader>.size), (RootLayout.metadataOffset, MemoryLayout<MetadataPages>.size),
      (RootLayout.ownersOffset, MemoryLayout<OwnerMap>.size), (RootLayout.supplyOffset, MemoryLayout<EntrySupply>.size),
      (RootLayout.arenaOffset, MemoryLayout<Arena>.size), (RootLayout.zonesOffset, MemoryLayout<ZonesState>.size),
      (RootLayout.heapOffset, MemoryLayout<HeapState>.size), (RootLayout.bytes - 4, 4),
    ]
    for (part, next) in zip(parts, parts.dropFirst()) {
      #expect(part.0 + part.1 <= next.0, "the part at \(part.0) reaches into that at \(next.0)")
      #expect(next.0 % 16 == 0 || next.0 == RootLayout.bytes - 4)
    }
  }
}
