// SPDX-License-Identifier: BSD-2-Clause
//
// The command on a process with two copies of Stave: its malloc, and a copy of the library under another name, which the program loads
// and asks for blocks itself.

import Foundation
import Testing

@testable import TestSupport

@Suite(.serialized, .enabled(if: Built.hasLibrary, "make builds the library")) struct RootsCommandTests {
  private static let program = """
    #include <dlfcn.h>
    #include <signal.h>
    #include <stdio.h>
    #include <stdlib.h>
    int main(int count, char **words) {
      static void *held[1000];
      void *handle = dlopen(words[1], RTLD_NOW);
      void *(*other)(size_t) = handle ? (void *(*)(size_t))dlsym(handle, "malloc") : NULL;
      if (!other || count < 2) return 3;
      for (int i = 0; i < 1000; i++) held[i] = i % 2 ? malloc(100) : other(3000);
      printf("%p %p\\n", held[1], held[0]), fflush(stdout);
      raise(SIGSTOP);
      return 0;
    }
    """

  /// The process, stopped, with 500 blocks of each; nil, said aloud, without a compiler.
  private func start(_ folder: Folder) throws -> Started? {
    guard let compiler = find("gcc", "clang", "cc") else {
      announceSkip("several copies of Stave: no compiler")
      return nil
    }
    let program = folder.file("twins"), other = folder.file("libother.so")
    let built = try run(compiler, ["-O1", "-fno-builtin", "-w", folder.write(Self.program, "twins.c"), "-ldl", "-o", program])
    try #require(built.succeeded, built.report)
    try FileManager.default.copyItem(atPath: Built.library, toPath: other)
    let started = try Started(program, [other], environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "background:0"])
    try #require(wait { kernelText("/proc/\(started.id)/stat").contains("(twins) T ") })
    return started
  }

  @Test func `each copy is listed with its sum, and the total; one of them by its name`() throws {
    let folder = Folder()
    guard let started = try start(folder) else { return }
    defer { kill(started.id, SIGKILL) }
    let target = "\(started.id)"
    let zones = try stave("zones", target)
    #expect(zones.status == 0 && zones.text.contains("\nlibother.so/malloc-3072:"), zones.report)
    let lines = zones.text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
    #expect(lines.contains { $0.prefix(2) == ["libstave.so", "malloc"] } && lines.contains { $0[0] == "libother.so" } && lines.contains { $0[0] == "total" }, zones.report)
    let json = try object(stave("zones", "--json", target).text), roots = try #require(json["roots"] as? [[String: Any]])
    #expect(roots.map { $0["name"] as? String } == ["libstave.so", "libother.so"])
    let mapped = roots.compactMap { $0["mapped"] as? Int }
    #expect((json["sum"] as? [String: Any])?["mapped"] as? Int == mapped.reduce(0, +) && mapped.count == 2)
    for root in roots {
      let parts = ["used", "cached", "holes", "in-transit", "metadata", "purgeable", "returned"].compactMap { root[$0] as? Int }
      #expect(parts.count == 7 && parts.reduce(0, +) == root["mapped"] as? Int)
    }
    let alone = try stave("zones", "--root", "libother.so", target)
    #expect(alone.status == 0 && alone.text.contains("\nmalloc-3072:") && !alone.text.contains("total"), alone.report)
    #expect(try stave("sum", target).text.contains("\nlibother.so"))
    let types = try stave("types", target)
    #expect(types.text.contains("\nmalloc ") && types.text.contains("\nlibother.so/malloc "), types.report)
    // Under a link's name with a version, too; but not a part of the name.
    #expect(try stave("zones", "--root", "libother.so.0", target).text == alone.text)
    for name in ["libother", "libother.s", "other.so", "libother.so0"] { #expect(try stave("zones", "--root", name, target).status == 2, "\(name)") }
    let wrong = try stave("zones", "--root", "libelse.so", target)
    #expect(wrong.status == 2 && wrong.errorText.contains("libstave.so") && wrong.errorText.contains("libother.so"), wrong.report)
    let none = try stave("mbufs", target)
    #expect(none.status == 1 && none.errorText.contains("has no packet buffers"), none.report)
    // A core says the same.
    guard let gdb = find("gdb") else { return announceSkip("several copies in a core: no gdb") }
    let core = folder.file("core")
    _ = try run(gdb, ["-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "gcore \(core)", "-p", target])
    guard FileManager.default.isReadableFile(atPath: core) else { return announceSkip("several copies in a core: gdb wrote none") }
    #expect(try stave("zones", core).text == stave("zones", target).text)
  }

  /// A zone's items are guarded by the copy that the zone is of, and blocks by malloc's.
  @Test func `guarded blocks of all copies are in one sum`() throws {
    let folder = Folder(), build = Place.root.appending(path: "build").path
    guard let compiler = find("gcc", "clang", "cc"), access("\(build)/libstavezones.so", R_OK) == 0 else { return announceSkip("guards of several copies: no compiler, or no libstavezones.so") }
    let text = """
      #include <signal.h>
      #include <stave.h>
      #include <stdlib.h>
      int main(void) {
        static void *held[30];
        struct stave_zone *zone = stave_zone_create("images", 100, NULL, NULL, NULL, NULL, STAVE_ALIGN_PTR, 0);
        for (int i = 0; i < 30; i++) held[i] = i % 3 ? malloc(100) : stave_zone_alloc(zone, STAVE_NOWAIT);
        raise(SIGSTOP);
        return 0;
      }
      """
    let program = folder.file("guarded")
    let built = try run(compiler, ["-O1", "-fno-builtin", "-w", "-I\(build)/include", folder.write(text, "guarded.c"), "-L\(build)", "-lstavezones", "-Wl,-rpath,\(build)", "-o", program])
    try #require(built.succeeded, built.report)
    let started = try Started(program, environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "memguard:1"])
    defer { kill(started.id, SIGKILL) }
    try #require(wait { kernelText("/proc/\(started.id)/stat").contains("(guarded) T ") })
    let target = "\(started.id)"
    let figures = try [stave("sum", "--json", "--root", "libstave.so", target), stave("sum", "--json", "--root", "libstavezones.so", target), stave("sum", "--json", target)].map {
      try (blocks: object($0.text)["guarded-blocks"] as? Int ?? 0, bytes: object($0.text)["guarded-bytes"] as? Int ?? 0)
    }
    let (first, second, both) = (figures[0], figures[1], figures[2])
    #expect(first.blocks >= 20 && second.blocks == 10 && both == (first.blocks + second.blocks, first.bytes + second.bytes), "\(figures)")
    let sum = try stave("sum", target).text
    #expect(sum.contains("\nguarded blocks, on pages of their own and in none of these figures: \(both.blocks), \(both.bytes) bytes of pages\n"), "\(sum)")
  }

  @Test func `an address has one owner, options are malloc's, and all are asked to trim`() throws {
    let folder = Folder()
    guard let started = try start(folder) else { return }
    defer { kill(started.id, SIGKILL) }
    let target = "\(started.id)", words = started.printed.split(whereSeparator: \.isWhitespace).map(String.init)
    try #require(words.count == 2, "\(started.printed)")
    for (address, zone, root) in [(words[0], "malloc-112", "libstave.so"), (words[1], "malloc-3072", "libother.so")] {
      let shown = try stave("show", target, address)
      #expect(shown.status == 0 && shown.text.contains("in use, in zone \(zone), of \(root)"), shown.report)
    }
    let nobody = try stave("show", target, "0x10")
    #expect(nobody.status == 1 && nobody.text.contains("no copy of Stave"), nobody.report)
    let get = try stave("get", target, "vm.uma.libother_so_malloc_3072.stats.current")
    #expect(get.text.contains(": 500\n"), get.report)
    // It stands still, so each request stays in its mailbox.
    let trim = try stave("trim", target)
    #expect(trim.text.contains("libstave.so: pending") && trim.text.contains("libother.so: pending"), trim.report)
    let set = try stave("set", "--root", "libother.so", target, "check=1")
    #expect(set.status == 1 && set.errorText.contains("has not answered an earlier request"), set.report)
  }
}
