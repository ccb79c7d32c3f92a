// SPDX-License-Identifier: BSD-2-Clause
//
// All examples as one program: each is a function of its own, which `main` calls one after the other. What no function can hold, an
// extension or an import, goes before them, once. What they take for granted is Tests/Documentation/Given.swift.

import Foundation
import Testing

@testable import TestSupport

struct ExampleProgram {
  private let folder: Folder
  private let sources: [String]

  init(_ examples: [Example], in folder: Folder) {
    self.folder = folder
    var outside = ["import Stave", "import Synchronization"], inside: [String] = [], calls: [String] = []
    for (index, example) in examples.enumerated() {
      var opened: [String]?
      // A compiler's complaint is about the documentation's file and line.
      inside += ["func example\(index)() async throws {", "#sourceLocation(file: \"\(example.file)\", line: \(example.lines[0].number))"]
      for (_, line) in example.lines {
        if line.hasPrefix("extension ") { opened = [] }
        let isOutside = opened != nil || line.hasPrefix("import ")
        inside.append(isOutside ? "" : line)
        guard isOutside else { continue }
        opened?.append(line)
        let whole = (opened ?? [line]).joined(separator: "\n")
        guard opened == nil || line == "}" || opened!.count == 1 && line.hasSuffix(" }") else { continue }
        if !outside.contains(whole) { outside.append(whole) }
        opened = nil
      }
      inside += ["#sourceLocation()", "}"]
      calls += ["begin(\"\(example.place)\")", "try await example\(index)()"]
    }
    let given = Place.root.appending(path: "Tests/Documentation/Given.swift").path
    let imports = ["#if canImport(Glibc)", "import Glibc", "#else", "import Musl", "#endif"]
    sources = [
      folder.write((imports + outside + inside).joined(separator: "\n") + "\n", "examples.swift"), given,
      folder.write((calls + ["print(\"\(examples.count) examples\")"]).joined(separator: "\n") + "\n", "main.swift"),
    ]
  }

  /// Of the package's modules, as these tests were built.
  private var flags: [String] {
    ["CPlatform", "StaveC"].flatMap {
      let headers = Place.root.appending(path: "Sources/\($0)/include").path
      return ["-Xcc", "-fmodule-map-file=\(headers)/module.modulemap", "-Xcc", "-I\(headers)"]
    }
      + ["COwn", "CStaveNote", "CPacketProbes"].flatMap { ["-Xcc", "-fmodule-map-file=\(products)/\($0).build/module.modulemap"] }
      + ["-swift-version", "6", "-I", products + "/Modules", "-Xcc", "-DSTAVE_CHECK_LOCKS", "-Xcc", "-DSTAVE_INJECT"]
  }

  /// Compiles it with the objects that the tests are made of; the program, and what the compiler's index says of the examples, in which
  /// each declaration that they use has its USR.
  func build() throws -> (program: String, index: String) {
    let core = "CPlatform|CStaveNote|CPacketProbes|COwn|Own|Primitives|AddressMap|Pages|Zones|Accounting|Diagnostics|Heap|PacketBuffers"
    let list = try String(contentsOfFile: products + "/stavePackageTests.product/Objects.LinkFileList", encoding: .utf8)
    let wanted = try Regex("/(\(core)|StaveC|Stave)\\.build/")
    let objects = list.split(separator: "\n").filter { $0.contains(wanted) }
    try #require(objects.count > 100)
    let program = folder.file("examples"), index = folder.file("index")
    let response = folder.write(objects.joined(separator: "\n") + "\n", "objects")
    let ended = try run(
      find("swiftc") ?? "swiftc",
      flags + ["-suppress-warnings", "-index-store-path", index, "-index-ignore-system-modules"] + sources
        + ["@" + response, "-o", program],
      in: Place.root, seconds: 300)
    try #require(ended.succeeded, ended.report)
    let names = FileManager.default.enumerator(atPath: index)?.compactMap { $0 as? String } ?? []
    let records = names.filter { $0.contains("/records/") && $0.contains("/examples.swift-") }
    try #require(!records.isEmpty)
    let read = records.map { String(decoding: FileManager.default.contents(atPath: index + "/" + $0) ?? Data(), as: UTF8.self) }
    return (program, read.joined())
  }
}
