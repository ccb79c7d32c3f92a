// swift-tools-version: 6.2
// SPDX-License-Identifier: BSD-2-Clause
//
// A Swift program whose memory is counted by what it is for. `make` in Stave's folder, then here: swift build, and
// ../../build/stave run -- .build/debug/types-swift wait

import PackageDescription

let package = Package(
  name: "types-swift",
  dependencies: [.package(name: "stave", path: "../..")],
  targets: [.executableTarget(name: "types-swift", dependencies: [.product(name: "Stave", package: "stave")])])
