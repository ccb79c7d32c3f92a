// SPDX-License-Identifier: BSD-2-Clause
//
// The list of cases of zones, pools, deferred reuse and packets. What each does is said in Sources/Workload and Examples.

import Foundation

extension Ways {
  func cases() -> [Case] {
    let all = pairs + walks + pools + lookups + packets + relays
    return all.filter { !$0.ways.isEmpty }
  }

  private var pairs: [Case] {
    let speed = example("types-swift", "zone-speed")?.path
    return [16, 64, 256, 1024].map { size in
      let name = "pair/\(size)"
      func inSwift(_ way: String, _ title: String, _ turns: Int, under allocator: Allocator, version: String? = nil) -> Way? {
        speed.map { self.way(title, name, [$0, way, String(size), count(turns)], under: allocator, version: version) }
      }
      let stave = [
        inSwift("zone", "stave-zone-swift", 20_000_000, under: plain, version: "Swift"),
        workload("stave-zone-c", name, "zone-pairs", size, 0.2, under: zones),
        inSwift("item", "stave-item", 10_000_000, under: plain, version: "Swift"),
      ]
      let blocks = mallocs.map { workload($0.name, name, "pairs", size, 0.2, under: $0) }
      let objects = inSwift("class", "class", 2_500_000, under: plain, version: "on glibc")
      return Case(name: name, ways: (stave + blocks + [objects]).compactMap { $0 })
    }
  }

  private var walks: [Case] {
    [256, 512, 1024, 2048, 4096].map { size in
      let name = "walk/\(size)"
      let stave = [
        workload("stave-spread", name, "walk-spread", size, 0.05, under: zones),
        workload("stave-plain", name, "walk-plain", size, 0.05, under: zones),
      ]
      let blocks = mallocs.map { workload($0.name, name, "walk-blocks", size, 0.05, under: $0) }
      return Case(name: name, ways: (stave + blocks).compactMap { $0 })
    }
  }

  private var pools: [Case] {
    ["near", "any"].flatMap { range in
      [1_000, 10_000, 100_000].map { pages in
        let name = "pool/\(range)-\(pages)"
        let stave = ["page", "map", "tree", "zone"].map { way in
          workload(way == "zone" ? "stave-zone" : "stave-pool-\(way)", name, "pool-\(way)-\(range)", pages, 0.15, under: zones)
        }
        let blocks = workload("glibc", name, "pool-blocks-\(range)", pages, 0.15, under: plain)
        return Case(name: name, ways: (stave + [blocks]).compactMap { $0 })
      }
    }
  }

  private var lookups: [Case] {
    [1, 2].flatMap { threads in
      [0, 1, 10].map { updates in
        let name = "lookup/\(threads)-\(updates)"
        let argument = threads * 1000 + updates * 10
        let ways = [
          workload("stave-smr", name, "lookup-smr", argument, 0.2, under: zones),
          workload("rwlock", name, "lookup-rwlock", argument, 0.2, under: plain),
          workload("mutex", name, "lookup-mutex", argument, 0.2, under: plain),
        ]
        return Case(name: name, ways: ways.compactMap { $0 })
      }
    }
  }

  private var packets: [Case] {
    let speed = example("relay-swift", "packet-speed")?.path
    return ["allocate", "append", "prepend", "share", "split", "pullup", "hold"].map { operation in
      let name = "packet/\(operation)"
      func inSwift(_ title: String, _ buffers: String, _ version: String) -> Way? {
        guard let speed else { return nil }
        let command = [speed, buffers, operation, count(1_000_000)]
        return counting(way(title, name, command, under: plain, version: version), command)
      }
      let ways = [
        workload("stave-mbuf", name, "packet-\(operation)", 0, 0.1, under: zones), inSwift("stave-packet", "packets", "Swift"),
        inSwift("stave-bytebuffer", "stave-bytebuffer", "Swift"), inSwift("bytebuffer", "bytebuffer", "SwiftNIO"),
        dpdk.map { way("rte_mbuf", name, [$0.path, operation, count(1_000_000)], under: plain, version: "DPDK, no huge pages") },
      ]
      return Case(name: name, ways: ways.compactMap { $0 })
    }
  }

  private var relays: [Case] {
    guard let program = example("relay-swift", "relay-swift"), let load = findTool("iperf3") else {
      say("no iperf3, or no relay: nothing is relayed")
      return []
    }
    return Relay.Load.allCases.map { kind in
      let ways = ["packets", "stave-bytebuffer", "bytebuffer", "malloc"].map { buffers in
        Way(name: buffers == "packets" ? "stave-packets" : buffers, version: "") { round in
          let seconds = suite.options.quick ? 1 : 3, stave = suite.folder.appendingPathComponent("../build/stave").path
          let relay = Relay(
            program: program.path, iperf: load, buffers: buffers, load: kind, seconds: seconds, counter: counter, stave: stave)
          return try relay.run(round: round)
        }
      }
      return Case(name: "relay/\(kind.rawValue)", ways: ways)
    }
  }
}
