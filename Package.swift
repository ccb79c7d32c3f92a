// swift-tools-version: 6.2
// SPDX-License-Identifier: BSD-2-Clause
//
// Two builds from one tree. Without traits: ordinary Swift, for the tests and the command. With the trait `Preload`: the
// targets up to StaveMalloc as Embedded Swift, linked into libstave.so, which needs libc and nothing else.
// Sources/README.md shows the ladder that the dependencies below follow.

import PackageDescription

let forPreload = Context.environment["STAVE_PRELOAD"] != nil
/// For Scripts/thread-sanitizer: the core, the Swift API and their tests alone.
let forThreadSanitizer = Context.environment["STAVE_THREAD_SANITIZER"] != nil

// Debug builds check the order of locks and can make system calls fail; the C headers are compiled into Swift's modules, so
// they are told through Swift's compiler.
let checked: [SwiftSetting] = [
  .define("STAVE_CHECK_LOCKS", .when(configuration: .debug)),
  .unsafeFlags(["-Xcc", "-DSTAVE_CHECK_LOCKS", "-Xcc", "-DSTAVE_INJECT"], .when(configuration: .debug)),
] + (forThreadSanitizer ? [.define("STAVE_THREAD_SANITIZER"), .unsafeFlags(["-Xcc", "-DSTAVE_THREAD_SANITIZER"])] : [])

let embedded: [SwiftSetting] = [
  .enableExperimentalFeature("Embedded", .when(traits: ["Preload"])),
  .unsafeFlags(
    ["-wmo", "-no-allocations", "-Xfrontend", "-function-sections", "-enforce-exclusivity=unchecked", "-Xfrontend", "-disable-incremental-llvm-codegen", "-Xfrontend", "-disable-stack-protector", "-Xcc", "-fno-stack-protector",
      // Where a function calls, its frame can be walked over (Diagnostics/StackWalk); fast paths do not call.
      "-Xcc", "-fno-omit-frame-pointer", "-Xcc", "-momit-leaf-frame-pointer"],
    .when(traits: ["Preload"])),
]

let plainC: [CSetting] = [
  .define("STAVE_PRELOAD", .when(traits: ["Preload"])),
  .define("STAVE_INJECT", .when(configuration: .debug)),
  .define("STAVE_CHECK_LOCKS", .when(configuration: .debug)),
  .unsafeFlags(["-fno-stack-protector", "-fvisibility=hidden", "-ffunction-sections", "-O2", "-fno-omit-frame-pointer", "-momit-leaf-frame-pointer"], .when(traits: ["Preload"])),
]

/// A target of the core: compiled both ways.
func core(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: ["CPlatform"] + dependencies, swiftSettings: embedded + checked)
}

let wholeCore: [Target.Dependency] = ["CPlatform", "Primitives", "AddressMap", "Pages", "Zones", "Accounting", "Diagnostics", "Heap", "PacketBuffers"]

func coreTests(_ name: String) -> Target {
  .testTarget(name: name + "Tests", dependencies: ["TestSupport"] + wholeCore, swiftSettings: checked)
}

/// Of libstavestat.so, which needs libc and nothing else, and shows nothing of the runtime inside it.
let hiddenRuntime = [
  // The runtime wants the C++ library, of which the Makefile puts only the static one into this folder.
  "-static-stdlib", "-use-ld=lld", "-L\(Context.packageDirectory)/.build/static", "-Xclang-linker", "-static-libgcc",
  "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/CStaveStat/exports.map", "-Xlinker", "--soname=libstavestat.so.0",
  "-Xlinker", "--gc-sections", "-Xlinker", "-zrelro", "-Xlinker", "-znow", "-Xlinker", "-znodelete",
]

var targets: [Target] = [
  .target(name: "CPlatform", cSettings: plainC),
  .target(name: "CStaveNote", cSettings: plainC),
  core("Primitives", []),
  core("AddressMap", ["Primitives"]),
  core("Pages", ["Primitives", "AddressMap"]),
  core("Zones", ["Primitives", "Pages"]),
  core("Accounting", ["Primitives", "AddressMap", "Pages", "Zones"]),
  core("Diagnostics", ["Primitives", "AddressMap", "Pages", "Zones", "Accounting"]),
  core("Heap", ["Primitives", "AddressMap", "Pages", "Zones", "Accounting", "Diagnostics"]),
  core("PacketBuffers", ["CPacketProbes", "Primitives", "AddressMap", "Pages", "Zones", "Accounting"]),
  .target(name: "CPacketProbes", dependencies: ["CPlatform"], cSettings: plainC),
  .target(name: "COwn", dependencies: ["CPlatform"], cSettings: plainC),
  core("Own", ["COwn", "Heap"]),
]
var products: [Product] = []
var dependencies: [Package.Dependency] = []

if forPreload {
  targets += [
    core("StaveMalloc", ["Primitives", "Pages", "Zones", "Accounting", "Diagnostics", "Heap"]),
    .target(
      name: "CStaveMalloc", dependencies: ["CPlatform", "CStaveNote", "StaveMalloc"], exclude: ["exports.map", "aliases.ld", "program.c"],
      cSettings: plainC + [.headerSearchPath("../StaveC/include"), .unsafeFlags(["-fno-builtin"], .when(traits: ["Preload"]))],
      linkerSettings: [
        .unsafeFlags(
          ["-use-ld=lld", "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/CStaveMalloc/exports.map",
           "-Xlinker", "\(Context.packageDirectory)/Sources/CStaveMalloc/aliases.ld", "-Xlinker", "--soname=libstave.so.0", "-Xlinker", "--gc-sections", "-Xlinker", "--icf=all", "-Xlinker", "-zrelro", "-Xlinker", "-znow", "-Xlinker", "-znodelete",
           // Its constructor runs before all others, see CStaveMalloc/start.c.
           "-Xlinker", "-zinitfirst"],
          .when(traits: ["Preload"]))
      ]),
  ]
  products += [.library(name: "stave-malloc", type: .dynamic, targets: ["StaveMalloc", "CStaveMalloc"])]
  targets += [
    core("StaveZones", ["Primitives", "Pages", "Zones", "Heap", "PacketBuffers", "Own"]),
    .target(
      name: "CStaveZones", dependencies: ["CPlatform", "CStaveNote", "StaveZones"], exclude: ["exports.map"],
      cSettings: plainC + [.headerSearchPath("../StaveC/include")],
      linkerSettings: [
        .unsafeFlags(
          ["-use-ld=lld", "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/CStaveZones/exports.map",
           "-Xlinker", "--soname=libstavezones.so.0", "-Xlinker", "--gc-sections", "-Xlinker", "--icf=all", "-Xlinker", "-zrelro", "-Xlinker", "-znow", "-Xlinker", "-znodelete"],
          .when(traits: ["Preload"]))
      ]),
  ]
  products += [.library(name: "stave-zones", type: .dynamic, targets: ["StaveZones", "CStaveZones"])]
} else {
  targets += [
    .target(name: "StaveC"),
    .target(
      name: "Stave", dependencies: ["StaveC", "CStaveNote", "Own"] + wholeCore, swiftSettings: checked + [.enableExperimentalFeature("Lifetimes")]),
    // Holds no test, but what the tests share. A test target, so that it sees what they see and is built only with them.
    .testTarget(name: "TestSupport", dependencies: wholeCore, path: "Tests/Support", swiftSettings: checked),
    coreTests("Primitives"),
    coreTests("AddressMap"),
    coreTests("Pages"),
    coreTests("Zones"),
    coreTests("Accounting"),
    coreTests("Diagnostics"),
    coreTests("Heap"),
    coreTests("PacketBuffers"),
    .testTarget(name: "StaveTests", dependencies: ["TestSupport", "Stave", "StaveC"] + wholeCore, swiftSettings: checked),
  ]
  products += [.library(name: "Stave", targets: ["Stave"]), .library(name: "StaveC", targets: ["StaveC"])]
}

// What is above, and what looks at processes from outside.
if !forPreload && !forThreadSanitizer {
  dependencies += [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.8.0"),
  ]
  let nio = ["NIOCore", "NIOPosix", "NIOHTTP1"].map { Target.Dependency.product(name: $0, package: "swift-nio", condition: .when(traits: ["NIO"])) }
  let metrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics", condition: .when(traits: ["Metrics"]))
  targets += [
    .target(
      name: "Inspection", dependencies: wholeCore, swiftSettings: checked),
    .target(name: "Exporters", dependencies: ["CPlatform", "Primitives", "Accounting", "Diagnostics", "Heap", "Inspection"], swiftSettings: checked),
    .target(name: "StaveMetrics", dependencies: ["Inspection", "Exporters", metrics], swiftSettings: checked),
    .target(name: "CStaveStat", exclude: ["exports.map"]),
    .target(name: "StaveStat", dependencies: ["CStaveStat", "Inspection"], swiftSettings: checked, linkerSettings: [.unsafeFlags(hiddenRuntime, .when(configuration: .release))]),
    .target(name: "MetricsServer", dependencies: nio),
    .target(name: "StaveNIO", dependencies: ["Stave"] + wholeCore + nio.prefix(1), swiftSettings: checked),
    .executableTarget(
      name: "StaveCommand",
      dependencies: [
        "Inspection", "Exporters", "CPlatform", "Pages", "Heap", .target(name: "MetricsServer", condition: .when(traits: ["NIO"])),
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: checked),
    .executableTarget(name: "StaveManuals", dependencies: ["Exporters"], swiftSettings: checked),
    .testTarget(name: "PreloadTests", dependencies: ["TestSupport"]),
    .testTarget(name: "InspectionTests", dependencies: ["TestSupport", "Inspection", "Exporters"], swiftSettings: checked),
    .testTarget(name: "CommandTests", dependencies: ["TestSupport", "StaveCommand", "StaveManuals", "Exporters", "Inspection"], swiftSettings: checked),
  ]
  products += [.library(name: "StaveNIO", targets: ["StaveNIO"])]
  products += [.library(name: "StaveMetrics", targets: ["StaveMetrics"])]
  products += [.library(name: "stavestat", type: .dynamic, targets: ["StaveStat", "CStaveStat"])]
  products += [.executable(name: "stave", targets: ["StaveCommand"]), .executable(name: "stave-manuals", targets: ["StaveManuals"])]
}

let package = Package(
  name: "stave",
  products: products,
  traits: [
    .trait(name: "Preload", description: "Build the core as Embedded Swift, for libstave.so"),
    .trait(name: "NIO", description: "stave metrics --listen, over SwiftNIO; StaveNIO, its ByteBuffer on packet buffers"),
    .trait(name: "Metrics", description: "StaveMetrics: the process's own figures for swift-metrics"),
  ],
  dependencies: dependencies,
  targets: targets,
  swiftLanguageModes: [.v6])
