// SPDX-License-Identifier: BSD-2-Clause
//
// Each configuration of flags and kinds by itself, at full length for ten million operations, against a model: what is held, what was
// written to it first and last, and how many. Sizes change with each zone, of which there are many one after the other; so does
// how many items are wished for, so that caches, depots and slabs run full and empty by turns.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// The items out of one zone: each begins with a number of its own, and ends with a byte of it.
private struct Model {
  let size: Int
  var held: [UnsafeMutableRawPointer] = []
  var numbers: [UInt64] = []

  mutating func add(_ item: UnsafeMutableRawPointer, _ number: UInt64) {
    item.storeBytes(of: number, as: UInt64.self)
    item.storeBytes(of: UInt8(truncatingIfNeeded: number >> 3), toByteOffset: size - 1, as: UInt8.self)
    held.append(item)
    numbers.append(item.loadUnaligned(as: UInt64.self))
  }

  /// Takes one out; nil if it is not as it was.
  mutating func remove(_ index: Int) -> UnsafeMutableRawPointer? {
    let (item, number) = (held[index], numbers[index])
    held.swapAt(index, held.count - 1)
    numbers.swapAt(index, numbers.count - 1)
    held.removeLast()
    numbers.removeLast()
    return item.loadUnaligned(as: UInt64.self) == number ? item : nil
  }
}

extension OnRoot {
  @Suite struct ZoneConfigurationTests {
    init() { Stage.up() }

    private func play(_ configuration: ZoneConfiguration, _ stream: UInt64) {
      var generator = Generator(stream)
      var done = 0, zonesMade = 0
      let operations = Stage.steps(12_000, soak: 10_000_000), life = Stage.scale == 1 ? 4000 : 200_000
      while done < operations {
        let subject = ConfiguredZone(configuration, &generator)
        var model = Model(size: subject.size), wished = 100
        func demand(_ isTrue: Bool, _ what: String) {
          if !isTrue { Issue.record("\(configuration.name), operation \(done), \(subject.size) bytes: \(what) (STAVE_SEED=\(Stage.seed))") }
        }
        zonesMade += 1
        let end = done + min(life, operations - done)
        while done < end {
          done += 1
          let lot = generator.next()
          if lot >> 52 == 0 {
            wished = generator.below(900)
            trouble(subject, &model, &generator)
          }
          if Stage.checks(done / 8) && done % (Stage.scale == 1 ? 16 : 512) == 0 { subject.check(holding: model.held.count) }
          let surplus = model.held.count - wished
          if model.held.isEmpty || lot & 15 < (surplus < 0 ? 10 : 6) {
            let flags: WaitFlags = lot & 0xf00 == 0 ? .noWait.union(.zero) : .noWait
            guard let item = subject.take(flags) else {
              demand(subject.mayBeRefused(holding: model.held.count), "nil for no reason")
              continue
            }
            if flags.contains(.zero) { demand(item.loadUnaligned(as: UInt64.self) == 0, "not zero") }
            model.add(item, lot)
          } else {
            let item = model.remove(Int(truncatingIfNeeded: lot >> 16 & 0xffff_ffff) % model.held.count)
            demand(item != nil, "an item that changed while it was out")
            guard let item else { return }
            subject.give(item)
          }
        }
        while let item = model.held.isEmpty ? nil : model.remove(model.held.count - 1) { subject.give(item) }
        demand(model.held.isEmpty, "an item that changed while it was out")
        if let wrong = subject.end() { demand(false, wrong) }
      }
      if Stage.scale > 1 { print("configuration \(configuration.name): \(done) operations, \(zonesMade) zones") }
    }

    /// What happens seldom.
    private func trouble(_ subject: ConfiguredZone, _ model: inout Model, _ generator: inout Generator) {
      switch generator.below(6) {
      case 0: subject.zone.reclaim([.trim, .drain, .drainCPU][generator.below(3)])
      case 1: trimIdleDepots()
      case 2: reclaimAll([.trim, .drain, .drainCPU][generator.below(3)])
      case 3: _ = emptyCaches(of: usableCPUs[generator.below(usableCPUs.count)])
      case 4:
        // A refusal of pages, at a request that may get nil.
        subject.refuseSoon()
        if let item = subject.take(.noWait) { model.add(item, generator.next()) }
        subject.refuseNoMore()
      default:
        if memoryDomains.count > 1 { hop(to: generator.below(memoryDomains.count)) } else { bind(toCPU: usableCPUs[generator.below(usableCPUs.count)]) }
      }
    }

    @Test(arguments: ZoneConfiguration.all) func `random operations on zones of one configuration agree with the model`(_ configuration: ZoneConfiguration) {
      let stream = UInt64(800 + ZoneConfiguration.all.firstIndex { $0.name == configuration.name }!)
      if configuration.domains > 1 {
        withDomains(configuration.domains) {
          hop(to: 0)
          play(configuration, stream)
        }
      } else {
        play(configuration, stream)
        bindToAll()
      }
    }
  }
}
