// SPDX-License-Identifier: BSD-2-Clause
//
// Address → owner: any address may be asked about, and the answer is what was set last.

import CPlatform
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

extension OnRoot {
  @Suite struct OwnerMapTests {
    init() { Stage.up() }

    private func isNone(_ address: UInt) -> Bool {
      if case .none = ownerMap.pointee.owner(of: address) { true } else { false }
    }

    @Test func `L30 any value of 64 bits may be asked about`() {
      var generator = Generator(1)
      let low = arena.pointee.windowStart
      let high = arena.pointee.windowEnd
      for address in [0, 1, 4096, low - 1, low &- unitBytes, high, high + 1, 1 << 47, 1 << 63, .max, .max - 4095, .max - unitBytes] {
        #expect(isNone(address), "\(address) has no owner")
      }
      var owned = 0
      for _ in 0..<100_000 {
        let address = UInt(generator.next())
        if (address < low || address >= high) && !isNone(address) { owned += 1 }
      }
      #expect(owned == 0)
    }

    @Test func `a unit leads to the slab that was set, in every byte, and to nobody once cleared`() {
      let start = arena.takeSlab(bytes: 2 * unitBytes)!.address
      let record = metadataPages.allocate(bytes: pageBytes)!
      for unit in [start, start + unitBytes] { ownerMap.pointee.set(unitOf: unit, slab: record, cellOffset: 7) }
      for offset in [0, 1, 4095, 65535, 65536, 131071] as [UInt] {
        guard case .slab(let found) = ownerMap.pointee.owner(of: start + offset) else {
          Issue.record("no slab at offset \(offset)")
          continue
        }
        #expect(found == record)
      }
      let unit = Int(start >> unitShift) - Int(stave_free_base())
      #expect(stave_hot().pointee.unit_cell![unit] == 7)
      ownerMap.pointee.clear(unitsOf: start, bytes: 2 * unitBytes)
      #expect(isNone(start) && isNone(start + unitBytes))
      #expect(stave_hot().pointee.unit_cell![unit] == 0)
      arena.releaseSlab(start, bytes: 2 * unitBytes)
      metadataPages.free(record, bytes: pageBytes)
    }

    @Test func `random owners are what was set last, half a unit and all around it`() {
      var generator = Generator(4)
      // Units of the test's own, and records that only need addresses of their own.
      let units = 16
      let start = arena.takeSlab(bytes: UInt(units) * unitBytes)!.address
      let records = metadataPages.allocate(bytes: pageBytes)!
      enum Half: Equatable { case none, slab(Int), large(Int) }
      var model = [Half](repeating: .none, count: units * 2)
      for step in 0..<Stage.steps(4000, soak: 3_000_000) {
        let unit = generator.below(units)
        let address = start + UInt(unit) * unitBytes
        let number = generator.below(50)
        let record = records + number * 64
        switch generator.below(4) {
        case 0:
          ownerMap.pointee.set(unitOf: address + UInt(generator.below(65536)), slab: record, cellOffset: UInt16(number))
          (model[unit * 2], model[unit * 2 + 1]) = (.slab(number), .slab(number))
        case 1:
          let count = 1 + generator.below(min(3, units - unit))
          ownerMap.pointee.clear(unitsOf: address, bytes: UInt(count) * unitBytes - UInt(generator.below(4096)))
          for half in unit * 2..<(unit + count) * 2 { model[half] = .none }
        default:
          // Blocks begin in units that no slab owns.
          let half = generator.below(2)
          if case .slab = model[unit * 2] { break }
          let isSet = generator.below(2) == 0
          ownerMap.pointee.set(startOf: address + UInt(half * 32768 + generator.below(8) * 4096), large: isSet ? record : nil)
          model[unit * 2 + half] = isSet ? .large(number) : .none
        }
        let asked = generator.below(units * 2)
        let found: Half =
          switch ownerMap.pointee.owner(of: start + UInt(asked * 32768 + generator.below(32768))) {
          case .none: .none
          case .slab(let owner): .slab((owner - records) / 64)
          case .large(let owner): .large((owner - records) / 64)
          }
        if found != model[asked] {
          Issue.record("step \(step): half \(asked) has \(found), not \(model[asked]) (STAVE_SEED=\(Stage.seed))")
          break
        }
        if Stage.checks(step) { ownerMap.pointee.checkInvariants() }
      }
      ownerMap.pointee.clear(unitsOf: start, bytes: UInt(units) * unitBytes)
      ownerMap.pointee.checkInvariants()
      arena.releaseSlab(start, bytes: UInt(units) * unitBytes)
      metadataPages.free(records, bytes: pageBytes)
    }

    @Test func `setting an address outside the window changes nothing`() {
      let record = metadataPages.allocate(bytes: pageBytes)!
      ownerMap.pointee.set(unitOf: 0x1000_0000, slab: record, cellOffset: 1)
      ownerMap.pointee.set(startOf: .max, large: record)
      #expect(isNone(0x1000_0000))
      #expect(isNone(.max))
      metadataPages.free(record, bytes: pageBytes)
    }
  }
}
