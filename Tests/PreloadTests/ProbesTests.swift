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
    let script = try String(contentsOf: Place.root.appending(path: "Examples/probes/\(name).bt"), encoding: .utf8)
    let installed = "/usr/local/lib/libstave.so.0"
    #expect(script.contains("usdt:\(installed):"))
    let folder = Folder()
    let file = folder.write(script.replacingOccurrences(of: installed, with: Library.path), "script.bt")
    let parsed = try run(bpftrace, ["-d", file], seconds: 30)
    #expect(parsed.succeeded, parsed.report)
    guard let program = try Compiler.build("../Probes/subject.c", as: "probe-subject", flags: [include()]) else { return }
    let subject = try Started(program.path, ["steady"], environment: ["LD_PRELOAD": Library.path])
    usleep(200_000)
    // It prints what it has gathered when it is interrupted.
    let ended = try run("/usr/bin/timeout", ["-s", "INT", "6", bpftrace, "-p", "\(subject.id)", file], seconds: 60)
    #expect(ended.text.contains(wanted), ended.report)
  }

  /// In processes that come later the kernel counts semaphores up when it maps the file.
  @Test(.enabled(if: Library.exists && Library.isStave))
  static func aProgramThatStartsWhileSomebodyWatchesIsHeard() throws {
    guard let bpftrace = try bpftrace(for: "a program that starts later") else { return }
    // A library of its own, so that no other program is heard.
    let folder = Folder(), library = folder.file("libstave.so")
    try FileManager.default.copyItem(atPath: Library.path, toPath: library)
    let script = "usdt:\(library):stave:free { @free[pid] = count(); } usdt:\(library):stave:zone_grow { @grow[pid] = count(); }"
    let tracer = try Started("/usr/bin/timeout", ["-s", "INT", "8", bpftrace, "-e", script])
    let start = ContinuousClock.now
    while ContinuousClock.now < start + .seconds(7) { _ = try run("/bin/ls", ["/"], environment: ["LD_PRELOAD": library]) }
    let ended = tracer.end(within: 60)
    // Some may have been running when the tracer came; so many have not.
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
