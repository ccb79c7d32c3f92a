// swift-tools-version: 6.2
// SPDX-License-Identifier: BSD-2-Clause
//
// A Swift program that hands its memory's figures to swift-metrics. `make` in Stave's folder, then here: swift build, and
// ../../build/stave run -- .build/debug/metrics-swift

import PackageDescription

let package = Package(
  name: "metrics-swift",
  platforms: [.macOS(.v15)],
  dependencies: [
    .package(name: "stave", path: "../..", traits: ["Metrics"]),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.8.0"),
  ],
  targets: [
    .executableTarget(
      name: "metrics-swift",
      dependencies: [
        .product(name: "Stave", package: "stave"), .product(name: "StaveMetrics", package: "stave"),
        .product(name: "CoreMetrics", package: "swift-metrics"),
      ])
  ])
