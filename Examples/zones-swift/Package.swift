// swift-tools-version: 6.2
// SPDX-License-Identifier: BSD-2-Clause
//
// Programs with zones of their own: object-cache, a parser that keeps its buffers between uses; connection-pool, at most four connections
// for a hundred tasks that wait; zone-speed, what a pair of allocate and free costs. swift run -c release object-cache

import PackageDescription

func program(_ name: String) -> Target { .executableTarget(name: name, dependencies: [.product(name: "Stave", package: "stave")]) }

let package = Package(
  name: "zones-swift",
  dependencies: [.package(name: "stave", path: "../..")],
  targets: [program("object-cache"), program("connection-pool"), program("zone-speed")],
  swiftLanguageModes: [.v6])
