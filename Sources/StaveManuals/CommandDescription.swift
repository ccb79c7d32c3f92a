// SPDX-License-Identifier: BSD-2-Clause
//
// What the command says about itself: ArgumentParser's description of it, `stave --experimental-dump-help`.

struct CommandDescription: Decodable {
  var commandName: String
  var abstract: String?
  var discussion: String?
  var subcommands: [CommandDescription]?
  var arguments: [ArgumentDescription]?

  /// Without what ArgumentParser adds to every command.
  var shownArguments: [ArgumentDescription] {
    (arguments ?? []).filter { argument in
      argument.shouldDisplay && !(argument.names ?? []).contains { ["help", "version"].contains($0.name) }
    }
  }
}

struct ArgumentDescription: Decodable {
  struct Name: Decodable {
    var kind: String
    var name: String
  }

  var kind: String
  var shouldDisplay: Bool
  var isRepeating: Bool
  var isOptional: Bool?
  var names: [Name]?
  var valueName: String?
  var defaultValue: String?
  var allValues: [String]?
  var abstract: String?
  var parsingStrategy: String?

  /// All that follows, whatever it looks like.
  var takesRest: Bool { parsingStrategy == "allRemainingInput" }
  var isPositional: Bool { kind == "positional" }
  /// Of a positional argument, in mdoc.
  var synopsis: String {
    let word = valueName ?? "argument"
    if takesRest { return ".Op Fl Fl\n.Ar \(word) ..." }
    return (isOptional ?? true ? ".Op Ar " : ".Ar ") + word + (isRepeating ? " ..." : "")
  }
  /// The word for its value; nil for a flag.
  var value: String? { kind == "flag" ? nil : valueName }
}

struct ToolDescription: Decodable {
  var serializationVersion: Int
  var command: CommandDescription
}
