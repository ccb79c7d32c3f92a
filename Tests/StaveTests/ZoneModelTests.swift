// SPDX-License-Identifier: BSD-2-Clause
//
// Random operations on a zone, a zone on its slabs and an object cache in its memory, beside a model of what is out: each value where it
// was put, none twice, every figure right after every step.

import Foundation
import Stave
import Testing

@testable import TestSupport

/// An item as arrays can hold it.
private final class Held {
  var item: ZoneItem<Counted>
  init(_ item: consuming ZoneItem<Counted>) { self.item = item }
}
private final class HeldObject {
  var object: CachedObject<Counted>
  init(_ object: consuming CachedObject<Counted>) { self.object = object }
}

private func play(_ stream: UInt64) throws {
  var lot = Generator(stream)
  let limit = lot.below(2) == 0 ? 0 : 100 + lot.below(300)
  let flags: [ZoneFlags] = [[], .noCaches, .offPage, .largestCaches, .neverReturned, [.spread, .noDump]]
  let zone = try Zone<Counted>("model", flags: flags[lot.below(flags.count)], limit: limit)
  let other = try Zone("model, second", on: zone)
  let cache = try ObjectCache<Counted>("model, objects", in: zone) { Counted(-1) } reset: { $0.number = -2 }
  var held: [(of: Zone<Counted>, Held)] = [], raw: [(UnsafeMutablePointer<Counted>, Int)] = [], objects: [HeldObject] = []
  for step in 0..<Stage.steps(3000, soak: 1_000_000) {
    switch lot.below(12) {
    case 0...3:
      let from = lot.below(3) == 0 ? other : zone
      if let item = from.item(Counted(step)) { held.append((from, Held(item))) } else { precondition(limit > 0 && from === zone) }
    case 4...5:
      if !held.isEmpty { held.remove(at: lot.below(held.count)) }
    case 6:
      if let element = zone.allocate(lot.below(2) == 0 ? [] : .zero) {
        element.initialize(to: Counted(step))
        raw.append((element, step))
      }
    case 7:
      if !raw.isEmpty {
        let (element, number) = raw.remove(at: lot.below(raw.count))
        if lot.below(2) == 0 {
          precondition(zone.adopt(element).take().number == number)
        } else {
          precondition(element.move().number == number)
          zone.free(element)
        }
      }
    case 8...9:
      if let object = cache.object() {
        precondition(object.value.number < 0)
        objects.append(HeldObject(object))
        objects.last!.object.value.number = -step - 10
      }
    case 10:
      if !objects.isEmpty { objects.remove(at: lot.below(objects.count)) }
    default:
      switch lot.below(4) {
      case 0: zone.trim()
      case 1: other.trim()
      case 2: cache.trim()
      default: trimZones()
      }
    }
    if Stage.checks(step) {
      let inZone = held.count { $0.of === zone } + raw.count + cache.itemsInUse + cache.itemsCached
      let inOther = held.count { $0.of === other }
      precondition(zone.itemsInUse == inZone && other.itemsInUse == inOther, "step \(step), stream \(stream)")
      precondition(cache.itemsInUse == objects.count && living == held.count + raw.count + objects.count + cache.itemsCached)
      if limit > 0 { precondition(zone.itemsInUse <= limit) }
      for one in [zone, other, cache] as [AnyZone] { one.checkInvariants() }
    }
    if step % 100 == 0 { for (element, number) in raw { precondition(element.pointee.number == number) } }
  }
  for (element, _) in raw { _ = zone.adopt(element) }
}

@Suite struct ZoneModelTests {
  @Test(arguments: [1, 2, 3, 4] as [UInt64]) func `random operations agree with a model of what is out`(_ stream: UInt64) async {
    await #expect(processExitsWith: .success) { [stream] in
      try play(960 + stream)
      precondition(living == 0)
    }
  }

  @Test func `threads that hand items to each other`() async {
    await #expect(processExitsWith: .success) {
      let zone = try Zone<Counted>("handed on")
      let lock = NSLock()
      let pile = Shared(Pile())
      inThreads(4) { thread in
        var lot = Generator(970 + UInt64(thread))
        for round in 0..<20_000 * min(Stage.scale, 50) {
          if lot.below(2) == 0 {
            let element = zone.item(Counted(round))!.release()
            lock.withLock { pile.value.elements.append((element, round)) }
          } else if let (element, number) = lock.withLock({ pile.value.elements.popLast() }) {
            precondition(zone.adopt(element).value.number == number)
          }
        }
      }
      precondition(zone.itemsInUse == pile.value.elements.count && living == pile.value.elements.count)
      for (element, number) in pile.value.elements { precondition(zone.adopt(element).take().number == number) }
      precondition(living == 0)
      zone.checkInvariants()
    }
  }
}

private final class Pile { var elements: [(UnsafeMutablePointer<Counted>, Int)] = [] }
