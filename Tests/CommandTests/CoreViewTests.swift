// SPDX-License-Identifier: BSD-2-Clause
//
// Core files as the command shows them: what gdb writes of a process that stands still, and what the kernel writes of one that
// died inside malloc. Every view of a core says what it said of the process just before.

import Foundation
import Testing

@testable import TestSupport

@Suite(.serialized, .enabled(if: Built.hasLibrary, "make builds the library")) struct CoreViewTests {
  /// Holds blocks of a type of its own and of its program's, stops, and then dies as its argument says.
  private static let program = """
    #define _GNU_SOURCE
    #include <signal.h>
    #include <stave.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/mman.h>
    STAVE_TYPE_DEFINE(M_KEPT, "kept", "blocks that stay");
    static void *held[3000];
    int main(int count, char **words) {
      for (int i = 0; i < 1000; i++) held[i] = stave_malloc(100 + i, M_KEPT, STAVE_WAITOK);
      for (int i = 1000; i < 3000; i++) held[i] = malloc(1 + i);
      for (int i = 0; i < 3000; i += 3) free(held[i]), held[i] = NULL;
      held[0] = stave_malloc(500000, M_KEPT, STAVE_WAITOK);
      held[3] = malloc(200000);
      char *moved = memset(malloc(20000), 1, 20000), *page = (char *)(((uintptr_t)moved + 4095) & -4096ul);
      raise(SIGSTOP);
      if (count > 1 && strcmp(words[1], "abort") == 0) free((char *)held[1] + 16);
      if (count > 1 && strcmp(words[1], "fault") == 0 && mprotect(page, 4096, PROT_NONE) == 0) held[6] = realloc(moved, 40000);
      return 0;
    }
    """

  private func build(_ folder: Folder) throws -> String? {
    guard let compiler = find("gcc", "clang", "cc") else {
      announceSkip("views of cores: no compiler")
      return nil
    }
    let include = Place.root.appending(path: "build/include").path, program = folder.file("crash")
    let built = try run(compiler, ["-O1", "-fno-builtin", "-w", folder.write(Self.program, "crash.c"), "-I" + include, Built.library, "-o", program])
    try #require(built.succeeded, built.report)
    return program
  }

  /// Started in `folder`, where the kernel may leave a core of any size, and come to its stop.
  private func launch(_ folder: Folder, _ argument: String) throws -> Started? {
    guard let program = try build(folder) else { return nil }
    let environment = ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "types:library,background:0", "PROGRAM": program]
    let started = try Started(
      "/bin/sh", ["-c", "ulimit -c unlimited 2> /dev/null; exec \"$PROGRAM\" \"$1\"", "sh", argument], environment: environment, in: folder.path)
    try #require(wait { (try? String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8))?.contains("(crash) T ") ?? false })
    return started
  }

  @Test func `L78 every view of a core that gdb wrote says what it said of the process`() throws {
    guard let gdb = find("gdb") else { return announceSkip("views of a core by gdb: not installed") }
    let folder = Folder()
    guard let started = try launch(folder, "none") else { return }
    let live = try Views(of: "\(started.id)"), core = folder.file("written")
    _ = try run(gdb, ["-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "gcore \(core)", "-p", "\(started.id)"])
    guard access(core, R_OK) == 0 else { return announceSkip("views of a core by gdb: gdb could not write one (ptrace forbidden?)") }
    try Views(of: core).expectSame(as: live)
  }

  @Test func `L78 every view of the kernel's core of a bad free says what it said of the process`() throws {
    guard let (live, dead) = try viewsBeforeAndAfter("abort") else { return }
    dead.expectSame(as: live)
  }

  @Test func `L78 a core of a fault inside realloc differs by the block that was being made`() throws {
    guard let (live, dead) = try viewsBeforeAndAfter("fault") else { return }
    let before = live.types, after = dead.types
    #expect(after["kept"] == before["kept"] && after["malloc"] == before["malloc"])
    let own = try #require(before["crash"]), then = try #require(after["crash"])
    #expect(then.blocks == own.blocks + 1 && then.bytes == own.bytes + 40960 && then.requests == own.requests + 1, "\(own) \(then)")
    #expect(dead.used == live.used + 40960 && after.values.reduce(0) { $0 + $1.bytes } == dead.used)
    #expect(dead.texts["zones"] == live.texts["zones"], "the zones' blocks have not changed")
  }

  /// Nil, said aloud, where the kernel leaves no core in the folder.
  private func viewsBeforeAndAfter(_ argument: String) throws -> (live: Views, dead: Views)? {
    let pattern = (try? String(contentsOfFile: "/proc/sys/kernel/core_pattern", encoding: .utf8)) ?? ""
    guard !pattern.hasPrefix("|"), !pattern.contains("/") else {
      announceSkip("views of a kernel's core: core_pattern is \(pattern.trimmingCharacters(in: .whitespacesAndNewlines))")
      return nil
    }
    let folder = Folder()
    guard let started = try launch(folder, argument) else { return nil }
    let live = try Views(of: "\(started.id)")
    kill(started.id, SIGCONT)
    let ended = started.end(within: 30)
    #expect(ended.signal == (argument == "abort" ? SIGABRT : SIGSEGV), ended.report)
    guard let core = try FileManager.default.contentsOfDirectory(atPath: folder.path).first(where: { $0.hasPrefix("core") }) else {
      announceSkip("views of a kernel's core: none was written (its size may be limited)")
      return nil
    }
    return (live, try Views(of: folder.file(core)))
  }
}

/// What all views print of a process or a core, but for what only the kernel knows of a live one, and for the target's name.
private struct Views {
  struct Figures: Equatable { var blocks, bytes, requests: Int }

  var texts: [String: String] = [:]
  var types: [String: Figures] = [:]
  var used = 0

  init(of target: String) throws {
    func view(_ name: String, _ words: String...) throws -> Ended {
      let ended = try start(Built.command, words + [target]).end()
      #expect(ended.status == 0, "\(name): \(ended.report)")
      return ended
    }
    texts["zones"] = try view("zones", "zones", "--all", "--wide").text
    texts["types"] = try view("types", "types", "--all").text
    texts["sum"] = Self.without(["resident", "anonymous", "huge pages", "swapped"], try view("sum", "sum").text)
    // The crash is one of those that are reported.
    texts["get"] = Self.without(["vm.debug.reports"], try view("get", "get").text)
    texts["metrics"] = Self.without(["stave_info{", "stave_resident", "stave_swapped"], try view("metrics", "metrics").text)
    let help = try stave("help", "stream").text
    for kind in ["zones", "types"] where help.contains(kind) || kind == "zones" {
      let ended = try start(Built.command, ["stream", kind, target]).end()
      if kind == "types" && ended.status == 2 { continue }  // of zones alone
      #expect(ended.status == 0 && ended.output.count > 100, ended.report)
      texts["stream \(kind)"] = ended.output.base64EncodedString()
    }
    let json = try object(view("types", "types", "--all", "--json").text)
    for type in try #require((json["malloc-statistics"] as? [String: Any])?["memory"] as? [[String: Any]]) {
      func figure(_ key: String) -> Int { type[key] as? Int ?? -1 }
      types[type["type"] as? String ?? "?"] = Figures(blocks: figure("in-use"), bytes: figure("memory-use"), requests: figure("requests"))
    }
    used = (json["sum"] as? [String: Any])?["used"] as? Int ?? -1
  }

  /// Lines that say one of these words are the kernel's or name the target, and columns are as wide as they make them.
  private static func without(_ words: [String], _ text: String) -> String {
    text.split(separator: "\n").filter { line in !words.contains { line.contains($0) } }
      .map { $0.split(separator: " ").joined(separator: " ") }.joined(separator: "\n")
  }

  func expectSame(as live: Views) {
    #expect(live.types["kept"]?.blocks ?? 0 > 600 && live.types["crash"]?.blocks ?? 0 > 1300, "\(live.types)")
    for (name, text) in live.texts.sorted(by: { $0.key < $1.key }) { #expect(texts[name] == text, "\(name)") }
    #expect(texts.count == live.texts.count && types == live.types && used == live.used)
    #expect(types.values.reduce(0) { $0 + $1.bytes } == used, "types and sum are one")
  }
}
