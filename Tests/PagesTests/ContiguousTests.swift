// SPDX-License-Identifier: BSD-2-Clause
//
// Contiguous blocks of the arena, on this machine's memory. Where frame numbers are shown they are looked at.

import AddressMap
import CPlatform
import Foundation
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

/// The frames of a range, if they are shown.
private func frames(_ start: UInt, _ bytes: UInt) -> [UInt64]? {
  let numbers = FrameNumbers()
  defer { numbers.close() }
  guard numbers.areShown else { return nil }
  return stride(from: start, to: start + bytes, by: Int(pageBytes)).map { numbers.frame(at: $0) ?? 0 }
}

private func isContiguous(_ start: UInt, _ bytes: UInt) -> Bool {
  guard let all = frames(start, bytes) else { return true }
  return all[0] != 0 && all.indices.allSatisfy { all[$0] == all[0] + UInt64($0) }
}

private func take(_ request: ContiguousRequest, waits: Bool = true, type: UInt32 = 0) -> UInt? {
  if case .block(let start) = arena.takeContiguous(request, type: type, waits: waits) { start } else { nil }
}

/// Whether this machine gives huge pages or shows frames: without either no test here can take a block.
private let hasMemory: Bool = {
  Stage.up()
  guard let start = take(ContiguousRequest(size: 1 << 20)) else { return false }
  return arena.releaseLarge(start)
}()

extension OnRoot {
  @Suite struct ContiguousTests {
    private let ground = LevelGround()

    @Test func `sizes up to a huge page are contiguous, zero, aligned as asked, and counted by the page`() throws {
      guard hasMemory else { return announceSkip("contiguous blocks: no huge page is to be had here") }
      var generator = Generator(51)
      for _ in 0..<Stage.steps(40, soak: 2000) {
        let size = (UInt(generator.size(upTo: 2 << 20)) + 4095) & ~4095
        var request = ContiguousRequest(size: size, alignment: 4096 << UInt(generator.below(10)))
        if generator.below(2) == 0 { request.boundary = 2 << 20 }
        let (bytes, count) = (arena.pointee.largeBytes, arena.pointee.largeCount)
        guard let start = take(request) else { continue }
        #expect(arena.pointee.largeBytes == bytes + size && arena.pointee.largeCount == count + 1)
        #expect(arena.contiguousBytes(at: start) == size && arena.largeBytes(at: start) == size)
        // In the machine; where that is hidden, a huge page is as aligned in the process.
        let place = frames(start, size).map { UInt($0[0]) * 4096 } ?? start
        #expect(place % request.alignment == 0)
        #expect(request.boundary == 0 || place / request.boundary == (place + size - 1) / request.boundary)
        #expect(isContiguous(start, size) && isZero(start, size))
        fill(start, size)
        arena.checkInvariants()
        #expect(arena.releaseLarge(start))
        arena.checkInvariants()
        #expect(arena.pointee.largeBytes == bytes && arena.contiguousBytes(at: start) == nil)
      }
    }

    @Test func `what others map where mremap took memory away stays theirs`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let bytes: UInt = 2 << 20, foreign = arena.pointee.foreignBytes
        let entry = arena.hold(bytes: bytes, alignment: bytes)!
        let start = entry.pointee.start
        precondition(stave_munmap(start, Int(bytes)) == 0)
        precondition(stave_mmap(start, 4096, protectionReadWrite, mapPrivateAnonymous | mapFixed) == Int(bitPattern: start))
        let theirs = UnsafeMutablePointer<UInt8>(bitPattern: start)!
        theirs.pointee = 7
        arena.giveBackMoved(entry)
        precondition(theirs.pointee == 7 && arena.pointee.foreignBytes == foreign + bytes)
        arena.checkInvariants()
        // Where nobody came, it is a gap again.
        let other = arena.hold(bytes: bytes, alignment: bytes)!
        precondition(stave_munmap(other.pointee.start, Int(bytes)) == 0)
        arena.giveBackMoved(other)
        precondition(arena.pointee.foreignBytes == foreign + bytes)
        arena.checkInvariants()
      }
    }

    @Test func `where it lies in the machine is as asked`() throws {
      guard let some = take(ContiguousRequest(size: 4096)), let frame = frames(some, 4096)?.first else { return }
      #expect(arena.releaseLarge(some))
      // The machine has memory there, so some may be had.
      let middle = UInt(frame) * 4096
      for request in [
        ContiguousRequest(size: 65536, low: 0, high: middle), ContiguousRequest(size: 65536, low: middle),
        ContiguousRequest(size: 65536, alignment: 4 << 20), ContiguousRequest(size: 8192, alignment: 8192, boundary: 8192),
      ] {
        guard let start = take(request) else { continue }
        let place = UInt(frames(start, 4096)![0]) * 4096
        #expect(place >= request.low && place + request.size <= request.high && place % request.alignment == 0)
        #expect(isContiguous(start, request.size))
        #expect(arena.releaseLarge(start))
      }
      #expect(take(ContiguousRequest(size: 4096, low: 1 << 52)) == nil)
      #expect(take(ContiguousRequest(size: 8192, boundary: 4096)) == nil)
    }

    @Test func `many blocks at once share nothing, and their places serve others when they are free`() throws {
      guard hasMemory else { return announceSkip("contiguous blocks: no huge page is to be had here") }
      var blocks: [UInt] = []
      var seen: Set<UInt64> = []
      for index in 0..<40 {
        guard let start = take(ContiguousRequest(size: UInt(1 + index % 7) * 4096)) else { continue }
        for frame in frames(start, UInt(1 + index % 7) * 4096) ?? [] { #expect(seen.insert(frame).inserted) }
        blocks.append(start)
      }
      arena.checkInvariants()
      for start in blocks { #expect(arena.releaseLarge(start)) }
      arena.checkInvariants()
      #expect(blocks.count > 30)
    }

    @Test func `more than a huge page comes from the pool, or is said to be missing there`() {
      let bytes = arena.pointee.largeBytes
      switch arena.takeContiguous(ContiguousRequest(size: 4 << 20), type: 0, waits: true) {
      case .block(let start):
        #expect(isContiguous(start, 4 << 20) && isZero(start, 4 << 20))
        fill(start, 4 << 20)
        #expect(arena.releaseLarge(start))
      case .poolEmpty: break
      default: Issue.record("neither a block nor an empty pool")
      }
      arena.checkInvariants()
      #expect(arena.pointee.largeBytes == bytes && held == 0)
    }

    @Test func `it is neither resized nor moved, nor kept for the next request of its size`() throws {
      guard hasMemory else { return announceSkip("contiguous blocks: no huge page is to be had here") }
      let start = try #require(take(ContiguousRequest(size: 65536)))
      #expect(!arena.resizeLarge(start, to: 40000) && !arena.resizeLarge(start, to: 100_000) && arena.moveLarge(start, to: 4 << 20) == nil)
      let recent = arena.pointee.recentCount
      #expect(arena.releaseLarge(start) && arena.pointee.recentCount == recent)
      #expect(residentPages(start, 65536) == 0)
    }

    @Test func `a child of fork does not inherit it, and may free it`() async throws {
      guard hasMemory else { return announceSkip("contiguous blocks: no huge page is to be had here") }
      await #expect(processExitsWith: .success) {
        Stage.up()
        guard case .block(let start) = arena.takeContiguous(ContiguousRequest(size: 65536), type: 0, waits: true) else { fatalError() }
        // Not inherited: dd, "do not copy on fork"; locked: lo. Its neighbours are neither.
        let own = ArenaMapping.all.filter { $0.flags.contains("dc") }
        precondition(own.map(\.start) == [start], "\(own)")
        precondition(arena.releaseLarge(start))
        precondition(!ArenaMapping.all.contains { $0.flags.contains("dc") || $0.flags.contains("hg") || $0.flags.contains("lo") })
      }
    }

    private var held: Int {
      var count = 0
      var entry = arena.pointee.map.entry(after: nil)
      while let range = entry {
        if range.pointee.kind == RangeKind.held { count += 1 }
        entry = range.pointee.next
      }
      return count
    }

    @Test func `what a child of fork finds held is a gap there`() throws {
      let entry = try #require(arena.hold(bytes: 4 << 20, alignment: 2 << 20))
      fill(entry.pointee.start, 4 << 20)
      let start = entry.pointee.start
      #expect(held == 1)
      arena.pointee.lock.lock()
      arena.forgetHeldInChild()
      arena.pointee.lock.unlock()
      #expect(held == 0 && residentPages(start, 4 << 20) == 0)
      arena.checkInvariants()
    }

    #if STAVE_CHECK_LOCKS  // debug builds, whose system calls can be refused
      @Test(arguments: [12, 22], [UInt(65536), 4 << 20])
      func `L57 L39 with each system call refused nothing is left behind`(error: Int, size: UInt) {
        let (bytes, count, foreign) = (arena.pointee.largeBytes, arena.pointee.largeCount, arena.pointee.foreignBytes)
        let before = metadataPages.pointee.usedBytes
        for waits in [false, true] {
          var number = 1
          while number < 3000 {
            stave_inject().pointee.error = error
            stave_inject().pointee.after = number
            let start = take(ContiguousRequest(size: size), waits: waits)
            let left = stave_inject().pointee.after
            stave_inject().pointee.after = 0
            if let start {
              #expect(isContiguous(start, size))
              #expect(arena.releaseLarge(start))
            }
            #expect(held == 0)
            arena.checkInvariants()
            if left > 0 { break }
            number += 1
          }
          #expect(number > 4)
        }
        #expect(arena.pointee.largeBytes == bytes && arena.pointee.largeCount == count)
        // Where even mapping anew was refused the addresses are given up, but never memory: a few ranges, of up to a GiB.
        #expect(arena.pointee.foreignBytes - foreign < 10 << 30)
        // Entries of the map come from metadata: a page or two.
        #expect(metadataPages.pointee.usedBytes - before <= 4 * pageBytes)
      }
    #endif
  }
}
