// SPDX-License-Identifier: BSD-2-Clause
//
// `stave options`: what can be said to the library.

import ArgumentParser
import Exporters

struct OptionsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "options", abstract: "List the options of the library.",
    discussion: """
      They are given as STAVE_OPTIONS=key:value,… or STAVE_<KEY>=value in the environment, or to `stave run --options`. \
      verbose:1 shows those in force when a program starts.
      """)

  @Flag(help: "JSON.")
  var json = false

  func run() { emit(json ? OptionList.json.description : OptionList.lines.joined(separator: "\n")) }
}
