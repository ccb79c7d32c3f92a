// swift-tools-version: 6.2
// SPDX-License-Identifier: BSD-2-Clause
//
// Two builds from one tree. Without traits: ordinary Swift, for the tests and the command. With the trait `Preload`: the
// targets up to StaveMalloc as Embedded Swift, linked into libstave.so, which needs libc and nothing else.
// Sources/README.md shows the ladder that the dependencies below follow.

import PackageDescription

let embedded: [SwiftSetting] = [
  .enableExperimentalFeature("Embedded", .when(traits: ["Preload"])),
  .unsafeFlags(
    ["-wmo", "-no-allocations", "-enforce-exclusivity=unchecked", "-Xfrontend", "-disable-stack-protector", "-Xcc", "-fno-stack-protector",
      "-Xcc", "-fomit-frame-pointer"],
    .when(traits: ["Preload"])),
  .define("STAVE_CHECK_LOCKS", .when(configuration: .debug)),
]

let plainC: [CSetting] = [
  .define("STAVE_INJECT", .when(configuration: .debug)),
  .define("STAVE_CHECK_LOCKS", .when(configuration: .debug)),
  .unsafeFlags(["-fno-stack-protector", "-fvisibility=hidden", "-O2"], .when(traits: ["Preload"])),
]

let forPreload = Context.environment["STAVE_PRELOAD"] != nil

/// A target of the core: compiled both ways.
func core(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: ["CPlatform"] + dependencies, swiftSettings: embedded)
}

var targets: [Target] = [
  .target(name: "CPlatform", cSettings: plainC),
  core("Primitives", []),
  core("AddressMap", ["Primitives"]),
  core("Pages", ["Primitives", "AddressMap"]),
  core("Zones", ["Primitives", "Pages"]),
  core("Heap", ["Primitives", "AddressMap", "Pages", "Zones"]),
]
var products: [Product] = []
var dependencies: [Package.Dependency] = []

if forPreload {
  targets += [
    core("StaveMalloc", ["Primitives", "Pages", "Zones", "Heap"]),
    .target(
      name: "CStaveMalloc", dependencies: ["CPlatform", "StaveMalloc"], exclude: ["exports.map", "aliases.ld"],
      cSettings: plainC + [.unsafeFlags(["-fno-builtin"], .when(traits: ["Preload"]))],
      linkerSettings: [
        .unsafeFlags(
          ["-use-ld=lld", "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/CStaveMalloc/exports.map",
           "-Xlinker", "\(Context.packageDirectory)/Sources/CStaveMalloc/aliases.ld", "-Xlinker", "--soname=libstave.so.0", "-Xlinker", "--gc-sections", "-Xlinker", "-zrelro", "-Xlinker", "-znow"],
          .when(traits: ["Preload"]))
      ]),
  ]
  products += [.library(name: "stave-malloc", type: .dynamic, targets: ["StaveMalloc", "CStaveMalloc"])]
} else {
  dependencies += [.package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")]
  targets += [
    .target(name: "Inspection", dependencies: ["CPlatform", "Primitives", "AddressMap", "Pages", "Zones", "Heap"]),
    .target(name: "Exporters", dependencies: ["Inspection"]),
    .executableTarget(
      name: "StaveCommand",
      dependencies: ["Inspection", "Exporters", "CPlatform", "Pages", .product(name: "ArgumentParser", package: "swift-argument-parser")]),
    .testTarget(name: "PrimitivesTests", dependencies: ["Primitives"]),
    .testTarget(name: "AddressMapTests", dependencies: ["AddressMap"]),
    .testTarget(name: "PagesTests", dependencies: ["Pages"]),
    .testTarget(name: "ZonesTests", dependencies: ["Zones"]),
    .testTarget(name: "HeapTests", dependencies: ["Heap"]),
    .testTarget(name: "InspectionTests", dependencies: ["Inspection", "Exporters"]),
  ]
  products += [.executable(name: "stave", targets: ["StaveCommand"])]
}

let package = Package(
  name: "stave",
  products: products,
  traits: [.trait(name: "Preload", description: "Build the core as Embedded Swift, for libstave.so")],
  dependencies: dependencies,
  targets: targets,
  swiftLanguageModes: [.v6])
