// SPDX-License-Identifier: BSD-2-Clause
//
// A type's limit read and set from outside, while a request of the process's only thread waits at it.

import Foundation
import Testing

@testable import TestSupport

@Suite(.enabled(if: Built.hasLibrary)) struct LimitControlTests {
  @Test func `L75 V7 a limit raised from outside lets a waiting process go on, and is shown`() throws {
    guard let compiler = find("gcc", "clang", "cc") else { return announceSkip("limits from outside: no compiler") }
    let folder = Folder()
    let source = folder.write(
      """
      #include <signal.h>
      #include <stave.h>
      STAVE_TYPE_DEFINE_LIMIT(M_HELD, "held-1", "", 50 * 1024);
      void *blocks[60];
      int main(void) {
        for (int i = 0; i < 60; i++) blocks[i] = stave_malloc(1000, M_HELD, STAVE_WAITOK);
        raise(SIGSTOP);
      }
      """, "main.c")
    let program = folder.file("main")
    let include = "-I" + Place.root.appending(path: "build/include").path
    let built = try run(compiler, ["-O2", source, include, Built.library, "-o", program])
    try #require(built.succeeded, built.report)
    let child = try Started(program, environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "background:0,inspect:any"])
    defer { kill(child.id, SIGKILL) }
    func get(_ name: String) throws -> String { try stave("get", "\(child.id)", name).text.trimmingCharacters(in: .whitespacesAndNewlines) }
    #expect(wait { (try? get("type.held_1.sleeps")) == "type.held_1.sleeps: 1" })
    #expect(try get("type.held_1.limit") == "type.held_1.limit: 51200" && get("type.held_1.memuse") == "type.held_1.memuse: 51200")
    var ended = try stave("set", "\(child.id)", "type.held_1.limt=1")
    #expect(ended.status == 2 && ended.errorText.contains("did you mean type.held_1.limit?"), ended.report)
    ended = try stave("set", "\(child.id)", "type.held_1.limit=70000")
    #expect(ended.status == 0 && ended.text == "type.held_1.limit: 51200 -> 70000\n", ended.report)
    #expect(wait { (try? String(contentsOfFile: "/proc/\(child.id)/stat", encoding: .utf8))?.contains(") T ") ?? false })
    #expect(try get("type.held_1.memuse") == "type.held_1.memuse: 61440" && get("type.held_1.fails") == "type.held_1.fails: 0")
    let table = try stave("types", "\(child.id)")
    let row = table.text.split(separator: "\n").first { $0.hasPrefix("held-1") }?.split(separator: " ").map(String.init) ?? []
    #expect(row == ["held-1", "60", "60K", "60", "69K", "1", "1024"], table.report)
    let json = try stave("types", "--json", "\(child.id)").text
    #expect(json.contains("\"limit\": 70000") || json.contains("\"limit\":70000"), "\(json)")
  }
}
