// SPDX-License-Identifier: BSD-2-Clause
//
// The probes fire with the right arguments (Tests/Probes), and the example scripts see them.

import Foundation
import Testing

@testable import TestSupport

extension PreloadedLibrary {
  /// What the subject does, and the options that it wants for that.
  enum ProbePart: String, CaseIterable, CustomTestStringConvertible {
    case calls, filtered, zones, samples

    var testDescription: String { rawValue }
    var options: String {
      switch self {
      case .calls: "otel_rate:1099511627776"
      case .filtered: "probes:images+other,otel_rate:1099511627776"
      case .zones: "stats:none"
      case .samples: "otel_rate:1"
      }
    }
  }

  private static func include() -> String { "-I\(Place.root.appending(path: "Sources/CPlatform/include").path)" }

  @Test(.enabled(if: Library.exists && Library.isStave), arguments: ProbePart.allCases, ["library", "archive", "static"])
  static func `13.6.1 probes fire with name, size and address, and only for those who watch`(_ part: ProbePart, _ how: String) throws {
    guard let tracer = try Compiler.build("../Probes/tracer.c", as: "probe-tracer", flags: [include()]) else { return }
    var program: URL?
    switch how {
    case "library": program = try Compiler.build("../Probes/subject.c", as: "probe-subject", flags: [include()])
    case "archive": program = Linking.exists ? try Linking.plain.build("../Probes/subject.c", as: "probe-subject", flags: [include()]) : nil
    default: program = Linking.exists ? try Linking.fullyStatic.build("../Probes/subject.c", as: "probe-subject", flags: [include()]) : nil
    }
    guard let program else { return }
    let isLibrary = how == "library"
    var words = [isLibrary ? Library.path : program.path, program.path, part.rawValue, "STAVE_OPTIONS=\(part.options)"]
    if isLibrary { words.append("LD_PRELOAD=\(Library.path)") }
    let ended = try run(tracer.path, words, seconds: 90)
    if ended.status == 77 { return announceSkip("probes: \(ended.text)") }
    #expect(ended.succeeded, ended.report)
  }

  @Test(
    .enabled(if: Library.exists && Library.isStave),
    arguments: [("sizes-by-type", "@requested[images]"), ("zone-growth", "@bytes[malloc-"), ("leak-candidates", "@live[")])
  static func anExampleScriptSeesProbes(_ name: String, _ wanted: String) throws {
    guard let bpftrace = try bpftrace(for: "\(name).bt") else { return }
    let folder = Folder()
    let parsed = try run(bpftrace, ["-d", try script(name, in: folder)], seconds: 30)
    #expect(parsed.succeeded, parsed.report)
    guard let ended = try watch("steady", script: name, with: bpftrace) else { return }
    #expect(ended.text.contains(wanted), ended.report)
  }

  /// Where nothing leaks there is next to nothing, whatever is under way when the script comes and goes. Stacks go on to who called.
  @Test(.enabled(if: Library.exists && Library.isStave))
  static func leakCandidatesAreNoneWhereNothingLeaks() throws {
    guard let bpftrace = try bpftrace(for: "leak-candidates.bt"),
      let ended = try watch("balanced", script: "leak-candidates", with: bpftrace, environment: ["STAVE_OPTIONS": "otel_rate:4096"])
    else { return }
    let sums = ended.text.split(separator: "\n").filter { $0.hasPrefix("]: ") }.compactMap { Int($0.dropFirst(3)) }
    #expect(!sums.isEmpty && sums.reduce(0, +) < 4 << 20, ended.report)
    #expect(ended.text.contains("balanced+"), ended.report)
  }

  /// Nil where there is no compiler. A script prints what it has gathered when it is interrupted.
  private static func watch(
    _ part: String, script name: String, with bpftrace: String, environment: [String: String] = [:]
  ) throws -> Ended? {
    let flags = [include(), "-fno-omit-frame-pointer"]
    guard let program = try Compiler.build("../Probes/subject.c", as: "probe-subject-framed", flags: flags) else { return nil }
    let folder = Folder()
    let subject = try Started(program.path, [part], environment: environment.merging(["LD_PRELOAD": Library.path]) { $1 })
    let tracer = try Started(bpftrace, ["-B", "none", "-p", "\(subject.id)", try script(name, in: folder)])
    waitUntilItHears(tracer)
    usleep(3_000_000)
    kill(tracer.id, SIGINT)
    return tracer.end()
  }

  /// What makes it say each second that it listens: the first probe of a script is the last that bpftrace attaches.
  private static let sign = "interval:s:1 { printf(\"listening\\n\"); }\n"

  private static func waitUntilItHears(_ tracer: Started) {
    for _ in 0..<6000 where !tracer.printed.contains("listening") { usleep(10_000) }
  }

  /// An example as a file, for the library under test.
  private static func script(_ name: String, in folder: Folder) throws -> String {
    let script = try String(contentsOf: Place.root.appending(path: "Examples/probes/\(name).bt"), encoding: .utf8)
    let installed = "/usr/local/lib/libstave.so.0"
    #expect(script.contains("usdt:\(installed):"))
    return folder.write(sign + script.replacingOccurrences(of: installed, with: Library.path), "script.bt")
  }

  /// In processes that come later the kernel counts semaphores up when it maps the file.
  @Test(.enabled(if: Library.exists && Library.isStave))
  static func aProgramThatStartsWhileSomebodyWatchesIsHeard() throws {
    guard let bpftrace = try bpftrace(for: "a program that starts later") else { return }
    // A library of its own, so that no other program is heard.
    let folder = Folder(), library = folder.file("libstave.so")
    try FileManager.default.copyItem(atPath: Library.path, toPath: library)
    let script = "usdt:\(library):stave:free { @free[pid] = count(); } usdt:\(library):stave:zone_grow { @grow[pid] = count(); }"
    let tracer = try Started(bpftrace, ["-B", "none", "-e", sign + script])
    waitUntilItHears(tracer)
    for _ in 0..<10 { _ = try run("/bin/ls", ["/"], environment: ["LD_PRELOAD": library]) }
    kill(tracer.id, SIGINT)
    let ended = tracer.end()
    for probe in ["@free[", "@grow["] { #expect(ended.text.components(separatedBy: probe).count > 5, ended.report) }
  }

  /// Nil, with the reason printed, where it cannot work.
  private static func bpftrace(for what: String) throws -> String? {
    guard let bpftrace = find("bpftrace") else {
      announceSkip("\(what): bpftrace is not installed")
      return nil
    }
    let trial = try run(bpftrace, ["-e", "BEGIN { exit(); }"], seconds: 30)
    guard !trial.succeeded else { return bpftrace }
    announceSkip("\(what): the kernel does not let bpftrace work: \(trial.errorText)")
    return nil
  }
}
