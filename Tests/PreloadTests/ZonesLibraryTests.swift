// SPDX-License-Identifier: BSD-2-Clause
//
// libstavezones.so and libstavezones.a as C and C++ programs meet them: the programs of Tests/ZonePrograms, each compiled as strict C11
// or C++17 and linked either way; mistakes and their reports; beside libstave.so; found by dlopen. Needs `make` first.

import Foundation
import Testing

@testable import TestSupport

enum ZonesLibrary {
  static let build = Place.root.appending(path: "build").path
  static let shared = build + "/libstavezones.so"
  static let archive = build + "/libstavezones.a"
  static let programs = Place.root.appending(path: "Tests/ZonePrograms")
  static var exists: Bool { [shared, archive].allSatisfy { FileManager.default.isReadableFile(atPath: $0) } }

  enum Linking: String, CaseIterable {
    case shared, archive, fullyStatic

    var flags: [String] {
      switch self {
      case .shared: ["-L\(ZonesLibrary.build)", "-lstavezones", "-Wl,-rpath,\(ZonesLibrary.build)"]
      case .archive: [ZonesLibrary.archive]
      case .fullyStatic: [ZonesLibrary.archive, "-static"]
      }
    }
  }

  /// Nil, said aloud, without a compiler, or without a static libc where one is wanted.
  static func program(_ source: String, _ linking: Linking, in folder: Folder, with compiler: String? = nil) throws -> String? {
    let isCxx = source.hasSuffix(".cc")
    guard let compiler = compiler ?? (isCxx ? Compiler.cxx : Compiler.c) else {
      announceSkip("\(source): no compiler")
      return nil
    }
    let standard = isCxx ? ["-std=c++17"] : ["-std=c11", "-D_GNU_SOURCE"]
    let place = source.hasPrefix("/") ? source : programs.appending(path: source).path
    let program = folder.file(linking.rawValue + "-program")
    let built = try run(
      compiler, standard + ["-O1", "-g", "-Wall", "-Wextra", "-pedantic", "-Werror", "-pthread", "-I\(build)/include", place] + linking.flags + ["-ldl", "-o", program])
    if linking == .fullyStatic && !built.succeeded {
      announceSkip("\(source): no static libc is installed")
      return nil
    }
    try #require(built.succeeded, built.report)
    return program
  }
}

@Suite(.serialized, .enabled(if: ZonesLibrary.exists)) struct ZonesLibraryTests {
  static let sound = ["zones.c", "domains.c", "pools.c", "readers.c", "packets.c", "forks.c", "refusals.c", "together.c", "limits.c", "plusplus.cc"]

  /// At limits that have a text.
  static let said = [
    "zones.c": "limit of a zone: bounded: eight is all there are\n", "pools.c": "pool limit: connections: three at a time; 3 items are out\n",
    "packets.c": "limit of a zone: mbuf_jumbo_16k: kern.ipc.nmbjumbo16 limit reached; stave_mbuf_set_max, Packets.setLimit or stave set raises it\n",
    "limits.c": "limit of a zone: mbuf_cluster: kern.ipc.nmbclusters limit reached; stave_mbuf_set_max, Packets.setLimit or stave set raises it\n",
  ]

  @Test(arguments: sound, ZonesLibrary.Linking.allCases)
  func `zones, pools, deferred reuse and packet buffers from C11 and C++17`(_ source: String, _ linking: ZonesLibrary.Linking) throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program(source, linking, in: folder) else { return }
    let modes = linking == .shared ? [[:], ["STAVE_OPTIONS": "percpu:locked"], ["STAVE_OPTIONS": "check:1"]] : [[:]]
    for environment in modes {
      let arguments = source == "packets.c" ? ["\(Stage.steps(3_000, soak: 1_000_000))", "\(Stage.seed)"] : []
      let outcome = try run(program, arguments, environment: environment, seconds: 120)
      #expect(outcome.succeeded && outcome.text == "fine\n", outcome.report)
      if let said = Self.said[source] {
        #expect(outcome.errorText.contains(said), outcome.report)
      } else {
        #expect(outcome.errors.isEmpty, outcome.report)
      }
    }
  }

  @Test func `lengths, offsets and mbufs that cannot be are refused, or end the process with a report`() throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("extremes.c", .shared, in: folder) else { return }
    let outcome = try run(program, seconds: 120)
    #expect(outcome.succeeded && outcome.text == "fine\n" && outcome.errors.isEmpty, outcome.report)
  }

  @Test(arguments: ["zones", "mbufs"], [ZonesLibrary.Linking.shared, .archive])
  func `a child of a fork during the first call of another thread makes its own`(_ what: String, _ linking: ZonesLibrary.Linking) throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("firsts.c", linking, in: folder) else { return }
    let outcome = try run(program, [what, "\(600 * Stage.scale)"], seconds: 300)
    #expect(outcome.succeeded && outcome.text == "fine\n" && outcome.errors.isEmpty, outcome.report)
  }

  @Test(arguments: ["double", "foreign", "malloc", "other", "inside"])
  func `a bad free ends the process at once and names zone, address and reason`(_ mistake: String) throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("mistakes.c", .shared, in: folder) else { return }
    let outcome = try run(program, [mistake])
    let address = outcome.text.trimmingCharacters(in: .whitespacesAndNewlines)
    #expect(outcome.signal == SIGABRT && outcome.errorText.contains("bad free") && outcome.errorText.contains(address), outcome.report)
    let reason = mistake == "double" ? "double free" : "free of an address that is no item of the zone"
    #expect(outcome.errorText.contains("\(reason) at \(address)") && outcome.errorText.contains("in zone victims"), outcome.report)
    if mistake == "other" { #expect(outcome.errorText.contains(" in zone victims, freed to zone strangers\n"), outcome.report) }
    // The stack begins with the caller.
    #expect(outcome.errorText.contains("#0") && outcome.errorText.firstMatch(of: /#0 0x[0-9a-f]+ \S*\/shared-program\+/) != nil, outcome.report)
    // A program that is told to goes on.
    let goesOn = try run(program, [mistake], environment: ["STAVE_OPTIONS": "onreport:continue"])
    #expect(goesOn.succeeded && goesOn.errorText.contains("bad free"), goesOn.report)
  }

  @Test(arguments: ["0x8", "0x1000", "0xffffffffffffffff", "0x5a5a5a5a5a5a5a50"])
  func `an address at which nothing can be is reported like any other that is no item`(_ address: String) throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("mistakes.c", .shared, in: folder) else { return }
    for options in ["", "check:1"] {
      let outcome = try run(program, [address], environment: ["STAVE_OPTIONS": options])
      #expect(outcome.signal == SIGABRT && outcome.errorText.contains("free of an address that is no item of the zone at \(address)"), outcome.report)
      let goesOn = try run(program, [address], environment: ["STAVE_OPTIONS": options + ",onreport:continue"])
      #expect(goesOn.succeeded && goesOn.errorText.contains("no item of the zone"), goesOn.report)
    }
  }

  @Test func `pages that are not aligned as items are to be are refused with a report; so is a source that comes too late`() throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("mistakes.c", .shared, in: folder) else { return }
    let outcome = try run(program, ["askew"])
    #expect(outcome.signal == SIGABRT && outcome.errorText.contains("page source: of zone lines: pages at 0x"), outcome.report)
    #expect(outcome.errorText.contains("which is no multiple of the 64 bytes to which items are aligned\n"), outcome.report)
    #expect(try run(program, ["askew"], environment: ["STAVE_OPTIONS": "onreport:continue"]).status == 4)
    let late = try run(program, ["late source"], environment: ["STAVE_OPTIONS": "onreport:continue"])
    #expect(late.succeeded && late.errorText.contains("the page source"), late.report)
  }

  @Test func `a double free into a cache is caught, and items that are out when a zone ends are told`() throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("mistakes.c", .shared, in: folder) else { return }
    for options in ["", "check:1"] {
      let cached = try run(program, ["cached"], environment: ["STAVE_OPTIONS": options])
      #expect(cached.signal == SIGABRT && cached.errorText.contains("double free") && cached.errorText.contains("cached"), cached.report)
    }
    let leaked = try run(program, ["leaked"])
    #expect(leaked.status == 3 && leaked.errorText.contains("zone destroyed with items out: victims: 1 item, 1 page lost\n"), leaked.report)
    let advice = "STAVE_OPTIONS=memguard:1 says where they were asked for; "
    #expect(leaked.errorText.hasSuffix("\n  next: \(advice)stave symbolize names the functions\n"), leaked.report)
    let guarded = try run(program, ["leaked"], environment: ["STAVE_OPTIONS": "memguard:1"])
    #expect(guarded.status == 3 && guarded.errorText.contains("victims: 1 item, 0 pages lost; guarded: 1\n  guarded item at 0x"), guarded.report)
    #expect(guarded.errorText.contains("\n  at 20") && guarded.errorText.hasSuffix("\n  next: stave symbolize names the functions\n"), guarded.report)
  }

  @Test(arguments: ["packet", "mbuf"], ["", "check:1", "check:1,percpu:locked"])
  func `an mbuf that is freed twice is reported, whatever has been done to what was in it`(_ mistake: String, _ options: String) throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("mistakes.c", .shared, in: folder) else { return }
    let outcome = try run(program, [mistake], environment: ["STAVE_OPTIONS": options])
    let address = outcome.text.trimmingCharacters(in: .whitespacesAndNewlines)
    #expect(outcome.signal == SIGABRT && outcome.errorText.contains("bad free: double free at \(address)"), outcome.report)
    guard !options.isEmpty else { return }
    // Nothing of it is read where the program goes on: it is no chain.
    let goesOn = try run(program, [mistake], environment: ["STAVE_OPTIONS": options + ",onreport:continue"])
    let second = goesOn.text.trimmingCharacters(in: .whitespacesAndNewlines)
    #expect(goesOn.succeeded && goesOn.errorText.components(separatedBy: "double free at \(second)").count == 3, goesOn.report)
  }

  @Test(arguments: ["0x1000", "0xfffffffffffff000", "0x8000000000000000"])
  func `an address at which nothing can be is reported by a pool on pages of its author's, too`(_ address: String) throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("mistakes.c", .shared, in: folder) else { return }
    let outcome = try run(program, ["put \(address)"])
    #expect(outcome.signal == SIGABRT && outcome.errorText.contains("put of an address that is no item of the pool at \(address)"), outcome.report)
  }

  @Test func `L27 T17 wait flags that say both or neither, or what is not known, are reported on a hit too`() throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("mistakes.c", .shared, in: folder) else { return }
    let outcome = try run(program, ["flags"])
    let said = outcome.errorText.split(separator: "\n").filter { $0.contains("bad wait flags") }
    #expect(outcome.succeeded && said.count == 7, outcome.report)
    #expect(outcome.errorText.components(separatedBy: "  #0 0x").count == 8, "each with the stack: \(outcome.report)")
    for (line, flags) in zip(said, ["0x0", "0x3", "0x4", "0x8001", "0x4001", "0x2001", "0x1003"]) {
      #expect(line.contains("bad wait flags: \(flags); exactly one of STAVE_NOWAIT and STAVE_WAITOK"), outcome.report)
    }
  }

  @Test func `warnings of zones are switched off at start`() throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("zones.c", .shared, in: folder) else { return }
    let outcome = try run(program, environment: ["STAVE_OPTIONS": "zone_warnings:0"], seconds: 120)
    #expect(outcome.succeeded && outcome.text == "fine\n" && !outcome.errorText.contains("limit of a zone"), outcome.report)
  }

  @Test(arguments: [("ends", "it ends its own"), ("waits", "it waits at the limit of")])
  func `an action that would wait for itself is reported`(_ mistake: String, _ words: String) throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("mistakes.c", .shared, in: folder) else { return }
    let outcome = try run(program, [mistake], seconds: 60)
    #expect(outcome.signal == SIGABRT && outcome.errorText.contains("action at a limit: \(words) zone victims, which would wait for itself"), outcome.report)
  }

  @Test func `limits of packet buffers are set at start, and raised from outside while packets move`() throws {
    let folder = Folder(), stave = "\(ZonesLibrary.build)/stave"
    guard let limits = try ZonesLibrary.program("limits.c", .shared, in: folder) else { return }
    for (options, text) in [
      ("", "0 0 0\n"), ("nmbclusters:20,nmbjumbo9:30,nmbufs:5", "50 20 30\n"), ("nmbufs:500", "500 0 0\n"), ("nmbclusters:7", "0 7 0\n"),
    ] {
      let outcome = try run(limits, ["options"], environment: ["STAVE_OPTIONS": options])
      #expect(outcome.succeeded && outcome.text == text && outcome.errors.isEmpty, outcome.report)
    }
    // By who sleeps there, too.
    let raised = try run(limits, ["sleeps", "\(stave) set $PPID kern.ipc.nmbclusters=9 2>&1"], environment: ["STAVE_OPTIONS": "inspect:any"], seconds: 90)
    #expect(raised.succeeded && raised.text.hasSuffix(": 2 -> 9\n9\n"), raised.report)
    guard let program = try ZonesLibrary.program("asked.c", .shared, in: folder) else { return }
    let command = ["kern.ipc.nmbclusters=9000", "nmbclusters=8999", "nmbclusters=9001", "nmbclusters=0"].map {
      "\(stave) set $PPID --root libstavezones.so \($0) 2>&1"
    }.joined(separator: "; ")
    let outcome = try run(program, ["packets", command], environment: ["STAVE_OPTIONS": "inspect:any"], seconds: 90)
    #expect(outcome.succeeded && outcome.errors.isEmpty, outcome.report)
    #expect(outcome.text.contains(": 0 -> 9000") && outcome.text.contains(": 9000 -> 9001") && outcome.text.contains(": 9001 -> 0"), outcome.report)
    #expect(outcome.text.contains("nmbclusters does not take that value there"), outcome.report)
  }

  @Test(arguments: ["zone", "pool", "packets"]) func `where a zone's caches have all memory, a request of any other kind that may wait gets some`(_ kind: String) throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("shortage.c", .shared, in: folder) else { return }
    let outcome = try run(program, [kind], environment: ["STAVE_OPTIONS": "kmem_size:64M"], seconds: 90)
    #expect(outcome.succeeded && outcome.text == "fine\n" && outcome.errors.isEmpty, outcome.report)
  }

  @Test(arguments: ["zone", "pool", "packets"]) func `a program with zones of its own that is at work takes what it is asked for from outside`(_ kind: String) throws {
    let folder = Folder(), stave = "\(ZonesLibrary.build)/stave"
    guard let program = try ZonesLibrary.program("asked.c", .shared, in: folder) else { return }
    let environment = ["STAVE_OPTIONS": "inspect:any"]
    let set = try run(program, [kind, "\(stave) set $PPID --root libstavezones.so check=1", "then"], environment: environment, seconds: 90)
    #expect(set.text.contains("stave.check: 0 -> 1") && set.signal == SIGABRT && set.errorText.contains("double free"), set.report)
    let trim = try run(program, [kind, "\(stave) trim $PPID"], environment: environment, seconds: 90)
    #expect(trim.succeeded && trim.text.contains("returned") && !trim.text.contains("pending") && trim.errors.isEmpty, trim.report)
    // Where only frees and requests that may not wait come to it, nothing of the author's runs: a lock that it wants may be held there.
    if kind != "zone" { #expect(trim.text.contains("no fini"), trim.report) }
  }

  @Test func `each library keeps its own memory where a process has both`() throws {
    let folder = Folder()
    guard let program = try ZonesLibrary.program("together.c", .shared, in: folder) else { return }
    let preloaded = try run(program, environment: ["LD_PRELOAD": Library.path], seconds: 120)
    #expect(preloaded.succeeded && preloaded.text == "fine\n" && preloaded.errors.isEmpty, preloaded.report)
    guard let inArchive = try ZonesLibrary.program("together.c", .archive, in: folder) else { return }
    let other = try run(inArchive, environment: ["LD_PRELOAD": Library.path], seconds: 120)
    #expect(other.succeeded && other.text == "fine\n", other.report)
  }

  @Test func `zones of a program are seen from outside by the note of its root`() throws {
    let folder = Folder()
    for linking in [ZonesLibrary.Linking.shared, .archive] {
      guard let program = try ZonesLibrary.program("together.c", linking, in: folder) else { return }
      let command = "\(ZonesLibrary.build)/stave zones $PPID"
      let outcome = try run(program, [command], environment: ["STAVE_OPTIONS": "inspect:any"], seconds: 60)
      #expect(outcome.succeeded && outcome.text.contains("beside malloc:"), outcome.report)
    }
  }

  @Test func `the library is found by dlopen and stays when it is closed, and shows neither root nor runtime`() throws {
    let folder = Folder()
    // Headers alone.
    guard let compiler = Compiler.c else { return announceSkip("loaded.c: no compiler") }
    let program = folder.file("loaded")
    let built = try run(
      compiler,
      ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-pedantic", "-Werror", "-I\(ZonesLibrary.build)/include", ZonesLibrary.programs.appending(path: "loaded.c").path, "-ldl", "-o", program])
    try #require(built.succeeded, built.report)
    for environment in [[:], ["LD_PRELOAD": Library.path]] {
      let outcome = try run(program, [ZonesLibrary.shared], environment: environment)
      #expect(outcome.succeeded && outcome.text == "fine\n", outcome.report)
    }
  }

  @Test func `the headers are C11 and C++17 without a warning, each by itself, with every compiler`() throws {
    let folder = Folder()
    for name in ["gcc", "clang", "g++", "clang++"] {
      guard let compiler = find(name) else {
        announceSkip("headers: no \(name)")
        continue
      }
      let isCxx = name.hasSuffix("++")
      let strict = ["-Wall", "-Wextra", "-Wshadow", "-pedantic", "-Werror"] + (isCxx ? ["-std=c++17", "-Wold-style-cast"] : ["-std=c11"])
      // What a macro stands for is looked at where it is used.
      let uses = """
        STAVE_TYPE_DEFINE(M_USED, "used", "what macros stand for");
        int *first(struct stave_mbuf *mbuf);
        int *first(struct stave_mbuf *mbuf) { return stave_mtod(mbuf, int *); }
        int main(void) { return STAVE_ALIGN_PTR + STAVE_ALIGN_CACHE + STAVE_M_COPYALL + STAVE_POOL_NOLIMIT > 4; }

        """
      for header in ["stave.h", "stave_zone.h", "stave_pool.h", "stave_mbuf.h"] {
        let text = "#include <\(header)>\n" + (header == "stave.h" ? uses : "int main(void) { return 0; }\n")
        let source = folder.write(text, isCxx ? "one.cc" : "one.c")
        let outcome = try run(compiler, strict + ["-fsyntax-only", "-I\(ZonesLibrary.build)/include", source])
        #expect(outcome.succeeded, outcome.report)
      }
    }
  }
}
