// SPDX-License-Identifier: BSD-2-Clause
//
// The whole corpus under one tool: what became of each variant, and which twins were complained of. What was said goes to
// .build/corpus/TOOL.txt, one line each, from where a later run can take it: STAVE_CORPUS_ANEW names the tools, as in valgrind+DUMA, that
// are run again then.

import Foundation

@testable import TestSupport

final class CorpusResult: @unchecked Sendable {
  let tool: FaultTool
  private(set) var verdicts: [FaultVariant: FaultVerdict] = [:]
  let twins: Int
  private(set) var complaints: [FaultVariant] = []

  private let lock = NSLock()
  private var lines: [String] = []
  private var error: (any Error)?

  /// Of earlier runs, unless this tool is to be run again.
  init(_ tool: FaultTool) throws {
    self.tool = tool
    let variants = FaultClass.allCases.flatMap(\.variants)
    let twins = Array(Set(variants.map(\.twin)))
    self.twins = twins.count
    if let anew = Self.anew, !anew.contains(tool.name), let text = try? String(contentsOf: file, encoding: .utf8) {
      take(text, variants, twins)
      return
    }
    print("corpus: \(tool.name), \(variants.count) variants and \(twins.count) twins")
    for file in Set(FaultClass.allCases.map(\.file)) { _ = try CorpusPrograms.build(file, isSanitized: tool.isSanitized) }
    DispatchQueue.concurrentPerform(iterations: variants.count) { index in
      attempt {
        guard let trial = try FaultTrial.make(variants[index], tool) else { return }
        note(variants[index], trial.verdict, trial.ended)
      }
    }
    DispatchQueue.concurrentPerform(iterations: twins.count) { index in
      attempt {
        if let complaint = try FaultTrial.complaint(ofTwin: twins[index], tool) { note(twins[index], nil, complaint) }
      }
    }
    if let error { throw error }
    try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try lines.sorted().joined().write(to: file, atomically: true, encoding: .utf8)
  }

  private static let anew = ProcessInfo.processInfo.environment["STAVE_CORPUS_ANEW"].map { Set($0.split(separator: "+").map(String.init)) }

  private var file: URL {
    Place.root.appending(path: ".build/corpus").appending(path: (tool.speaker == .stave ? "stave " : "") + tool.name + ".txt")
  }

  private func take(_ text: String, _ variants: [FaultVariant], _ twins: [FaultVariant]) {
    func key(_ variant: FaultVariant) -> String { "\(variant.fault.rawValue)\t\(variant)" }
    let known = Dictionary(uniqueKeysWithValues: variants.map { (key($0), $0) })
    let knownTwins = Dictionary(uniqueKeysWithValues: twins.map { (key($0), $0) })
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
      guard parts.count > 2 else { continue }
      let name = parts[0] + "\t" + parts[1]
      if let verdict = FaultVerdict(rawValue: parts[2]), let variant = known[name] { verdicts[variant] = verdict }
      if parts[2] == "TWIN", let twin = knownTwins[name] { complaints.append(twin) }
    }
  }

  private func attempt(_ body: () throws -> Void) {
    do { try body() } catch { lock.withLock { self.error = error } }
  }

  private func note(_ variant: FaultVariant, _ verdict: FaultVerdict?, _ ended: Ended) {
    let said = ended.errorText.split(separator: "\n").prefix(6).joined(separator: " | ")
    lock.withLock {
      if let verdict { verdicts[variant] = verdict } else { complaints.append(variant) }
      lines.append("\(variant.fault.rawValue)\t\(variant)\t\(verdict.map { "\($0)" } ?? "TWIN")\t\(ended.ending)\t\(said)\n")
    }
  }

  // MARK: - Sums

  func count(_ fault: FaultClass, _ verdicts: FaultVerdict...) -> Int {
    fault.variants.count { variant in self.verdicts[variant].map(verdicts.contains) ?? false }
  }

  /// "24 +6 !3": at the mistake, later, stopped at the mistake without its name, stopped later (?).
  func cell(_ fault: FaultClass) -> String {
    if count(fault, .impossible) == fault.variants.count { return "" }
    let parts = [("", FaultVerdict.reported), ("+", .reportedLater), ("!", .stopped), ("?", .stoppedLater)].compactMap { sign, verdict in
      count(fault, verdict) == 0 ? nil : sign + "\(count(fault, verdict))"
    }
    return parts.isEmpty ? "–" : parts.joined(separator: " ")
  }
}
