// SPDX-License-Identifier: BSD-2-Clause
//
// malloc's rules on the heap called directly, beside the process's own malloc: sizes, alignment, zeroing, reallocation,
// figures, giving back, what ends the process.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import Zones

func fill(_ block: UnsafeMutableRawPointer, _ bytes: Int, _ value: UInt8) {
  block.initializeMemory(as: UInt8.self, repeating: value, count: bytes)
}

func holds(_ block: UnsafeMutableRawPointer, _ bytes: Int, _ value: UInt8) -> Bool {
  var offset = 0
  while offset < bytes {
    if block.load(fromByteOffset: offset, as: UInt8.self) != value { return false }
    offset += offset < 256 ? 1 : 61
  }
  return bytes == 0 || block.load(fromByteOffset: bytes - 1, as: UInt8.self) == value
}

func freeAll(_ blocks: [UnsafeMutableRawPointer]) { for block in blocks { Heap.free(block) } }

/// Live items of malloc's zones, and bytes of large blocks.
func live() -> (items: Int, large: UInt) {
  var items = 0
  for index in 0..<SizeClass.count {
    if let zone = heap.pointee.classZones[index] { items += used(zone) }
  }
  return (items, arena.pointee.largeBytes)
}

extension OnRoot {
  @Suite struct HeapTests {
    init() { Stage.up() }

    @Test func `L12 every size is aligned to 16, powers of two to themselves up to a page`() {
      let before = live()
      for size in Array(1...1100) + stride(from: 1101, through: 40000, by: 173) + [4096, 8192, 16384, 32768, 32769, 65536] {
        let block = Heap.allocate(UInt(size))!
        #expect(block.address % 16 == 0)
        if UInt(size).isPowerOfTwo { #expect(block.address % UInt(min(max(size, 16), 4096)) == 0, "\(size)") }
        let usable = Int(Heap.usableSize(block)!)
        if usable < size { Issue.record("\(size) bytes give \(usable)") }
        fill(block, usable, 0x5A)
        Heap.free(block)
      }
      #expect(live() == before)
      checkAll()
    }

    @Test func `L48 size zero gives distinct blocks`() {
      let blocks = (0..<100).map { _ in Heap.allocate(0)! }
      #expect(Set(blocks).count == 100)
      freeAll(blocks)
      let zeroed = Heap.allocateZeroed(0)
      let aligned = Heap.allocate(0, alignment: 4096)
      #expect(zeroed != nil && aligned != nil)
      Heap.free(zeroed)
      Heap.free(aligned)
      Heap.free(nil)
    }

    @Test func `L49 absurd sizes fail with ENOMEM, are counted as failures and take nothing`() {
      let before = live()
      let failures = heap.pointee.failures
      let sizes: [UInt] = [.max, .max - 15, .max - 4096, UInt(Int.max), 1 << 48, 1 << 62]
      for size in sizes {
        errno = 0
        #expect(Heap.allocate(size) == nil)
        #expect(errno == ENOMEM)
        #expect(Heap.allocateZeroed(size) == nil)
        #expect(Heap.allocate(size, alignment: 4096) == nil)
        let block = Heap.allocate(100)!
        fill(block, 100, 7)
        #expect(Heap.reallocate(block, size) == nil)
        #expect(holds(block, 100, 7), "the old block is as it was")
        Heap.free(block)
      }
      #expect(Heap.allocate(1, alignment: 1 << 62) == nil)
      #expect(heap.pointee.failures >= failures + Int64(3 * sizes.count))
      #expect(live() == before, "L55: counted on success only")
      checkAll()
    }

    @Test func `zeroed memory is zero, whatever lay there`() {
      for size in [1, 15, 16, 100, 1000, 4096, 32768, 32769, 100_000, 1 << 20, 3 << 20] {
        for _ in 0..<3 {
          let block = Heap.allocateZeroed(UInt(size))!
          #expect(holds(block, size, 0), "\(size)")
          fill(block, Int(Heap.usableSize(block)!), 0xEE)
          Heap.free(block)
        }
      }
    }

    @Test func `alignment up to megabytes, for small and large sizes`() {
      let before = live()
      for shift in 0...22 {
        for size in [0, 1, 17, 100, 1000, 5000, 32768, 40000, 1 << 20] {
          let alignment = UInt(1) << UInt(shift)
          let block = Heap.allocate(UInt(size), alignment: alignment)!
          if block.address % alignment != 0 { Issue.record("\(size) at \(alignment)") }
          #expect(Heap.usableSize(block)! >= UInt(size))
          fill(block, size, 1)
          Heap.free(block)
        }
      }
      #expect(live() == before)
      checkAll()
    }

    @Test func `L52 growing and shrinking step by step keeps the contents`() {
      let before = live()
      var generator = Generator(70)
      for _ in 0..<20 {
        var block = Heap.allocate(1)!
        var size = 1
        var mark: UInt8 = 1
        fill(block, 1, 1)
        for _ in 0..<60 {
          let new = generator.size(upTo: 2 << 20)
          let moved = Heap.reallocate(block, UInt(new))!
          if !holds(moved, min(size, new), mark) { Issue.record("\(size) → \(new) (STAVE_SEED=\(Stage.seed))") }
          block = moved
          size = new
          mark &+= 1
          fill(block, size, mark)
          if Heap.usableSize(block)! < UInt(size) { Issue.record("usable size") }
        }
        Heap.free(block)
        arena.checkInvariants()
      }
      #expect(live() == before)
      checkAll()
    }

    @Test func `T9 a block stays in place while its class would not change`() {
      // 2.28.4: class 1024 stays from 513 to 1024.
      var block = Heap.allocate(1024)!
      for size in [1024, 1000, 700, 513] as [UInt] { #expect(Heap.reallocate(block, size) == block) }
      let shrunk = Heap.reallocate(block, 512)!
      #expect(shrunk != block)
      block = shrunk
      let grown = Heap.reallocate(block, 1025)!
      #expect(grown != block)
      Heap.free(grown)
      let least = Heap.allocate(16)!
      #expect(Heap.reallocate(least, 1) == least)
      #expect(Heap.reallocate(least, 8) == least)
      Heap.free(least)
      let fromNull = Heap.reallocate(nil, 50)
      #expect(fromNull != nil)
      Heap.free(fromNull)
    }

    @Test func `usable size of what is no block`() {
      #expect(Heap.usableSize(nil) == 0)
      let small = Heap.allocate(100)!
      let large = Heap.allocate(1 << 20)!
      #expect(Heap.usableSize(small + 1) == nil)
      #expect(Heap.usableSize(large + 4096) == nil)
      #expect(Heap.usableSize(large + 16) == nil)
      var local = 0
      withUnsafeMutableBytes(of: &local) { #expect(Heap.usableSize($0.baseAddress!) == nil) }
      #expect(Heap.usableSize(UnsafeMutableRawPointer(bitPattern: UInt.max)) == nil)
      Heap.free(small)
      Heap.free(large)
      #expect(Heap.usableSize(large) == nil)
    }

    @Test func `totals: used grows by what is taken and falls when it is freed`() {
      let before = HeapTotals()
      let blocks = (0..<1000).map { _ in Heap.allocate(1000)! }
      let large = Heap.allocate(10 << 20)!
      let during = HeapTotals()
      #expect(during.usedBytes - before.usedBytes == 1000 * 1024 + 10 << 20)
      freeAll(blocks)
      Heap.free(large)
      let after = HeapTotals()
      #expect(after.usedBytes == before.usedBytes)
      #expect(after.freeBytes >= before.freeBytes)
    }

    @Test func `L6 L8 trim gives back all that is free, each time`() {
      _ = Heap.trim()
      let slabs = arena.pointee.slabBytes
      for _ in 0..<2 {
        var blocks: [UnsafeMutableRawPointer] = []
        for size in [16, 100, 1000, 10_000, 32_768, 100_000] as [UInt] { for _ in 0..<300 { blocks.append(Heap.allocate(size)!) } }
        let grown = arena.pointee.slabBytes
        #expect(grown > slabs)
        freeAll(blocks)
        #expect(Heap.trim() > 0)
        #expect(arena.pointee.slabBytes <= slabs)
        #expect(arena.pointee.cachedBytes == 0 && arena.pointee.recentBytes == 0)
        checkAll()
      }
    }

    @Test func `a few quiet periods give back what a trim would, but for what is in use`() {
      _ = Heap.trim()
      let slabs = arena.pointee.slabBytes
      let keep = (0..<50).map { _ in Heap.allocate(2000)! }
      let blocks = (0..<20_000).map { _ in Heap.allocate(2000)! } + (0..<20).map { _ in Heap.allocate(1 << 20)! }
      let most = arena.pointee.slabBytes
      freeAll(blocks)
      var periods = 0
      while Heap.endOfPeriod() && periods < 20 { periods += 1 }
      #expect(periods < 20, "it comes to an end")
      checkAll()
      #expect(arena.pointee.slabBytes < slabs + (most - slabs) / 10)
      #expect(arena.pointee.cachedBytes == 0 && arena.pointee.recentBytes == 0)
      freeAll(keep)
    }

    @Test func `the zone table has vmstat's columns and every zone's line`() {
      let block = Heap.allocate(128)!
      let pipe = Pipe()
      printZones(to: pipe.fileHandleForWriting.fileDescriptor)
      try! pipe.fileHandleForWriting.close()
      let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      let lines = text.split(separator: "\n")
      #expect(lines[0].hasPrefix("ITEM                     SIZE  LIMIT      USED      FREE         REQ  FAIL SLEEP XDOMAIN"))
      #expect(lines.count == zones.pointee.zoneCount + 2)
      #expect(lines.contains { $0.hasPrefix("malloc-128:") })
      #expect(lines.last!.hasPrefix("large blocks: "))
      Heap.free(block)
    }

    @Test func `L36 the locks around fork are taken in their order, and all are free after`() {
      let block = Heap.allocate(100)!
      Heap.prepareFork()
      // Handlers of the program may allocate meanwhile on this thread.
      let inside = Heap.allocate(5000)
      #expect(inside != nil)
      Heap.free(inside)
      Heap.parentAfterFork()
      #if STAVE_CHECK_LOCKS
      #expect(!FutexLock.threadHoldsAny)
      #endif
      Heap.free(block)
      checkAll()
      freeAll((0..<1000).map { _ in Heap.allocate(64)! })
    }

    static func becomeChild() {
      let blocks = (0..<1000).map { _ in Heap.allocate(100)! }
      root.pointee.mailbox.request = 5
      Heap.prepareFork()
      Heap.childAfterFork()
      precondition(root.pointee.mailbox.request == 0 && root.pointee.mailbox.answer == 0)
      precondition(heap.pointee.background.thread == 0)
      freeAll(blocks)
      freeAll((0..<1000).map { _ in Heap.allocate(100)! })
      reclaimAll(.drainCPU)
      _ = Heap.trim()
      checkAll()
    }

    @Test func `in the child of a fork all locks are free and the mailbox is new`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.HeapTests.becomeChild()
      }
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.HeapTests.becomeChild()
      }
    }

    @Test func `failure_rate makes every n-th call fail, and nothing else`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        heap.pointee.options.values[Option.failureRate.rawValue] = 10
        stave_hot().pointee.small_limit = 0
        var failures = 0
        for _ in 0..<1000 {
          if let block = Heap.allocate(64) { Heap.free(block) } else { failures += 1 }
        }
        if failures != 100 { Issue.record("\(failures) of 1000 failed") }
        precondition(heap.pointee.injectedFailures >= Int64(failures))
        checkAll()
      }
    }

    @Test func `configuration comes from the environment it is given`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        var entries: [UnsafePointer<CChar>?] = [UnsafePointer(strdup("STAVE_OPTIONS=percpu:locked,background:0,verbose:1,period:77")), nil]
        entries.withUnsafeMutableBufferPointer { heap.configure(environment: UnsafePointer($0.baseAddress!)) }
        precondition(CPUCache.isLocked && heap.pointee.options[.period] == 77)
        freeAll((0..<1000).map { _ in Heap.allocate(64)! })
        checkAll()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("caches locked"))
      #expect(text.contains("percpu:locked"))
      #expect(text.contains("period:77"))
      await #expect(processExitsWith: .success) {
        for (words, advice) in [("always", 14), ("never", 15), ("default", 0)] as [(String, Int32)] {
          var entries: [UnsafePointer<CChar>?] = [UnsafePointer(strdup("STAVE_HUGEPAGES=\(words)")), nil]
          arena.pointee.hugePageAdvice = 0
          entries.withUnsafeMutableBufferPointer { heap.configure(environment: UnsafePointer($0.baseAddress!)) }
          precondition(arena.pointee.hugePageAdvice == advice, words)
        }
      }
    }
  }

  @Suite struct MisuseTests {
    /// What the process said before it was stopped.
    private func expectStopped(_ text: String, containing pieces: String..., sourceLocation: SourceLocation = #_sourceLocation) {
      for piece in pieces where !text.contains(piece) {
        Issue.record("\"\(piece)\" is missing in: \(text)", sourceLocation: sourceLocation)
      }
    }

    @Test func `L21 freeing what is no block stops the process at that call, with the address and its nearest item`() async {
      var result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let block = Heap.allocate(100)!
        Heap.free(Heap.allocate(100))
        Heap.free(block + 8)
      }
      expectStopped(String(decoding: result?.standardErrorContent ?? [], as: UTF8.self), containing: "bad free", "8 bytes into the item at", "in zone malloc-112")
      result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        var local = 0
        withUnsafeMutableBytes(of: &local) { Heap.free($0.baseAddress!) }
      }
      expectStopped(String(decoding: result?.standardErrorContent ?? [], as: UTF8.self), containing: "which stave does not own")
      result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let block = Heap.allocate(1 << 20)!
        Heap.free(block + 4096)
      }
      expectStopped(String(decoding: result?.standardErrorContent ?? [], as: UTF8.self), containing: "4096 bytes into the large block at")
      result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestZone("authors", 512, flags: .offPage)
        Heap.free(zone.allocate())
      }
      expectStopped(String(decoding: result?.standardErrorContent ?? [], as: UTF8.self), containing: "in zone authors")
    }

    @Test func `L21 a double free stops the process`() async {
      var result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        bind(toCPU: usableCPUs[0])
        let block = Heap.allocate(100)
        Heap.free(Heap.allocate(100))
        Heap.free(block)
        Heap.free(block)
      }
      expectStopped(String(decoding: result?.standardErrorContent ?? [], as: UTF8.self), containing: "double free", "malloc-112")
      result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let block = Heap.allocate(1 << 20)
        Heap.free(block)
        Heap.free(block)
      }
      expectStopped(String(decoding: result?.standardErrorContent ?? [], as: UTF8.self), containing: "bad free", "free already")
      // Not on top: no later than its return to the slab.
      await #expect(processExitsWith: .signal(SIGABRT)) {
        Stage.up()
        bind(toCPU: usableCPUs[0])
        let first = Heap.allocate(100)
        let second = Heap.allocate(100)
        Heap.free(first)
        Heap.free(second)
        Heap.free(first)
        reclaimAll(.drainCPU)
      }
    }

    @Test func `L16 L21 freeing an item of a zone that was destroyed with items out stops the process`() async {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        let zone = makeTestZone("forgotten", 512, flags: .malloc)
        let item = zone.allocate()!
        precondition(zone.destroy() == 1)
        // Whatever takes the place of the zone's structure.
        for size in [512, 1024] { _ = makeTestZone("successor", size).allocate() }
        Heap.free(item)
      }
      expectStopped(
        String(decoding: result?.standardErrorContent ?? [], as: UTF8.self), containing: "1 items, ",
        "free() of an item whose zone was destroyed", "in zone forgotten")
    }

    @Test func `reallocating what is no block stops the process`() async {
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        Stage.up()
        _ = Heap.reallocate(Heap.allocate(1000)! + 16, 2000)
      }
      expectStopped(String(decoding: result?.standardErrorContent ?? [], as: UTF8.self), containing: "realloc()", "16 bytes into the item at")
      await #expect(processExitsWith: .signal(SIGABRT)) {
        Stage.up()
        _ = Heap.reallocate(Heap.allocate(1 << 20)! + 65536, 2000)
      }
      await #expect(processExitsWith: .signal(SIGABRT)) {
        Stage.up()
        _ = Heap.reallocate(UnsafeMutableRawPointer(bitPattern: 0x1000), 2000)
      }
    }

    @Test func `every offset into an item of every class is known for what it is`() {
      Stage.up()
      for index in 0..<SizeClass.count {
        let size = SizeClass.size(index)
        let block = Heap.allocate(UInt(size))!
        var wrong = 0
        for offset in 1..<size where size <= 1024 || offset % 7 == 1 {
          if Heap.usableSize(block + offset) != nil { wrong += 1 }
        }
        #expect(wrong == 0, "class \(size)")
        #expect(Heap.usableSize(block) == UInt(size))
        Heap.free(block)
      }
    }
  }
}
