// SPDX-License-Identifier: BSD-2-Clause
//
// The option `leaks`: what a program says of its blocks at its end.

import Foundation
import Testing

@testable import TestSupport

@Suite(.enabled(if: Built.hasLibrary)) struct LeaksAtExitTests {
  /// Leaves 12 of 4 blocks each in two places of one type, some of malloc's own, and one large.
  static let program = """
    #include <stave.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <unistd.h>
    STAVE_TYPE_DEFINE(M_KEPT, "kept", "blocks that stay");
    static void *held[100];
    // Or a compiler may unroll a loop of three, and each of its calls be a place of its own.
    static volatile int twelve = 12, three = 3;
    __attribute__((noinline)) void *makeOne(size_t size) { return stave_malloc(size, M_KEPT, STAVE_WAITOK); }
    __attribute__((noinline)) void makeMany(void) { for (int i = 0; i < twelve; i++) held[i] = makeOne(100); }
    __attribute__((noinline)) void makeOthers(void) { for (int i = 12; i < 12 + three; i++) held[i] = makeOne(200); held[15] = malloc(100000); }
    int main(int count, char **words) {
      makeMany();
      makeOthers();
      for (int i = 0; i < 4; i++) free(held[i]);
      if (count > 1 && strcmp(words[1], "close") == 0) close(2);
      if (count > 1 && strcmp(words[1], "protect") == 0) {
        for (int i = 0; i < 8; i++) if (posix_memalign(&held[20 + i], 4096, 8192) || mprotect(held[20 + i], 4096, PROT_NONE)) return 1;
      }
      if (count > 1 && strcmp(words[1], "reopen") == 0) { close(2); if (dup(1) != 2) return 1; }
      return 0;
    }
    """

  private func build(_ folder: Folder) throws -> String? {
    guard let compiler = find("gcc", "clang", "cc") else {
      announceSkip("leaks at exit: no compiler")
      return nil
    }
    let include = Place.root.appending(path: "build/include").path, program = folder.file("left")
    let built = try run(compiler, ["-O1", "-fno-builtin", "-w", folder.write(Self.program, "left.c"), "-I" + include, Built.library, "-o", program])
    try #require(built.succeeded, built.report)
    return program
  }

  private func end(_ program: String, _ options: String, _ arguments: [String] = []) throws -> Ended {
    try run(program, arguments, environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": options])
  }

  @Test func `L53 what is out at the end is counted by type, and by stack where that is known`() throws {
    let folder = Folder()
    guard let program = try build(folder) else { return }
    let plain = try end(program, "leaks:exit")
    #expect(plain.status == 0 && plain.text.isEmpty, plain.report)
    let lines = plain.errorText.split(separator: "\n").map(String.init)
    #expect(lines[0].hasPrefix("stave[") && lines[0].contains(": leaks: ") && lines[0].hasSuffix(" are out at the end, lost or not"), plain.report)
    // 8 of 112 and 3 of 208 bytes.
    #expect(lines.contains("  11 blocks of \(8 * 112 + 3 * 208) bytes are of type kept"), plain.report)
    #expect(lines.contains { $0.hasSuffix(" of type malloc") } && !plain.errorText.contains("asked for here"), plain.report)
    #expect(lines.last?.hasPrefix("  next: stave leaks") == true, plain.report)
    let sum = lines.filter { $0.contains(" of type ") }.reduce(0) { $0 + (Int($1.split(separator: " ")[0]) ?? 0) }
    #expect(lines[0].contains(": leaks: \(sum) blocks of "), plain.report)

    for options in ["leaks:exit,redzone:1", "leaks:exit,memguard:1", "leaks:exit,memguard:2,redzone:1,percpu:locked"] {
      let ended = try end(program, options)
      #expect(ended.status == 0, ended.report)
      if !options.contains("memguard:2") {
        #expect(ended.errorText.contains("  8 blocks of 800 bytes of type kept were asked for here:\n  #0 0x"), ended.report)
        #expect(ended.errorText.contains("  3 blocks of 600 bytes of type kept were asked for here:\n  #0 0x"), ended.report)
      }
      #expect(ended.errorText.contains("  1 block of 100000 bytes of type malloc was asked for here:\n"), ended.report)
      let report = try start(Built.command, ["symbolize", folder.write(ended.errorText)]).end()
      #expect(report.text.contains(" makeMany+0x") && report.text.contains(" makeOthers+0x"), report.report)
    }
  }

  @Test func `blocks that the program has protected from itself are not looked into`() throws {
    let folder = Folder()
    guard let program = try build(folder) else { return }
    for options in ["leaks:exit,redzone:1", "leaks:exit,redzone:2"] {
      let ended = try end(program, options, ["protect"])
      #expect(ended.status == 0 && ended.errorText.contains(" are out at the end, lost or not\n"), ended.report)
    }
  }

  @Test func `L53 a type that ends says who asked for what is out`() throws {
    guard let compiler = find("gcc", "clang", "cc") else { return announceSkip("types that end: no compiler") }
    let folder = Folder()
    let text = """
      #include <stave.h>
      #include <stdlib.h>
      static struct stave_type brief = {STAVE_TYPE_MAGIC, 1, "brief", "for a while", 0, 0, {0}};
      static void *volatile held[100];
      static volatile int five = 5;
      __attribute__((noinline)) void makeSome(void) { for (int i = 0; i < five; i++) held[i] = stave_malloc(70, &brief, STAVE_WAITOK); }
      __attribute__((noinline)) void makeLarge(void) { held[5] = stave_malloc(90000, &brief, STAVE_WAITOK); }
      int main(void) {
        for (int round = 0; round < 3; round++) {
          stave_type_register(&brief);
          makeSome();
          makeLarge();
          held[6] = malloc(70);
          if (round == 1) for (int i = 0; i < 6; i++) free(held[i]);
          stave_type_unregister(&brief);
        }
        return 0;
      }
      """
    let include = Place.root.appending(path: "build/include").path, program = folder.file("brief")
    let built = try run(compiler, ["-O1", "-fno-builtin", "-w", folder.write(text, "brief.c"), "-I" + include, Built.library, "-o", program])
    try #require(built.succeeded, built.report)
    for options in ["redzone:1", "memguard:1"] {
      let ended = try end(program, options)
      #expect(ended.status == 0, ended.report)
      let reports = ended.errorText.components(separatedBy: ": blocks of a malloc type that ended: brief\n")
      // In the second round all were freed. A guarded block of the first is taken for one of the type that has its name then.
      #expect(reports.count == 3 || options == "memguard:1", ended.report)
      for report in reports.dropFirst().prefix(options == "memguard:1" ? 1 : 2) {
        #expect(report.contains("  5 blocks of 350 bytes of type brief were asked for here:\n  #0 0x") && report.contains("  1 block of 90000 bytes of type brief was asked for here:\n"), ended.report)
        #expect(!report.contains("type malloc"), ended.report)
      }
      let named = try start(Built.command, ["symbolize", folder.write(ended.errorText)]).end()
      #expect(named.text.contains(" makeSome+0x") && named.text.contains(" makeLarge+0x"), named.report)
    }
    #expect(try !end(program, "").errorText.contains("blocks of a malloc type"))
  }

  @Test func `said where reports go, also by a program that closes standard error; not into a file of its own`() throws {
    let folder = Folder()
    guard let program = try build(folder) else { return }
    let closed = try end(program, "leaks:exit,redzone:1", ["close"])
    #expect(closed.status == 0 && closed.errorText.contains("asked for here:\n  #0"), closed.report)
    let file = folder.file("log")
    let elsewhere = try end(program, "leaks:exit,report:\(file)", ["reopen"])
    #expect(elsewhere.status == 0 && elsewhere.text.isEmpty && elsewhere.errorText.isEmpty, elsewhere.report)
    #expect(try String(contentsOfFile: file, encoding: .utf8).contains(" are of type kept\n"))
    #expect(try end(program, "leaks:none").errorText.isEmpty)
  }
}
