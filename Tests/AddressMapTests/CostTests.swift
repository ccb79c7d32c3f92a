// SPDX-License-Identifier: BSD-2-Clause
//
// Costs in steps along tree and list, never in time (lesson V29, F6): what the counters of the map say.

import Testing

@testable import AddressMap
@testable import TestSupport

/// The mean and the largest number of steps of some operations.
private struct Steps: CustomStringConvertible {
  var total: UInt = 0
  var most: UInt = 0
  var operations: UInt = 0

  var mean: Double { Double(total) / Double(max(operations, 1)) }
  var description: String { "mean \((mean * 10).rounded() / 10), most \(most)" }

  mutating func measure(_ rig: Rig, _ operation: () -> Void) {
    let before = rig.map.pointee.counters
    operation()
    let after = rig.map.pointee.counters
    let steps = (after.treeSteps - before.treeSteps) + (after.listSteps - before.listSteps)
      + (after.spaceTries - before.spaceTries)
    total += steps
    most = max(most, steps)
    operations += 1
  }
}

/// `count` entries of one to four pages with gaps of one to four between, and some longer gaps now and then.
private func ragged(_ count: Int, _ random: inout Generator) -> Rig {
  let rig = Rig(0, 1 << 46)
  var at: UInt = 0
  for _ in 0..<count {
    let length = UInt(random.below(4) + 1)
    rig.insert(at, at + length)
    at += length + UInt(random.below(4) + 1)
    if random.below(50) == 0 { at += 12 }
  }
  return rig
}

@Suite struct CostTests {
  @Test func V29_M3_F6_stepsGrowWithTheLogarithm() {
    let sizes = [1000, 100_000]
    var costs: [[Steps]] = []
    let names = ["lookup", "map, bottom-up", "map, top-down", "map, aligned", "unmap"]
    for size in sizes {
      var random = Generator(seed: 29)
      let rig = ragged(size, &random)
      let top = Int(rig.map.pointee.last!.pointee.end / page)
      var steps = Array(repeating: Steps(), count: names.count)
      for _ in 0..<2000 {
        let address = UInt(random.below(top)) * page
        steps[0].measure(rig) { _ = rig.lookup(address) }
        let length = UInt(random.below(8) + 1) * page
        for kind in 1...3 {
          var request = SpaceRequest(
            length: length, direction: kind == 2 ? .topDown : .bottomUp, from: UInt(random.below(top)) * page)
          if kind == 3 {
            request.alignment = 16 * page
            request.patience = 8
          }
          var placed: UInt?
          steps[kind].measure(rig) { placed = rig.allocate(request, EntryAttributes(kind: 2)).value }
          if let placed { steps[4].measure(rig) { _ = rig.remove(start: placed, length: length) } }
        }
      }
      #expect(rig.violation == nil)
      costs.append(steps)
      for (name, cost) in zip(names, steps) { print("V29: \(size) entries, \(name): \(cost)") }
    }
    for (index, name) in names.enumerated() {
      #expect(costs[1][index].mean <= 3 * costs[0][index].mean, "\(name)")
      #expect(costs[1][index].most <= 8 * 34, "\(name)")  // a few passes of at most 2 log2(100000) nodes
    }
  }

  /// No gap is visited that is too short: one long gap on either side of a hundred thousand short ones, in both directions.
  @Test func V29_shortGapsAreNotWalked() {
    let count: UInt = 100_000
    let rig = Rig(0, (count * 2 + 20) * page)
    rig.insert(0, 5)
    for index in 0..<count { rig.insert(index * 2 + 10, index * 2 + 11) }
    rig.insert(count * 2 + 12, count * 2 + 20)
    let searches: [(SearchDirection, UInt, UInt)] = [(.bottomUp, 11, count * 2 + 9), (.topDown, count * 2 + 8, 8)]
    for (direction, from, expected) in searches {
      var steps = Steps()
      var found: UInt?
      steps.measure(rig) { found = rig.find(SpaceRequest(length: 2 * page, direction: direction, from: from * page)) }
      print("V29: one long gap at the far end, \(direction): \(steps)")
      #expect(found == expected * page)
      #expect(steps.most <= 3 * 34)
    }
  }

  /// The unbroken run from minimum is not walked either, when a hole early in it is filled.
  @Test func V29_frontierIsFoundWithoutAWalk() {
    let count: UInt = 50_000
    let rig = Rig(0, (count + 100) * page)
    for index in 0..<count { rig.insert(index, index + 1, EntryAttributes(kind: UInt8(index % 2))) }
    var steps = Steps()
    for index in stride(from: 0, to: count, by: 997) as StrideTo<UInt> {
      steps.measure(rig) { rig.remove(index, index + 1) }
      steps.measure(rig) { rig.insert(index, index + 1, EntryAttributes(kind: UInt8(index % 2))) }
    }
    print("V29: frontier: \(steps)")
    #expect(steps.most <= 6 * 34)
    #expect(rig.map.pointee.firstFree?.pointee.end == count * page && rig.violation == nil)
  }
}
