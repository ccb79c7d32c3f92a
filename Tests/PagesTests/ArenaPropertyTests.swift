// SPDX-License-Identifier: BSD-2-Clause
//
// Random operations on the arena against a list of what is held, contents and invariants checked after every step; and each
// operation with each of its system calls refused (L39).

import CPlatform
import Foundation
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

/// A block or slab that the test holds: what was written at its first, middle and last word.
private struct Held {
  var start: UInt
  var bytes: UInt
  var mark: UInt
  var isSlab: Bool

  private var places: [UInt] { [start, (start + bytes / 2).roundedDown(to: 8), start + bytes - 8] }

  func write() { for place in places { UnsafeMutablePointer<UInt>(bitPattern: place)!.pointee = mark ^ (place - start) } }
  /// As far as `limit`: a resized block has kept that much.
  func isIntact(below limit: UInt = .max) -> Bool {
    places.allSatisfy { $0 + 8 - start > limit || UnsafePointer<UInt>(bitPattern: $0)!.pointee == mark ^ ($0 - start) }
  }
}

extension OnRoot {
  @Suite struct ArenaPropertyTests {
    init() {
      Stage.up()
      arena.purge(recentToo: true)
    }

    @Test func `random operations never overlap, lose contents or miscount`() {
      var generator = Generator(2)
      var held: [Held] = []
      let baseBytes = arena.pointee.largeBytes
      let baseSlabs = arena.pointee.slabBytes
      func largeSum() -> UInt { held.filter { !$0.isSlab }.reduce(0) { $0 + $1.bytes } }
      func expectDisjoint(_ new: Held) {
        for other in held where new.start < other.start + other.bytes && other.start < new.start + new.bytes {
          Issue.record("blocks overlap (STAVE_SEED=\(Stage.seed))")
        }
      }
      for step in 0..<Stage.steps(1500) {
        var problem: String? = nil
        switch generator.below(12) {
        case 0...3 where held.count < 200:
          let size = UInt(generator.size(upTo: 16 << 20))
          let alignment: UInt = generator.below(8) == 0 ? 4096 << UInt(generator.below(11)) : 4096
          let block = arena.takeLarge(size: size, alignment: alignment)!
          let new = Held(start: block.start, bytes: blockBytes(size), mark: UInt(generator.next()), isSlab: false)
          if block.start % alignment != 0 { problem = "alignment" }
          if block.isZero && !isZero(block.start, min(new.bytes, 1 << 16)) { problem = "not zero" }
          expectDisjoint(new)
          new.write()
          held.append(new)
        case 4...5 where held.count < 200:
          let bytes = unitBytes * UInt(1 + generator.below(3))
          let new = Held(start: arena.takeSlab(bytes: bytes)!.address, bytes: bytes, mark: UInt(generator.next()), isSlab: true)
          expectDisjoint(new)
          new.write()
          held.append(new)
        case 6 where !held.isEmpty:
          let index = generator.below(held.count)
          guard !held[index].isSlab else { break }
          let size = UInt(generator.size(upTo: 16 << 20))
          let used = blockBytes(size)
          if arena.resizeLarge(held[index].start, to: size) {
            if !held[index].isIntact(below: used) { problem = "resized" }
            held[index].bytes = used
            var others = held
            let me = others.remove(at: index)
            for other in others where me.start < other.start + other.bytes && other.start < me.start + me.bytes { problem = "overlap" }
            held[index].write()
          }
          if arena.largeBytes(at: held[index].start) != held[index].bytes { problem = "size" }
        case 7 where !held.isEmpty:
          let index = generator.below(held.count)
          guard !held[index].isSlab else { break }
          let size = held[index].bytes + UInt(generator.size(upTo: 8 << 20))
          if let moved = arena.moveLarge(held[index].start, to: size) {
            let old = held[index]
            held[index].start = moved
            if !held[index].isIntact(below: old.bytes) { problem = "moved" }
            held[index].bytes = blockBytes(size)
            held[index].write()
          }
        case 8: arena.purge(atMost: UInt(generator.size(upTo: 32 << 20)), recentToo: generator.below(4) == 0)
        case 9: _ = generator.below(2) == 0 ? arena.purgeIdle() : 0
        default:
          guard !held.isEmpty else { break }
          let old = held.remove(at: generator.below(held.count))
          if !old.isIntact() { problem = "contents" }
          if old.isSlab { arena.releaseSlab(old.start, bytes: old.bytes) } else if !arena.releaseLarge(old.start) { problem = "release" }
        }
        if Stage.checks(step) {
          arena.checkInvariants()
          ownerMap.pointee.checkInvariants()
        }
        if arena.pointee.largeBytes != baseBytes + largeSum() { problem = "large bytes" }
        if let problem {
          Issue.record("step \(step): \(problem) (STAVE_SEED=\(Stage.seed))")
          break
        }
      }
      for old in held {
        if !old.isIntact() { Issue.record("contents at the end (STAVE_SEED=\(Stage.seed))") }
        if old.isSlab { arena.releaseSlab(old.start, bytes: old.bytes) } else { _ = arena.releaseLarge(old.start) }
        arena.checkInvariants()
      }
      #expect(arena.pointee.largeBytes == baseBytes)
      #expect(arena.pointee.slabBytes == baseSlabs)
      arena.purge(recentToo: true)
      #expect(arena.pointee.cachedBytes == 0)
      #expect(arena.pointee.recentBytes == 0)
      arena.checkInvariants()
    }

    #if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
    /// Runs `operation` with its first system call refused, then its second, until none is; how many there are.
    private func withEachCallRefused(_ error: Int, _ operation: (_ refused: Bool) -> Void) -> Int {
      var number = 1
      while number < 100 {
        stave_inject().pointee.error = error
        stave_inject().pointee.after = number
        operation(true)
        let left = stave_inject().pointee.after
        stave_inject().pointee.after = 0
        arena.checkInvariants()
        if left > 0 { return number - 1 }
        number += 1
      }
      return number
    }

    @Test(arguments: [12, 11]) func `L39 taking a block with each system call refused`(error: Int) {
      let bytes = arena.pointee.largeBytes
      let calls = withEachCallRefused(error) { _ in
        // Larger than what is mapped ahead, so that the frontier must move each time.
        let size = arena.pointee.windowStart + (64 << 20) + (arena.pointee.frontier - arena.pointee.windowStart) - arena.pointee.windowStart
        if let block = arena.takeLarge(size: size) {
          UnsafeMutablePointer<UInt>(bitPattern: block.start + size - 8)!.pointee = 1
          #expect(arena.releaseLarge(block.start))
        }
        arena.purge(recentToo: true)
        #expect(arena.pointee.largeBytes == bytes)
      }
      #expect(calls >= 1)
    }

    @Test func `L39 a refused madvise leaves the run cached`() {
      let block = arena.takeLarge(size: 8 * mega)!.start
      #expect(arena.releaseLarge(block))
      let cached = arena.pointee.cachedBytes
      stave_inject().pointee.error = 22
      stave_inject().pointee.after = 1
      #expect(arena.purge() == 0)
      stave_inject().pointee.after = 0
      #expect(arena.pointee.cachedBytes == cached)
      arena.checkInvariants()
      #expect(arena.purge() == cached)
    }

    @Test func `L39 a refused mremap leaves the block where it was`() {
      let calls = withEachCallRefused(12) { _ in
        let after = stave_inject().pointee.after
        stave_inject().pointee.after = 0
        let block = arena.takeLarge(size: 4 * mega)!.start
        fill(block, 4 * mega, 0x3C)
        stave_inject().pointee.after = after
        let moved = arena.moveLarge(block, to: 8 * mega)
        #expect(arena.largeBytes(at: moved ?? block) == (moved == nil ? 4 : 8) * mega)
        #expect(isLargeStart(block) == (moved == nil))
        #expect(UnsafePointer<UInt8>(bitPattern: (moved ?? block) + 4 * mega - 1)!.pointee == 0x3C)
        #expect(arena.releaseLarge(moved ?? block))
      }
      #expect(calls >= 1)
    }

    @Test func `L39 freeing a moved block with each system call refused`() {
      let bytes = arena.pointee.largeBytes
      let calls = withEachCallRefused(12) { _ in
        let after = stave_inject().pointee.after
        stave_inject().pointee.after = 0
        let moved = arena.moveLarge(arena.takeLarge(size: 2 * mega)!.start, to: 4 * mega)!
        fill(moved, 4 * mega)
        stave_inject().pointee.after = after
        #expect(arena.releaseLarge(moved))
        let left = stave_inject().pointee.after
        stave_inject().pointee.after = 0
        // Whatever became of the place: what is called zero is zero.
        let block = arena.takeLarge(size: 4 * mega)!
        if block.isZero { #expect(isZero(block.start, 4 * mega)) }
        #expect(arena.releaseLarge(block.start))
        arena.purge(recentToo: true)
        stave_inject().pointee.after = left
      }
      #expect(calls >= 1)
      #expect(arena.pointee.largeBytes == bytes)
    }

    @Test func `L39 growing in place beyond the frontier with each system call refused`() {
      let block = arena.takeLarge(size: mega)!.start
      let calls = withEachCallRefused(12) { _ in
        let size = arena.pointee.frontier - block + 3 * mega
        let old = arena.largeBytes(at: block)
        if !arena.resizeLarge(block, to: size) { #expect(arena.largeBytes(at: block) == old) }
      }
      #expect(calls >= 1)
      #expect(arena.releaseLarge(block))
      arena.purge(recentToo: true)
    }

    @Test func `L39 starting with each system call refused`() async {
      await #expect(processExitsWith: .success) {
        root.pointee.pageBytes = UInt32(stave_page_bytes())
        metadataPages.start(boot: stave_boot().address, bytes: Int(STAVE_BOOT_BYTES))
        for number in 1...40 {
          stave_inject().pointee.error = 12
          stave_inject().pointee.after = number
          if arena.start() {
            stave_inject().pointee.after = 0
            let block = arena.takeLarge(size: 1 << 20)!
            arena.checkInvariants()
            precondition(arena.releaseLarge(block.start))
          }
          stave_inject().pointee.after = 0
        }
      }
    }
    #endif
  }
}
