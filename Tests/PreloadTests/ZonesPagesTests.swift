// SPDX-License-Identifier: BSD-2-Clause
//
// What is written of libstavezones: headers, manual pages, the list of names and the programs that use them agree; examples do what they say.

import Foundation
import Heap
import Testing

@testable import TestSupport

@Suite(.serialized) struct ZonesPagesTests {
  static let headers = ["stave_zone.h", "stave_pool.h", "stave_mbuf.h"]
  /// What each page's example prints.
  static let pages = [
    "stave_zone": "message 999\n", "stave_smr": "differences: 0\n", "stave_pool": "3 connections\n", "stave_mbuf": "16 bytes: hello, mbuf\n",
  ]

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

  @Test func `the headers have the version of the library`() throws {
    let header = try text("Sources/StaveC/include/stave.h")
    let numbers = ["MAJOR", "MINOR", "PATCH"].map { part in
      header.firstMatch(of: try! Regex("#define STAVE_VERSION_\(part) ([0-9]+)"))?.output[1].substring.map(String.init) ?? "?"
    }
    #expect(numbers.joined(separator: ".") == "\(Heap.version)")
  }

  @Test(.enabled(if: ZonesLibrary.exists), arguments: pages.keys.sorted())
  func `the example of a manual page compiles and prints what it should`(_ name: String) throws {
    let page = try text("Documentation/man/\(name).3")
    let part = try #require(page.components(separatedBy: ".Sh EXAMPLES\n").last)
    let literal = try #require(part.components(separatedBy: ".Bd -literal\n").dropFirst().first?.components(separatedBy: "\n.Ed").first)
    let source = literal.replacing("\\&", with: "").replacing("\\e", with: "\\")
    let folder = Folder()
    for linking in [ZonesLibrary.Linking.shared, .archive] {
      guard let program = try ZonesLibrary.program(folder.write(source + "\n", "example.c"), linking, in: folder) else { return }
      let outcome = try run(program)
      #expect(outcome.succeeded && outcome.text == Self.pages[name] && outcome.errors.isEmpty, outcome.report)
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
