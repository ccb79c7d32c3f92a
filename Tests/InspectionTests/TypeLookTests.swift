// SPDX-License-Identifier: BSD-2-Clause
//
// Malloc types in a look at a process: what is not to be believed. Needs `make` first.

import Accounting
import Glibc
import Testing

@testable import Inspection
@testable import Pages
@testable import TestSupport

@Suite struct TypeLookTests {
  @Test func `T13 sums of absurd figures are refused, and trap nobody`() {
    var snapshot = Snapshot()
    snapshot.zones = (0..<3).map { _ in
      var zone = ZoneSnapshot()
      (zone.isMalloc, zone.size, zone.allocations, zone.frees) = (true, 16, 1 << 62, 1 << 62)
      return zone
    }
    snapshot.fillTypes([], largeTotals: [:], largeAllocations: .max)
    #expect(!snapshot.types.allSatisfy { $0.isPlausible })
    for place in snapshot.zones.indices { (snapshot.zones[place].allocations, snapshot.zones[place].frees) = (1 << 40, 1 << 39) }
    snapshot.fillTypes([], largeTotals: [:], largeAllocations: 5)
    #expect(snapshot.types.allSatisfy { $0.isPlausible } && snapshot.types[0].allocations == 3 << 40 + 5)
  }

  @Test func `T13 a list of types without an end is an error`() throws {
    let text = "#include <signal.h>\n#include <stdlib.h>\nvoid *volatile held;\nint main(void) { held = malloc(100); raise(SIGSTOP); return 0; }"
    guard let (child, folder) = startOnStave(text, "typed", "background:0,types:library") else { return }
    defer { kill(child.id, SIGKILL) }
    wait(for: "it stops") { child.isStopped }
    try withExtendedLifetime(folder) {
      let target = try LiveProcess(process: child.id)
      let reader = try SnapshotReader(target)
      let snapshot = try reader.snapshot()
      #expect(snapshot.types.count > 1)
      let first = try target.read(UInt.self, at: reader.location.address + UInt(RootLayout.typesOffset))
      let patched = try SnapshotReader(Patched(inner: target, words: [first: UInt64(first)]))
      #expect(errorOf { () throws(InspectionError) in _ = try patched.snapshot() } == .damaged("the list of malloc types has no end"))
    }
  }
}
