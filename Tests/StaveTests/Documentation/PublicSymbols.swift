// SPDX-License-Identifier: BSD-2-Clause
//
// What a program that imports Stave can name, as the compiler tells it of the module that these tests were built with.

import Foundation
import Testing

@testable import TestSupport

/// The folder of this build's products: that of the running test program.
let products = URL(filePath: CommandLine.arguments[0]).resolvingSymlinksInPath().deletingLastPathComponent().path

struct PublicSymbol {
  /// Unlike a name, each overload's own.
  var usr: String
  var name: String
  var isDocumented: Bool
  /// What a protocol of the standard library demands, such as `rawValue` and `hash(into:)`, is documented there.
  var isRequirement: Bool
  var isOperator: Bool
}

/// Nil, said aloud, without a toolchain.
func publicSymbols() throws -> [PublicSymbol]? {
  guard find("swift") != nil else {
    announceSkip("documentation: no swift on PATH")
    return nil
  }
  let folder = Folder()
  let ended = try run(Place.root.appending(path: "Scripts/symbols").path, [products, folder.path])
  try #require(ended.succeeded, ended.report)
  let data = try Data(contentsOf: URL(filePath: folder.file("Stave.symbols.json")))
  let graph = try JSONDecoder().decode(SymbolGraph.self, from: data)
  let requirements = Set(graph.relationships.filter { $0.sourceOrigin != nil }.map(\.source))
  return graph.symbols.map { symbol in
    let usr = symbol.identifier.precise, kind = symbol.kind.identifier
    return PublicSymbol(
      usr: usr, name: symbol.pathComponents.joined(separator: "."),
      isDocumented: symbol.docComment?.module == "Stave", isRequirement: requirements.contains(usr),
      isOperator: kind == "swift.func.op")
  }.sorted { ($0.name, $0.usr) < ($1.name, $1.usr) }
}

/// The parts of a symbol graph that are looked at.
private struct SymbolGraph: Decodable {
  struct Symbol: Decodable {
    struct Identifier: Decodable { var precise: String }
    struct Kind: Decodable { var identifier: String }
    struct Comment: Decodable { var module: String? }
    var identifier: Identifier
    var kind: Kind
    var pathComponents: [String]
    var docComment: Comment?
  }
  struct Relationship: Decodable {
    struct Origin: Decodable { var identifier: String }
    var source: String
    var sourceOrigin: Origin?
  }
  var symbols: [Symbol]
  var relationships: [Relationship]
}
