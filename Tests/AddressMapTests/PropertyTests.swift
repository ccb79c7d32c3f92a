// SPDX-License-Identifier: BSD-2-Clause
//
// Random operations on a map and on an array of cells; after every step both must say the same and the map's invariants
// hold (in a soak: after many steps).

import Testing

@testable import AddressMap
@testable import TestSupport

@Suite struct PropertyTests {
  @Test(arguments: [16, 96, 400])
  func M3_F1_F8_randomOperationsAgreeWithTheModel(cells: Int) {
    var random = Generator(UInt64(cells))
    let stepsOfRound = 600
    for round in 0..<Stage.steps(4 * stepsOfRound, soak: 3_000_000) / stepsOfRound {
      let base = [0, 16 * page, UInt.max - UInt(cells + 3) * page + 1][random.below(3)]
      let rig = Rig(base, base + UInt(cells) * page, bootstrapEntries: random.below(3), oneByOne: random.below(2) == 0)
      var run = Run(rig: rig, model: Model(cells: cells), base: base, random: random)
      for step in 0..<stepsOfRound {
        let isLast = step == stepsOfRound - 1
        if let message = run.step(checking: isLast || Stage.checks(round * stepsOfRound + step)) {
          Issue.record("STAVE_SEED=\(Stage.seed), \(cells) cells, round \(round), step \(step): \(message)")
          return
        }
      }
      random = run.random
    }
  }
}

/// One map beside its model.
private struct Run {
  let rig: Rig
  var model: Model
  let base: UInt
  var random: Generator

  var cells: Int { model.cells.count }

  func address(_ cell: Int) -> UInt { base + UInt(cell) * page }

  mutating func range() -> Range<Int> {
    let from = random.below(cells)
    let longest = random.below(4) == 0 ? cells - from : min(8, cells - from)
    return from..<from + random.below(longest) + 1
  }

  mutating func attributes() -> EntryAttributes {
    EntryAttributes(
      kind: UInt8(random.below(2)), noMerge: random.below(12) == 0, wordA: UInt(random.below(8) / 7),
      wordB: UInt(random.below(12) / 11))
  }

  mutating func request() -> SpaceRequest {
    let direction: SearchDirection = random.below(2) == 0 ? .bottomUp : .topDown
    let length = UInt(random.below(random.below(3) == 0 ? cells : 6) + 1) * page
    var request = SpaceRequest(length: length, direction: direction)
    switch random.below(4) {
    case 0: request.address = address(random.below(cells))
    case 1: request.address = [0, base, base + UInt(cells) * page, .max][random.below(4)]
    default: break
    }
    request.alignment = page << [0, 0, 1, 2, 3, 5, 40][random.below(7)]
    if random.below(3) == 0 {
      request.colourSize = page << UInt(random.below(4))
      request.colour = UInt(random.below(8)) * page
    }
    return request
  }

  /// One operation on both; says what differs. `checking`: looks at the whole structure afterwards.
  mutating func step(checking: Bool) -> String? {
    let image = checking ? model.images(base: base) : []
    let ranges = model.ranges
    switch random.below(12) {
    case 0, 1:
      let range = range()
      let attributes = attributes()
      let free = model.isFree(range)
      let entry = rig.insert(start: address(range.lowerBound), length: UInt(range.count) * page, attributes).value
      if (entry != nil) != free { return "insert \(range): free is \(free)" }
      if free { model.insert(range, attributes) }
      if let entry, entry.pointee.start > address(range.lowerBound) || entry.pointee.end < address(range.upperBound) {
        return "insert \(range): the entry returned does not cover it"
      }
    case 2, 3, 4:
      let request = request()
      let attributes = attributes()
      let expected = model.find(request, base: base)
      let found = rig.allocate(request, attributes).value
      if found != expected { return "allocate \(request): \(String(describing: found)), not \(String(describing: expected))" }
      if let found {
        let cell = Int((found - base) / page)
        model.insert(cell..<cell + Int(request.length / page), attributes)
      }
    case 5:
      let request = request()
      let expected = model.find(request, base: base)
      let space = rig.findSpace(request)
      if space?.address != expected { return "find \(request): not \(String(describing: expected))" }
      if let space, (space.previous?.pointee.end ?? base) > space.address { return "find: previous is not before it" }
      var hasty = request
      hasty.patience = random.below(3)
      let quick = rig.findSpace(hasty)
      if (quick == nil) != (expected == nil) { return "find with patience \(hasty): existence differs" }
      if let quick {
        let cell = Int((quick.address - base) / page)
        let wished = hasty.direction == .bottomUp ? quick.address >= hasty.address : quick.address <= hasty.address
        if !wished || !model.isFree(cell..<cell + Int(hasty.length / page)) { return "find with patience: not free" }
      }
    case 6, 7:
      let range = range()
      let expected = model.remove(range)
      let removed = rig.remove(start: address(range.lowerBound), length: UInt(range.count) * page).value
      if removed != UInt(expected) * page { return "remove \(range): \(String(describing: removed)) bytes" }
    case 8:
      guard let range = ranges.randomElement(using: &random), range.count > 1 else { break }
      let at = range.lowerBound + 1 + random.below(range.count - 1)
      let entry = rig.lookup(address(range.lowerBound)).entry!
      let upper = rig.clip(entry, at: address(at))
      if upper?.pointee.start != address(at) { return "clip \(range) at \(at)" }
      model.begins[at] = true
    case 9:
      guard let range = ranges.randomElement(using: &random) else { break }
      let attributes = attributes()
      let entry = rig.lookup(address(range.upperBound) - 1).entry!
      let survivor = rig.change(entry, to: attributes)
      model.change(range, attributes)
      if survivor != rig.entry(containing: address(range.lowerBound)) { return "change \(range): wrong survivor" }
    case 10:
      guard let range = ranges.randomElement(using: &random) else { break }
      let length = random.below(5)
      let entry = rig.lookup(address(range.lowerBound)).entry!
      let room = length > 0 && range.upperBound + length <= cells && model.isFree(range.upperBound..<range.upperBound + length)
      if rig.grow(entry, by: UInt(length) * page) != room { return "grow \(range) by \(length): room is \(room)" }
      if room { model.grow(range, by: length) }
    default:
      guard let range = ranges.randomElement(using: &random) else { break }
      let length = random.below(5)
      let entry = rig.lookup(address(range.lowerBound)).entry!
      let can = length > 0 && length < range.count
      if rig.shrink(entry, by: UInt(length) * page) != can { return "shrink \(range) by \(length): can is \(can)" }
      if can { _ = model.remove(range.upperBound - length..<range.upperBound) }
    }

    guard checking else { return nil }
    if let violation = rig.violation { return violation }
    if rig.entries != model.images(base: base) { return "entries differ from the model; before the step: \(image)" }
    if rig.supply.pointee.inUse != rig.map.pointee.count { return "the supply lost an entry" }
    let cell = random.below(cells)
    let place = rig.lookup(address(cell))
    if place.found != (model.cells[cell] != nil) { return "lookup of cell \(cell)" }
    return rig.violation
  }
}
