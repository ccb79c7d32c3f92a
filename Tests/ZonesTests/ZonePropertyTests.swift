// SPDX-License-Identifier: BSD-2-Clause
//
// Random operations on zones of many sizes and flags against a list of what is held, everything checked after each step;
// then the same zones under threads that hand items to each other while others drain, trim and read the figures. Both ways
// of protecting cells go through both.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// An item held, filled with a byte of its own.
private struct Held {
  var item: UnsafeMutableRawPointer
  var mark: UInt8

  func write(_ size: Int) { item.initializeMemory(as: UInt8.self, repeating: mark, count: size) }
  func isIntact(_ size: Int) -> Bool {
    let last = size - 1
    return item.load(as: UInt8.self) == mark && item.load(fromByteOffset: last, as: UInt8.self) == mark
      && item.load(fromByteOffset: size / 2, as: UInt8.self) == mark
  }
}

private func exchange(_ box: UnsafeMutablePointer<UInt>, _ new: UInt, _ lock: NSLock) -> UInt {
  lock.withLock {
    let old = box.pointee
    box.pointee = new
    return old
  }
}

private final class Subject {
  let mock = MockSource()
  let zone: ZonePointer
  let size: Int
  var held: [Held] = []

  init(_ generator: inout Generator) {
    let flagSets: [ZoneFlags] = [.none, .offPage, .noBucket, .malloc, .noFree, .vm, .maxBucket, .offPage.union(.noBucket), .zeroInit]
    size = generator.size(upTo: generator.below(4) == 0 ? 20_000 : 2000)
    let align = 1 << generator.below(8)
    zone = makeTestZone(
      "subject", size, alignMask: align - 1, flags: flagSets[generator.below(flagSets.count)], source: mock.source)
  }
}

extension OnRoot {
  @Suite struct ZonePropertyTests {
    init() { Stage.up() }

    static func randomOperations(_ stream: UInt64) {
      var generator = Generator(stream)
      var subjects: [Subject] = []
      // A step is some twenty operations.
      for step in 0..<Stage.steps(6000, soak: 500_000) {
        func demand(_ isTrue: Bool, _ what: String) {
          if !isTrue { Issue.record("step \(step): \(what) (STAVE_SEED=\(Stage.seed))") }
        }
        if subjects.isEmpty || (subjects.count < 6 && generator.below(100) == 0) { subjects.append(Subject(&generator)) }
        let index = generator.below(subjects.count)
        let subject = subjects[index]
        let zone = subject.zone
        switch generator.below(20) {
        case 0...7:
          for _ in 0..<(generator.below(10) == 0 ? 200 : 3) where subject.held.count < 1500 {
            let isZeroed = generator.below(4) == 0
            let noVM = generator.below(12) == 0
            var flags = generator.below(20) == 0 ? WaitFlags.wait : .noWait
            if isZeroed { flags.insert(.zero) }
            if noVM { flags.insert(.noVM) }
            let calls = subject.mock.allocations
            guard let item = zone.allocate(flags) else {
              demand(noVM || flags.contains(.noWait), "nil although waiting is allowed")
              continue
            }
            if noVM { demand(subject.mock.allocations == calls, "noVM reached the page source") }
            if isZeroed { demand(isZero(item, subject.size), "not zeroed") }
            let new = Held(item: item, mark: UInt8(truncatingIfNeeded: generator.next()))
            new.write(subject.size)
            subject.held.append(new)
          }
        case 8...14:
          for _ in 0..<(generator.below(10) == 0 ? 200 : 4) where !subject.held.isEmpty {
            let old = subject.held.remove(at: generator.below(subject.held.count))
            demand(old.isIntact(subject.size), "contents of an item of \(subject.size) bytes")
            zone.free(old.item)
          }
        case 15: zone.reclaim([.trim, .drain, .drainCPU][generator.below(3)])
        case 16: subject.mock.refuseAt = 1 + generator.below(3)
        case 17: trimIdleDepots()
        case 18: _ = emptyCaches(of: usableCPUs[generator.below(usableCPUs.count)])
        default:
          if generator.below(8) == 0 {
            for old in subject.held { zone.free(old.item) }
            check(zone, holding: 0)
            demand(zone.destroy() == 0, "items out at the end")
            demand(subject.mock.bytesOut == 0, "pages out at the end")
            demand(!subject.mock.sawLock, "a lock was held over the page source")
            subjects.remove(at: index)
            continue
          }
          if generator.below(4) == 0 { reclaimAll(generator.below(2) == 0 ? .drain : .drainCPU) }
        }
        guard Stage.checks(step) else { continue }
        check(zone, holding: subject.held.count)
        if step % 500 == 0 { checkAll() }
      }
      for subject in subjects {
        for old in subject.held { subject.zone.free(old.item) }
        check(subject.zone, holding: 0)
        if subject.zone.destroy() != 0 || subject.mock.bytesOut != 0 { Issue.record("not all came back (STAVE_SEED=\(Stage.seed))") }
      }
      checkAll()
    }

    @Test func `L14 random operations keep every item apart and every count right`() async {
      Self.randomOperations(30)
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.ZonePropertyTests.randomOperations(31)
      }
    }

    /// Threads take and free items of shared zones and hand every third to another thread; another drains all the while,
    /// and one reads the figures.
    static func stress() {
      let specs: [(Int, ZoneFlags)] = [(16, .none), (64, .none), (640, .offPage), (2048, .none), (256, .noBucket)]
      let subjects = specs.map { makeTestZone("stress", $0.0, flags: $0.1) }
      let workers = 4
      let rounds = 20_000 * Stage.scale
      // A mailbox for each zone and worker, filled and emptied under a lock of its own.
      let boxes = UnsafeMutablePointer<UInt>.allocate(capacity: workers * specs.count)
      boxes.initialize(repeating: 0, count: workers * specs.count)
      let running = UnsafeMutablePointer<Int64>.allocate(capacity: 1)
      running.pointee = Int64(workers)
      let shared = Shared((subjects, boxes, running, NSLock()))
      inThreads(workers + 2) { thread in
        let (subjects, boxes, running, lock) = shared.value
        var generator = Generator(UInt64(40 + thread))
        switch thread {
        case workers:
          var turn = 0
          while stave_add_fetching(running, 0) > 0 {
            turn += 1
            switch turn % 5 {
            case 0: reclaimAll(.drainCPU)
            case 1, 2: trimIdleDepots()
            case 3: reclaimAll(.trim)
            default: for cpu in usableCPUs { _ = emptyCaches(of: cpu) }
            }
            usleep(200)
          }
        case workers + 1:
          while stave_add_fetching(running, 0) > 0 {
            for zone in subjects {
              let counts = ZoneCounts(zone)
              if counts.used < 0 || counts.cached < 0 || counts.frees < 0 { Issue.record("negative figures: \(counts)") }
            }
            _ = stave_yield()
          }
        default:
          var held: [[(UnsafeMutableRawPointer, UInt)]] = Array(repeating: [], count: subjects.count)
          for round in 0..<rounds {
            if round % 64 == thread { bind(toCPU: usableCPUs[generator.below(usableCPUs.count)]) }
            let which = generator.below(subjects.count)
            let zone = subjects[which]
            if generator.below(2) == 0 && held[which].count < 300 {
              guard let item = zone.allocate() else {
                Issue.record("no item")
                continue
              }
              let mark = UInt(thread) << 48 | UInt(round)
              item.storeBytes(of: mark, as: UInt.self)
              (item + 8).storeBytes(of: ~mark, as: UInt.self)
              if generator.below(3) == 0 {
                // Into somebody's box; what was there is freed here, wherever it came from.
                let box = boxes + which * workers + generator.below(workers)
                let old = exchange(box, item.address, lock)
                if let other = UnsafeMutableRawPointer(bitPattern: old) {
                  if other.load(as: UInt.self) != ~(other + 8).load(as: UInt.self) { Issue.record("an item handed over was overwritten") }
                  zone.free(other)
                }
              } else {
                held[which].append((item, mark))
              }
            } else if !held[which].isEmpty {
              let (item, mark) = held[which].remove(at: generator.below(held[which].count))
              if item.load(as: UInt.self) != mark || (item + 8).load(as: UInt.self) != ~mark {
                Issue.record("an item was given out twice (STAVE_SEED=\(Stage.seed))")
              }
              zone.free(item)
            }
          }
          for (which, items) in held.enumerated() { for (item, _) in items { subjects[which].free(item) } }
          stave_add(running, -1)
        }
      }
      for (which, zone) in subjects.enumerated() {
        for worker in 0..<workers {
          if let item = UnsafeMutableRawPointer(bitPattern: boxes[which * workers + worker]) { zone.free(item) }
        }
        check(zone, holding: 0)
        let counts = ZoneCounts(zone)
        if counts.allocations != counts.frees { Issue.record("L41: not equal at rest: \(counts)") }
        zone.reclaim(.drainCPU)
        check(zone, holding: 0)
        if zone.pointee.keg.outstanding != 0 { Issue.record("items lost: \(zone.pointee.keg.outstanding)") }
        if zone.destroy() != 0 { Issue.record("items out") }
      }
      checkAll()
      boxes.deallocate()
      running.deallocate()
    }

    @Test func `L28 L40 L41 T21 threads, draining and reading at once lose and double nothing`() async {
      Self.stress()
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.ZonePropertyTests.stress()
      }
    }

    @Test func `zones made and destroyed by many threads at once`() {
      let before = zones.pointee.zoneCount
      inThreads(4) { thread in
        var generator = Generator(UInt64(60 + thread))
        for _ in 0..<100 * Stage.scale {
          let zone = makeTestZone("parallel", 16 << generator.below(9), flags: generator.below(2) == 0 ? .none : .offPage)
          zone.freeAll(zone.takeMany(generator.below(300)))
          check(zone, holding: 0)
          if zone.destroy() != 0 { Issue.record("items out") }
        }
      }
      #expect(zones.pointee.zoneCount == before)
      checkAll()
    }
  }
}
