// SPDX-License-Identifier: BSD-2-Clause
//
// Zones over several memory domains as Swift has them; the option makes up two.

import Foundation
import Stave
import Testing

@testable import TestSupport

@Suite struct DomainZoneTests {
  @Test func `values lie in the domain that is asked for, or in that of the CPU, and go back there`() async {
    await #expect(processExitsWith: .success) {
      setenv("STAVE_OPTIONS", "domains:2", 1)
      precondition(memoryDomainCount == 2)
      let zone = try Zone<Int>("near", flags: .firstTouch)
      var held: [UnsafeMutablePointer<Int>] = []
      for number in 0..<4000 {
        let element = zone.allocate(domain: number % 2, number % 3 == 0 ? [.zero] : [.wait])!
        precondition(zone.domain(of: element) == number % 2)
        held.append(element)
      }
      precondition(zone.itemsInUse == 4000 && zone.memory(of: held) == [2000, 2000])
      bind(toCPU: usableCPUs[0])
      let here = usableCPUs[0] % 2
      for element in held { zone.free(element) }
      // Most of them in the depots.
      precondition(zone.crossDomainFrees == 2000 && zone.itemsInUse == 0 && zone.itemsCached >= 4000)
      zone.checkInvariants()
      if let item = zone.item(7) { precondition(zone.domain(of: item.address) == here) }
      zone.limit = 10
      for element in (0..<10).compactMap({ _ in zone.allocate() }) { zone.free(element) }
      zone.trim()
      precondition(zone.itemsCached == 0)
      zone.checkInvariants()
    }
  }

  @Test func `a zone in turn over all domains, one without a policy, and one that cannot be`() async {
    await #expect(processExitsWith: .success) {
      setenv("STAVE_OPTIONS", "domains:4", 1)
      let spread = try Zone<SIMD8<Int>>("spread", flags: .roundRobin), plain = try Zone<Int>("plain")
      let held = (0..<800).map { _ in spread.allocate()! }
      let counts = spread.memory(of: held)
      precondition(counts.max()! - counts.min()! <= 64, "\(counts)")
      for element in held { spread.free(element) }
      precondition(spread.crossDomainFrees == 0 && spread.itemsInUse == 0)
      spread.checkInvariants()
      let element = plain.allocate()!
      precondition(plain.domain(of: element) == 0)
      plain.free(element)
      let second = try Zone("second", on: spread)
      second.free(second.allocate()!)
      second.checkInvariants()
      do {
        _ = try Zone<Int>("both", flags: [.roundRobin, .firstTouch])
        preconditionFailure("there is a zone")
      } catch { precondition(error as? ZoneError == .impossible) }
    }
  }
}

extension Zone {
  /// How many of these elements are in each domain.
  fileprivate func memory(of elements: [UnsafeMutablePointer<Element>]) -> [Int] {
    var counts = [Int](repeating: 0, count: memoryDomainCount)
    for element in elements { counts[domain(of: element)] += 1 }
    return counts
  }
}
