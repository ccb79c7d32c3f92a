// SPDX-License-Identifier: BSD-2-Clause
//
// StaveMetrics: a program that hands its own figures to swift-metrics, with a backend that prints them.

import Foundation
import Testing

@testable import TestSupport

@Suite(.enabled(if: Built.hasLibrary)) struct SwiftMetricsTests {
  @Test func `a program's own figures reach swift-metrics, each series made once`() throws {
    guard let swift = find("swift") else { return announceSkip("Examples/metrics-swift: no swift on PATH") }
    let folder = Place.root.appending(path: "Examples/metrics-swift"), scratch = Place.root.appending(path: ".build/examples/metrics-swift").path
    let built = try run(swift, ["build", "--disable-sandbox", "-j", "2", "--scratch-path", scratch], in: folder, seconds: 900)
    try #require(built.succeeded, built.report)
    let program = scratch + "/debug/metrics-swift"
    let ended = try run(program, environment: ["LD_PRELOAD": Built.library])
    try #require(ended.succeeded, ended.report)
    // Of each round, the figures by their names.
    let rounds = ended.text.split(separator: "round ").map { round in
      Dictionary(round.split(separator: "\n").compactMap { line in Int(line.split(separator: " ").last ?? "").map { (String(line.split(separator: " ")[0]), $0) } }) { $1 }
    }
    try #require(rounds.count == 4, ended.report)
    for (round, held) in [0, 100, 300, 600].enumerated() {
      // With the arrays that the runtime makes on the way.
      let blocks = rounds[round]["stave_type_blocks{type=\"sessions\"}"] ?? -1
      #expect(held...held + 10 ~= blocks, ended.report)
      let bytes = rounds[round]["stave_type_memory_bytes{type=\"sessions\"}"] ?? -1
      #expect(held * 1024...held * 1024 + 30_000 ~= bytes, ended.report)
      #expect(rounds[round]["stave_type_requests_total{type=\"sessions\"}"] ?? -1 >= held, ended.report)
      #expect(rounds[round]["stave_resident_bytes"] ?? 0 > rounds[round]["stave_used_bytes"] ?? .max, ended.report)
    }
    let made = ended.text.split(separator: "\n").filter { $0.hasSuffix("series made") }.map { $0.split(separator: " ")[2] }
    #expect(made.count == 4 && Set(made).count == 1, ended.report)
    let without = try run(program)
    #expect(without.succeeded && without.text.contains("no figures: this process's malloc is not Stave"), without.report)
  }
}
