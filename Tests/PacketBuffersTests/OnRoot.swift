// SPDX-License-Identifier: BSD-2-Clause
//
// The parent of this target's suites. Packet buffers start before each test and stop behind it, when nothing may be out.

import Testing

@testable import PacketBuffers
@testable import TestSupport

struct PacketsUp: SuiteTrait, TestTrait, TestScoping {
  var isRecursive: Bool { true }

  func provideScope(for test: Test, testCase: Test.Case?, performing body: @Sendable () async throws -> Void) async throws {
    Stage.up()
    try #require(packets.start())
    try await body()
    let lost = packets.stop()
    #expect(lost == 0, "items are out at the end of \(test.name) (STAVE_SEED=\(Stage.seed))")
  }
}

@Suite(.serialized, .rootTurn, PacketsUp()) enum OnRoot {}
