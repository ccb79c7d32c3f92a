// SPDX-License-Identifier: BSD-2-Clause
//
// The proof of the restartable sections (Tests/Sections): every instruction of each section disturbed in every way, random
// stress with forced migration, and broken copies of the sections, which the proof must notice.

import Foundation
import Testing

@testable import TestSupport

extension PreloadedLibrary {
  @Test(arguments: ["sections", "stress"])
  static func sectionsAreRestartable(_ name: String) throws {
    guard let program = try buildSections(name, sabotage: nil) else { return }
    // The stress takes as many seconds as it is given: three, in a soak up to two minutes.
    let seconds = min(120, 3 * scale)
    let arguments = name == "stress" ? ["\(seconds)", "\(Stage.seed)"] : []
    let outcome = try run(program.path, arguments, environment: [:], seconds: 150 + seconds)
    if outcome.status == 77 { return announceSkip("\(name): \(outcome.text)") }
    #expect(outcome.succeeded, outcome.report)
  }

  @Test(arguments: [1, 2, 3, 4])
  static func theProofNoticesABrokenSection(_ sabotage: Int) throws {
    guard let program = try buildSections("sections", sabotage: sabotage) else { return }
    let outcome = try run(program.path, [], environment: [:], seconds: 150)
    if outcome.status == 77 { return announceSkip("sections: \(outcome.text)") }
    #expect(!outcome.succeeded && outcome.status == 1, outcome.report)
  }

  private static func buildSections(_ name: String, sabotage: Int?) throws -> URL? {
    let sources = Place.root.appending(path: "Sources/CPlatform")
    var flags = ["-I\(sources.path)/include", "-D_Nonnull=", "-D_Nullable="]
    flags += ["\(sources.path)/storage.c", "\(sources.path)/system.c"]
    if let sabotage { flags.append("-DSABOTAGE=\(sabotage)") }
    return try Compiler.build("../Sections/\(name).c", as: name + (sabotage.map { "-\($0)" } ?? ""), flags: flags)
  }
}
