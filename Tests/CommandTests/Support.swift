// SPDX-License-Identifier: BSD-2-Clause
//
// Running the command that was built beside these tests, on the library that `make` built.

import Foundation
import Testing

@testable import TestSupport

enum Built {
  /// The folder of this build's products: that of the running test program.
  static let folder = URL(filePath: CommandLine.arguments[0]).resolvingSymlinksInPath().deletingLastPathComponent()
  static let command: String = {
    let places: [URL] = [folder, Place.root.appending(path: ".build/debug")]
    let paths: [String] = places.map { $0.appending(path: "stave").path }
    return paths.first { FileManager.default.isExecutableFile(atPath: $0) } ?? "stave"
  }()
  static let library = Place.builtLibrary
  static var hasLibrary: Bool { FileManager.default.isReadableFile(atPath: library) }
  static var hasManual: Bool { hasLibrary && FileManager.default.isReadableFile(atPath: Place.root.appending(path: "build/man/man7/stave.7").path) }
}

/// A program on the library of this build, started.
func start(_ program: String, _ arguments: [String], _ environment: [String: String] = [:], input: String = "/dev/null") throws -> Started {
  try Started(program, arguments, environment: ["STAVE_LIBRARY": Built.library].merging(environment) { $1 }, input: input)
}

func stave(_ arguments: String..., environment: [String: String] = [:]) throws -> Ended {
  try start(Built.command, arguments, environment).end()
}

/// A process on Stave that sleeps, for the time of the call.
func withSleeper<Result>(_ body: (pid_t) throws -> Result) throws -> Result { try withProcess(["sleep", "60"], body) }

/// Whether it comes true within half a minute.
func wait(_ isTrue: () -> Bool) -> Bool {
  for _ in 0..<3000 {
    if isTrue() { return true }
    usleep(10_000)
  }
  return false
}

/// A process on Stave, for the time of the call.
func withProcess<Result>(_ words: [String], _ body: (pid_t) throws -> Result) throws -> Result {
  let process = try start(Built.command, ["run", "--"] + words)
  // Until it has become the program and its allocator has started.
  for _ in 0..<1500 {
    if try stave("sum", "\(process.id)").status == 0 { break }
    usleep(20_000)
  }
  return try body(process.id)
}

func object(_ text: String) throws -> [String: Any] {
  try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
}
