// SPDX-License-Identifier: BSD-2-Clause
//
// The programs of Tests/Corpus, compiled once for all, and once with AddressSanitizer.

import Foundation

@testable import TestSupport

enum CorpusPrograms {
  enum Language: Sendable { case c, cxx }

  /// The older DWARF, which installed versions of valgrind read without a word.
  private static let common = ["-O1", "-gdwarf-4", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-fno-builtin", "-pthread"]
  private static func standard(_ language: Language) -> [String] {
    language == .c ? ["-std=gnu17"] : ["-std=gnu++17", "-fsized-deallocation"]
  }

  /// The newest compiler here whose AddressSanitizer works.
  static func sanitizer(_ language: Language) -> String? { language == .c ? sanitizerOfC : sanitizerOfCxx }
  private static let sanitizerOfC = probed(["clang", "gcc"], "probe.c")
  private static let sanitizerOfCxx = probed(["clang++", "g++"], "probe.cc")

  private static func probed(_ names: [String], _ file: String) -> String? {
    let folder = Folder()
    let isCxx = file.hasSuffix("cc")
    let source = folder.write((isCxx ? "#include <new>\n" : "") + "int main(void) { return 0; }\n", file)
    return names.lazy.compactMap { find($0) }.first { compiler in
      (try? run(compiler, ["-fsanitize=address", source, "-o", folder.file("probe")]))?.succeeded == true && (try? run(folder.file("probe")))?.succeeded == true
    }
  }

  /// Compiles unless the program is there and newer than its sources. Nil: there is no compiler for it.
  static func build(_ file: String, isSanitized: Bool = false) throws -> String? {
    let language: Language = file.hasSuffix(".cc") ? .cxx : .c
    guard let compiler = isSanitized ? sanitizer(language) : language == .c ? Compiler.c : Compiler.cxx else {
      announceSkip("\(file): no compiler")
      return nil
    }
    let folder = Place.root.appending(path: "Tests/Corpus"), files = FileManager.default
    let product = Place.binaries.appending(path: "corpus-\(file.prefix { $0 != "." })\(isSanitized ? "-sanitized" : "")").path
    func changed(_ path: String) -> Date? { (try? files.attributesOfItem(atPath: path))?[.modificationDate] as? Date }
    let sources = [file, "corpus.h"].map { folder.appending(path: $0).path }
    if let built = changed(product), sources.allSatisfy({ changed($0) ?? .distantFuture < built }) { return product }
    try files.createDirectory(at: Place.binaries, withIntermediateDirectories: true)
    let fresh = "\(product).\(getpid())"
    let outcome = try run(compiler, standard(language) + common + (isSanitized ? ["-fsanitize=address"] : []) + [sources[0], "-o", fresh])
    guard outcome.succeeded, rename(fresh, product) == 0 else { throw CannotRun(description: "\(compiler) \(file): \(outcome.errorText)") }
    return product
  }
}
