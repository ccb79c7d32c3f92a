// SPDX-License-Identifier: BSD-2-Clause
//
// The list of everything that is measured. A name is group/title; --only and split.txt go by it.

import Foundation

struct Scenario {
  var name: String
  var command: [String]
  var environment: [String: String] = [:]
  /// Its output must be the same under every allocator.
  var comparesOutput = true
  /// Linked with an allocator of its own: libc's must be preloaded, like any other, to be measured at all.
  var bringsAllocator = false
  var limit = 300  // seconds

  var group: Group { Group(rawValue: String(name.prefix { $0 != "/" })) ?? .single }
}

/// The workloads of the executable `workload`: name, sub-command, argument.
private let workloads: [(name: String, command: String, argument: Int)] =
  [16, 64, 256, 1024, 4096].map { ("single/pairs-\($0)", "pairs", $0) }
  + [64, 1024].map { ("single/batch-\($0)", "batch", $0) }
  + ["lifetimes", "growth", "large", "large-mix", "zeroed", "pareto", "bignum", "containers"].map { ("single/\($0)", $0, 0) }
  + ["handoff", "phases", "mailboxes", "server", "parallel", "brief"].map { ("threaded/\($0)", $0, 0) }
  + ["threads-at-once", "threads-in-turn", "idle", "idle-random"].map { ("memory/\($0)", $0, 0) }
  + [1_000, 10_000, 100_000, 1_000_000, 10_000_000].map { ("scale/live-\($0)", "scale-live", $0) }
  + [1, 1_000].map { ("scale/threads-\($0)", "scale-threads", $0) }
  + [10, 1_000, 100_000].map { ("scale/large-\($0)", "scale-large", $0) }
  + ["none", "types", "atomic", "mutex"].flatMap { way in [1, 2, 8, 64].map { ("counting/\(way)-\($0)", "count-\(way)", $0) } }

/// What is measured with every value of the option `types`.
private let callers: [(name: String, command: String, argument: Int)] = [("pairs", "pairs", 64), ("copies", "copies", 0), ("live", "scale-live", 100_000)]

enum Scenarios {
  static func all(executable: URL, scale: Double) -> [Scenario] {
    workloads.map { Scenario(name: $0.name, command: [executable.path, $0.command, String($0.argument), String(scale)]) }
      + callers.flatMap { workload in
        ["none", "library", "site"].map { types in
          Scenario(
            name: "callers/\(workload.name)-\(types)", command: [executable.path, workload.command, String(workload.argument), String(scale)],
            environment: ["STAVE_OPTIONS": "types:\(types)"])
        }
      }
  }
}
