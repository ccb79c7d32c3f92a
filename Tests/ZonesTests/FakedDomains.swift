// SPDX-License-Identifier: BSD-2-Clause
//
// Memory domains made up for tests, and threads that go from one to the other.

import CPlatform
import Testing

@testable import Pages
@testable import Primitives
@testable import TestSupport
@testable import Zones

/// As if the machine had so many memory domains, those of `empty` without memory, until `body` has ended: CPU n is in domain n modulo
/// their number.
func withDomains<Result>(_ count: Int, empty: Set<Int> = [], _ body: () -> Result) -> Result {
  let state = memoryDomains
  state.forget()
  state.pointee.faked = UInt32(count)
  state.look()
  for domain in empty { state.pointee.table!.pointee.withMemory &= ~(1 << UInt32(domain)) }
  defer {
    bindToAll()
    state.forget()
  }
  return body()
}

/// Where pages were asked for: the recorder is a C function.
enum Placed {
  typealias Call = (start: UInt, bytes: Int, domain: Int32)
  nonisolated(unsafe) static var calls: [Call] = []
  /// As if the system did not take policies back.
  nonisolated(unsafe) static var keeps = false

  /// From now on, with domains made up.
  static func record() {
    (calls, keeps) = ([], false)
    memoryDomains.pointee.place = { start, bytes, domain in
      Placed.calls.append((start, bytes, domain))
      return domain >= 0 || !Placed.keeps
    }
  }
}

extension UnsafeMutablePointer where Pointee == MemoryDomains {
  func forget() {
    pointee.table?.end()
    self.initialize(to: MemoryDomains(faked: 0, isKnown: 0, table: nil, place: nil))
  }
}

/// Puts this thread on a CPU of a domain; where none is to be had the CPU that it is on goes there.
func hop(to domain: Int) {
  let cpus = memoryDomains.pointee.table!.cpus
  if let cpu = usableCPUs.first(where: { Int(cpus[$0]) == domain }), bind(toCPU: cpu) { return }
  bind(toCPU: usableCPUs[0])
  cpus[usableCPUs[0]] = UInt8(domain)
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// The parts of a zone over several domains.
  var parts: [ZonePointer] {
    var all: [ZonePointer] = []
    forEachPart { all.append($0) }
    return all
  }
  /// How many of these items are in each domain.
  func spread(_ items: [UnsafeMutableRawPointer]) -> [Int] {
    var counts = [Int](repeating: 0, count: memoryDomains.count)
    for item in items { counts[domain(of: item)] += 1 }
    return counts
  }
}
