// SPDX-License-Identifier: BSD-2-Clause
//
// Under what the corpus runs: Stave in its modes, and its peers. This is the one list of them.

import Foundation
import Testing

@testable import TestSupport

/// Who speaks: each has its own words for a mistake.
enum FaultSpeaker: Sendable { case stave, glibc, duma, electricFence, valgrind, addressSanitizer }

struct FaultTool: Sendable, CustomTestStringConvertible {
  var name: String
  var speaker: FaultSpeaker
  var environment: [String: String] = [:]
  /// Before the program.
  var command: [String] = []
  /// Compiled with -fsanitize=address.
  var isSanitized = false

  var testDescription: String { name }

  // MARK: - Stave

  static func stave(_ options: String) -> FaultTool {
    let option = options.isEmpty ? [:] : ["STAVE_OPTIONS": options]
    return FaultTool(name: options.isEmpty ? "plain" : options, speaker: .stave, environment: ["LD_PRELOAD": Library.path].merging(option) { $1 })
  }

  /// What the options of this mode are.
  var options: Set<String> { Set((environment["STAVE_OPTIONS"] ?? "").split(separator: ",").map(String.init)) }

  static let staves = [
    "", "check:1", "redzone:1", "check:1,redzone:1", "memguard:1", "memguard:1,memguard_side:exact", "memguard:1,memguard_side:underflow",
    "check:1,memguard:1", "redzone:1,memguard:1", "check:1,redzone:1,memguard:1,memguard_side:exact",
  ].map(stave) + (knowsLeaks ? [stave("redzone:1,leaks:exit")] : [])

  /// Whether the library has this option yet.
  static let knowsLeaks: Bool = {
    let commands = [".build/debug/stave", "build/stave"].map { Place.root.appending(path: $0).path }
    guard let command = commands.first(where: { access($0, X_OK) == 0 }), let listed = try? run(command, ["options"]) else { return false }
    return listed.text.split(separator: "\n").contains { $0.hasPrefix("leaks") }
  }()

  // MARK: - Peers

  /// Those that are installed; the others are skipped aloud.
  static func peers() -> [FaultTool] {
    var tools = [FaultTool(name: "glibc", speaker: .glibc)]
    func add(_ package: String, _ path: String?, _ tool: (String) -> [FaultTool]) {
      guard let path, access(path, R_OK) == 0 else { return announceSkip("\(package) is not installed") }
      tools += tool(path)
    }
    add("glibc's libc_malloc_debug.so", library("libc_malloc_debug.so.0")) {
      [FaultTool(name: "glibc, malloc.check=3", speaker: .glibc, environment: ["LD_PRELOAD": $0, "GLIBC_TUNABLES": "glibc.malloc.check=3"])]
    }
    add("duma", library("libduma.so.0")) { path in
      // Freed memory stays inaccessible, and sizes are not rounded up.
      let always = ["LD_PRELOAD": path, "DUMA_DISABLE_BANNER": "1", "DUMA_PROTECT_FREE": "-1"]
      return [("DUMA", [:]), ("DUMA, below", ["DUMA_PROTECT_BELOW": "1"])].map {
        FaultTool(name: $0.0, speaker: .duma, environment: always.merging($0.1) { $1 })
      }
    }
    add("electric-fence", library("libefence.so.0")) { path in
      let always = ["LD_PRELOAD": path, "EF_DISABLE_BANNER": "1", "EF_PROTECT_FREE": "1", "EF_ALLOW_MALLOC_0": "1"]
      return [("Electric Fence", ["EF_ALIGNMENT": "1"]), ("Electric Fence, below", ["EF_PROTECT_BELOW": "1"])].map {
        FaultTool(name: $0.0, speaker: .electricFence, environment: always.merging($0.1) { $1 })
      }
    }
    add("valgrind", find("valgrind")) {
      [FaultTool(name: "valgrind", speaker: .valgrind, command: [$0, "-q", "--error-exitcode=99", "--exit-on-first-error=yes", "--leak-check=full"])]
    }
    if CorpusPrograms.sanitizer(.c) != nil {
      tools.append(FaultTool(name: "AddressSanitizer", speaker: .addressSanitizer, isSanitized: true))
    } else {
      announceSkip("AddressSanitizer: no compiler here has it")
    }
    return tools
  }

  private static func library(_ name: String) -> String? {
    ["/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"].map { "\($0)/\(name)" }.first { access($0, R_OK) == 0 }
  }
}
