// SPDX-License-Identifier: BSD-2-Clause
//
// man finds a page by its file's name: each function of a page's synopsis has a link by its name to the page. Links of the file system,
// which mandoc, packagers' compression and man itself all follow; a page that says `.so` is found only from the manual's top folder.

import Foundation

struct PageLinks {
  /// The folder of a section.
  let folder: URL

  /// The folder, without links of before: a page may be written by their names now.
  func begin() throws {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) {
      let file = folder.appending(path: name)
      if try file.resourceValues(forKeys: [.isSymbolicLinkKey]).isSymbolicLink == true { try FileManager.default.removeItem(at: file) }
    }
  }

  /// After all pages of the section have been written. A function that two pages have in their synopsis is an error.
  func make(for page: String, _ text: String) throws {
    let section = page.suffix(2)
    for name in Self.functions(of: text) where name + section != page { try link(name + section, to: page) }
  }

  func link(_ name: String, to page: String) throws {
    let file = folder.appending(path: name)
    if FileManager.default.fileExists(atPath: file.path) { throw Failure("\(name) is there already, and \(page) has it, too") }
    try FileManager.default.createSymbolicLink(atPath: file.path, withDestinationPath: page)
  }

  /// Of a page in mdoc: what `.Fn` and `.Fo` begin there.
  static func functions(of text: String) -> [String] {
    var names: [String] = [], isSynopsis = false
    for line in text.split(separator: "\n") {
      if line.hasPrefix(".Sh ") { isSynopsis = line == ".Sh SYNOPSIS" }
      let words = line.split(separator: " ")
      if isSynopsis, words.count > 1, words[0] == ".Fn" || words[0] == ".Fo" { names.append(String(words[1])) }
    }
    return names
  }
}
