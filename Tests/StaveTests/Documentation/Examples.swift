// SPDX-License-Identifier: BSD-2-Clause
//
// The Swift examples of the documentation: indented code of docstrings, and blocks of code in docstrings, in the DocC catalogue, in the
// README and in manual pages.

import Foundation

@testable import TestSupport

struct Example {
  /// From the project's folder on.
  var file: String
  /// Of each, its number in the file and its text, without the indentation that all have.
  var lines: [(number: Int, text: String)]

  var place: String { "\(file):\(lines[0].number)" }

  /// All that are compiled, in an order that does not change.
  static func all() throws -> [Example] {
    let sources = try files("Sources/Stave", ["swift", "md"])
    return try (sources + ["README.md", "Documentation/man/stave.3"]).flatMap { file in
      let text = try String(contentsOf: Place.root.appending(path: file), encoding: .utf8)
      let lines = text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().map { (number: $0 + 1, text: String($1)) }
      if file.hasSuffix(".md") { return fenced(lines, in: file) }
      if file.hasSuffix(".3") { return literal(lines, in: file) }
      return docstrings(lines).flatMap { fenced($0, in: file) + indented($0, in: file) }
    }
  }

  private static func files(_ folder: String, _ endings: [String]) throws -> [String] {
    let names = FileManager.default.enumerator(atPath: Place.root.appending(path: folder).path)?.compactMap { $0 as? String } ?? []
    return names.filter { name in endings.contains { name.hasSuffix("." + $0) } }.sorted().map { folder + "/" + $0 }
  }

  /// Each docstring's lines, without their slashes.
  private static func docstrings(_ lines: [(number: Int, text: String)]) -> [[(number: Int, text: String)]] {
    var found: [[(number: Int, text: String)]] = [], isInside = false
    for (number, line) in lines {
      let text = line.drop { $0 == " " }
      guard text.hasPrefix("///") else {
        isInside = false
        continue
      }
      if !isInside { found.append([]) }
      isInside = true
      found[found.count - 1].append((number, String(text.dropFirst(text.hasPrefix("/// ") ? 4 : 3))))
    }
    return found
  }

  /// Blocks between fences that say that it is Swift.
  private static func fenced(_ lines: [(number: Int, text: String)], in file: String) -> [Example] {
    var found: [Example] = [], open: [(number: Int, text: String)]?
    for (number, line) in lines {
      if line.hasPrefix("```") {
        if let block = open, !block.isEmpty { found.append(Example(file: file, lines: block)) }
        open = open == nil && line == "```swift" ? [] : nil
      } else {
        open?.append((number, line))
      }
    }
    return found
  }

  /// Of a manual page, what begins with an import.
  private static func literal(_ lines: [(number: Int, text: String)], in file: String) -> [Example] {
    lines.indices.filter { lines[$0].text == "import Stave" }.map { start in
      Example(file: file, lines: Array(lines[start...].prefix { $0.text != ".Ed" }))
    }
  }

  /// What stands four columns in, behind an empty line and not under a list.
  private static func indented(_ lines: [(number: Int, text: String)], in file: String) -> [Example] {
    var found: [Example] = [], isInside = false, before = "", isFenced = false
    for (number, line) in lines {
      if line.hasPrefix("```") { isFenced.toggle() }
      let isCode = line.hasPrefix("    ") && !isFenced && (isInside || before.isEmpty)
      if isCode && !isInside { found.append(Example(file: file, lines: [])) }
      if isCode { found[found.count - 1].lines.append((number, String(line.dropFirst(4)))) }
      (isInside, before) = (isCode, line)
    }
    return found
  }
}
