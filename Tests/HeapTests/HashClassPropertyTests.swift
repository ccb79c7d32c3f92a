// SPDX-License-Identifier: BSD-2-Clause
//
// Random calls from callers of all classes, with types and a limit, while guards, guard bytes and tracing by size are switched: each
// block is of the class of who asked, keeps what it holds, and is freed to where it came from.

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
  @Suite struct HashClassPropertyTests {
    private struct Held {
      var start: UnsafeMutableRawPointer
      var size: Int
      var mark: UInt8
      /// Nil: of a type.
      var index: Int?
    }

    enum Way: Int, CaseIterable, Codable { case plain, locked, redzone, memguard, check, all }

    static func run(_ way: Way) {
      let isChecked = way == .check || way == .all
      Classes.up(way == .plain ? 8 : 5, isLocked: way == .locked || way == .all)
      if isChecked {
        heap.pointee.options.values[Option.check.rawValue] = 1
        precondition(heap.applyChecks())
      }
      var lot = Generator(UInt64(900 + way.rawValue))
      let count = Int(hashClasses.pointee.count)
      let own = RedZoneTests.register("drawn"), limited = RedZoneTests.register("limited")
      precondition(types.setLimit(limited, 64 << 10))
      var held: [Held] = []
      func demand(_ isTrue: Bool, _ what: String) { precondition(isTrue, "\(what) (STAVE_SEED=\(Stage.seed))") }
      // With item checks, which fill and look at each byte, fewer.
      for step in 0..<Stage.steps(isChecked ? 400 : 1500, soak: isChecked ? 500_000 : 2_000_000) {
        switch lot.below(30) {
        case 0 where way == .redzone || way == .all: RedZoneTests.setRedZone(Int64(lot.below(3)))
        case 1 where way == .memguard || way == .all: setGuard(.memguard, [0, 1, 3].randomElement(using: &lot)!)
        case 2: if lot.below(10) == 0 { _ = Heap.trim() }
        case 3...16 where held.count < 500:
          let size = lot.below(20) == 0 ? lot.size(upTo: 300_000) : lot.size(upTo: 20_000), index = lot.below(count)
          let caller = Classes.caller(index, lot.below(3))
          var block: UnsafeMutableRawPointer?
          var expected: Int? = index
          switch lot.below(6) {
          case 0: block = Heap.allocateZeroed(UInt(size), type: Heap.type(of: caller))
            demand(holds(block!, size, 0), "zeroed")
          case 1:
            let alignment = UInt(16) << UInt(lot.below(10))
            block = Heap.allocate(UInt(size), alignment: alignment, type: Heap.type(of: caller))
            demand(block!.address % alignment == 0, "alignment")
          case 2:
            let type = lot.below(2) == 0 ? own : limited
            block = Heap.allocate(UInt(size), type: type, .noWait)
            expected = nil
            guard block != nil else { break }
          default: block = Heap.allocate(UInt(size), for: caller)
          }
          guard let block else { break }
          let one = Held(start: block, size: size, mark: UInt8(truncatingIfNeeded: step), index: expected)
          fill(block, size, one.mark)
          if let found = place(of: block) { demand(found.isTyped == (expected == nil) && (expected == nil || found.index == expected), "class \(found), expected \(String(describing: expected))") }
          held.append(one)
        case 17...19 where !held.isEmpty:
          let at = lot.below(held.count), size = lot.size(upTo: 30_000), index = lot.below(count), old = held[at]
          let new = Heap.reallocate(old.start, UInt(size), type: Heap.type(of: Classes.caller(index)))!
          demand(holds(new, min(size, old.size), old.mark), "reallocated")
          // In its place it stays of who had asked first.
          held[at] = Held(start: new, size: size, mark: old.mark, index: new == old.start ? old.index : index)
          fill(new, size, old.mark)
          if let found = place(of: new), new != old.start { demand(!found.isTyped && found.index == index, "class after realloc") }
        default:
          guard !held.isEmpty else { break }
          let one = held.remove(at: lot.below(held.count))
          demand(holds(one.start, one.size, one.mark), "contents of a block of \(one.size)")
          Heap.free(one.start)
        }
        if step % 200 == 0 && Stage.checks(step) { checkAll() }
      }
      for one in held {
        demand(holds(one.start, one.size, one.mark), "contents at the end")
        Heap.free(one.start)
      }
      demand(Classes.live() == (0, 0) && TypeTotals(own).used == 0 && TypeTotals(limited).used == 0 && limited.pointee.charged == 0, "all is free at the end")
      demand(RedZoneTests.damaged == 0 && stave_reports().pointee.count == 0, "reports")
      checkAll()
    }

    /// Of a block in a slab, whatever is around it.
    private static func place(of block: UnsafeMutableRawPointer) -> (isTyped: Bool, index: Int)? {
      guard let zone = Classes.zone(block) else { return nil }
      return (zone.pointee.type != 0, Int(zone.pointee.instance))
    }

    @Test(arguments: Way.allCases)
    func `random calls in all modes: each block is of its caller's class, keeps its contents and goes back to its zone`(_ way: Way) async {
      _ = Stage.seed
      await #expect(processExitsWith: .success) { [way] in OnRoot.HashClassPropertyTests.run(way) }
    }

    @Test func `threads that free each other's blocks of all classes`() async {
      await #expect(processExitsWith: .success) {
        Classes.up()
        let boxes = UnsafeMutablePointer<Int64>.allocate(capacity: 64)
        boxes.initialize(repeating: 0, count: 64)
        let shared = Shared(boxes)
        inThreads(4) { thread in
          var lot = Generator(UInt64(930 + thread))
          let callers = (0..<8).map { Classes.caller($0, thread) }
          for _ in 0..<(8000 * Stage.scale) {
            let size = lot.size(upTo: 3000), index = lot.below(8)
            let block = Heap.allocate(UInt(size), for: callers[index])!
            precondition(Classes.index(block) == index)
            fill(block, size, UInt8(thread))
            let box = shared.value + lot.below(64)
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
        precondition(Classes.live() == (0, 0))
        checkAll()
      }
    }
  }
}
