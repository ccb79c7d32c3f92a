// SPDX-License-Identifier: BSD-2-Clause
//
// What ends the process: frees and reallocations of what is no block, or no longer.

@testable import Accounting
import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

extension OnRoot {
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
        String(decoding: result?.standardErrorContent ?? [], as: UTF8.self), containing: "1 item, ",
        "free() of an item whose zone was destroyed", "in zone forgotten")
    }

    @Test func `L21 where the process goes on, what cannot be freed stays as it was, and figures are right`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        Stage.up()
        heap.pointee.options.values[Option.onreport.rawValue] = 1
        heap.apply(.onreport)
        var chance = Generator(73)
        var blocks: [(start: UnsafeMutableRawPointer, size: Int)] = []
        let before = live()
        var bad: Int64 = 0
        func refuse(_ address: UnsafeMutableRawPointer?) {
          bad += 1
          if chance.below(2) == 0 { return Heap.free(address) }
          stave_set_errno(0)
          precondition(Heap.reallocate(address, 100) == nil && stave_errno() == EINVAL)
        }
        for _ in 0..<2000 {
          switch chance.below(8) {
          case 0..<4:
            let size = chance.below(20) == 0 ? 40_000 + chance.below(100_000) : 32 + chance.size(upTo: 3000)
            let block = Heap.allocate(UInt(size))!
            fill(block, size, UInt8(truncatingIfNeeded: size))
            blocks.append((block, size))
          case 4, 5:
            guard let index = blocks.indices.randomElement(using: &chance) else { break }
            precondition(holds(blocks[index].start, blocks[index].size, UInt8(truncatingIfNeeded: blocks[index].size)), "a block was touched")
            Heap.free(blocks.remove(at: index).start)
          case 6: refuse(blocks.randomElement(using: &chance).map { $0.start + 1 + chance.below($0.size - 1) } ?? UnsafeMutableRawPointer(bitPattern: 16))
          default: refuse(UnsafeMutableRawPointer(bitPattern: UInt(1 + chance.below(1 << 40))))
          }
        }
        precondition(stave_reports().pointee.count == bad && bad > 100)
        freeAll(blocks.map(\.start))
        precondition(live().items == before.items && live().large == before.large)
        // Twice, on top of the cache and deeper.
        bind(toCPU: usableCPUs[0])
        let first = Heap.allocate(100)!, second = Heap.allocate(100)!
        Heap.free(first)
        Heap.free(first)
        Heap.free(second)
        Heap.free(first)
        reclaimAll(.drainCPU)
        precondition(stave_reports().pointee.count == bad + 2)
        precondition(live().items == before.items && live().large == before.large, "a free that was none is not counted")
        for index in 0..<SizeClass.count { if let zone = heap.pointee.classZones[index] { zone.pointee.keg.checkInvariants() } }
        let large = Heap.allocate(1 << 20)!
        Heap.free(large)
        Heap.free(large)
        precondition(stave_reports().pointee.count == bad + 3 && live().large == before.large)
        stave_reports().pointee.writer = 0
      }
      expectStopped(String(decoding: result?.standardErrorContent ?? [], as: UTF8.self), containing: "\n  next: ")
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
