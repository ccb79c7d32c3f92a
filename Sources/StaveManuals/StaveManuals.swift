// SPDX-License-Identifier: BSD-2-Clause
//
// Writes the manual: `stave-manuals COMMAND TEXTS FOLDER` asks COMMAND for its own description, takes the hand-written parts
// from TEXTS, and puts man1, man3, man5 and man7 into FOLDER. `stave-manuals --readme FILE` puts the table of options into the README,
// `stave-manuals --probes FOLDER` writes the headers of the probes into the source in FOLDER.
// A tool for the build; it is not installed.

import Exporters
import Foundation

@main
struct StaveManuals {
  static let date = "November 21, 2026"

  static func main() throws {
    let words = CommandLine.arguments.dropFirst()
    if words.count == 2, words.first == "--readme" { return try writeTable(into: words.last!) }
    if words.count == 2, words.first == "--probes" { return try writeProbes(into: URL(filePath: words.last!)) }
    guard words.count == 3 else { throw Failure("usage: stave-manuals COMMAND TEXTS FOLDER, or stave-manuals --readme FILE, or stave-manuals --probes FOLDER") }
    try writeManual(of: words[1], texts: URL(filePath: words[2]), into: URL(filePath: words[3]))
  }

  private static func writeProbes(into folder: URL) throws {
    for part in Probe.Part.allCases { try Probe.header(part).write(to: folder.appending(path: part.path), atomically: true, encoding: .utf8) }
  }

  private static func writeManual(of command: String, texts: URL, into folder: URL) throws {
    let tool = try JSONDecoder().decode(ToolDescription.self, from: output(of: command, "--experimental-dump-help"))
    func links(_ section: Int) -> PageLinks { PageLinks(folder: folder.appending(path: "man\(section)")) }
    func hand(_ name: String) throws -> String { try String(contentsOf: texts.appending(path: name), encoding: .utf8) }
    func write(_ text: String, _ name: String) throws {
      let place = folder.appending(path: "man\(name.suffix(1))")
      // Comments are for those who edit.
      let lines = text.split(separator: "\n").filter { !$0.hasPrefix(".\\\"") }
      try (lines.joined(separator: "\n") + "\n").write(to: place.appending(path: name), atomically: true, encoding: .utf8)
    }
    func page(_ command: CommandDescription, below parent: String?) throws {
      var page = ManualPage(command: command, parent: parent, sections: "", date: date)
      page.sections = try hand(page.name + ".1")
        .replacingOccurrences(of: "@COLUMNS@", with: columns { $0.place != .wide })
        .replacingOccurrences(of: "@WIDE@", with: columns { $0.place == .wide })
        .replacingOccurrences(of: "@TYPES@", with: list(TypeColumn.all.map { ($0.title, $0.meaning) }))
        .replacingOccurrences(of: "@SIZES@", with: list(SizeColumn.all.map { ($0.title, $0.meaning) }))
        .replacingOccurrences(of: "@TYPECPUS@", with: list(TypeCPUColumn.all.map { ($0.title, $0.meaning) }))
        .replacingOccurrences(of: "@METRICS@", with: metrics)
        .replacingOccurrences(of: "@CONTROLS@", with: list(GlobalControl.all.map { ($0.name, $0.meaning) }))
        .replacingOccurrences(of: "@ZONECONTROLS@", with: list(ZoneControl.all.map { ($0.name, $0.meaning) }))
        .replacingOccurrences(of: "@TYPECONTROLS@", with: list(TypeControl.all.map { ($0.name, $0.meaning) }))
        .replacingOccurrences(of: "@SETTABLE@", with: list(OptionList.entries.filter(\.isChangeable).map { ("stave.\($0.key)", "Takes \($0.values).") }))
      try write(page.text, page.name + ".1")
    }
    for section in [1, 3, 5, 7] { try links(section).begin() }
    try page(tool.command, below: nil)
    for one in tool.command.subcommands ?? [] where one.commandName != "help" { try page(one, below: tool.command.commandName) }
    // The command's page for who writes it as the other pages are written.
    try links(1).link("stave_guard.1", to: "stave-guard.1")
    let functions = try FileManager.default.contentsOfDirectory(atPath: texts.path).filter { $0.hasSuffix(".3") }
    for name in functions { try write(hand(name).replacingOccurrences(of: "@DATE@", with: date), name) }
    for name in functions { try links(3).make(for: name, hand(name)) }
    try write(hand("stave.7").replacingOccurrences(of: "@DATE@", with: date), "stave.7")
    let article = try String(contentsOf: texts.appending(path: "../../Sources/Stave/Stave.docc/ComingFromElsewhere.md"), encoding: .utf8)
    try write(
      hand("stave_migration.7").replacingOccurrences(of: "@DATE@", with: date)
        .replacingOccurrences(of: "@ARTICLE@", with: Article(markdown: article).mdoc), "stave_migration.7")
    try write(
      hand("stave_options.5").replacingOccurrences(of: "@DATE@", with: date)
        .replacingOccurrences(of: "@OPTIONS@", with: options.joined(separator: "\n")), "stave_options.5")
    try write(
      hand("stave_probes.5").replacingOccurrences(of: "@DATE@", with: date)
        .replacingOccurrences(of: "@PROBES@", with: probes("stave")).replacingOccurrences(of: "@OTEL@", with: probes("otel_memory")),
      "stave_probes.5")
  }

  /// The columns of the zone table.
  private static func columns(_ isShown: (ZoneColumn) -> Bool) -> String { list(ZoneColumn.all.filter(isShown).map { ($0.title, $0.meaning) }) }

  private static var metrics: String {
    list(Metric.all.map { ($0.name, "\($0.meaning) \($0.kind.rawValue.prefix(1).uppercased() + $0.kind.rawValue.dropFirst()).") })
  }

  /// A provider's probes with their arguments.
  private static func probes(_ provider: String) -> String {
    var lines = [".Bl -tag -width Ds"]
    for probe in Probe.all where probe.provider == provider {
      let arguments = probe.arguments.map { "\"" + cType($0.kind) + $0.name + "\"" }.joined(separator: " ")
      lines.append(".It Fn \(probe.provider)\\&:\(probe.name) \(arguments)")
      lines += Mdoc.lines(probe.meaning)
      lines.append(list(probe.arguments.map { ("Ar " + $0.name, $0.meaning) }))
    }
    return (lines + [".El"]).joined(separator: "\n")
  }

  private static func cType(_ kind: Probe.Argument.Kind) -> String {
    switch kind {
    case .text: "char *"
    case .signed: "int64_t "
    case .address: "void *"
    case .number: "uint64_t "
    }
  }

  /// Terms and their meanings in mdoc.
  private static func list(_ items: [(term: String, meaning: String)]) -> String {
    ([".Bl -tag -width Ds"] + items.flatMap { [".It \($0.term)"] + Mdoc.lines($0.meaning) } + [".El"]).joined(separator: "\n")
  }

  /// A list of them in mdoc.
  private static var options: [String] {
    var lines = [".Bl -tag -width Ds"]
    for entry in OptionList.entries {
      let isNumber = entry.words.isEmpty
      let words = entry.words + (entry.takesNames ? ["name+name..."] : [])
      lines.append(".It Cm \(entry.key) : Ns Ar " + (isNumber ? "number" : words.joined(separator: " | ")))
      let when = entry.isChangeable ? "Can be set at any time." : "Can be set at start only."
      lines += Mdoc.lines("\(entry.summary) \(isNumber || entry.takesNames ? "Takes \(entry.values); the" : "The") default is \(entry.standard). \(when)")
    }
    return lines + [".El"]
  }

  /// Between the two marks.
  private static func writeTable(into file: String) throws {
    let text = try String(contentsOfFile: file, encoding: .utf8)
    guard let start = text.range(of: "<!-- options -->\n"), let end = text.range(of: "<!-- end of options -->") else {
      throw Failure("\(file) has no marks around its table of options")
    }
    let new = text[..<start.upperBound] + OptionList.markdown.joined(separator: "\n") + "\n" + text[end.lowerBound...]
    try String(new).write(toFile: file, atomically: true, encoding: .utf8)
  }

  private static func output(of command: String, _ argument: String) throws -> Data {
    let process = Process()
    process.executableURL = URL(filePath: command)
    process.arguments = [argument]
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw Failure("\(command) \(argument) ended with status \(process.terminationStatus)") }
    return data
  }
}

struct Failure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
