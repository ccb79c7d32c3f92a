// SPDX-License-Identifier: BSD-2-Clause
//
// The library under test, and the compilers that are there.

import Foundation
import Testing

@testable import TestSupport

/// Everything here runs one after another, beside the scenarios: the machine may have two CPUs, and half of the programs want both.
@Suite(.serialized) enum PreloadedLibrary {}

/// The scenarios, which are a quarter of it all, one after another.
@Suite(.serialized) enum PreloadedScenarios {}

extension Place {
  static let sources = root.appending(path: "Tests/Preload")
  static let binaries = root.appending(path: ".build/preload-tests")
}

enum Library {
  static let path: String = {
    guard let named = ProcessInfo.processInfo.environment["STAVE_LIBRARY"], !named.isEmpty else {
      return Place.builtLibrary
    }
    return named.hasPrefix("/") ? named : Place.root.appending(path: named).path
  }()
  static var exists: Bool { FileManager.default.isReadableFile(atPath: path) }
  /// Another allocator can be named, to try the tests themselves; it is not held to what Stave alone promises.
  static let isStave = URL(filePath: path).lastPathComponent.hasPrefix("libstave")
}

/// How the library is told to work.
enum Mode: String, CaseIterable, CustomTestStringConvertible {
  case standard, locked, counted, guarded, checked, classed, apart
  /// What STAVE_TEST_OPTIONS says, for real programs, and nothing else then.
  case asked

  static let askedOptions = ProcessInfo.processInfo.environment["STAVE_TEST_OPTIONS"].flatMap { $0.isEmpty ? nil : $0 }
  static var tried: [Mode] { Library.isStave ? [.standard, .locked, .counted, .checked] : [.standard] }
  /// The library as it is, and two of its modes in turns; in a soak all. Real programs ask for nothing that guard bytes change.
  static func tried(byProgram number: Int) -> [Mode] {
    if askedOptions != nil { return [.asked] }
    guard Library.isStave else { return [.standard] }
    let others: [Mode] = [.locked, .counted, .guarded, .checked, .classed, .apart]
    return [.standard] + (scale > 1 ? others : [others[number % 6], others[(number + 3 + number / 6) % 6]])
  }
  var testDescription: String { rawValue }
  var environment: [String: String] {
    switch self {
    case .standard: ["LD_PRELOAD": Library.path]
    case .locked: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": "percpu:locked"]
    case .counted: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": "types:library"]
    case .guarded: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": "redzone:1"]
    case .checked: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": "check:1"]
    case .classed: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": "numzones:8"]
    case .apart: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": "memguard:10"]
    case .asked: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": Self.askedOptions ?? ""]
    }
  }
}

let scale = Double(ProcessInfo.processInfo.environment["STAVE_TEST_SCALE"] ?? "") ?? 1

enum Compiler {
  static let c = find("clang", "cc", "gcc")

  /// A C++ compiler with its standard library; some toolchains bring the first without the second.
  static let cxx: String? = {
    let folder = Folder()
    let text = "#include <string>\nint main(int n, char **) { return (int)std::string((size_t)n, 'x').size() - 1; }\n"
    let source = folder.write(text, "probe.cc")
    for name in ["clang++", "c++", "g++"] {
      guard let compiler = find(name) else { continue }
      if (try? run(compiler, ["-std=gnu++17", source, "-o", folder.file("probe")]))?.succeeded == true { return compiler }
    }
    return nil
  }()

  /// Compiles a file of Tests/Preload unless its program is there and newer than all sources. nil: there is no compiler.
  static func build(_ file: String, as name: String, flags: [String] = []) throws -> URL? {
    let isCxx = file.hasSuffix(".cc")
    guard let compiler = isCxx ? cxx : c else {
      announceSkip("\(file): " + (isCxx ? "no C++ compiler with a standard library is installed" : "no C compiler is installed"))
      return nil
    }
    let files = FileManager.default
    let product = Place.binaries.appending(path: name)
    func changed(_ url: URL) -> Date? { (try? files.attributesOfItem(atPath: url.path))?[.modificationDate] as? Date }
    let sources = [Place.sources.appending(path: file), Place.sources.appending(path: "scenario.h")]
    if flags.isEmpty || name == "plugin.so", let built = changed(product), sources.allSatisfy({ changed($0) ?? .distantFuture < built }) {
      return product
    }
    try files.createDirectory(at: Place.binaries, withIntermediateDirectories: true)
    let fresh = Place.binaries.appending(path: "\(name).\(UUID())")
    let common = ["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-fno-builtin", "-pthread"]
    let language = isCxx ? ["-std=gnu++17", "-fsized-deallocation"] : ["-std=gnu17"]
    let outcome = try run(compiler, language + common + [sources[0].path, "-o", fresh.path, "-ldl", "-lrt"] + flags)
    guard outcome.succeeded else { throw CannotRun(description: "\(compiler) \(file): \(outcome.errorText)") }
    guard rename(fresh.path, product.path) == 0 else { throw CannotRun(description: "rename to \(product.path)") }
    return product
  }
}
