// SPDX-License-Identifier: BSD-2-Clause
//
// `types:library` and `types:site` in real programs of several libraries, as `stave types` shows them.

import Foundation
import Testing

@testable import TestSupport

@Suite(.enabled(if: Built.hasLibrary)) struct TypesTests {
  /// What `stave types` says of a stopped program.
  private struct Types {
    var inUse: [String: Int] = [:]
    var memory: [String: Int] = [:]
    var usedBytes = 0
  }

  /// The pieces of a program, compiled; nil, said aloud, without a compiler.
  private struct Pieces {
    let folder = Folder()

    func library(_ name: String, _ text: String, isCPlusPlus: Bool = false) throws -> Bool {
      guard let compiler = isCPlusPlus ? find("g++", "clang++") : find("gcc", "clang", "cc") else {
        announceSkip("types of \(name): no compiler")
        return false
      }
      let source = folder.write(text, name + (isCPlusPlus ? ".cc" : ".c"))
      let built = try run(compiler, ["-O2", "-fno-builtin", "-shared", "-fPIC", source, "-o", folder.file(name + ".so")])
      #expect(built.succeeded, built.report)
      return built.succeeded
    }

    func program(_ body: String, flags: [String] = []) throws -> String? {
      guard let compiler = find("gcc", "clang", "cc") else { return nil }
      let source = folder.write(
        """
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <signal.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <unistd.h>
        void *held[4096];
        static void *open_library(const char *name) {
          char path[4096];
          snprintf(path, sizeof path, "%s/%s.so", getenv("PIECES"), name);
          void *library = dlopen(path, RTLD_NOW);
          if (library == NULL) { puts(dlerror()); exit(3); }
          return library;
        }
        int main(void) { \(body) raise(SIGSTOP); return 0; }
        """, "main.c")
      let built = try run(compiler, ["-O2", "-fno-builtin", source, "-o", folder.file("main")] + flags)
      #expect(built.succeeded, built.report)
      return built.succeeded ? folder.file("main") : nil
    }

    /// Runs the program until it has stopped itself.
    func types(_ program: String, _ options: String, isPreloaded: Bool = true) throws -> Types? {
      let started = try Started(
        program, environment: ["LD_PRELOAD": isPreloaded ? Built.library : "", "STAVE_OPTIONS": options + ",background:0", "PIECES": folder.path])
      defer { kill(started.id, SIGKILL) }
      guard wait({ (try? String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8))?.contains(") T ") ?? false }) else {
        Issue.record("it has not come to its end: \(started.printed)")
        return nil
      }
      let ended = try stave("types", "--all", "--json", "\(started.id)")
      #expect(ended.status == 0, ended.report)
      return try parse(ended.text)
    }

    func parse(_ text: String) throws -> Types {
      let all = try object(text)
      let list = try #require((all["malloc-statistics"] as? [String: Any])?["memory"] as? [[String: Any]])
      var types = Types()
      for row in list {
        let name = try #require(row["type"] as? String)
        types.inUse[name] = row["in-use"] as? Int
        types.memory[name] = row["memory-use"] as? Int
      }
      types.usedBytes = try #require((all["sum"] as? [String: Any])?["used"] as? Int)
      return types
    }
  }

  private static let plain = """
    #include <stdlib.h>
    void *volatile last;
    void *take(size_t size) { void *block = malloc(size); last = block; return block; }
    """

  @Test func `each library is charged for what it asks, whoever frees it, and the sums are one`() throws {
    let pieces = Pieces()
    guard try pieces.library("libplain", Self.plain),
      try pieces.library(
        "libtext", "#include <string.h>\nvoid *volatile last;\nvoid *copy(const char *text) { void *block = strdup(text); last = block; return block; }"),
      try pieces.library(
        "libobjects",
        "#include <string>\n#include <vector>\nextern \"C\" void *make(unsigned count) { return new std::vector<std::string>(count, std::string(100, 'x')); }",
        isCPlusPlus: true),
      let program = try pieces.program(
        """
        void *(*take)(size_t) = (void *(*)(size_t))dlsym(open_library("libplain"), "take");
        void *(*copy)(const char *) = (void *(*)(const char *))dlsym(open_library("libtext"), "copy");
        void *(*make)(unsigned) = (void *(*)(unsigned))dlsym(open_library("libobjects"), "make");
        for (int i = 0; i < 100; i++) held[i] = take(1000);
        for (int i = 0; i < 30; i++) free(held[i]);      // by the program: charged back to the library
        for (int i = 100; i < 150; i++) held[i] = copy("a text that is copied by libc for a library");
        held[200] = make(500);
        held[201] = take(300000);
        for (int i = 300; i < 320; i++) held[i] = calloc(1, 50);
        held[320] = aligned_alloc(64, 640);
        for (int i = 0; i < 1; i++) { held[330] = take(100); held[330] = realloc(held[330], 9000); }
        """),
      let types = try pieces.types(program, "types:library")
    else { return }
    #expect(types.inUse["libplain.so"] == 71 && types.memory["libplain.so"] == 70 * 1024 + 303_104, "\(types)")
    #expect(types.inUse["libtext.so"] == 50, "libc only forwards: \(types)")
    #expect(types.inUse["libobjects.so"] == 502, "the vector, its array, its texts, through libstdc++: \(types)")
    #expect(types.inUse["main"] ?? 0 >= 22 && types.inUse["main"] ?? 0 < 40, "calloc, aligned_alloc and what realloc moved: \(types)")
    #expect(types.inUse["libc.so.6"] == nil && types.inUse["libstdc++.so.6"] ?? 0 < 5, "\(types)")
    #expect(types.memory.values.reduce(0, +) == types.usedBytes, "\(types)")
  }

  @Test func `a library that takes the place of one that has gone is charged for its own`() throws {
    let pieces = Pieces()
    guard try pieces.library("libfirst", Self.plain), try pieces.library("libother", Self.plain),
      let program = try pieces.program(
        """
        int same = 0;
        for (int round = 0; round < 20; round++) {
          void *place[2];
          for (int which = 0; which < 2; which++) {
            void *library = open_library(which ? "libother" : "libfirst");
            void *(*take)(size_t) = (void *(*)(size_t))dlsym(library, "take");
            place[which] = (void *)take;
            for (int i = 0; i < 10; i++) held[round * 20 + which * 10 + i] = take(2000);
            dlclose(library);
          }
          same += place[0] == place[1];
        }
        if (same == 0) puts("never the same place");
        """),
      let types = try pieces.types(program, "types:library")
    else { return }
    #expect(types.inUse["libfirst.so"] == 200 && types.inUse["libother.so"] == 200, "\(types)")
    #expect(types.memory.values.reduce(0, +) == types.usedBytes, "\(types)")
  }

  @Test func `a program that writes over its arguments keeps its name`() throws {
    let pieces = Pieces()
    // As PostgreSQL's servers do, to say in ps what they are at.
    guard
      let program = try pieces.program(
        """
        held[0] = malloc(1000);
        extern char *program_invocation_short_name;
        memset(program_invocation_short_name, 'x', strlen(program_invocation_short_name));
        for (int i = 1; i < 100; i++) held[i] = malloc(1000);
        """),
      let types = try pieces.types(program, "types:library")
    else { return }
    #expect(types.inUse["main"] ?? 0 >= 100 && types.inUse["xxxx"] == nil, "\(types)")
  }

  @Test func `a library that was there before types were switched on, and goes, leaves its place to others`() throws {
    let pieces = Pieces()
    guard try pieces.library("libolder", Self.plain), try pieces.library("libnewer", Self.plain),
      let program = try pieces.program(
        """
        void *library = open_library("libolder");
        void *(*take)(size_t) = (void *(*)(size_t))dlsym(library, "take");
        puts("ready");
        fflush(stdout);
        // Until somebody has switched types on; a large block is a slow call, which reads the mail.
        for (char path[4096]; snprintf(path, sizeof path, "%s/go", getenv("PIECES")), access(path, F_OK) != 0; usleep(1000)) free(malloc(100000));
        for (int i = 0; i < 10; i++) held[i] = take(2000);
        void *place = (void *)take;
        dlclose(library);
        library = open_library("libnewer");
        take = (void *(*)(size_t))dlsym(library, "take");
        if (place != (void *)take) puts("another place");
        for (int i = 10; i < 30; i++) held[i] = take(2000);
        """)
    else { return }
    let started = try Started(program, environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "background:0,inspect:any", "PIECES": pieces.folder.path])
    defer { kill(started.id, SIGKILL) }
    #expect(wait { started.printed.contains("ready") })
    let set = try stave("set", "\(started.id)", "types=library")
    #expect(set.status == 0, set.report)
    _ = pieces.folder.write("", "go")
    #expect(wait { (try? String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8))?.contains(") T ") ?? false })
    let types = try pieces.parse(try stave("types", "--all", "--json", "\(started.id)").text)
    #expect(types.inUse["libolder.so"] == 10 && types.inUse["libnewer.so"] == 20, "\(types) \(started.printed)")
  }

  @Test func `skip names further libraries that only forward`() throws {
    let pieces = Pieces()
    guard try pieces.library("libforward", Self.plain),
      let program = try pieces.program(
        """
        void *(*take)(size_t) = (void *(*)(size_t))dlsym(open_library("libforward"), "take");
        for (int i = 0; i < 100; i++) held[i] = take(1000);
        """)
    else { return }
    let without = try pieces.types(program, "types:library"), with = try pieces.types(program, "types:library,types:skip=libforward+libnone")
    #expect(without?.inUse["libforward.so"] == 100 && with?.inUse["libforward.so"] == nil)
    #expect(with?.inUse["main"] ?? 0 >= 100 && with?.memory.values.reduce(0, +) == with?.usedBytes, "\(String(describing: with))")
  }

  @Test func `a program's own types are shown, live`() throws {
    guard let compiler = find("gcc", "clang", "cc") else { return announceSkip("a program's own types: no compiler") }
    let pieces = Pieces()
    let example = Place.root.appending(path: "Examples/types-c/main.c").path
    let built = try run(
      compiler,
      [example, "-I" + Place.root.appending(path: "build/include").path, "-u", "malloc", Place.root.appending(path: "build/libstave.a").path, "-o", pieces.folder.file("own")])
    try #require(built.succeeded, built.report)
    let started = try Started(pieces.folder.file("own"), ["wait"])
    let isThere = wait { (try? stave("types", "\(started.id)"))?.text.contains("numbers") ?? false }
    #expect(isThere)
    let lines = try stave("types", "\(started.id)").text.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
    #expect(lines.first == ["Type", "InUse", "MemUse", "Requests", "Size(s)"])
    #expect(lines.contains(["names", "1000", "47K", "1000", "48"]), "\(lines)")
    #expect(lines.contains { $0.prefix(3) == ["numbers", "1", "392K"] && $0.last == "large" }, "\(lines)")
  }

  @Test func `types by site tell calls of one function apart`() throws {
    let pieces = Pieces()
    guard
      let program = try pieces.program(
        "for (int i = 0; i < 70; i++) held[i] = malloc(100); for (int i = 0; i < 40; i++) held[100 + i] = malloc(100);"),
      let types = try pieces.types(program, "types:site")
    else { return }
    let sites = types.inUse.filter { $0.key.hasPrefix("main+") }
    #expect(sites.values.contains(70) && sites.values.contains(40), "\(types)")
    #expect(types.memory.values.reduce(0, +) == types.usedBytes, "\(types)")
  }

  @Test func `a library is charged for aligned blocks, too, where Stave is part of the program`() throws {
    let pieces = Pieces()
    let archive = Built.library.replacing(".so", with: ".a")
    guard FileManager.default.isReadableFile(atPath: archive) else { return announceSkip("types of a linked program: no libstave.a") }
    guard
      try pieces.library(
        "libaligned",
        "#include <stdlib.h>\nvoid *volatile last;\nvoid *take(size_t size) { void *block = NULL; posix_memalign(&block, 64, size); last = block; return block; }"),
      let program = try pieces.program(
        """
        void *(*take)(size_t) = (void *(*)(size_t))dlsym(open_library("libaligned"), "take");
        for (int i = 0; i < 100; i++) held[i] = take(1000);
        """, flags: ["-u", "malloc", archive]),
      let types = try pieces.types(program, "types:library", isPreloaded: false)
    else { return }
    #expect(types.inUse["libaligned.so"] == 100, "\(types)")
  }

  @Test func `many sites are known at once`() throws {
    let pieces = Pieces()
    // Half a second for 45,000 pairs: a hundred times what they take, and a fifth of what they took when sites forgot each other.
    let calls = (0..<900).map { "held[\($0)] = malloc(48);" }.joined(separator: "\n")
    guard
      let program = try pieces.program(
        "extern long clock(void); long start = clock(); for (int round = 0; round < 50; round++) {\n\(calls)\n"
          + "for (int i = 0; i < 900; i++) free(held[i]); } if (clock() - start > 500000) return 9;"),
      let types = try pieces.types(program, "types:site")
    else { return }
    #expect(types.inUse.filter { $0.key.hasPrefix("main+") }.count >= 900)
  }

  @Test func `a site keeps its type when there are too many and what is known of callers is forgotten`() throws {
    let pieces = Pieces()
    // More sites than there may be types; what the loader frees at dlerror makes the library forget.
    let calls = (0..<1100).map { "held[round * 2000 + \($0)] = malloc(16);" }.joined(separator: "\n")
    guard
      let program = try pieces.program(
        "for (int round = 0; round < 2; round++) {\n\(calls)\ndlsym(RTLD_DEFAULT, \"no such name\"); dlerror(); }"),
      let types = try pieces.types(program, "types:site")
    else { return }
    let sites = types.inUse.filter { $0.key.hasPrefix("main+") }
    #expect(sites.count > 900 && sites.values.allSatisfy { $0 == 2 }, "\(sites.values.filter { $0 != 2 }.count) of \(sites.count)")
    #expect(0..<20 ~= (types.inUse["other sites"] ?? 0) - 2 * (1100 - sites.count), "\(types.inUse["other sites"] ?? 0)")
  }

  @Test(arguments: ["types:library", "types:site", "types:library,percpu:locked"])
  func `Python's libraries share all of its memory among them`(_ options: String) throws {
    guard let python = find("python3") else { return announceSkip("types of Python: not installed") }
    let script = """
      import sqlite3, json, os, signal, threading
      base = sqlite3.connect(':memory:'); base.execute('create table t(a, b)')
      base.executemany('insert into t values(?, ?)', ((i, 'x' * i) for i in range(1000)))
      texts = []
      def work(): texts.append([json.dumps({'a': i}) for i in range(2000)])
      threads = [threading.Thread(target=work) for _ in range(4)]
      [t.start() for t in threads]; [t.join() for t in threads]
      os.kill(os.getpid(), signal.SIGSTOP)
      """
    let started = try Started(
      python, ["-c", script], environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": options + ",background:0", "PYTHONMALLOC": "malloc"])
    defer { kill(started.id, SIGKILL) }
    guard wait({ (try? String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8))?.contains(") T ") ?? false }) else {
      Issue.record("it has not come to its end: \(started.complained)")
      return
    }
    let ended = try stave("types", "--all", "--json", "\(started.id)")
    let all = try object(ended.text)
    let list = try #require((all["malloc-statistics"] as? [String: Any])?["memory"] as? [[String: Any]])
    let sum = list.reduce(0) { $0 + ($1["memory-use"] as? Int ?? 0) }
    #expect(sum == (all["sum"] as? [String: Any])?["used"] as? Int, ended.report)
    let sqlite = list.filter { ($0["type"] as? String)?.hasPrefix("libsqlite3") ?? false }
    #expect(sqlite.reduce(0) { $0 + ($1["memory-use"] as? Int ?? 0) } > 400_000, ended.report)
    #expect(list.count > (options.contains("site") ? 50 : 3))
  }

  @Test func `a stream of types goes to a file and is read back, by CPU too`() throws {
    let pieces = Pieces()
    guard
      let program = try pieces.program(
        "for (int i = 0; i < 3000; i++) held[i] = malloc(100); for (int i = 0; i < 1000; i++) free(held[i]); held[4000] = malloc(100000);")
    else { return }
    let started = try Started(program, environment: ["LD_PRELOAD": Built.library, "STAVE_OPTIONS": "types:library,background:0"])
    defer { kill(started.id, SIGKILL) }
    #expect(wait { (try? String(contentsOfFile: "/proc/\(started.id)/stat", encoding: .utf8))?.contains(") T ") ?? false })
    let file = pieces.folder.file("stream")
    let written = try start("/bin/sh", ["-c", "\"$0\" stream types \(started.id) > \(file)", Built.command]).end()
    try #require(written.succeeded, written.report)
    func rows(_ text: String) -> [[Substring]] { text.split(separator: "\n").map { $0.split(separator: " ").prefix(4).map { $0 } } }
    let live = try stave("types", "\(started.id)"), read = try stave("types", file)
    #expect(rows(live.text) == rows(read.text) && rows(read.text).count > 1 && read.succeeded, read.report)
    let cpus = try stave("types", "--cpus", "\(started.id)")
    #expect(try cpus.text == stave("types", "--cpus", "--stream", file).text)
    #expect(try start(Built.command, ["types", "--cpus", "--stream", "-"], input: file).end().text == cpus.text)
    // The sums over CPUs are the type's: in text requests and frees, in JSON bytes.
    let row = try #require(rows(live.text).first { $0.first == "main" })
    let own = cpus.text.split(separator: "\n").map { $0.split(separator: " ") }.filter { $0.first == "main" }
    #expect(own.reduce(0) { $0 + (Int($1[2]) ?? 0) } == Int(row[3]) && own.reduce(0) { $0 + (Int($1[2]) ?? 0) - (Int($1[3]) ?? 0) } == Int(row[1]), cpus.report)
    #expect(own.last?[1] == "-" && own.first?[1] != "-", "large blocks are no CPU's")
    for words in [["\(started.id)"], [file]] {
      let all = try object(start(Built.command, ["types", "--cpus", "--json"] + words).end().text)
      let list = try #require((all["malloc-statistics"] as? [String: Any])?["memory"] as? [[String: Any]])
      for type in list {
        let cpus = try #require(type["cpu"] as? [[String: Any]])
        func sum(_ name: String) -> Int { cpus.reduce(0) { $0 + ($1[name] as? Int ?? 0) } }
        #expect(sum("allocated") - sum("freed") == type["memory-use"] as? Int && sum("requests") - sum("frees") == type["in-use"] as? Int)
        if let classes = type["size-class"] as? [[String: Any]] {
          #expect(classes.reduce(0) { $0 + ($1["in-use"] as? Int ?? 0) } + (type["large-blocks"] as? Int ?? 0) == type["in-use"] as? Int)
        }
      }
    }
    let zones = try stave("zones", file)
    #expect(zones.status == 1 && zones.errorText.contains("one of malloc types"), zones.report)
    var bytes = Array(try Data(contentsOf: URL(filePath: file)))
    bytes[0] = 2
    let other = try stave("types", pieces.folder.write(bytes, "other"))
    #expect(other.status == 1 && other.errorText.contains("a stream of version 2"), other.report)
  }
}
