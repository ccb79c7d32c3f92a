// SPDX-License-Identifier: BSD-2-Clause
//
// Every public symbol is documented, and used by an example that is compiled and run; the pages have no broken link.

import Foundation
import Testing

@testable import TestSupport

@Suite(.serialized) struct DocumentationTests {
  @Test func `each public symbol has documentation of its own, and an example that compiles and runs`() throws {
    guard let symbols = try publicSymbols() else { return }
    #expect(symbols.count > 200)
    let bare = symbols.filter { !$0.isDocumented && !$0.isRequirement }
    #expect(bare.isEmpty, "no documentation: \(bare.map(\.name))")

    let examples = try Example.all()
    let folder = Folder()
    let (program, index) = try ExampleProgram(examples, in: folder).build()
    // A type's is the beginning of its members', so that a type is shown where one of those is: values of it have names seldom.
    let unshown = symbols.filter { !index.contains($0.usr) && !$0.isRequirement && !$0.isOperator }
    #expect(unshown.isEmpty, "in no example: \(unshown.map(\.name).joined(separator: ", "))")

    let ended = try run(program)
    #expect(ended.succeeded && ended.text.hasSuffix("\(examples.count) examples\n"), ended.report)
  }

  @Test func `DocC renders the catalogue without a warning`() throws {
    guard let docc = find("docc") else { return announceSkip("documentation: no docc on PATH") }
    let folder = Folder()
    let ended = try run(Place.root.appending(path: "Scripts/make-docs").path, [products, folder.file("docs")], environment: ["DOCC": docc])
    #expect(ended.succeeded, ended.report)
    #expect(FileManager.default.fileExists(atPath: folder.file("docs/documentation/stave/packet/index.html")))
  }

  private func text(_ path: String) throws -> String {
    try String(contentsOf: Place.root.appending(path: "Sources/\(path)"), encoding: .utf8)
  }

  @Test(arguments: [("ComingFromElsewhere", 130), ("WhichZoneFlags", 35)])
  func `names of C in an article are of the headers`(_ name: String, atLeast count: Int) throws {
    let article = try text("Stave/Stave.docc/\(name).md")
    let headers = try ["stave", "stave_type", "stave_zone", "stave_pool", "stave_mbuf"].map { try text("StaveC/include/\($0).h") }.joined()
    let declared = Set(headers.matches(of: /\b(?:stave|STAVE)_[A-Za-z0-9_]+/).map { String($0.0) })
    let named = Set(article.matches(of: /`((?:stave|STAVE)_[A-Za-z0-9_]+)`/).map { String($0.1) })
    #expect(named.count > count)
    #expect(named.isSubset(of: declared), "\(named.subtracting(declared).sorted())")
  }

  @Test func `the article that goes from the need to the flag has each flag of a zone, by its name in C and in Swift`() throws {
    let article = try text("Stave/Stave.docc/WhichZoneFlags.md")
    let inC = try text("StaveC/include/stave_zone.h").matches(of: /\b(STAVE_ZONE_[A-Z]+) = 1 <</).map { String($0.1) }
    let inSwift = try text("Stave/Zones/ZoneFlags.swift").matches(of: /static var (\w+): ZoneFlags \{/).map { "ZoneFlags.\($0.1)" }
    #expect(inC.count > 15 && inSwift.count > 11)
    for name in inC + inSwift { #expect(article.contains("`\(name)`"), "\(name)") }
  }
}
