// SPDX-License-Identifier: BSD-2-Clause
//
// Documents with parts that tests write: between the lines `<!-- MARK -->` and `<!-- end of MARK -->`.

import Foundation

enum Page {
  /// The document that the results of the corpus are for; nil unless `Scripts/corpus` asks for them.
  static let corpus: String? = ProcessInfo.processInfo.environment["STAVE_CORPUS"].flatMap { $0.isEmpty ? nil : $0 }

  /// Puts a text between the marks, in place of what is there.
  static func put(_ text: String, at mark: String, into path: String) throws {
    let page = try String(contentsOfFile: path, encoding: .utf8)
    guard let start = page.range(of: "<!-- \(mark) -->\n"), let end = page.range(of: "<!-- end of \(mark) -->") else {
      throw CannotRun(description: "\(path) has no marks for \(mark)")
    }
    try (page[..<start.upperBound] + "\n" + text + "\n" + page[end.lowerBound...]).write(toFile: path, atomically: true, encoding: .utf8)
  }
}
