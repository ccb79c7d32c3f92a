// SPDX-License-Identifier: BSD-2-Clause
//
// What is written of libstavezones: headers, manual pages, the list of names and the programs that use them agree; examples do what they say.

import Foundation
import Heap
import Testing

@testable import TestSupport

@Suite(.serialized) struct ZonesPagesTests {
  static let headers = ["stave_zone.h", "stave_pool.h", "stave_mbuf.h"]
  /// What each page's examples print, one after the other.
  static let pages = [
    "stave_zone": [
      "message 999\n", "2 of 2, exhausted: 1\n3 requests for 200 bytes, 0 out\npages: some\n", "7, library new enough\n",
      "all counted, 0 left\n", "own pages, a door\n", "at home: 1\n",
    ],
    "stave_smr": ["differences: 0\n", "while somebody reads: 0\nthen: 1\n"],
    "stave_pool": ["3 connections\n", "1 out, enough left: 1\nlarge gave back pages: 1\n", "100 uses, made: 1\n"],
    "stave_mbuf": [
      "16 bytes: hello, mbuf\n", "1000 and 2000 bytes\nwritable: 0\nsum 5, 2020 bytes, sound: 1\n",
      "144 before, 214 behind, as it should be\ntaken back: 0, then 1\n",
      "flow 7, type 1, flag 1: by way of there\npersistent: still there\n", "2 wait, full: 1\n600 bytes: what came in\nused: 0, denied: 0\n",
    ],
  ]
  /// Of libstave.
  static let types = ["stave": ["too large\nroom for as many: 1\n", "unloaded\n"], "stave_contigmalloc": ["a ring\n"]]

  private func text(_ path: String) throws -> String { try String(contentsOf: Place.root.appending(path: path), encoding: .utf8) }

  /// Of functions, with those that a macro stands for left out.
  private func declared() throws -> Set<String> {
    var names: Set<String> = []
    for header in Self.headers {
      let code = try text("Sources/StaveC/include/\(header)").split(separator: "\n").filter { !$0.hasPrefix("//") && !$0.hasPrefix("#") && !$0.hasPrefix("typedef") }
      names.formUnion(code.joined(separator: "\n").matches(of: /[ *](stave_[a-z0-9_]+)\(/).map { String($0.1) })
    }
    return names
  }

  @Test func `each function of the headers is exported, has its place in a manual page, and is called by a program`() throws {
    let declared = try declared()
    let exported = Set(try text("Sources/CStaveZones/exports.map").matches(of: /\b(stave_[a-z0-9_]+);/).map { String($0.1) })
    #expect(declared == exported && declared.count > 140, "\(declared.symmetricDifference(exported))")
    var shown: Set<String> = [], described: Set<String> = []
    for page in Self.pages.keys {
      let page = try text("Documentation/man/\(page).3")
      shown.formUnion(page.matches(of: /\n\.Fn (stave_[a-z0-9_]+) "/).map { String($0.1) })
      for line in page.split(separator: "\n") where line.hasPrefix(".It Fn ") {
        described.formUnion(line.matches(of: /Fn (stave_[a-z0-9_]+)/).map { String($0.1) })
      }
    }
    #expect(shown == declared, "\(shown.symmetricDifference(declared))")
    #expect(described == declared, "\(described.symmetricDifference(declared))")
    var called = ""
    for file in try FileManager.default.contentsOfDirectory(atPath: ZonesLibrary.programs.path) { called += try text("Tests/ZonePrograms/\(file)") }
    let uncalled = declared.filter { !called.contains("\($0)(") }
    #expect(uncalled.isEmpty, "called by no program: \(uncalled)")
  }

  @Test func `each constant, structure and type of a function is in a manual page`() throws {
    let pages = try (Array(Self.pages.keys) + Self.types.keys).map {
      try #require(text("Documentation/man/\($0).3").components(separatedBy: ".Sh EXAMPLES\n").first)
    }.joined()
    for header in ["stave.h", "stave_type.h"] + Self.headers {
      let lines = try text("Sources/StaveC/include/\(header)").split(separator: "\n")
      let code = lines.map { $0.components(separatedBy: "//")[0] }.joined(separator: "\n")
      // A macro that stands for nothing is for compilers.
      let empty = Set(lines.compactMap { $0.wholeMatch(of: /#define (STAVE_\w+)/)?.1 })
      let constants = code.matches(of: /\bSTAVE_[A-Z0-9_]+\b/).map(\.0), functions = code.matches(of: /\(\*(stave_\w+)\)/).map(\.1)
      let names = Set(constants + functions + code.matches(of: /\bstruct (stave_\w+)/).map(\.1))
      let missing = names.subtracting(empty).filter { !pages.contains(try! Regex("\\b\($0)\\b")) }.sorted()
      #expect(missing.isEmpty, "\(header): \(missing)")
    }
  }

  @Test func `the headers have the version of the library`() throws {
    let header = try text("Sources/StaveC/include/stave.h")
    let numbers = ["MAJOR", "MINOR", "PATCH"].map { part in
      header.firstMatch(of: try! Regex("#define STAVE_VERSION_\(part) ([0-9]+)"))?.output[1].substring.map(String.init) ?? "?"
    }
    #expect(numbers.joined(separator: ".") == "\(Heap.version)")
  }

  /// The C programs of a page's examples.
  private func examples(_ page: String) throws -> [String] {
    let part = try #require(text("Documentation/man/\(page).3").components(separatedBy: ".Sh EXAMPLES\n").last)
    let blocks = part.components(separatedBy: ".Bd -literal\n").dropFirst().compactMap { $0.components(separatedBy: "\n.Ed").first }
    return blocks.map { $0.replacing("\\&", with: "").replacing("\\e", with: "\\") + "\n" }.filter { $0.hasPrefix("#include") }
  }

  @Test(arguments: (Array(pages.keys) + types.keys).sorted())
  func `each function of a manual page is in an example of it`(_ name: String) throws {
    let programs = try examples(name).joined()
    let functions = Set(try text("Documentation/man/\(name).3").matches(of: /\n\.Fn (stave_[a-z0-9_]+) "/).map { String($0.1) })
    let unshown = functions.filter { !programs.contains("\($0)(") }.sorted()
    #expect(!functions.isEmpty && unshown.isEmpty, "in no example: \(unshown)")
  }

  @Test(.enabled(if: ZonesLibrary.exists), arguments: pages.keys.sorted())
  func `the examples of a manual page compile and print what they should`(_ name: String) throws {
    let programs = try examples(name), printed = try #require(Self.pages[name])
    try #require(programs.count == printed.count)
    for (source, output) in zip(programs, printed) {
      let folder = Folder()
      for linking in [ZonesLibrary.Linking.shared, .archive] {
        guard let program = try ZonesLibrary.program(folder.write(source, "example.c"), linking, in: folder) else { return }
        let outcome = try run(program)
        #expect(outcome.succeeded && outcome.text == output, outcome.report)
        // One of them meets a limit that has a warning.
        let said = source.contains("two are all there are") ? "limit of a zone: session: two are all there are\n" : ""
        #expect(said.isEmpty ? outcome.errors.isEmpty : outcome.errorText.hasSuffix(said), outcome.report)
      }
    }
  }

  @Test(.enabled(if: FileManager.default.isReadableFile(atPath: Place.builtLibrary)), arguments: types.keys.sorted())
  func `the examples of malloc types compile and print what they should`(_ name: String) throws {
    guard let compiler = Compiler.c else { return announceSkip("\(name)(3): no compiler") }
    let programs = try examples(name), printed = try #require(Self.types[name]), build = ZonesLibrary.build
    try #require(programs.count == printed.count)
    for (source, output) in zip(programs, printed) {
      let folder = Folder()
      let built = try run(
        compiler,
        ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-pedantic", "-Werror", "-I\(build)/include", folder.write(source, "example.c")]
          + ["-L\(build)", "-lstave", "-Wl,-rpath,\(build)", "-o", folder.file("example")])
      try #require(built.succeeded, built.report)
      let outcome = try run(folder.file("example"))
      // Where physical addresses are hidden, or no such memory is free, that is what it says.
      let isRefused = name == "stave_contigmalloc" && outcome.status == 1 && outcome.errorText.hasPrefix("example: ring: ")
      #expect(isRefused || outcome.succeeded && outcome.text == output && outcome.errors.isEmpty, outcome.report)
    }
  }

  @Test(.enabled(if: ZonesLibrary.exists)) func `the example programs answer requests from arenas, and read a table without locks`() throws {
    let folder = Folder()
    let examples = Place.root.appending(path: "Examples")
    guard let arena = try ZonesLibrary.program(examples.appending(path: "request-arena-c/main.c").path, .shared, in: folder) else { return }
    // The last request needs more than one block.
    let long = (0..<2000).map { "k\($0)=\(String(repeating: "v", count: 50))" }.joined(separator: "&")
    let requests = folder.write("name=rose&colour=red&size=3\nb\nz=1&a=2&\n\(long)\n", "requests")
    let answered = try run("/bin/sh", ["-c", "\(arena) < \(requests)"])
    #expect(answered.succeeded && answered.text.hasPrefix("colour: red, name: rose, size: 3\nb: \na: 2, z: 1\nk0: vvv"), answered.report)
    #expect(answered.errorText == "4 requests, 0 arenas out\n" && answered.text.count > 2000 * 55, answered.report)
    guard let table = try ZonesLibrary.program(examples.appending(path: "lock-free-table-c/main.c").path, .archive, in: folder) else { return }
    let read = try run(table, seconds: 60)
    #expect(read.succeeded && read.text == "320 names, 0 wrong answers\n" && read.errors.isEmpty, read.report)
  }
}
