// SPDX-License-Identifier: BSD-2-Clause
//
// The faulty programs of Tests/Corpus under Stave, each mode held to what it promises, and their correct twins, of which nothing may be
// said. CI tries a few variants of each class; `Scripts/corpus` all of them, under the peers too, and writes Documentation/Caught.md.

import Foundation
import Testing

@testable import TestSupport

extension PreloadedLibrary {
  /// Five variants, of each size where sizes come first, with the other things in turns.
  static func some(of fault: FaultClass) -> [FaultVariant] {
    let all = fault.variants, part = max(1, all.count / 5)
    return (0..<min(5, all.count)).map { all[$0 * part + ($0 * 7 + 3) % part] }
  }

  @Test(.enabled(if: Library.exists && Library.isStave), arguments: FaultTool.staves)
  static func corpusIsCaughtAsPromised(_ tool: FaultTool) throws {
    for fault in FaultClass.allCases {
      let variants = some(of: fault)
      for variant in variants {
        guard let trial = try FaultTrial.make(variant, tool) else { return }
        let promise = FaultPromise.of(variant, tool.options)
        #expect(promise.isKept(by: trial.verdict), "\(variant): promised \(promise), \(trial.verdict): \(trial.ended.report)")
      }
      for twin in Set(variants.prefix(2).map(\.twin)) {
        if let complaint = try FaultTrial.complaint(ofTwin: twin, tool) { Issue.record("the twin of \(twin): \(complaint.report)") }
      }
    }
  }

  /// All of them, for Documentation/Caught.md.
  @Test(.enabled(if: Library.exists && Library.isStave && Page.corpus != nil))
  static func wholeCorpus() throws {
    var results = try FaultTool.staves.map(CorpusResult.init)
    for fault in FaultClass.allCases {
      for result in results {
        for variant in fault.variants {
          guard let verdict = result.verdicts[variant] else { continue }
          let promise = FaultPromise.of(variant, result.tool.options)
          #expect(promise.isKept(by: verdict), "\(result.tool.name): \(variant): promised \(promise), \(verdict)")
        }
      }
    }
    for result in results { #expect(result.complaints.isEmpty, "\(result.tool.name): \(result.complaints)") }
    results += try FaultTool.peers().map(CorpusResult.init)
    try CorpusPage(results: results).write(into: Page.corpus!)
  }
}
