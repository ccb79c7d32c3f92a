// SPDX-License-Identifier: BSD-2-Clause
//
// The example at the head of Sources/StaveNIO/StaveNIO.swift is Examples/relay-swift's program framer, line for line, and does what it
// says.

import Foundation
import Testing

@testable import TestSupport

@Suite struct NIOExampleTests {
  private func lines(_ path: String) throws -> [Substring] {
    try String(contentsOf: Place.root.appending(path: path), encoding: .utf8).split(separator: "\n")
  }

  @Test func `the program has the lines of the documentation's example`() throws {
    let example = try lines("Sources/StaveNIO/StaveNIO.swift").filter { $0.hasPrefix("//     ") }.map { $0.dropFirst("//     ".count) }
    let program = try lines("Examples/relay-swift/Sources/framer/main.swift").filter { !$0.hasPrefix("// ") && $0 != "//" }
    #expect(example.count > 20)
    #expect(Array(program.prefix(example.count)) == example)
  }

  @Test func `the documentation's example answers from packet buffers`() throws {
    let program = Place.root.appending(path: ".build/examples/relay-swift/release/framer").path
    guard FileManager.default.isExecutableFile(atPath: program) else { return announceSkip("Examples/relay-swift: make examples builds it") }
    let ended = try run(program)
    #expect(ended.succeeded && ended.text == "[5, 104, 101, 108, 108, 111] in clusters\n", ended.report)
  }
}
