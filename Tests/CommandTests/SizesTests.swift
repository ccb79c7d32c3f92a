// SPDX-License-Identifier: BSD-2-Clause
//
// `stave sizes` on programs that ask for known sizes, and its picture.

import Foundation
import Testing

@testable import Exporters
@testable import Inspection
@testable import StaveCommand
@testable import TestSupport

/// A program that works for a while as C, then stops itself; nil, said aloud, if that cannot be.
func stopped(_ body: String, options: String) throws -> (Started, Folder)? {
  guard let compiler = find("gcc", "clang", "cc") else {
    announceSkip("programs that stop: no compiler")
    return nil
  }
  let folder = Folder()
  let text = "#include <signal.h>\n#include <stdlib.h>\nvoid *volatile held[4096];\nint main(void) { \(body) raise(SIGSTOP); for (;;) free(malloc(1 << 20)); }"
  let built = try run(compiler, ["-O2", "-fno-builtin", folder.write(text, "main.c"), "-o", folder.file("main")])
  #expect(built.succeeded, built.report)
  let started = try Started(folder.file("main"), environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": options])
  let hasStopped = wait { (try? String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8))?.contains(") T ") ?? false }
  #expect(hasStopped, "\(started.complained)")
  return (started, folder)
}

@Suite(.enabled(if: Built.hasLibrary)) struct SizesTests {
  static let work = "for (int i = 0; i < 1000; i++) held[i] = malloc(33); for (int i = 0; i < 500; i++) held[1000 + i] = calloc(1, 260); held[2000] = malloc(50000);"

  @Test func `a stopped program's sizes, what their classes waste, and the best classes for them`() throws {
    guard let (started, folder) = try stopped(Self.work, options: "background:0,sizes:1") else { return }
    defer { kill(started.id, SIGKILL) }
    try withExtendedLifetime(folder) {
      let all = try object(stave("sizes", "--json", "\(started.id)").text)
      let classes = try #require(all["classes"] as? [[String: Int]])
      #expect(all["counting"] as? Int == 1 && (all["table"] as? [Int])?.count == 72 && (all["best"] as? [String: Any])?["table"] != nil)
      let of48 = classes.first { $0["most"] == 48 }
      // Its start-up may ask for a few of its own.
      #expect(1000..<1050 ~= of48?["requests"] ?? 0 && of48?["given"] == 48 * (of48?["requests"] ?? 0), "\(classes)")
      #expect(500..<550 ~= classes.first { $0["most"] == 288 }?["requests"] ?? 0)
      #expect((all["large"] as? [[String: Int]])?.first { $0["most"] == 65536 } == ["least": 32769, "most": 65536, "requests": 1, "asked": 50000, "given": 53248, "wasted": 3248])
      let sums = classes.reduce((0, 0)) { ($0.0 + $1["wasted"]!, $0.1 + $1["asked"]!) }
      #expect((all["best"] as? [String: Any])?["saved"] as? Int ?? 0 >= 500 * 16)
      #expect(all["wasted"] as? Int == sums.0 && all["asked"] as? Int == sums.1)
      // A table of so few classes wastes more, and ends with the largest all the same.
      let few = try object(stave("sizes", "--json", "--classes", "2", "\(started.id)").text)
      let best = try #require(few["best"] as? [String: Any])
      #expect((best["table"] as? [Int])?.count == 2 && (best["table"] as? [Int])?.last == 32768 && (best["wasted"] as? Int ?? 0) > sums.0)
      let text = try stave("sizes", "\(started.id)").text
      #expect(text.contains("\nCLASS ") && text.contains("\n33–48 ") && text.contains("\nlarge 32769–65536 ") && text.contains("The best classes"), "\(text)")
      #expect(!text.contains("\u{1b}") && text.split(separator: "\n").allSatisfy { !$0.hasSuffix(" ") && $0.count <= 80 })
    }
  }

  @Test func `counting is switched on and off in a program that works, and where it never was, status 1 says how`() throws {
    guard let (started, folder) = try stopped(Self.work, options: "background:0") else { return }
    defer { kill(started.id, SIGKILL) }
    try withExtendedLifetime(folder) {
      let never = try stave("sizes", "\(started.id)")
      #expect(never.status == 1 && never.text.isEmpty && never.errorText.contains("stave set \(started.id) sizes=1"), "\(never)")
      kill(started.id, SIGCONT)
      #expect(try stave("set", "\(started.id)", "sizes=1").text == "stave.sizes: 0 -> 1\n")
      #expect(try stave("get", "\(started.id)", "stave.sizes").text == "stave.sizes: 1\n")
      #expect(wait { (try? stave("sizes", "\(started.id)").text.contains("large 524289–1048576")) ?? false })
      #expect(try stave("set", "\(started.id)", "sizes=0").text == "stave.sizes: 1 -> 0\n")
      let after = try stave("sizes", "\(started.id)"), later = try stave("sizes", "\(started.id)")
      #expect(after.status == 0 && after.text.contains("until it was switched off") && after.text == later.text, "\(after)")
    }
  }

  @Test func `the picture fits, and marks the classes that are new`() {
    var snapshot = SizeSnapshot()
    (snapshot.target, snapshot.isCounting, snapshot.seconds, snapshot.classes) = ("process 1 (program)", true, 12, (1...40).map { $0 * 32 })
    snapshot.small = (1...30).map { SizeCounts(least: $0 * 16 - 15, most: $0 * 16, requests: $0, asked: $0 * ($0 * 16 - 2), given: $0 * ($0 + 1) / 2 * 32) }
    for style in PictureTests.styles {
      for columns in [40, 80, 100, 200] {
        let lines = SizePicture.lines(SizeTable(snapshot), style, columns: columns).map(plain)
        let table = lines.drop { !$0.hasPrefix("CLASS") }.prefix { !$0.isEmpty }
        #expect(table.count == 16 && table.contains { $0.hasPrefix("0–32 ") })
        if columns >= 80 { #expect(lines.allSatisfy { $0.count <= columns }, "\(lines)") }
        #expect(table.first?.contains("asked and wasted") == (style.isTerminal && columns >= 80))
        let best = lines.drop { !$0.hasPrefix("The best classes") }.dropFirst().joined(separator: " ").split(separator: " ")
        #expect(best.first == "16*" && best.contains("32") && best.count == 31)
      }
    }
  }
}
