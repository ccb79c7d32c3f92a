// SPDX-License-Identifier: BSD-2-Clause
//
// What a report says to do next: nothing that is done already, and nothing that would not help.

import CPlatform
import Foundation
import Testing

@testable import Diagnostics
@testable import Heap
@testable import Primitives
@testable import TestSupport
@testable import Zones

enum Advised: Int {
  case malloc, large, zone, copies, inside, insideLarge, stray, foreign, otherZone, written

  func make() {
    bind(toCPU: usableCPUs[0])
    switch self {
    case .malloc, .large:
      let block = Heap.allocate(self == .large ? 1 << 20 : 100)
      Heap.free(block)
      Heap.free(block)
    case .zone:
      let zone = makeTestZone("request", 100), item = zone.allocate()
      zone.free(item)
      zone.free(item)
    case .copies:
      let zone = makeTestZone("copied", 64, flags: .perCPU), item = zone.allocatePerCPU()
      zone.freePerCPU(item)
      zone.freePerCPU(item)
    case .inside: Heap.free(Heap.allocate(100)! + 8)
    case .insideLarge: Heap.free(Heap.allocate(1 << 20)! + 4096)
    case .stray:
      var local = 0
      withUnsafeMutableBytes(of: &local) { Heap.free($0.baseAddress!) }
    case .foreign: makeTestZone("request", 512, flags: .noBucket.union(.offPage)).free(UnsafeMutableRawPointer(bitPattern: 0x10000))
    case .otherZone:
      let zone = makeTestZone("request", 100, flags: .noBucket), other = makeTestZone("other", 100, flags: .noBucket)
      other.free(zone.allocate())
    case .written:
      let block = Heap.allocate(112)!
      Heap.free(block)
      (block + 37).storeBytes(of: 0x41, as: UInt8.self)
      for _ in 0..<2000 { _ = Heap.allocate(112) }
    }
  }
}

extension OnRoot {
  @Suite struct AdviceTests {
    static let none = "", sees = "STAVE_OPTIONS=check:1,stacks:1 says where it was freed before; "
    static let guards = "STAVE_OPTIONS=memguard:1 says where it was freed before; "
    static let calls = "STAVE_OPTIONS=check:1 finds each bad free at the call itself; "
    static let stops = "stave guard PID, or STAVE_OPTIONS=memguard:1, stops at the write itself; "

    /// Without options, with check:1, with check:1,stacks:1 besides.
    static let all: [(mistake: Advised, advice: [String?])] = [
      (.malloc, [sees, sees, none]), (.large, [guards, guards, guards]), (.zone, [guards, guards, guards]),
      (.copies, [calls, none, none]),
      (.inside, [none, none, none]), (.insideLarge, [none, none, none]), (.stray, [none, none, none]), (.foreign, [calls, none, none]),
      (.otherZone, [calls, none, none]), (.written, [nil, stops, stops]),
    ]

    @Test(arguments: all.indices, 0..<3)
    func `the last line of a report is of what is not done yet, and would help`(row: Int, options: Int) async {
      let (mistake, advice) = Self.all[row]
      guard let advice = advice[options] else { return }
      let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        [mistake = mistake.rawValue as Int, options = options as Int] in
        Stage.up()
        if options > 0 { setChecks(true) }
        if options == 2 { stacks.pointee.mode = StackMode.all }
        Advised(rawValue: mistake)!.make()
      }
      let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
      #expect(text.hasSuffix("\n  next: \(advice)stave symbolize names the functions\n"), "\(mistake) \(options): \(text)")
      #expect(text.contains("  freed before at\n") == (mistake == .malloc && options == 2), "\(text)")
      #expect(text.contains(" in zone request, freed to zone other\n") == (mistake == .otherZone), "\(text)")
      if mistake == .otherZone { #expect(text.contains("free of an address that is no item of the zone at 0x"), "\(text)") }
    }
  }
}
