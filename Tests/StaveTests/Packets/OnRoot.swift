// SPDX-License-Identifier: BSD-2-Clause
//
// The parent of the suites of packets: packet buffers start before each test and stop behind it, when nothing may be out.

import PacketBuffers
import Testing

@testable import TestSupport

struct PacketsUp: SuiteTrait, TestTrait, TestScoping {
  var isRecursive: Bool { true }

  func provideScope(for test: Test, testCase: Test.Case?, performing body: @Sendable () async throws -> Void) async throws {
    Stage.up()
    try #require(packets.start())
    try await body()
    #expect(packets.stop() == 0, "items are out at the end of \(test.name) (STAVE_SEED=\(Stage.seed))")
  }
}

@Suite(.serialized, .rootTurn, PacketsUp()) enum PacketsOnRoot {}
