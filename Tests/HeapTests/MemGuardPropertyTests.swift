// SPDX-License-Identifier: BSD-2-Clause
//
// MemGuard under random requests, switched and re-aimed at random, against a plain model; and with each system call refused (L39).

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
  @Suite struct MemGuardPropertyTests {
    struct Held {
      var block: UnsafeMutableRawPointer
      var size: Int
      var mark: UInt8
    }

    @Test(arguments: [true, false])
    func `L51 L52 random requests while guards are switched on, off and elsewhere: each block keeps what it holds and is freed as what it is`(_ marks: Bool) async {
      _ = Stage.seed
      await #expect(processExitsWith: .success) { [marks] in
        guardUp(marks: marks)
        memGuard.pointee.kept = 16 << 20
        var lot = Generator(marks ? 81 : 82)
        let own = [types.named(FixedName("one"))!, types.named(FixedName("two"))!]
        var held: [Held] = []
        var guarded = 0
        func check(_ one: Held) {
          precondition(holds(one.block, one.size, one.mark), "contents")
          if let record = memGuard.liveBlock(at: one.block.address) {
            precondition(record.pointee.size == UInt(one.size) && Heap.usableSize(one.block) == UInt(one.size))
          } else {
            precondition(!memGuard.holds(one.block.address) && Heap.usableSize(one.block)! >= UInt(one.size))
          }
        }
        for step in 0..<Stage.steps(6000, soak: 2_000_000) {
          switch lot.below(40) {
          case 0: setGuard(.memguard, [0, 1, 2, 100].randomElement(using: &lot)!)
          case 1: setGuard(.memguardSide, Int64(lot.below(3)))
          case 2: setGuard(.memguardWidth, Int64(lot.below(20_000)))
          case 3: setGuard(.memguardMin, Int64(lot.below(2) * lot.below(3000)))
          case 4: setGuard(.memguardMax, Int64(lot.below(2) * lot.below(30_000)))
          case 5: setGuard(.memguardPages, Int64(lot.below(2)))
          case 6: if lot.below(2) == 0 { setGuard(.memguardType, Int64(lot.below(3))) } else { guardTypes(["one", "two+malloc", "malloc-64+two-128"].randomElement(using: &lot)!) }
          case 7...20 where held.count < 400, 21...24 where held.isEmpty:
            let size = lot.size(upTo: 200_000), mark = UInt8(truncatingIfNeeded: step)
            let type = [nil, own[0], own[1]].randomElement(using: &lot)!
            let block: UnsafeMutableRawPointer
            switch lot.below(3) {
            case 0: block = Heap.allocate(UInt(size), type: type, .noWait)!
            case 1:
              block = Heap.allocateZeroed(UInt(size), type: type)!
              precondition(holds(block, size, 0))
            default:
              let alignment = UInt(16) << UInt(lot.below(10))
              block = Heap.allocate(UInt(size), alignment: alignment, type: type)!
              precondition(block.address % alignment == 0)
            }
            fill(block, size, mark)
            if isGuarded(block) { guarded += 1 }
            held.append(Held(block: block, size: size, mark: mark))
          case 25...28 where !held.isEmpty:
            let index = lot.below(held.count), size = lot.size(upTo: 100_000)
            check(held[index])
            held[index].block = Heap.reallocate(held[index].block, UInt(size))!
            precondition(holds(held[index].block, min(size, held[index].size), held[index].mark))
            fill(held[index].block, size, held[index].mark)
            held[index].size = size
          default:
            guard !held.isEmpty else { continue }
            let one = held.remove(at: lot.below(held.count))
            check(one)
            Heap.free(one.block)
            if memGuard.holds(one.block.address) { precondition(!isReadable(one.block.address)) }
          }
          if step % 16 == 0 && Stage.checks(step) { memGuard.checkInvariants() }
        }
        precondition(guarded > 100, "\(guarded)")
        for one in held {
          check(one)
          Heap.free(one.block)
        }
        precondition(memGuard.pointee.usedBytes == 0 && memGuard.pointee.mappedBytes == 0 && memGuard.pointee.lines == 0)
        memGuard.checkInvariants()
        checkAll()
      }
    }

    @Test func `L5 threads that guard and free each other's blocks: nothing lost`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        memGuard.pointee.kept = 8 << 20
        let places = Shared((0..<64).map { _ in UnsafeMutablePointer<Int64>.allocate(capacity: 1) })
        for place in places.value { place.pointee = 0 }
        inThreads(4) { thread in
          var lot = Generator(UInt64(500 + thread))
          for _ in 0..<3000 {
            let size = 16 + lot.below(6000)
            let block = Heap.allocate(UInt(size))!
            block.storeBytes(of: size, as: Int.self)
            block.storeBytes(of: UInt8(7), toByteOffset: size - 1, as: UInt8.self)
            let place = places.value[lot.below(64)]
            var other = Int64(bitPattern: stave_load64(place))
            while !stave_replace64(place, other, Int64(Int(bitPattern: block))) { other = Int64(bitPattern: stave_load64(place)) }
            guard let old = UnsafeMutableRawPointer(bitPattern: Int(other)) else { continue }
            let bytes = old.load(as: Int.self)
            precondition(Heap.usableSize(old) == UInt(bytes) && old.load(fromByteOffset: bytes - 1, as: UInt8.self) == 7)
            Heap.free(old)
          }
        }
        for place in places.value { Heap.free(UnsafeMutableRawPointer(bitPattern: Int(place.pointee))) }
        precondition(memGuard.pointee.guarded == 12_000 && memGuard.pointee.freed == 12_000)
        memGuard.checkInvariants()
      }
    }

    #if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
    @Test func `L39 switching on with each system call refused: off, and it can be tried again`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        _ = Heap.allocate(100)
        exhaustMetadata()
        heap.pointee.options.values[Option.memguard.rawValue] = 1
        stave_inject().pointee.always = 12
        precondition(!Heap.configureGuards() && !memGuard.isOn && memGuard.pointee.bytes == 0)
        stave_inject().pointee.always = 0
        precondition(Heap.allocate(100) != nil)
        // With one refused there is a smaller range.
        stave_inject().pointee.error = 12
        stave_inject().pointee.after = 2
        precondition(Heap.configureGuards() && memGuard.pointee.bytes > 0)
        stave_inject().pointee.after = 0
        let block = Heap.allocate(100)
        precondition(isGuarded(block))
        Heap.free(block)
        memGuard.checkInvariants()
      }
    }

    @Test(arguments: [true, false])
    func `L39 each system call of a guarded block refused: a block in any case, nothing lost`(_ marks: Bool) async {
      await #expect(processExitsWith: .success) { [marks] in
        guardUp(marks: marks)
        memGuard.pointee.kept = 4 << 20
        var declined = 0
        for number in 1..<40 {
          for more in [0, 1, 100] {
            exhaustMetadata()
            stave_inject().pointee.error = 12
            stave_inject().pointee.more = more
            stave_inject().pointee.after = number
            var blocks: [UnsafeMutableRawPointer] = []
            for round in 0..<8 {
              guard let block = round % 2 == 0 ? Heap.allocate(UInt(300 + round)) : Heap.allocateZeroed(5000) else { continue }
              if !isGuarded(block) { declined += 1 }
              fill(block, 300, UInt8(number))
              blocks.append(block)
              if round == 5, let moved = Heap.reallocate(blocks[0], 9000) {
                precondition(holds(moved, 300, UInt8(number)))
                blocks[0] = moved
              }
            }
            for block in blocks {
              precondition(holds(block, 300, UInt8(number)))
              Heap.free(block)
            }
            stave_inject().pointee.after = 0
            stave_inject().pointee.left = 0
            stave_inject().pointee.more = 0
            memGuard.checkInvariants()
          }
        }
        precondition(declined > 10, "\(declined)")
        precondition(memGuard.pointee.usedBytes == 0)
        let block = Heap.allocate(100)
        precondition(isGuarded(block), "it goes on")
        Heap.free(block)
        checkAll()
      }
    }
    #endif
  }
}
