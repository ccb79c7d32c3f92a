// SPDX-License-Identifier: BSD-2-Clause
//
// Memory domains, read from made-up systems and from this one, and made up.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import TestSupport

/// A folder that plays the root of a system with these files in its folder of nodes.
private final class FakeNodes {
  let root = FileManager.default.temporaryDirectory.appending(path: "stave-\(UUID().uuidString)")

  deinit { try? FileManager.default.removeItem(at: root) }

  init(_ files: [String: String]) {
    for (path, text) in files {
      let file = root.appending(path: "sys/devices/system/node/" + path)
      try! FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try! text.write(to: file, atomically: false, encoding: .utf8)
    }
  }

  /// How many domains, which of them have memory, and those of the first CPUs.
  func read(cpus: Int) -> (count: Int, memory: UInt32, nodes: [UInt16], domains: [UInt8])? {
    let table = root.path.withCString { $0.withMemoryRebound(to: UInt8.self, capacity: 1) { DomainReader.read(below: $0) } }
    guard let table else { return nil }
    defer { table.end() }
    let count = Int(table.pointee.count)
    return (count, table.pointee.withMemory, (0..<count).map { table.pointee.nodes[$0] }, (0..<cpus).map { table.cpus[$0] })
  }
}

/// get_mempolicy(2) of an address: the mode, and the first 64 nodes.
private func policy(at address: UInt) -> (mode: Int32, nodes: UInt64) {
  var mode: Int32 = -1
  var nodes = [UInt64](repeating: 0, count: 16)
  _ = nodes.withUnsafeMutableBytes { nodes in
    withUnsafeMutablePointer(to: &mode) {
      stave_syscall6(Int(SYS_get_mempolicy), Int(bitPattern: $0), Int(bitPattern: nodes.baseAddress!), 1024, Int(address), 2 /* MPOL_F_ADDR */, 0)
    }
  }
  return (mode, nodes[0])
}

/// As if the machine had so many CPUs.
private func withCPUs(_ count: UInt32, _ body: () -> Void) {
  let before = Pages.root.pointee.cpuCount
  Pages.root.pointee.cpuCount = count
  body()
  Pages.root.pointee.cpuCount = before
}

extension OnRoot {
  @Suite struct MemoryDomainTests {
    init() { Stage.up() }

    @Test func `nodes with gaps, CPUs with gaps, one without memory and one without CPUs`() throws {
      withCPUs(12) {
        let system = FakeNodes([
          "online": "0-1,4\n", "has_memory": "0,4\n", "node0/cpulist": "0-2,8\n", "node1/cpulist": "3,9-11\n", "node4/cpulist": "\n",
        ])
        let found = system.read(cpus: 12)
        #expect(found?.count == 3 && found?.memory == 0b101 && found?.nodes == [0, 1, 4])
        #expect(found?.domains == [0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1])
      }
    }

    @Test func `one node, no files and nonsense are one domain; CPUs that there are not are passed over`() {
      withCPUs(4) {
        for files in [["online": "0\n", "has_memory": "0\n"], [:], ["online": "", "has_memory": "0"], ["online": "none\n"], ["online": "3-1\n"]] {
          let found = FakeNodes(files).read(cpus: 4)
          #expect(found?.count == 1 && found?.memory == 1 && found?.domains == [0, 0, 0, 0], "\(files)")
        }
        // Nobody says which have memory: all.
        let two = FakeNodes(["online": "0-1\n", "node1/cpulist": "1,3,70000,4-9\n"]).read(cpus: 4)
        #expect(two?.count == 2 && two?.memory == 0b11 && two?.domains == [0, 1, 0, 1])
        let many = FakeNodes(["online": "0-39\n", "has_memory": "0-39\n", "node0/cpulist": "0\n", "node1/cpulist": "1\n", "node15/cpulist": "2\n", "node16/cpulist": "3\n"]).read(cpus: 4)
        #expect(many?.count == 16 && many?.memory == 0xffff && many?.domains == [0, 1, 15, 15])
      }
    }

    @Test func `a policy is asked of the system for the node of a domain, and taken away again`() throws {
      let state = memoryDomains
      state.pointee.table?.end()
      state.initialize(to: MemoryDomains(faked: 2, isKnown: 0, table: nil, place: nil))
      state.look()
      defer {
        state.pointee.table?.end()
        state.initialize(to: MemoryDomains(faked: 0, isKnown: 0, table: nil, place: nil))
      }
      // One node that hardly any machine has, and the one that each has.
      (state.pointee.table!.pointee.nodes[0], state.pointee.table!.pointee.nodes[1]) = (1000, 0)
      let pages = try #require(mmap(nil, 4 * pageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
      defer { munmap(pages, 4 * pageBytes) }
      let start = UInt(bitPattern: pages)
      guard stave_mbind(start, pageBytes, 0, nil, 0, 0) == 0 else { return announceSkip("the system refuses mbind") }
      #expect(placePages(start + UInt(pageBytes), 2 * pageBytes, 1))
      #expect((0..<4).map { policy(at: start + UInt($0 * pageBytes)).mode } == [0, 1, 1, 0] && policy(at: start + UInt(pageBytes)).nodes == 1)
      #expect(!placePages(start, pageBytes, 0) && placePages(start, 4 * pageBytes, -1))
      #expect((0..<4).allSatisfy { policy(at: start + UInt($0 * pageBytes)).mode == 0 })
    }

    @Test func `this machine's are those of its files, and as many as are wished for can be made up`() throws {
      let state = memoryDomains
      state.pointee.table?.end()
      state.initialize(to: MemoryDomains(faked: 0, isKnown: 0, table: nil, place: nil))
      state.look()
      let online = (try? String(contentsOfFile: "/sys/devices/system/node/online", encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
      #expect((state.count > 1) == (online ?? "0").contains { ",-".contains($0) } && state.hasMemory(0))
      state.look()
      state.pointee.table?.end()
      for count in [1, 2, 4, 16] {
        state.initialize(to: MemoryDomains(faked: UInt32(count), isKnown: 0, table: nil, place: nil))
        state.look()
        #expect(state.count == count && state.pointee.place == nil && state.hasMemory(count - 1))
        #expect((0..<Int(Pages.root.pointee.cpuCount)).allSatisfy { state.domain(ofCPU: $0) == $0 % count })
        state.pointee.table?.end()
      }
      state.initialize(to: MemoryDomains(faked: 0, isKnown: 0, table: nil, place: nil))
    }
  }
}
