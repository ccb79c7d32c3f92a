// SPDX-License-Identifier: BSD-2-Clause
//
// Random calls while guard bytes are switched on and off at random, against a list of what is held; and threads that free each other's
// blocks meanwhile.

@testable import Accounting
import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct RedZonePropertyTests {
    init() { Stage.up() }

    private struct Held {
      var start: UnsafeMutableRawPointer
      var size: Int
      var mark: UInt8
      var isGuarded: Bool { RedZoneTests.finding(start) != nil }
    }

    static func randomOperations(_ stream: UInt64) {
      var generator = Generator(stream)
      var blocks: [Held] = []
      var isOn = false
      let base = live()
      let type = RedZoneTests.register("drawn")
      func size() -> Int { generator.below(30) == 0 ? generator.size(upTo: 2 << 20) : generator.size(upTo: 40_000) }
      for step in 0..<Stage.steps(12_000, soak: 3_000_000) {
        func demand(_ isTrue: Bool, _ what: String) {
          if !isTrue { Issue.record("step \(step): \(what) (STAVE_SEED=\(Stage.seed))") }
        }
        switch generator.below(16) {
        case 0...5 where blocks.count < 800:
          let size = size()
          var new: Held
          switch generator.below(5) {
          case 0:
            new = Held(start: Heap.allocateZeroed(UInt(size))!, size: size, mark: 0)
            demand(holds(new.start, size, 0), "zeroed block of \(size)")
          case 1:
            let alignment = UInt(1) << UInt(generator.below(19))
            new = Held(start: Heap.allocate(UInt(size), alignment: alignment)!, size: size, mark: 0)
            demand(new.start.address % alignment == 0, "alignment")
          case 2: new = Held(start: Heap.allocate(UInt(size), type: type, .zero)!, size: size, mark: 0)
          default: new = Held(start: Heap.allocate(UInt(size))!, size: size, mark: 0)
          }
          demand(new.isGuarded == isOn, "guarded \(new.isGuarded), switched on \(isOn)")
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
        case 9:
          isOn = generator.below(2) == 0
          RedZoneTests.setRedZone(isOn ? 1 : 0)
        case 15 where generator.below(40) == 0:
          _ = generator.below(2) == 0 ? Heap.trim() : 0
        default:
          guard !blocks.isEmpty else { break }
          let old = blocks.remove(at: generator.below(blocks.count))
          demand(holds(old.start, old.size, old.mark), "contents of a block of \(old.size)")
          let usable = Heap.usableSize(old.start)!
          demand(old.isGuarded ? usable == UInt(old.size) : usable >= UInt(old.size), "usable size")
          Heap.free(old.start)
        }
        guard Stage.checks(step), step % 200 == 0 else { continue }
        demand(Int(redZone.pointee.blocks) == blocks.count { $0.isGuarded }, "count of blocks")
        demand(Int(redZone.pointee.extraBytes) == blocks.reduce(0) { $0 + Int(RedZoneTests.finding($1.start)?.extra ?? 0) }, "extra bytes")
        demand(RedZoneTests.damaged == 0, "a report")
        checkAll()
      }
      for old in blocks {
        if !holds(old.start, old.size, old.mark) { Issue.record("contents at the end (STAVE_SEED=\(Stage.seed))") }
        Heap.free(old.start)
      }
      RedZoneTests.setRedZone(0)
      if live() != base || redZone.pointee.blocks != 0 || redZone.pointee.extraBytes != 0 || RedZoneTests.damaged != 0 {
        Issue.record("\(live()) is not \(base), or RedZone's figures are not 0 (STAVE_SEED=\(Stage.seed))")
      }
      checkAll()
    }

    @Test func `random calls under random switching: every block keeps its size and its guard bytes, and nothing is reported`() async {
      for isLocked in [false, true] {
        await #expect(processExitsWith: .success) { [isLocked = isLocked as Bool] in
          Stage.up()
          if isLocked { Stage.useLockedCaches() }
          OnRoot.RedZonePropertyTests.randomOperations(isLocked ? 711 : 710)
        }
      }
    }

    @Test func `threads that free and reallocate each other's blocks while it is switched`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let base = live()
        let boxes = UnsafeMutablePointer<Int64>.allocate(capacity: 64)
        boxes.initialize(repeating: 0, count: 64)
        let shared = Shared(boxes)
        inThreads(4) { thread in
          var generator = Generator(UInt64(720 + thread))
          for round in 0..<(8000 * Stage.scale) {
            if thread == 3 && round % 50 == 0 { RedZoneTests.setRedZone(Int64(generator.below(3))) }
            let size = generator.below(40) == 0 ? generator.size(upTo: 200_000) : generator.size(upTo: 2000)
            var block = Heap.allocate(UInt(size))!
            fill(block, size, UInt8(thread))
            if generator.below(3) == 0 {
              block = Heap.reallocate(block, UInt(size / 2 + 8))!
              precondition(holds(block, min(size, size / 2 + 8), UInt8(thread)))
            }
            let box = shared.value + generator.below(64)
            while true {
              let other = Int64(bitPattern: stave_load64(box))
              if stave_replace64(box, other, Int64(block.address)) {
                Heap.free(UnsafeMutableRawPointer(bitPattern: UInt(other)))
                break
              }
            }
          }
        }
        for box in 0..<64 { Heap.free(UnsafeMutableRawPointer(bitPattern: UInt(boxes[box]))) }
        boxes.deallocate()
        RedZoneTests.setRedZone(0)
        precondition(live() == base && redZone.pointee.blocks == 0 && redZone.pointee.extraBytes == 0 && RedZoneTests.damaged == 0)
        checkAll()
      }
    }

    #if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
    @Test func `L39 each system call refused while it is on: nil or a block, nothing lost`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        RedZoneTests.setRedZone(1)
        for size in [16, 3000, 40_000, 9 << 20] {
          for number in 1..<60 {
            _ = Heap.trim()
            exhaustMetadata()
            let base = live()
            stave_inject().pointee.error = 12
            stave_inject().pointee.after = number
            var blocks: [UnsafeMutableRawPointer] = []
            for round in 0..<4 {
              guard let block = round % 2 == 0 ? Heap.allocate(UInt(size)) : Heap.allocate(UInt(size), alignment: 8192) else { continue }
              fill(block, size, UInt8(round))
              let bigger = Heap.reallocate(block, UInt(size) * 3)
              precondition(holds(bigger ?? block, size, UInt8(round)))
              precondition(RedZoneTests.finding(bigger ?? block)!.size == UInt(bigger == nil ? size : size * 3))
              blocks.append(bigger ?? block)
            }
            freeAll(blocks)
            let left = stave_inject().pointee.after
            stave_inject().pointee.after = 0
            precondition(live() == base && redZone.pointee.blocks == 0 && redZone.pointee.extraBytes == 0 && RedZoneTests.damaged == 0)
            checkAll()
            if left > 0 { break }
          }
        }
      }
    }
    #endif
  }
}
