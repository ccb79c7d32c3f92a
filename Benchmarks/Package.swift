// swift-tools-version: 6.2
// SPDX-License-Identifier: BSD-2-Clause
//
// The benchmark suite: a package of its own, so that Stave's package neither builds nor depends on it.
// `workload` holds the C and C++ scenarios, `launch` starts and measures one run, `stave-bench` does the rest.

import PackageDescription

/// SwiftPM links every executable with swiftc, which adds Swift's library and its start-up object. Without the object and
/// with the archive instead of the shared library, nothing of it gets into a C program: its 3 MB would blur every peak.
let withoutSwift: [LinkerSetting] = [.unsafeFlags(["-nostartfiles", "-static-stdlib"])]

let package = Package(
  name: "stave-benchmarks",
  products: [
    .executable(name: "stave-bench", targets: ["StaveBench"]),
    .executable(name: "workload", targets: ["Workload"]),
    .executable(name: "launch", targets: ["Launch"]),
  ],
  targets: [
    .executableTarget(
      name: "Workload",
      cSettings: [.define("_GNU_SOURCE")],
      linkerSettings: withoutSwift + [.linkedLibrary("pthread"), .linkedLibrary("dl")]),
    .executableTarget(name: "Launch", cSettings: [.define("_GNU_SOURCE")], linkerSettings: withoutSwift),
    // The tools are started, not linked: as dependencies they are built by `swift run stave-bench` too.
    .executableTarget(name: "StaveBench", dependencies: ["Workload", "Launch"]),
  ],
  swiftLanguageModes: [.v6],
  cLanguageStandard: .c17,
  cxxLanguageStandard: .cxx17
)
