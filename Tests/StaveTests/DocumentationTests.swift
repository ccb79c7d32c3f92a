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

  @Test func `names of C in the article for those who come from elsewhere are of the headers`() throws {
    let article = try String(contentsOf: Place.root.appending(path: "Sources/Stave/Stave.docc/ComingFromElsewhere.md"), encoding: .utf8)
    let headers = try ["stave", "stave_type", "stave_zone", "stave_pool", "stave_mbuf"].map {
      try String(contentsOf: Place.root.appending(path: "Sources/StaveC/include/\($0).h"), encoding: .utf8)
    }.joined()
    let declared = Set(headers.matches(of: /\b(?:stave|STAVE)_[A-Za-z0-9_]+/).map { String($0.0) })
    let named = Set(article.matches(of: /`((?:stave|STAVE)_[A-Za-z0-9_]+)`/).map { String($0.1) })
    #expect(named.count > 130)
    #expect(named.isSubset(of: declared), "\(named.subtracting(declared).sorted())")
  }
}
