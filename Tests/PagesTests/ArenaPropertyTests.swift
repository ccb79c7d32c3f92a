// SPDX-License-Identifier: BSD-2-Clause
//
// Random operations on the arena against a list of what is held, contents and invariants checked after every step.

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
      for step in 0..<Stage.steps(1500, soak: 5_000_000) {
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
        if Stage.checks(step), arena.pointee.largeBytes != baseBytes + largeSum() { problem = "large bytes" }
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
  }
}
