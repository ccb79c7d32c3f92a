// SPDX-License-Identifier: BSD-2-Clause
//
// Programs with zones of their own, built as a user of the package builds them: what they say, that tools find their zones without any
// library of ours, and that the fast paths are all there is in their loops.

import Foundation
import Testing

@testable import TestSupport

@Suite(.serialized, .enabled(if: Built.hasLibrary)) struct SwiftZonesTests {
  private static let scratch = Place.root.appending(path: ".build/examples/types-swift").path

  /// Where the programs are; nil, said aloud, without a compiler.
  private func build() throws -> String? {
    guard let swift = find("swift") else {
      announceSkip("Examples/zones-swift: no swift on PATH")
      return nil
    }
    // New files of the package beside it are noticed only by a new plan.
    for plan in ["debug.yaml", "release.yaml"] { try? FileManager.default.removeItem(atPath: Self.scratch + "/" + plan) }
    let folder = Place.root.appending(path: "Examples/zones-swift")
    let built = try run(swift, ["build", "--disable-sandbox", "-c", "release", "-j", "2", "--scratch-path", Self.scratch], in: folder, seconds: 900)
    try #require(built.succeeded, built.report)
    return Self.scratch + "/release/"
  }

  @Test func `an object cache's parsers are made once for each that is in use at once`() throws {
    guard let programs = try build() else { return }
    let ended = try run(programs + "object-cache")
    let words = ended.text.split(separator: " ")
    try #require(ended.succeeded && words.count == 10, ended.report)
    let sum = (0..<10_000).reduce(0) { $0 + 2 * $1 + 1 + $1 % 7 }
    #expect(ended.text.hasPrefix("10000 lines, sum \(sum), ") && ended.text.hasSuffix(" 0 in use\n"), ended.report)
    #expect(1...64 ~= Int(words[4]) ?? 0, "a parser for each thread of the pool: \(ended.report)")
  }

  @Test func `a pool has so many connections at most, and all who wait get one`() throws {
    guard let programs = try build() else { return }
    for environment in [[:], ["LD_PRELOAD": Built.library]] {
      let ended = try run(programs + "connection-pool", environment: environment)
      let numbers = ended.text.split { !$0.isNumber }.compactMap { Int($0) }
      try #require(ended.succeeded && numbers.count == 5, ended.report)
      // 1000 requests, of which each fiftieth of a connection breaks it off.
      #expect(numbers[0] + numbers[1] == 1000 && 15...20 ~= numbers[1], ended.report)
      #expect(1...4 ~= numbers[2] && numbers[3] == 0 && numbers[4] == 0, ended.report)
    }
  }

  @Test func `tools find a program's zones by its note`() throws {
    guard let programs = try build() else { return }
    let started = try Started(programs + "zone-speed", ["20000000"])
    defer { kill(started.id, SIGKILL) }
    let isShown = wait {
      guard let ended = try? stave("zones", "\(started.id)"), ended.status == 0 else { return false }
      return ended.text.contains("small:    64")
    }
    #expect(isShown, "\((try? stave("zones", "\(started.id)"))?.report ?? "")")
  }

  @Test func `nothing of Foundation is in the program, and its loops call nothing but slow paths`() throws {
    guard let programs = try build(), let objdump = find("objdump"), let readelf = find("readelf") else { return }
    let needed = try run(readelf, ["-d", programs + "zone-speed"])
    #expect(needed.succeeded && !needed.text.contains("Foundation"), needed.report)
    let code = try run(objdump, ["-d", "--no-show-raw-insn", programs + "zone-speed"], seconds: 120)
    try #require(code.succeeded)
    var loops = 0, calls: [Substring] = [], isInLoop = false
    for line in code.text.split(separator: "\n") {
      if line.hasSuffix(">:") {
        isInLoop = line.contains("memoryOfZone") || line.contains("itemsOfZone")
        if isInLoop { loops += 1 }
      } else if isInLoop && line.contains("call ") {
        calls.append(line)
      }
    }
    #expect(loops >= 2)
    // A generic function of another module that is not inlinable: a look at a flag took 30 ns, and slow paths look at many.
    let generic = code.text.split(separator: "\n").filter { $0.contains("call") && $0.contains("Primitives7FlagSetP") }
    #expect(generic.isEmpty, "\(generic.count) calls, \(generic.prefix(3))")
    // memcpy: the value of 256 bytes. By a register: where two loops are one function for the compiler, the slow path of either.
    #expect(calls.allSatisfy { $0.contains("Slow") || $0.contains("memcpy") || $0.contains("call   *") }, "\(calls)")
  }
}
