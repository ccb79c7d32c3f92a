// SPDX-License-Identifier: BSD-2-Clause
//
// The histogram of sizes in a look at a process: what is not to be believed, and that a core says the same. Needs `make` first.

import Accounting
import Glibc
import Testing

@testable import Exporters
@testable import Inspection
@testable import Pages
@testable import TestSupport

@Suite struct SizeLookTests {
  @Test func `T13 L78 a histogram with absurd figures is refused, and a core's is the live one`() throws {
    let text = "#include <signal.h>\n#include <stdlib.h>\nvoid *volatile held[100];\nint main(void) { for (int i = 0; i < 100; i++) held[i] = malloc(40); raise(SIGSTOP); return 0; }"
    guard let (child, folder) = startOnStave(text, "sized", "background:0,sizes:1") else { return }
    defer { kill(child.id, SIGKILL) }
    wait(for: "it stops") { child.isStopped }
    try withExtendedLifetime(folder) {
      let target = try LiveProcess(process: child.id)
      let reader = try SnapshotReader(target)
      let sizes = try #require(try reader.sizes())
      #expect(sizes.isCounting && sizes.small.first { $0.most == 48 } == SizeCounts(least: 33, most: 48, requests: 100, asked: 4000, given: 4800))
      let place = reader.location.address + UInt(RootLayout.sizesOffset)
      let bins = try target.read(UInt.self, at: place)
      func patched(_ words: [UInt: UInt64]) -> InspectionError? {
        errorOf { () throws(InspectionError) in _ = try SnapshotReader(Patched(inner: target, words: words)).sizes() }
      }
      #expect(patched([place + 8: 9]) == .damaged("9 tables of sizes") && patched([place + 8: 0]) == .damaged("0 tables of sizes"))
      let absurd = InspectionError.damaged("a count of sizes beyond any process")
      #expect(patched([bins + 24: 1 << 53]) == absurd && patched([bins + 24: UInt64(bitPattern: -1)]) == absurd && patched([bins + 24: 1 << 47]) == absurd)
      #expect(patched([place: 16]) != nil, "a table that is not there")
      // More bytes than requests of that size can have asked for are as many as they can.
      let odd = try SnapshotReader(Patched(inner: target, words: [bins + 24 + 8: 1 << 50])).sizes()
      #expect(odd.map { SizeTable($0).json.description.isEmpty } == false && odd?.small.allSatisfy { $0.asked <= $0.given } == true)

      guard let core = writeCore(of: child, in: folder) else { return }
      let dead = try #require(try SnapshotReader(CoreFile(path: core)).sizes())
      #expect(dead.small == sizes.small && dead.large == sizes.large && dead.isCounting && dead.seconds == nil && dead.process == child.id)
    }
  }
}
