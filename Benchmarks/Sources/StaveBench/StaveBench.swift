// SPDX-License-Identifier: BSD-2-Clause
//
// stave-bench: measures Stave and every peer that is installed, in one interleaved run.
//
// A scenario is a program with fixed work. A run is a scenario under one allocator, preloaded into that program alone and
// checked to be there. A session is rounds × scenarios × allocators. Tables give each allocator's median as a ratio to the
// best peer's, a peer being whatever is not Stave. Threaded runs wait for idle CPUs and count only if the machine stayed
// calm. The session is kept as JSON, from which every table and picture can be made again.

import Foundation

/// Measured, saved and shown, but not all of it went well.
private struct Failed: Error, CustomStringConvertible {
  var report: String
  var description: String { report }
}

@main
struct StaveBench {
  static func main() {
    do {
      var words = Array(CommandLine.arguments.dropFirst())
      let command = ["run", "zones", "list", "table", "picture"].first { $0 == words.first }
      if command != nil { words.removeFirst() }
      if words.contains("--help") || words.contains("-h") { return print(Options.usage) }
      let options = try Options(words)
      switch command ?? "run" {
      case "table": try table(options)
      case "picture": try picture(options)
      case "list": try withSuite(options, list)
      case "zones": try withSuite(options, runZones)
      default:
        guard options.operands.isEmpty else { throw Complaint("what is \(options.operands[0])?\n\(Options.usage)") }
        try withSuite(options, run)
      }
    } catch {
      say("\(error)")
      exit(error is Complaint ? 2 : 1)
    }
  }

  private static func withSuite(_ options: Options, _ body: (Suite) throws -> Void) throws {
    let tools = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
    var folder = tools
    while !FileManager.default.fileExists(atPath: folder.appendingPathComponent("split.txt").path) {
      guard folder.path != "/" else { throw Complaint("no split.txt in any folder above \(tools.path)") }
      folder.deleteLastPathComponent()
    }
    let scratch = FileManager.default.temporaryDirectory.appendingPathComponent("stave-bench-\(getpid())")
    try FileManager.default.createDirectory(at: scratch, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: scratch) }
    try body(Suite(options: options, folder: folder, tools: tools, scratch: scratch))
  }

  private static func list(_ suite: Suite) throws {
    for allocator in try suite.allocators() { print("allocator \(allocator.name) \(allocator.version) \(allocator.library ?? "")") }
    let halves = try suite.halves()
    for scenario in try suite.scenarios(prepared: false) { print("\(halves[scenario.name] ?? "-") \(scenario.name)") }
  }

  private static func run(_ suite: Suite) throws {
    let session = try suite.measure()
    let report = Report(session: session, time: suite.options.measure)
    print(report.about)
    let modes = ModesReport(session: session)
    for table in session.hasModes ? modes.tables : report.tables { print(table.text) }
    if suite.options.details { print(report.details.text) }
    try save(session, suite)
    if !report.failures.isEmpty { throw Failed(report: "some runs failed\n" + report.failures.joined(separator: "\n")) }
  }

  private static func runZones(_ suite: Suite) throws {
    let session = try suite.measure(try Ways(suite).cases())
    let report = ZonesReport(session: session)
    print(report.text)
    try save(session, suite)
    if !report.failures.isEmpty { throw Failed(report: "some runs failed\n" + report.failures.joined(separator: "\n")) }
  }

  private static func save(_ session: Session, _ suite: Suite) throws {
    let folder = suite.options.output.map { URL(fileURLWithPath: $0) } ?? suite.folder.appendingPathComponent("results")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let isOfTypes = session.measurements.allSatisfy(\.group.isOfTypes)
    // A quick session of zones has rounds enough to be kept.
    let quick = suite.options.quick && !session.isOfZones ? "-quick" : ""
    let base = session.date + quick + (session.isOfZones ? "-zones" : isOfTypes ? "-types" : session.hasModes ? "-modes" : "")
    var name = base, number = 1
    while FileManager.default.fileExists(atPath: folder.appendingPathComponent(name + ".json").path) {
      number += 1
      name = "\(base)-\(number)"
    }
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    let file = folder.appendingPathComponent(name + ".json")
    try encoder.encode(session).write(to: file)
    let pictures = try draw(session, beside: file)
    say("wrote \(([file.lastPathComponent] + pictures).joined(separator: ", ")) to \(folder.lastPathComponent)/")
  }

  /// The pictures, named as the JSON file is: of whatever was measured. Their names.
  private static func draw(_ session: Session, beside json: URL) throws -> [String] {
    if session.hasModes { return [] }
    let base = json.deletingPathExtension().path
    let ofZones = Group.allCases.filter(\.isOfZones).map { ("\(base)-\($0.rawValue).svg", WaysPicture(session: session, group: $0).svg) }
    let pictures = session.isOfZones ? ofZones : [
      (base + ".svg", Picture(session: session).svg), (base + "-scale.svg", ScalePicture(session: session).svg),
      (base + "-counting.svg", CountingPicture(session: session).svg),
    ]
    return try pictures.compactMap { path, svg in
      guard let svg else { return nil }
      try svg.write(toFile: path, atomically: true, encoding: .utf8)
      return URL(fileURLWithPath: path).lastPathComponent
    }
  }

  private static func picture(_ options: Options) throws {
    let session = try load(options.operands.last)
    let names = try draw(session, beside: URL(fileURLWithPath: options.operands.last!))
    say("wrote \(names.joined(separator: ", "))")
  }

  private static func load(_ path: String?) throws -> Session {
    guard let path, let data = FileManager.default.contents(atPath: path) else { throw Complaint("no file \(path ?? "named")") }
    return try JSONDecoder().decode(Session.self, from: data)
  }

  private static func table(_ options: Options) throws {
    let session = try load(options.operands.last)
    if options.types {
      let report = TypesReport(session: session), json = URL(fileURLWithPath: options.operands.last!)
      guard let into = options.into else { return print(report.markdown(pictures: json.deletingPathExtension().lastPathComponent)) }
      return try Highlights.write(into: URL(fileURLWithPath: into), json: json, report.markdown)
    }
    if options.zones {
      let report = ZonesReport(session: session), json = URL(fileURLWithPath: options.operands.last!)
      guard let into = options.into else { return print(report.markdown(pictures: json.deletingPathExtension().lastPathComponent)) }
      return try Highlights.write(into: URL(fileURLWithPath: into), json: json, report.markdown)
    }
    if options.modes {
      let report = ModesReport(session: session), json = URL(fileURLWithPath: options.operands.last!)
      guard let into = options.into else { return print(report.markdown) }
      return try Highlights.write(into: URL(fileURLWithPath: into), json: json) { _ in report.markdown }
    }
    if options.summary || options.into != nil {
      let highlights = Highlights(session: session, time: options.measure), json = URL(fileURLWithPath: options.operands.last!)
      guard let into = options.into else { return print(highlights.markdown(pictures: json.deletingPathExtension().lastPathComponent)) }
      return try highlights.write(into: URL(fileURLWithPath: into), json: json)
    }
    let report = Report(session: session, time: options.measure)
    let asText = options.operands.contains("--text")
    let tables = report.tables + (options.details ? [report.details] : [])
    print(asText ? report.about : report.about.replacingOccurrences(of: "\n", with: "  \n") + "\n")
    for table in tables { print(asText ? table.text : table.markdown) }
  }
}
