// SPDX-License-Identifier: BSD-2-Clause
//
// Random calls of malloc's four functions against a list of what is held, and threads that free each other's blocks while
// everything is drained under them; in both ways of protecting the caches.

@testable import Accounting
import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

private struct Block {
  var start: UnsafeMutableRawPointer
  var size: Int
  var mark: UInt8
}

extension OnRoot {
  @Suite struct HeapPropertyTests {
    init() { Stage.up() }

    /// Switching item checks on and off as well, or not.
    static func randomOperations(_ stream: UInt64, switchingChecks: Bool = false) {
      var generator = Generator(stream)
      var blocks: [Block] = []
      let base = live()
      func size() -> Int { generator.below(30) == 0 ? generator.size(upTo: 8 << 20) : generator.size(upTo: 40_000) }
      for step in 0..<Stage.steps(15_000, soak: 5_000_000) {
        func demand(_ isTrue: Bool, _ what: String) {
          if !isTrue { Issue.record("step \(step): \(what) (STAVE_SEED=\(Stage.seed))") }
        }
        switch generator.below(16) {
        case 0...5 where blocks.count < 1200:
          let size = size()
          var new: Block
          switch generator.below(4) {
          case 0:
            new = Block(start: Heap.allocateZeroed(UInt(size))!, size: size, mark: 0)
            demand(holds(new.start, size, 0), "zeroed block of \(size)")
          case 1:
            let alignment = UInt(1) << UInt(generator.below(15))
            new = Block(start: Heap.allocate(UInt(size), alignment: alignment)!, size: size, mark: 0)
            demand(new.start.address % alignment == 0, "alignment")
          default: new = Block(start: Heap.allocate(UInt(size))!, size: size, mark: 0)
          }
          new.mark = UInt8(truncatingIfNeeded: generator.next())
          fill(new.start, size, new.mark)
          blocks.append(new)
        case 6...8 where !blocks.isEmpty:
          let index = generator.below(blocks.count)
          let new = size()
          let moved = Heap.reallocate(blocks[index].start, UInt(new))!
          demand(holds(moved, min(new, blocks[index].size), blocks[index].mark), "reallocated \(blocks[index].size) → \(new)")
          blocks[index].start = moved
          blocks[index].size = new
          fill(moved, new, blocks[index].mark)
        case 15 where generator.below(40) == 0:
          switch generator.below(switchingChecks ? 8 : 4) {
          case 4...:
            let isOn = generator.below(3) > 0
            demand(setChecks(isOn, divisor: [0, 1, 1, 1, 3][generator.below(5)]) == MailStatus.done, "switching")
            if isOn { demandNothingCached() }
          case 0: _ = Heap.trim()
          case 1: reclaimAll([.trim, .drain, .drainCPU][generator.below(3)])
          case 2: _ = Heap.endOfPeriod()
          default: for cpu in usableCPUs { _ = emptyCaches(of: cpu) }
          }
        default:
          guard !blocks.isEmpty else { break }
          let old = blocks.remove(at: generator.below(blocks.count))
          demand(holds(old.start, old.size, old.mark), "contents of a block of \(old.size)")
          demand(Heap.usableSize(old.start)! >= UInt(old.size), "usable size")
          Heap.free(old.start)
        }
        guard Stage.checks(step) else { continue }
        if step % 50 == 0 { arena.checkInvariants() }
        if step % 500 == 0 {
          checkAll()
          let large = blocks.count { Heap.usableSize($0.start)! > UInt(SizeClass.largest) || isLarge($0.start) }
          demand(live().items - base.items == blocks.count - large, "counts: \(live().items - base.items) items for \(blocks.count - large) blocks")
        }
      }
      for old in blocks {
        if !holds(old.start, old.size, old.mark) { Issue.record("contents at the end (STAVE_SEED=\(Stage.seed))") }
        Heap.free(old.start)
      }
      if live() != base { Issue.record("\(live()) is not \(base) (STAVE_SEED=\(Stage.seed))") }
      checkAll()
    }

    static func isLarge(_ block: UnsafeMutableRawPointer) -> Bool {
      if case .large = ownerMap.pointee.owner(of: block.address) { true } else { false }
    }

    @Test func `random calls keep every block apart and every count right`() async {
      Self.randomOperations(80)
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.HeapPropertyTests.randomOperations(81)
      }
    }

    /// Threads with blocks of all sizes, a third of which somebody else frees, hopping from CPU to CPU; one thread gives
    /// everything back all the time.
    static func stress(switchingChecks: Bool = false) {
      let base = live()
      let workers = 4
      let slots = 64
      let boxes = UnsafeMutablePointer<UInt>.allocate(capacity: slots)
      boxes.initialize(repeating: 0, count: slots)
      let running = UnsafeMutablePointer<Int64>.allocate(capacity: 1)
      running.pointee = Int64(workers)
      let shared = Shared((boxes, running, NSLock()))
      let rounds = 30_000 * Stage.scale
      inThreads(workers + 2) { thread in
        let (boxes, running, lock) = shared.value
        var generator = Generator(UInt64(90 + thread))
        // The first word of a block is its size with a mark that the last word repeats.
        func stamp(_ block: UnsafeMutableRawPointer, _ size: Int) {
          block.storeBytes(of: UInt(size) ^ block.address, as: UInt.self)
          (block + size - 8).storeBytes(of: ~block.address, toByteOffset: 0, as: UInt.self)
        }
        func isIntact(_ block: UnsafeMutableRawPointer) -> Bool {
          let size = Int(block.load(as: UInt.self) ^ block.address)
          return size >= 16 && size <= 4 << 20 && (block + size - 8).loadUnaligned(as: UInt.self) == ~block.address
        }
        switch thread {
        case workers:
          var turn = 0
          while stave_load64(running) > 0 {
            turn += 1
            switch turn % 5 {
            case 0: reclaimAll(.drainCPU)
            case 1: _ = Heap.endOfPeriod()
            case 2: _ = arena.purge(recentToo: true)
            case 3: trimIdleDepots()
            default: for cpu in usableCPUs { _ = emptyCaches(of: cpu) }
            }
            usleep(300)
          }
        case workers + 1:
          while stave_load64(running) > 0 {
            if switchingChecks {
              setChecks(generator.below(2) == 0, divisor: [0, 1, 1, 2][generator.below(4)])
              usleep(UInt32(generator.below(3000)))
            }
            for index in 0..<SizeClass.count {
              guard let zone = publishedZone(&heap.pointee.classZones, index) else { continue }
              let counts = ZoneCounts(zone)
              if counts.used < 0 || counts.cached < 0 { Issue.record("negative figures") }
            }
            usleep(50)
          }
        default:
          var held: [UnsafeMutableRawPointer] = []
          for round in 0..<rounds {
            if round % 100 == thread { bind(toCPU: usableCPUs[generator.below(usableCPUs.count)]) }
            if generator.below(2) == 0 || held.isEmpty {
              let size = max(16, generator.below(200) == 0 ? generator.size(upTo: 1 << 20) : generator.size(upTo: 3000)) & ~7
              guard let block = Heap.allocate(UInt(size)) else {
                Issue.record("no memory")
                continue
              }
              stamp(block, size)
              held.append(block)
              if held.count > 500 || generator.below(3) == 0 {
                let gift = held.remove(at: generator.below(held.count))
                let box = generator.below(slots)
                let old = lock.withLock {
                  let old = boxes[box]
                  boxes[box] = gift.address
                  return old
                }
                if let other = UnsafeMutableRawPointer(bitPattern: old) {
                  if !isIntact(other) { Issue.record("a block handed over was overwritten (STAVE_SEED=\(Stage.seed))") }
                  Heap.free(other)
                }
              }
            } else {
              let index = generator.below(held.count)
              let block = held[index]
              if !isIntact(block) { Issue.record("a block was overwritten (STAVE_SEED=\(Stage.seed))") }
              if generator.below(6) == 0 {
                let size = max(16, generator.size(upTo: 5000)) & ~7
                if let moved = Heap.reallocate(block, UInt(size)) {
                  stamp(moved, size)
                  held[index] = moved
                }
              } else {
                held.remove(at: index)
                Heap.free(block)
              }
            }
          }
          freeAll(held)
          stave_add(running, -1)
        }
      }
      for box in 0..<slots { Heap.free(UnsafeMutableRawPointer(bitPattern: boxes[box])) }
      if live() != base { Issue.record("L41: \(live()) at rest, not \(base) (STAVE_SEED=\(Stage.seed))") }
      checkAll()
      _ = Heap.trim()
      checkAll()
      boxes.deallocate()
      running.deallocate()
    }

    @Test func `L5 L30 L41 L58 threads that free each other's blocks while all is drained: nothing lost, counts exact at rest`() async {
      Self.stress()
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.HeapPropertyTests.stress()
      }
    }

    @Test func `threads that come and go leave nothing behind that a trim does not find`() {
      _ = Heap.trim()
      let slabs = arena.pointee.slabBytes
      let base = live()
      for _ in 0..<20 * Stage.scale {
        inThreads(10) { thread in
          var generator = Generator(UInt64(120 + thread))
          freeAll((0..<300).map { _ in Heap.allocate(UInt(generator.size(upTo: 32_768)))! })
        }
      }
      #expect(live() == base)
      _ = Heap.trim()
      #expect(arena.pointee.slabBytes <= slabs)
      checkAll()
    }
  }
}
