// SPDX-License-Identifier: BSD-2-Clause
//
// Zones under MemGuard with several threads, forks, and requests by lot: each item's hooks run once, and what it holds stays.

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
  @Suite struct GuardedZoneRaceTests {
    @Test func `T12 an item is finished once, whoever frees it twice at one time`() async {
      let result = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
        guardUp()
        setGuard(.onreport, 1)
        // The destructor frees its own item: the hooks are running already.
        let zone = makeTestZone(
          "again", 100,
          hooks: ZoneHooks(destructor: { item, _, argument in
            Ran.calls.append(Ran.Call(hook: .destructor, item: item.address))
            if Ran.calls.count < 3 { argument!.assumingMemoryBound(to: Zone.self).free(item) }
          }))
        zone.free(zone.allocate()!, argument: UnsafeMutableRawPointer(zone))
        precondition(Ran.hooks == [.destructor] && memGuard.pointee.reports == 1)
        // Two threads with the same item, over and over: the hooks run once for each item.
        let both = Ran.countingZone(), rounds = 500
        let items = (0..<rounds).map { _ in both.allocate()! }
        // Threads that have come to an item; whoever is first waits for the other there.
        let come = UnsafeMutablePointer<Int64>.allocate(capacity: rounds)
        come.initialize(repeating: 0, count: rounds)
        inThreads(2) { _ in
          for (round, item) in items.enumerated() {
            stave_add(come + round, 1)
            while stave_load64(come + round) < 2 { _ = stave_yield() }
            both.free(item)
          }
        }
        precondition(Ran.finished == rounds && memGuard.pointee.reports == 1 + rounds, "\(Ran.finished) \(memGuard.pointee.reports)")
        demandNothingOut()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.contains("double free: zone free of 0x"), "\(text.prefix(2000))")
    }

    @Test func `guarded items with threads and forks: each child has them as they were, and frees its own`() async {
      await #expect(processExitsWith: .success) {
        guardUp()
        setGuard(.memguard, 3)
        let zone = Ran.countingZone()
        // What Swift makes at a first use would stay half made in a child of fork.
        useAllNumbersOfFrames()
        let first = (0..<9).map { _ in zone.allocate()! }
        precondition(first.contains(where: isGuarded))
        for (index, item) in first.enumerated() {
          fill(item, 100, UInt8(index))
          precondition(holds(item, 100, UInt8(index)))
          zone.free(item)
        }
        let isDone = Flag()
        inThreads(3) { thread in
          guard thread > 0 else {
            for round in 0..<20 {
              let mine = (0..<40).map { _ in zone.allocate()! }
              for (index, item) in mine.enumerated() { fill(item, 100, UInt8(index)) }
              Heap.prepareFork()
              let child = libcFork()
              if child == 0 {
                Heap.childAfterFork()
                for (index, item) in mine.enumerated() {
                  guard holds(item, 100, UInt8(index)) else { _exit(2) }
                  zone.free(item)
                }
                let more = (0..<40).map { _ in zone.allocate()! }
                guard more.contains(where: isGuarded) else { _exit(3) }
                for item in more { zone.free(item) }
                // Regions that other threads were opening or closing stay as they were.
                _exit(0)
              }
              Heap.parentAfterFork()
              var status: Int32 = 0
              precondition(child > 0 && waitpid(child, &status, 0) == child && status == 0, "round \(round): \(status)")
              for (index, item) in mine.enumerated() {
                precondition(holds(item, 100, UInt8(index)))
                zone.free(item)
              }
            }
            return isDone.set()
          }
          while !isDone.isSet {
            let some = (0..<20).map { _ in zone.allocate()! }
            for item in some { zone.free(item) }
          }
        }
        demandNothingOut()
        precondition(zone.destroy() == 0)
      }
    }

    @Test func `L51 random requests of two zones while guards and item checks are switched: each item is freed as what it is, hooks in pairs`() async {
      _ = Stage.seed
      await #expect(processExitsWith: .success) {
        guardUp()
        memGuard.pointee.kept = 16 << 20
        var lot = Generator(91)
        Ran.touches = false
        let zones = [Ran.makeZone("orders", 100), Ran.makeZone("others", 5000)]
        var held: [(item: UnsafeMutableRawPointer, zone: Int, mark: UInt8)] = []
        var guarded = 0, plain = 0
        for step in 0..<Stage.steps(4000, soak: 400_000) {
          switch lot.below(30) {
          case 0: setGuard(.memguard, [0, 1, 2, 10].randomElement(using: &lot)!)
          case 1: if lot.below(2) == 0 { setGuard(.memguardType, Int64(lot.below(2))) } else { guardTypes(["orders", "others+malloc"].randomElement(using: &lot)!) }
          case 2: setGuard(.memguardSide, Int64(lot.below(3)))
          case 3: if lot.below(4) == 0 { setGuard(.check, Int64(lot.below(2))) }
          case 4...17 where held.count < 300, 18...20 where held.isEmpty:
            let zone = lot.below(2), mark = UInt8(truncatingIfNeeded: step)
            Ran.calls = []
            Ran.refusing = lot.below(20) == 0 ? .constructor : nil
            let refuses = Ran.refusing != nil
            guard let item = zones[zone].allocate() else {
              precondition(refuses)
              continue
            }
            precondition(!refuses && Ran.calls.last == Ran.Call(hook: .constructor, item: item.address))
            if isGuarded(item) { guarded += 1 } else { plain += 1 }
            fill(item, zones[zone].pointee.size, mark)
            held.append((item, zone, mark))
          default:
            guard !held.isEmpty else { continue }
            let one = held.remove(at: lot.below(held.count))
            let size = zones[one.zone].pointee.size
            precondition(holds(one.item, size, one.mark))
            let wasGuarded = isGuarded(one.item)
            Ran.calls = []
            // As init leaves it, for items that stay in a cache.
            fill(one.item, size, 0)
            zones[one.zone].free(one.item)
            precondition(Ran.calls.first == Ran.Call(hook: .destructor, item: one.item.address))
            if wasGuarded { precondition(Ran.hooks == [.destructor, .zoneFini, .kegFini] && !isReadable(one.item.address)) }
          }
          if step % 64 == 0 && Stage.checks(step) {
            memGuard.checkInvariants()
            for index in 0..<2 { check(zones[index], holding: held.count { $0.zone == index && !isGuarded($0.item) }) }
          }
        }
        precondition(guarded > 100 && plain > 100, "\(guarded) \(plain)")
        for one in held { zones[one.zone].free(one.item) }
        setGuard(.check, 0)
        demandNothingOut()
        precondition(zones[0].destroy() == 0 && zones[1].destroy() == 0)
      }
    }
  }
}
