// SPDX-License-Identifier: BSD-2-Clause
//
// libstavestat.so as C programs meet it: the example, arguments that make no sense, and that it is seen by nobody else. Needs
// `make` first.

import Foundation
import Testing

@testable import TestSupport

extension Built {
  static let reader = Place.root.appending(path: "build/libstavestat.so.0").path
  static var hasReader: Bool { hasLibrary && FileManager.default.isReadableFile(atPath: reader) }
}

@Suite(.enabled(if: Built.hasReader)) struct ReaderLibraryTests {
  static let build = Place.root.appending(path: "build").path
  static let example = Place.root.appending(path: "Examples/holders-c/main.c").path

  /// Compiles a C program with the library; nil, said aloud, without a compiler.
  private func program(_ source: String, in folder: Folder, with compiler: String? = find("gcc", "clang", "cc")) throws -> String? {
    guard let compiler else {
      announceSkip("programs with libstavestat.so: no C compiler")
      return nil
    }
    let built = try run(
      compiler,
      ["-O1", "-Wall", "-Wextra", "-Werror", "-I\(Self.build)/include", source, "-L\(Self.build)", "-lstavestat", "-Wl,-rpath,\(Self.build)", "-o", folder.file("program")])
    try #require(built.succeeded, built.report)
    return folder.file("program")
  }

  /// A stopped program with types, for the time of the call.
  private func withTyped<Result>(in folder: Folder, _ body: (pid_t) throws -> Result) throws -> Result? {
    guard let compiler = find("gcc", "clang", "cc") else { return nil }
    let text = """
      #include <signal.h>
      #include <stdlib.h>
      void *held[3000], *large;
      int main(void) {
        for (int i = 0; i < 3000; i++) held[i] = malloc(100);
        for (int i = 0; i < 500; i++) free(held[i]);
        large = malloc(1 << 20);
        raise(SIGSTOP);
        return 0;
      }
      """
    try #require(try run(compiler, ["-fno-builtin", folder.write(text, "typed.c"), "-o", folder.file("typed")]).succeeded)
    let started = try Started(folder.file("typed"), environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "types:library,background:0"])
    defer { kill(started.id, SIGKILL) }
    try #require(wait { (try? String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8))?.contains(") T ") ?? false })
    return try body(started.id)
  }

  private func write(streamOf process: pid_t, to file: String) throws {
    let written = try start("/bin/sh", ["-c", "\"$0\" stream types \(process) > \(file)", Built.command]).end()
    try #require(written.succeeded, written.report)
  }

  @Test func `L78 T6 a C program reads a process, its core and its stream, and says what the command says`() throws {
    let folder = Folder()
    guard let holders = try program(Self.example, in: folder) else { return }
    try withTyped(in: folder) { process in
      let live = try run(holders, ["\(process)"])
      try #require(live.succeeded && live.errors.isEmpty, live.report)
      let all = try object(stave("types", "--json", "--cpus", "\(process)").text)
      let types = try #require((all["malloc-statistics"] as? [String: Any])?["memory"] as? [[String: Any]])
      let rows = live.text.split(separator: "\n").map { $0.split(separator: " ") }
      #expect(rows.count == types.count && !types.isEmpty)
      for (row, type) in zip(rows, types) {
        #expect(row[0] == type["type"] as? String ?? "" && Int(row[1]) == type["in-use"] as? Int && Int(row[3]) == type["memory-use"] as? Int, live.report)
        let cpus = try #require(type["cpu"] as? [[String: Any]]).filter { $0["requests"] as? Int != 0 }
        #expect(stride(from: 7, to: row.count, by: 2).map { Int(row[$0]) } == cpus.map { $0["requests"] as? Int }, live.report)
      }
      #expect(rows.contains { $0[0] == "typed" && Int($0[1])! >= 2501 && Int($0[3])! > 1 << 20 }, live.report)
      try write(streamOf: process, to: folder.file("stream"))
      #expect(try run(holders, [folder.file("stream")]).text == live.text)
      // The reader may itself run on Stave.
      #expect(try run(holders, ["\(process)"], environment: ["LD_PRELOAD": Built.library]).text == live.text)
      guard let gdb = find("gdb") else { return announceSkip("a core read by C: no gdb") }
      _ = try run(gdb, ["-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "gcore \(folder.file("core"))", "-p", "\(process)"])
      #expect(try run(holders, [folder.file("core")]).text == live.text)
    }
    for (place, words) in [("4194305", "no such process"), ("/etc/passwd", "unknown version"), ("/nonexistent", "No such file"), ("1234567890123", "no such process")] {
      let bad = try run(holders, [place])
      #expect(bad.status == 1 && bad.text.isEmpty && bad.errorText.contains(words), bad.report)
    }
  }

  @Test func `the example shows what has come since its last look, and ends with the process`() throws {
    let folder = Folder()
    guard let holders = try program(Self.example, in: folder) else { return }
    try withSleeper { process in
      let watcher = try Started(holders, ["\(process)", "1"])
      #expect(wait { watcher.printed.split(separator: "\n").count >= 2 })
      let rows = watcher.printed.split(separator: "\n").map { $0.split(separator: " ") }
      try #require(rows.count >= 2)
      #expect(rows[0][5] == "+" + rows[0][3] && rows[1][5] == "+0", "\(rows)")
      kill(process, SIGKILL)
      let ended = watcher.end(within: 20)
      #expect(ended.status == 0 && ended.errors.isEmpty, ended.report)
    }
  }

  @Test func `L61 T6 T13 no argument and no bytes end a C program, slots stay with their entries, an unknown version is said to be one`() throws {
    let folder = Folder()
    guard let misuse = try program(Place.root.appending(path: "Tests/Reader/misuse.c").path, in: folder) else { return }
    try withTyped(in: folder) { try write(streamOf: $0, to: folder.file("stream")) }
    let ended = try run(misuse, [folder.file("stream"), "\(Stage.steps(20_000, soak: 1_000_000))", "\(Stage.seed)"])
    #expect(ended.succeeded && ended.text == "came back\n", ended.report)
  }

  @Test func `the header is C++, too, and the library shows only what the header declares and needs libc only`() throws {
    let folder = Folder()
    if let compiler = find("g++", "clang++") {
      let text = "#include <stavestat.h>\nint main() { stavestat_list *list = stavestat_list_new(); stavestat_list_free(list); return stavestat_first(nullptr) != nullptr; }\n"
      let built = try #require(try program(folder.write(text, "one.cc"), in: folder, with: compiler))
      #expect(try run(built).succeeded)
    }
    guard let nm = find("nm", "llvm-nm"), let readelf = find("readelf", "llvm-readelf") else { return announceSkip("names of libstavestat.so: no nm, no readelf") }
    let names = try run(nm, ["-D", "--defined-only", Built.reader]).text.split(separator: "\n").compactMap { $0.split(separator: " ").last.map(String.init) }
    let header = try String(contentsOfFile: Self.build + "/include/stavestat.h", encoding: .utf8)
    let declared = header.matches(of: /\b(stavestat_\w+)\(/).map { String($0.1) }.filter { header.contains("STAVESTAT_NULLABLE \($0)(") || header.contains("int \($0)(") || header.contains("unsigned \($0)(") || header.contains("uint64_t \($0)(") || header.contains("void \($0)(") }
    #expect(Set(names) == Set(declared) && names.count > 25, "\(Set(names).symmetricDifference(declared))")
    let page = try String(contentsOf: Place.root.appending(path: "Documentation/man/stavestat.3"), encoding: .utf8)
    for name in declared { #expect(page.contains(".Fn \(name) "), "stavestat(3) says nothing of \(name)") }
    let needed = try run(readelf, ["-d", Built.reader]).text.matches(of: /Shared library: \[(.*?)\]/).map { String($0.1) }
    #expect(Set(needed).subtracting(["libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"]).isEmpty, "\(needed)")
  }
}
