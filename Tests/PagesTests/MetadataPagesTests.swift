// SPDX-License-Identifier: BSD-2-Clause
//
// The supply of metadata: boot memory first, nothing stranded, pages zeroed each time they are handed out.

import CPlatform
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

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

    @Test func `random takes and returns never share, lose or leave dirty a page`() {
      var generator = Generator(3)
      var held: [(start: UnsafeMutableRawPointer, pages: Int, mark: Int)] = []
      let used = metadataPages.pointee.usedBytes
      var pagesHeld = 0
      for step in 0..<Stage.steps(2000, soak: 1_000_000) {
        var problem: String? = nil
        if held.count < 100 && generator.below(2) == 0 {
          let pages = generator.below(6) == 0 ? 1 + generator.below(8) : 1
          let start = metadataPages.allocate(bytes: pages * pageBytes)!
          if start.load(as: Int.self) != 0 || (start + pages * pageBytes - 8).load(as: Int.self) != 0 { problem = "not zero" }
          let mark = Int(generator.next() >> 2) | 1
          for page in 0..<pages { (start + page * pageBytes).storeBytes(of: mark + page, as: Int.self) }
          (start + pages * pageBytes - 8).storeBytes(of: mark, as: Int.self)
          held.append((start, pages, mark))
          pagesHeld += pages
        } else if !held.isEmpty {
          let (start, pages, mark) = held.remove(at: generator.below(held.count))
          pagesHeld -= pages
          for page in 0..<pages where (start + page * pageBytes).load(as: Int.self) != mark + page { problem = "shared" }
          if generator.below(2) == 0 {
            metadataPages.free(start, bytes: pages * pageBytes)
          } else {
            for page in 0..<pages { metadataPages.free(start + page * pageBytes, bytes: pageBytes) }
          }
        }
        if Stage.checks(step) { metadataPages.checkInvariants() }
        if metadataPages.pointee.usedBytes - used != pagesHeld * pageBytes { problem = "used bytes" }
        if let problem {
          Issue.record("step \(step): \(problem) (STAVE_SEED=\(Stage.seed))")
          break
        }
      }
      for (start, pages, _) in held { metadataPages.free(start, bytes: pages * pageBytes) }
      metadataPages.checkInvariants()
      #expect(metadataPages.pointee.usedBytes == used)
    }

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
}
