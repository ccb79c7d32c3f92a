// swift-tools-version: 6.0
// SPDX-License-Identifier: BSD-2-Clause
//
// A Swift program with Stave's malloc linked in. `make` in Stave's folder, then here: swift run

import PackageDescription

let stave = Context.packageDirectory + "/../../build/libstave.a"

let package = Package(
  name: "static-swift",
  targets: [
    .executableTarget(
      name: "static-swift",
      linkerSettings: [.unsafeFlags(["-Xlinker", "--undefined=malloc", "-Xlinker", stave])])
  ])
