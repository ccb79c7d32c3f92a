// SPDX-License-Identifier: BSD-2-Clause
//
// The whole corpus under one tool: what became of each variant, and which twins were complained of. What was said goes to
// .build/corpus/TOOL.txt, one line each.

import Foundation

@testable import TestSupport

final class CorpusResult: @unchecked Sendable {
  let tool: FaultTool
  private(set) var verdicts: [FaultVariant: FaultVerdict] = [:]
  private(set) var twins = 0
  private(set) var complaints: [FaultVariant] = []

  private let lock = NSLock()
  private var lines: [String] = []
  private var error: (any Error)?

  init(_ tool: FaultTool) throws {
    self.tool = tool
    let variants = FaultClass.allCases.flatMap(\.variants)
    let twins = Array(Set(variants.map(\.twin)))
    let isTold = tool.speaker == .stave
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
    self.twins = twins.count
    let folder = Place.root.appending(path: ".build/corpus")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let name = (isTold ? "stave " : "") + tool.name
    try lines.sorted().joined().write(to: folder.appending(path: "\(name).txt"), atomically: true, encoding: .utf8)
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
