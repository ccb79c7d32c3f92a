// SPDX-License-Identifier: BSD-2-Clause
//
// Random operations on zones with deferred reuse, of which two share a context, against a list of what is held and of who was reading when
// each item was freed. Until all of these have left an item keeps its content, sees no destructor and is not handed out.

import CPlatform
import Foundation
import Testing

@testable import Heap
@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// What the destructor, a C function, looks at.
private enum Model {
  struct Waiting {
    var readers: Set<Int>
    var mark: UInt64
    var isDestructed = false
  }
  nonisolated(unsafe) static var waiting: [UInt: Waiting] = [:]
  nonisolated(unsafe) static var mistakes: [String] = []

  static let destructor: Destructor = { item, size, argument in
    guard let known = waiting[item.address] else { return mistakes.append("destructed, but not free") }
    if known.isDestructed { mistakes.append("destructed twice") }
    if !known.readers.isEmpty { mistakes.append("destructed while \(known.readers) read") }
    if argument != nil { mistakes.append("an argument") }
    if item.load(as: UInt64.self) != known.mark { mistakes.append("changed before its destructor ran") }
    waiting[item.address]!.isDestructed = true
    item.storeBytes(of: 0, as: UInt64.self)
  }
}

extension OnRoot {
  @Suite struct SMRPropertyTests {
    init() { Stage.up() }

    static func randomOperations(_ stream: UInt64) {
      var generator = Generator(stream)
      (Model.waiting, Model.mistakes) = ([:], [])
      let shared = makeSMR()!
      let mock = MockSource()
      let hooks = ZoneHooks(destructor: Model.destructor)
      let subjects = [
        makeTestSMRZone("alone", 64, hooks: hooks, source: mock.source), makeTestSMRZone("shared", 640, hooks: hooks, source: mock.source, smr: shared),
        makeTestSMRZone("shared", 3000, flags: [.none, .offPage, .noBucket][generator.below(3)], hooks: hooks, source: mock.source, smr: shared),
      ]
      let contexts = [subjects[0].smr!, shared]
      let players = (0..<4).map { _ in Player() }
      // Readers are numbered by player and context.
      var inside: Set<Int> = []
      var held: [[UnsafeMutableRawPointer]] = [[], [], []]
      for step in 0..<Stage.steps(1200, soak: 200_000) {
        func demand(_ isTrue: Bool, _ what: String) {
          if !isTrue { Issue.record("step \(step): \(what) (STAVE_SEED=\(Stage.seed))") }
        }
        let which = generator.below(3), zone = subjects[which]
        switch generator.below(16) {
        case 0...4:
          for _ in 0..<(generator.below(8) == 0 ? 200 : 5) where held[which].count < 900 {
            guard let item = zone.allocateSMR() else { continue }
            if let known = Model.waiting.removeValue(forKey: item.address) {
              demand(known.isDestructed && known.readers.isEmpty, "handed out while \(known.readers) read, destructed: \(known.isDestructed)")
            }
            item.storeBytes(of: generator.next(), as: UInt64.self)
            held[which].append(item)
          }
        case 5...9:
          let readers = inside.filter { $0 & 1 == Swift.min(which, 1) }
          for _ in 0..<(generator.below(8) == 0 ? 200 : 6) where !held[which].isEmpty {
            let item = held[which].remove(at: generator.below(held[which].count))
            demand(Model.waiting[item.address] == nil, "held and waiting")
            Model.waiting[item.address] = Model.Waiting(readers: readers, mark: item.load(as: UInt64.self))
            zone.freeSMR(item)
          }
        case 10...12:
          let reader = generator.below(players.count * 2)
          if inside.remove(reader) != nil {
            players[reader / 2].act { contexts[reader & 1].exit() }
            for item in Model.waiting.keys { Model.waiting[item]!.readers.remove(reader) }
          } else {
            players[reader / 2].act { contexts[reader & 1].enter() }
            inside.insert(reader)
          }
        case 13: zone.reclaim([.trim, .drain, .drainCPU][generator.below(3)])
        case 14: bind(toCPU: usableCPUs[generator.below(usableCPUs.count)])
        default:
          if generator.below(3) == 0 { mock.refuseAt = 1 + generator.below(3) } else { trimIdleDepots() }
        }
        for (item, known) in Model.waiting.prefix(20) where !known.isDestructed {
          demand(UnsafeRawPointer(bitPattern: item)!.load(as: UInt64.self) == known.mark, "changed while it waits")
        }
        demand(Model.mistakes.isEmpty, "\(Model.mistakes.first ?? "")")
        if !Model.mistakes.isEmpty { break }
        if Stage.checks(step) && step % 4 == 0 { check(zone, holding: held[which].count) }
      }
      bindToAll()
      for reader in inside { players[reader / 2].act { contexts[reader & 1].exit() } }
      for item in Model.waiting.keys { Model.waiting[item]!.readers = [] }
      for (which, zone) in subjects.enumerated() {
        for item in held[which] {
          Model.waiting[item.address] = Model.Waiting(readers: [], mark: item.load(as: UInt64.self))
          zone.freeSMR(item)
        }
        check(zone, holding: 0)
        if zone.destroy() != 0 { Issue.record("items out (STAVE_SEED=\(Stage.seed))") }
      }
      if !Model.mistakes.isEmpty || Model.waiting.values.contains(where: { !$0.isDestructed }) || mock.bytesOut != 0 || mock.sawLock {
        Issue.record("\(Model.mistakes.first ?? "not all came to its end") (STAVE_SEED=\(Stage.seed))")
      }
      #expect(shared.destroy())
      checkAll()
    }

    @Test func `random operations: each item waits for its readers, sees its destructor once, and is in one place`() async {
      Self.randomOperations(830)
      await #expect(processExitsWith: .success) {
        Stage.up()
        Stage.useLockedCaches()
        OnRoot.SMRPropertyTests.randomOperations(831)
      }
    }
  }
}
