// SPDX-License-Identifier: BSD-2-Clause
//
// `inspect:any` and children: the kernel's permission is not inherited, so each child has to give it anew.

import Foundation
import Testing

@testable import TestSupport

extension PreloadedLibrary {
  @Test(.enabled(if: Library.exists && Library.isStave), arguments: [("any", "1\n"), ("descendants", "0\n")])
  static func aChildOfForkAllowsInspectionAnew(_ value: String, _ times: String) throws {
    guard let program = try Compiler.build("inspected.c", as: "inspected") else { return }
    let ended = try run(program.path, environment: ["LD_PRELOAD": Library.path, "STAVE_OPTIONS": "inspect:\(value)"])
    if ended.status == 77 { return announceSkip("inspect:\(value): \(ended.text)") }
    #expect(ended.succeeded && ended.text == times, ended.report)
  }
}
