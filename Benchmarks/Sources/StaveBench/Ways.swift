// SPDX-License-Identifier: BSD-2-Clause
//
// What is measured of zones, pools, deferred reuse and packets: cases, and for each the ways in which it can be done, Stave's first.
// Here it is not one program under several allocators, but several programs: the workloads on libstavezones.so, which replaces no
// malloc, or on a malloc; and programs in Swift and on DPDK, where they have been built. Whatever is missing is left out.

import Foundation

struct Way {
  var name: String
  var version: String
  var run: (_ round: Int) throws -> Launcher.Outcome
}

/// NAME is group/title, as of scenarios.
struct Case {
  var name: String
  var ways: [Way]
}

struct Ways {
  var suite: Suite
  var launcher: Launcher
  var mallocs: [Allocator]  // Stave's and peers'
  var zones: Allocator?  // libstavezones.so
  var dpdk: URL?
  var counter: CallCounter?
  /// Work, 1 being about a tenth of a second for what is fastest.
  var scale: Double

  init(_ suite: Suite) throws {
    self.suite = suite
    launcher = Launcher(tool: suite.tools.appendingPathComponent("launch"), scratch: suite.scratch, patience: suite.options.patience)
    scale = suite.options.quick ? 1 : 2
    mallocs = try suite.allocators().map(suite.keepingCopy)
    let library = suite.folder.appendingPathComponent("../build/libstavezones.so").standardized
    if FileManager.default.isReadableFile(atPath: library.path) {
      let copy = suite.scratch.appendingPathComponent("libstavezones.so")
      try FileManager.default.copyItem(at: library.resolvingSymlinksInPath(), to: copy)
      zones = Allocator(name: "stave-zones", library: copy.path, version: Allocators.modified(library.path))
    } else {
      say("no \(library.path): make zones builds it")
    }
    dpdk = Ways.buildOnDPDK(suite)
    counter = CallCounter(suite)
  }

  /// The operations on rte_mbuf, if DPDK is installed and starts here.
  private static func buildOnDPDK(_ suite: Suite) -> URL? {
    let source = suite.folder.appendingPathComponent("Programs/packets-dpdk.c")
    let program = suite.scratch.appendingPathComponent("packets-dpdk")
    let build = "cc -O2 $(pkg-config --cflags libdpdk) '\(source.path)' $(pkg-config --libs libdpdk) -o '\(program.path)'"
    guard output(of: ["pkg-config", "--exists", "libdpdk"]) != nil, output(of: ["sh", "-c", build]) != nil,
      output(of: [program.path, "allocate", "1000"]) != nil
    else {
      say("no DPDK that starts here: nothing of rte_mbuf (apt-get install dpdk-dev)")
      return nil
    }
    return program
  }

  /// A program that `make examples` builds.
  func example(_ package: String, _ program: String) -> URL? {
    let file = suite.folder.appendingPathComponent("../.build/examples/\(package)/release/\(program)").standardized
    if FileManager.default.isExecutableFile(atPath: file.path) { return file }
    say("no \(program): make bench-zones builds it")
    return nil
  }

  /// A command that prints its figures, under an allocator.
  func way(_ name: String, _ scenario: String, _ command: [String], under allocator: Allocator, version: String? = nil) -> Way {
    let launcher = launcher, scenario = Scenario(name: scenario, command: command)
    return Way(name: name, version: version ?? allocator.version) { try launcher.run(scenario, under: allocator, round: $0) }
  }

  /// The workload `command`, with a share of its usual work.
  func workload(
    _ name: String, _ scenario: String, _ command: String, _ argument: Int, _ share: Double, under allocator: Allocator?
  ) -> Way? {
    guard let allocator else { return nil }
    let tool = suite.tools.appendingPathComponent("workload").path
    return way(name, scenario, [tool, command, String(argument), String(share * scale)], under: allocator)
  }

  /// The same, which in the first round counts its calls of malloc, too, for each of the turns that the command ends with.
  func counting(_ way: Way, _ command: [String]) -> Way {
    guard let counter else { return way }
    return Way(name: way.name, version: way.version) { round in
      guard round == 0, case .done(var sample) = try way.run(round) else { return try way.run(round) }
      sample.figures["calls_x100"] = try counter.callsPerTurn(command.dropLast())
      return .done(sample)
    }
  }

  /// libc's malloc, and nothing preloaded.
  var plain: Allocator { mallocs.first { $0.library == nil } ?? Allocator(name: "glibc", library: nil, version: "") }

  func count(_ number: Int) -> String { String(Int(Double(number) * scale)) }
}
