// SPDX-License-Identifier: BSD-2-Clause
//
// A command's manual page in mdoc: name, synopsis, description and options as the command describes itself; what follows them
// is written by hand (Documentation/man).

struct ManualPage {
  var command: CommandDescription
  /// The command above it, if it is a sub-command.
  var parent: String?
  /// Hand-written sections, as they are.
  var sections: String
  /// "November 21, 2026".
  var date: String

  var name: String { (parent.map { $0 + "-" } ?? "") + command.commandName }

  var text: String {
    var lines = [".Dd \(date)", ".Dt \(name.uppercased()) 1", ".Os Stave", ".Sh NAME", ".Nm \(name)", ".Nd \(title)", ".Sh SYNOPSIS"]
    lines += synopsis + [".Sh DESCRIPTION"] + paragraph(command.abstract ?? "")
    if let discussion = command.discussion { lines += [".Pp"] + paragraph(discussion) }
    lines += options + subcommands
    return lines.joined(separator: "\n") + "\n" + sections
  }

  /// The abstract as a title: no capital, no stop.
  private var title: String {
    let text = Mdoc.escaped(command.abstract ?? command.commandName)
    let end = text.hasSuffix(".") ? text.index(before: text.endIndex) : text.endIndex
    return text.prefix(1).lowercased() + text[..<end].dropFirst()
  }

  private var synopsis: [String] {
    let call = parent.map { [".Nm \($0)", ".Cm \(command.commandName)"] } ?? [".Nm \(command.commandName)"]
    if !subcommandsShown.isEmpty { return call + [".Ar subcommand", ".Op Ar argument ..."] }
    return call + command.shownArguments.map { argument in
      if argument.isPositional { return argument.synopsis }
      return ".Op " + Mdoc.option(argument, preferLong: true)
    }
  }

  private var options: [String] {
    let arguments = command.shownArguments
    guard !arguments.isEmpty else { return [] }
    return [".Bl -tag -width Ds"]
      + arguments.flatMap { argument -> [String] in
        let head = argument.isPositional ? ".It Ar \(argument.valueName ?? "argument")" : ".It " + Mdoc.option(argument, preferLong: false)
        var text = argument.abstract ?? ""
        if let values = argument.allValues { text += " One of \(values.joined(separator: ", "))." }
        if let standard = argument.defaultValue { text += " Default: \(standard)." }
        return [head] + paragraph(text)
      } + [".El"]
  }

  private var subcommandsShown: [CommandDescription] { (command.subcommands ?? []).filter { $0.commandName != "help" } }

  private var subcommands: [String] {
    guard !subcommandsShown.isEmpty else { return [] }
    return [".Pp", "Its sub-commands, each with a page of its own:", ".Bl -tag -width Ds"]
      + subcommandsShown.flatMap { [".It Xr \(command.commandName)-\($0.commandName) 1"] + paragraph($0.abstract ?? "") } + [".El"]
  }

  private func paragraph(_ text: String) -> [String] { Mdoc.lines(text) }
}

/// Text as mdoc wants it.
enum Mdoc {
  /// "Fl w , Fl Fl wait Ar seconds".
  static func option(_ argument: ArgumentDescription, preferLong: Bool) -> String {
    let names = argument.names ?? []
    let shown = preferLong ? names.filter { $0.kind == "long" }.prefix(1) : names[...]
    let flags = shown.map { ($0.kind == "long" ? "Fl Fl " : "Fl ") + $0.name }.joined(separator: " , ")
    return flags + (argument.value.map { " Ar \(escaped($0))" } ?? "")
  }

  /// A line for each sentence, folded at 78 characters.
  static func lines(_ text: String) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in text.split(whereSeparator: \.isWhitespace) {
      if !line.isEmpty && line.count + 1 + word.count > 78 || line.hasSuffix(".") || line.hasSuffix(":") && word.first?.isUppercase == true {
        lines.append(line)
        line = ""
      }
      line += (line.isEmpty ? "" : " ") + word
    }
    return (line.isEmpty ? lines : lines + [line]).map(escaped)
  }

  static func escaped(_ text: String) -> String {
    var result = ""
    var isCode = false
    for character in text {
      switch character {
      case "\\": result += "\\e"
      case "…": result += "..."
      case "–": result += "\\(en"
      case "`":
        result += isCode ? "\\fP" : "\\fB"
        isCode.toggle()
      default: result.append(character)
      }
    }
    return result.hasPrefix(".") || result.hasPrefix("'") ? "\\&" + result : result
  }
}
