// swift-tools-version: 6.2
// SPDX-License-Identifier: BSD-2-Clause
//
// A relay for TCP and UDP on packet buffers, and the same on NIO's ByteBuffer and on malloc. Here: swift build -c release, then
// .build/release/relay-swift 5202 127.0.0.1 5201. And packet-speed: what single operations on packets cost; framer: the example
// of StaveNIO's documentation.

import PackageDescription

let package = Package(
  name: "relay-swift",
  dependencies: [
    .package(name: "stave", path: "../..", traits: ["NIO"]),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
  ],
  targets: [
    .target(name: "CMessages"),
    .executableTarget(
      name: "relay-swift",
      dependencies: [
        "CMessages", .product(name: "Stave", package: "stave"), .product(name: "StaveNIO", package: "stave"),
        .product(name: "NIOCore", package: "swift-nio"),
      ]),
    .executableTarget(
      name: "packet-speed",
      dependencies: [
        .product(name: "Stave", package: "stave"), .product(name: "StaveNIO", package: "stave"),
        .product(name: "NIOCore", package: "swift-nio"),
      ]),
    .executableTarget(
      name: "framer",
      dependencies: [
        .product(name: "Stave", package: "stave"), .product(name: "StaveNIO", package: "stave"),
        .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
      ]),
  ])
