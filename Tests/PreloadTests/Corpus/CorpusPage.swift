// SPDX-License-Identifier: BSD-2-Clause
//
// The part of Documentation/Caught.md that is measured: what is lost, the tables, and how the promises were kept.

import Foundation

@testable import TestSupport

struct CorpusPage {
  var results: [CorpusResult]

  private var staves: [CorpusResult] { results.filter { $0.tool.speaker == .stave } }
  private var peers: [CorpusResult] { results.filter { $0.tool.speaker != .stave } }

  func write(into page: String) throws { try Page.put(text, at: "corpus", into: page) }

  private var text: String {
    [where_, "Lost, or not promised:\n\n" + losses, "Stave's modes, as options:\n\n" + table(staves), "Peers, beside the best mode of Stave's:\n\n" + table(peers, withBest: true), twins, "The promises:\n\n" + promises]
      .joined(separator: "\n\n") + "\n"
  }

  // MARK: - Where

  private var where_: String {
    let day = Date.now.formatted(.iso8601.year().month().day())
    let kernel = said("uname", ["-r"]).prefix { $0 != "-" }
    var versions = [said("getconf", ["GNU_LIBC_VERSION"])]
    versions += [("duma", "DUMA"), ("electric-fence", "Electric Fence"), ("valgrind", "valgrind")].compactMap { package, name in
      let version = said("dpkg-query", ["-W", "-f", "${Version}", package])
      return peers.contains { $0.tool.name.hasPrefix(name) } && !version.isEmpty ? "\(name) \(version)" : nil
    }
    if let compiler = CorpusPrograms.sanitizer(.c), peers.contains(where: { $0.tool.isSanitized }) {
      let line = said(compiler, ["--version"]).split(separator: "\n").first ?? ""
      let version = line.split(whereSeparator: { !$0.isNumber && $0 != "." }).first { $0.contains(".") } ?? ""
      versions.append("AddressSanitizer of \(URL(filePath: compiler).lastPathComponent) \(version)")
    }
    let variants = FaultClass.allCases.reduce(0) { $0 + $1.variants.count }
    return "\(day), Linux \(kernel); \(versions.joined(separator: ", ")). \(FaultClass.allCases.count) classes, \(variants) variants, each in a process of its own."
  }

  private func said(_ program: String, _ words: [String]) -> String {
    guard let path = program.hasPrefix("/") ? program : find(program), let ended = try? run(path, words), ended.succeeded else { return "" }
    return ended.text.trimmingCharacters(in: .whitespacesAndNewlines)
  }

  // MARK: - Tables

  /// Of the classes that a tool can make at all, the mode that reports most at the mistake, then most at all.
  private func best(_ fault: FaultClass) -> CorpusResult {
    staves.max { a, b in
      (a.count(fault, .reported), a.count(fault, .reportedLater)) < (b.count(fault, .reported), b.count(fault, .reportedLater))
    }!
  }

  private func table(_ columns: [CorpusResult], withBest: Bool = false) -> String {
    let heads = (withBest ? ["Stave"] : []) + columns.map { $0.tool.name.replacingOccurrences(of: ", ", with: ",").replacingOccurrences(of: ",", with: ",<br>") }
    var lines = ["| mistake | variants | " + heads.joined(separator: " | ") + " |", "|---|---:|" + String(repeating: "---:|", count: heads.count)]
    for fault in FaultClass.allCases {
      let cells = (withBest ? [best(fault).cell(fault)] : []) + columns.map { $0.cell(fault) }
      lines.append("| \(fault.title) | \(fault.variants.count) | " + cells.joined(separator: " | ") + " |")
    }
    return lines.joined(separator: "\n")
  }

  private var losses: String {
    var lines: [String] = []
    for fault in FaultClass.allCases {
      let ours = best(fault), all = fault.variants.count - ours.count(fault, .impossible)
      let better = peers.filter {
        ($0.count(fault, .reported), $0.count(fault, .reported, .reportedLater)) > (ours.count(fault, .reported), ours.count(fault, .reported, .reportedLater))
      }
      let noticed = ours.count(fault, .reported, .reportedLater)
      guard !better.isEmpty || noticed < all else { continue }
      let rivals = better.map { "\($0.tool.name) \($0.cell(fault))" }.joined(separator: "; ")
      lines.append("- \(fault.title): \(noticed == 0 ? "no mode of Stave's notices any of" : "\(ours.cell(fault)) of") \(all)" + (rivals.isEmpty ? "" : " (\(rivals))"))
    }
    return lines.isEmpty ? "nothing" : lines.joined(separator: "\n")
  }

  // MARK: - Judgement

  private var twins: String {
    let ours = staves.reduce(0) { $0 + $1.complaints.count }
    let theirs = peers.filter { !$0.complaints.isEmpty }.map { "\($0.tool.name) \($0.complaints.count)" }
    return "Of \(results[0].twins) correct twins in \(staves.count) modes, \(ours == 0 ? "no" : "\(ours)") false report"
      + (ours == 1 || ours == 0 ? "" : "s") + "; peers: \(theirs.isEmpty ? "none either" : theirs.joined(separator: ", "))."
  }

  private var promises: String {
    let guards = ["memguard:1", "memguard:1,memguard_side:exact", "memguard:1,memguard_side:underflow"]
    func kept(_ modes: [String], _ promise: FaultPromise, _ isMeant: (FaultVariant) -> Bool) -> String {
      var kept = 0, all = 0
      for result in staves where modes.contains(result.tool.name) {
        for variant in FaultClass.allCases.flatMap(\.variants) where isMeant(variant) {
          guard FaultPromise.of(variant, result.tool.options) >= promise, let verdict = result.verdicts[variant], verdict != .impossible else { continue }
          all += 1
          if promise.isKept(by: verdict) { kept += 1 }
        }
      }
      return "\(kept) of \(all)"
    }
    let lines = [
      ("`memguard:1`, on each of its sides: what lands in the guard, at the instruction", kept(guards, .atMistake) { $0.fault.isOverflow || $0.fault.isUnderflow }),
      ("the same, and what is written on the block's own pages, when it is freed at the latest", kept(guards, .later) { $0.fault.isOverflow || $0.fault.isUnderflow }),
      ("the same: use after free and after realloc, at the instruction", kept(guards, .atMistake) { $0.fault.isUseAfterFree }),
      ("`redzone:1`: overwrites within 16 bytes of the block, when it is freed", kept(["redzone:1"], .later) { $0.fault.isOverflow || $0.fault.isUnderflow }),
      ("`check:1`: bad and double frees, at the call", kept(["check:1"], .atMistake) { [.doubleFree, .foreignFree, .insideFree].contains($0.fault) }),
      ("`check:1`: writes after free, when the memory is handed out again", kept(["check:1"], .later) { $0.fault == .afterFreeWrite }),
      ("no option: frees of what is no block, at the call", kept(["plain"], .atMistake) { _ in true }),
      ("all modes, all that is promised", kept(staves.map(\.tool.name), .later) { _ in true }),
    ]
    return (["| promise | kept |", "|---|---:|"] + lines.map { "| \($0.0) | \($0.1) |" }).joined(separator: "\n")
  }
}
