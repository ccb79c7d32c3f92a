// SPDX-License-Identifier: BSD-2-Clause
//
// The supply of metadata: boot memory first, nothing stranded, pages zeroed each time they are handed out.

import CPlatform
import Primitives
import Testing

@testable import Pages

extension OnRoot {
  @Suite struct MetadataPagesTests {
    init() { Stage.up() }

    @Test func `L9 L10 boot memory is used up before the first chunk is mapped`() async {
      await #expect(processExitsWith: .success) {
        root.pointee.pageBytes = UInt32(stave_page_bytes())
        metadataPages.start(boot: stave_boot().address, bytes: Int(STAVE_BOOT_BYTES))
        let boot = stave_boot().address
        let pages = Int(STAVE_BOOT_BYTES) / pageBytes
        var addresses: Set<UInt> = []
        for _ in 0..<pages {
          let page = metadataPages.allocate(bytes: pageBytes)!
          precondition(page.address >= boot && page.address + UInt(pageBytes) <= boot + UInt(STAVE_BOOT_BYTES))
          addresses.insert(page.address)
        }
        precondition(addresses.count == pages && metadataPages.pointee.chunkCount == 0)
        let next = metadataPages.allocate(bytes: pageBytes)!
        precondition(next.address < boot || next.address >= boot + UInt(STAVE_BOOT_BYTES))
        precondition(metadataPages.pointee.chunkCount == 1)
        // A page of boot memory that comes back is used again like any other.
        metadataPages.free(UnsafeMutableRawPointer(bitPattern: boot)!, bytes: pageBytes)
        precondition(metadataPages.allocate(bytes: pageBytes)!.address == boot)
      }
    }

    @Test func `L10 what is left of a chunk too small for a request is not stranded`() async {
      await #expect(processExitsWith: .success) {
        root.pointee.pageBytes = UInt32(stave_page_bytes())
        metadataPages.start(boot: stave_boot().address, bytes: Int(STAVE_BOOT_BYTES))
        let pages = Int(STAVE_BOOT_BYTES) / pageBytes
        _ = metadataPages.allocate(bytes: pageBytes)
        _ = metadataPages.allocate(bytes: Int(STAVE_BOOT_BYTES))
        precondition(metadataPages.pointee.chunkCount == 1)
        precondition(metadataPages.pointee.freePageCount == pages - 1)
        for _ in 0..<pages - 1 {
          let page = metadataPages.allocate(bytes: pageBytes)!.address
          precondition(page &- stave_boot().address < UInt(STAVE_BOOT_BYTES))
        }
        precondition(metadataPages.pointee.freePageCount == 0)
      }
    }

    @Test func `pages are zeroed whether fresh or used before`() {
      let used = metadataPages.pointee.usedBytes
      for _ in 0..<3 {
        let page = metadataPages.allocate(bytes: pageBytes)!
        #expect(page.address % UInt(pageBytes) == 0)
        #expect(isZero(page.address, UInt(pageBytes)))
        page.initializeMemory(as: UInt8.self, repeating: 0xEE, count: pageBytes)
        metadataPages.free(page, bytes: pageBytes)
      }
      #expect(metadataPages.pointee.usedBytes == used)
    }

    @Test func `a run of pages may come back page by page`() {
      let used = metadataPages.pointee.usedBytes
      let free = metadataPages.pointee.freePageCount
      let run = metadataPages.allocate(bytes: 8 * pageBytes)!
      let grown = metadataPages.pointee.freePageCount  // a new chunk may have left the rest of the old one
      for index in 0..<8 { metadataPages.free(run + index * pageBytes, bytes: pageBytes) }
      #expect(metadataPages.pointee.usedBytes == used)
      #expect(metadataPages.pointee.freePageCount == grown + 8)
      #expect(grown >= free)
    }

    @Test func `a request larger than a chunk gets a chunk of its own`() {
      let big = MetadataPages.chunkBytes * 3
      let mapped = metadataPages.pointee.mappedBytes
      let memory = metadataPages.allocate(bytes: big)!
      #expect(isZero(memory.address, UInt(big)))
      #expect(metadataPages.pointee.mappedBytes == mapped + big)
      metadataPages.free(memory, bytes: big)
    }

    #if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
    @Test func `L39 a refused chunk gives nil and changes nothing`() {
      let used = metadataPages.pointee.usedBytes
      let chunks = metadataPages.pointee.chunkCount
      stave_inject().pointee.error = 12
      stave_inject().pointee.after = 1
      let memory = metadataPages.allocate(bytes: MetadataPages.chunkBytes * 2)
      stave_inject().pointee.after = 0
      #expect(memory == nil)
      #expect(metadataPages.pointee.usedBytes == used)
      #expect(metadataPages.pointee.chunkCount == chunks)
      let again = metadataPages.allocate(bytes: MetadataPages.chunkBytes * 2)
      #expect(again != nil)
      metadataPages.free(again!, bytes: MetadataPages.chunkBytes * 2)
    }
    #endif

    @Test func `threads never get the same page`() {
      let rounds = 300
      let used = metadataPages.pointee.usedBytes
      let clashes = UnsafeMutablePointer<Int>.allocate(capacity: 4)
      clashes.initialize(repeating: 0, count: 4)
      inThreads(4) { thread in
        var mine: [UnsafeMutableRawPointer] = []
        for round in 0..<rounds {
          let page = metadataPages.allocate(bytes: pageBytes)!
          page.storeBytes(of: thread, as: Int.self)
          mine.append(page)
          if round % 3 == 0 {
            let old = mine.remove(at: round % mine.count)
            if old.load(as: Int.self) != thread { clashes[thread] += 1 }
            metadataPages.free(old, bytes: pageBytes)
          }
        }
        for page in mine {
          if page.load(as: Int.self) != thread { clashes[thread] += 1 }
          metadataPages.free(page, bytes: pageBytes)
        }
      }
      #expect((0..<4).map { clashes[$0] } == [0, 0, 0, 0])
      #expect(metadataPages.pointee.usedBytes == used)
      clashes.deallocate()
    }
  }

  @Suite struct OwnerMapTests {
    init() { Stage.up() }

    private func isNone(_ address: UInt) -> Bool {
      if case .none = ownerMap.pointee.owner(of: address) { true } else { false }
    }

    @Test func `L30 any value of 64 bits may be asked about`() {
      var generator = Generator(1)
      let low = arena.pointee.windowStart
      let high = arena.pointee.windowEnd
      for address in [0, 1, 4096, low - 1, low &- unitBytes, high, high + 1, 1 << 47, 1 << 63, .max, .max - 4095, .max - unitBytes] {
        #expect(isNone(address), "\(address) has no owner")
      }
      var owned = 0
      for _ in 0..<100_000 {
        let address = UInt(generator.next())
        if (address < low || address >= high) && !isNone(address) { owned += 1 }
      }
      #expect(owned == 0)
    }

    @Test func `a unit leads to the slab that was set, in every byte, and to nobody once cleared`() {
      let start = arena.takeSlab(bytes: 2 * unitBytes)!.address
      let record = metadataPages.allocate(bytes: pageBytes)!
      for unit in [start, start + unitBytes] { ownerMap.pointee.set(unitOf: unit, slab: record, cellOffset: 7) }
      for offset in [0, 1, 4095, 65535, 65536, 131071] as [UInt] {
        guard case .slab(let found) = ownerMap.pointee.owner(of: start + offset) else {
          Issue.record("no slab at offset \(offset)")
          continue
        }
        #expect(found == record)
      }
      let unit = Int(start >> unitShift) - Int(stave_hot().pointee.first_unit)
      #expect(stave_hot().pointee.unit_cell![unit] == 7)
      ownerMap.pointee.clear(unitsOf: start, bytes: 2 * unitBytes)
      #expect(isNone(start) && isNone(start + unitBytes))
      #expect(stave_hot().pointee.unit_cell![unit] == 0)
      arena.releaseSlab(start, bytes: 2 * unitBytes)
      metadataPages.free(record, bytes: pageBytes)
    }

    @Test func `setting an address outside the window changes nothing`() {
      let record = metadataPages.allocate(bytes: pageBytes)!
      ownerMap.pointee.set(unitOf: 0x1000_0000, slab: record, cellOffset: 1)
      ownerMap.pointee.set(startOf: .max, large: record)
      #expect(isNone(0x1000_0000))
      #expect(isNone(.max))
      metadataPages.free(record, bytes: pageBytes)
    }
  }
}
