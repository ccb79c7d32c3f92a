// SPDX-License-Identifier: BSD-2-Clause
//
// The limit of control groups, read from made-up systems and, where this one lets us, from real groups.

import CPlatform
import Foundation
import Testing

@testable import Pages
@testable import TestSupport

/// A folder that plays the root of a system.
private final class FakeSystem {
  let root = FileManager.default.temporaryDirectory.appending(path: "stave-\(UUID().uuidString)")

  deinit { try? FileManager.default.removeItem(at: root) }

  init(cgroup: String, mountinfo: String, _ files: [String: String] = [:]) {
    write("/proc/self/cgroup", cgroup)
    write("/proc/self/mountinfo", mountinfo)
    for (path, text) in files { write(path, text) }
  }

  private func write(_ path: String, _ text: String) {
    let file = root.appending(path: path)
    try! FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
    try! text.write(to: file, atomically: false, encoding: .utf8)
  }

  var limit: UInt64? { root.path.withCString { $0.withMemoryRebound(to: UInt8.self, capacity: 1) { ContainerLimit.read(below: $0) } } }
}

private let unified = "24 1 0:22 / /proc rw - proc proc rw\n30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
private let legacy = """
  31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
  32 31 0:29 / /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu
  35 31 0:32 / /sys/fs/cgroup/memory rw shared:2 master:7 - cgroup cgroup rw,memory
  41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw

  """
private let none = "9223372036854771712\n"

extension OnRoot {
  @Suite struct ContainerLimitTests {
    init() { Stage.up() }

    @Test func `version 2: the least of max and high, on all levels`() {
      let group = "0::/kube/pod/app\n"
      let top = "/sys/fs/cgroup"
      func system(_ files: [String: String]) -> UInt64? { FakeSystem(cgroup: group, mountinfo: unified, files).limit }
      #expect(system([top + "/kube/pod/app/memory.max": "1048576\n"]) == 1 << 20)
      #expect(system([top + "/kube/pod/app/memory.max": "max\n", top + "/kube/pod/app/memory.high": "4096\n"]) == 4096)
      #expect(system([top + "/kube/pod/app/memory.max": "max\n", top + "/kube/pod/memory.max": "8192\n", top + "/kube/memory.high": "16384\n"]) == 8192)
      #expect(system([top + "/kube/pod/app/memory.max": "8192\n", top + "/kube/memory.high": "4096\n"]) == 4096)
      // The outermost, as a container with a namespace of its own sees it; a sibling, and a longer name, are not on the way.
      #expect(system([top + "/memory.max": "12288\n", top + "/kube/other/memory.max": "1\n", top + "/kube/pod/app2/memory.max": "1\n"]) == 12288)
      #expect(system([:]) == nil)
      #expect(system([top + "/kube/pod/app/memory.max": "max\n", top + "/kube/pod/memory.max": "max\n"]) == nil)
      #expect(system([top + "/kube/pod/app/memory.max": ""]) == nil && system([top + "/kube/pod/app/memory.max": "12x\n"]) == nil)
      #expect(system([top + "/kube/pod/app/memory.max": "0\n"]) == 0)
    }

    @Test func `version 1: limit_in_bytes, on all levels, whatever else the hierarchy's line has`() {
      let top = "/sys/fs/cgroup/memory"
      for group in ["4:memory:/docker/abc\n", "9:name=systemd:/\n3:cpu,cpuacct:/x\n4:hugetlb,memory,pids:/docker/abc\n0::/\n"] {
        func system(_ files: [String: String]) -> UInt64? { FakeSystem(cgroup: group, mountinfo: legacy, files).limit }
        #expect(system([top + "/docker/abc/memory.limit_in_bytes": "1048576\n", top + "/memory.limit_in_bytes": none]) == 1 << 20)
        #expect(system([top + "/docker/abc/memory.limit_in_bytes": none, top + "/docker/memory.limit_in_bytes": "4096\n"]) == 4096)
        #expect(system([top + "/docker/abc/memory.limit_in_bytes": none, top + "/memory.limit_in_bytes": none]) == nil)
        #expect(system([top + "/docker/abc/memory.max": "4096\n"]) == nil)
        // Both versions at once: the least.
        #expect(system([top + "/docker/abc/memory.limit_in_bytes": "8192\n", "/sys/fs/cgroup/unified/memory.max": "4096\n"]) == 4096 || !group.contains("0::"))
      }
    }

    @Test func `a container without a namespace of its own sees its group mounted`() {
      let mounts = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
      let top = "/sys/fs/cgroup/memory"
      #expect(FakeSystem(cgroup: "4:memory:/docker/abc\n", mountinfo: mounts, [top + "/memory.limit_in_bytes": "4096\n"]).limit == 4096)
      #expect(
        FakeSystem(cgroup: "4:memory:/docker/abc/in\n", mountinfo: mounts, [top + "/memory.limit_in_bytes": "8192\n", top + "/in/memory.limit_in_bytes": "4096\n"]).limit == 4096)
      // Somewhere else than what is mounted: what is mounted is all there is to see.
      for name in ["/docker/abcdef", "/docker", "/../other", "/"] {
        #expect(FakeSystem(cgroup: "4:memory:\(name)\n", mountinfo: mounts, [top + "/memory.limit_in_bytes": "4096\n"]).limit == 4096, "\(name)")
      }
    }

    @Test func `names with spaces, colons and backslashes are read as they are meant`() {
      let mounts = "30 23 0:26 / /sys/fs/c\\040group rw - cgroup2 none rw\n"
      let system = FakeSystem(cgroup: "0::/a:b c\n", mountinfo: mounts, ["/sys/fs/c group/a:b c/memory.max": "4096\n"])
      #expect(system.limit == 4096)
    }

    @Test func `long files are read to their end, and what is too long or missing is no limit`() {
      let long = (0..<2000).map { "\($0) 1 0:5 / /mnt/\(String(repeating: "x", count: $0 % 300)) rw - tmpfs tmpfs rw\n" }.joined()
      let top = "/sys/fs/cgroup"
      #expect(FakeSystem(cgroup: "0::/a\n", mountinfo: long + unified, [top + "/a/memory.max": "4096\n"]).limit == 4096)
      // A line of more than a page, which comes in pieces.
      let huge = "7 1 0:5 / /" + String(repeating: "y", count: 10_000) + " rw - tmpfs tmpfs rw\n"
      #expect(FakeSystem(cgroup: "0::/a\n", mountinfo: huge + unified, [top + "/a/memory.max": "4096\n"]).limit == 4096)
      #expect(FakeSystem(cgroup: "0::/" + String(repeating: "z", count: 5000) + "\n", mountinfo: unified).limit == nil)
      for (cgroup, mountinfo) in [("", ""), ("0::/a\n", ""), ("", unified), ("0", unified), ("::\n0::", unified), ("0::/a", "30 23 0:26 / /x rw - cgroup2")] {
        #expect(FakeSystem(cgroup: cgroup, mountinfo: mountinfo).limit == nil)
      }
    }

    @Test func `damaged files do no harm`() {
      var generator = Generator(61)
      let pieces = ["0::", "/a", "/..", "\n", " ", " - ", "cgroup2", "cgroup", "memory", ",", ":", "\\040", "\\", "4:", "/sys/fs/cgroup", "max", "x"]
      for _ in 0..<Stage.steps(150, soak: 20_000) {
        func text() -> String { (0..<generator.below(60)).map { _ in pieces[generator.below(pieces.count)] }.joined() }
        let used = metadataPages.pointee.usedBytes
        _ = FakeSystem(cgroup: text(), mountinfo: text() + (generator.below(2) == 0 ? unified : legacy), ["/sys/fs/cgroup/a/memory.max": "4096"]).limit
        #expect(metadataPages.pointee.usedBytes == used)
      }
    }

    /// A group of this machine, if we may make one: whose limits are read by a process that is put into it.
    @Test func `a real group within a real group`() async throws {
      let tops = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"]
      let isOld = FileManager.default.fileExists(atPath: tops[0] + "/memory.limit_in_bytes")
      let outer = URL(filePath: (isOld ? tops[0] : tops[1]) + "/stave-test-\(getpid())"), inner = outer.appending(path: "inner")
      let file = isOld ? "memory.limit_in_bytes" : "memory.max"
      defer {
        rmdir(inner.path)
        rmdir(outer.path)
      }
      guard mkdir(outer.path, 0o755) == 0, (try? "268435456".write(to: outer.appending(path: file), atomically: false, encoding: .utf8)) != nil,
        mkdir(inner.path, 0o755) == 0
      else { return print("SKIPPED: a real control group: we may not make one here") }
      setenv("STAVE_TEST_GROUP", inner.path + "/cgroup.procs", 1)
      await #expect(processExitsWith: .success) {
        let file = ProcessInfo.processInfo.environment["STAVE_TEST_GROUP"]!
        try! "\(getpid())".write(toFile: file, atomically: false, encoding: .utf8)
        Stage.up()
        precondition(ContainerLimit.read() == 256 << 20, "\(String(describing: ContainerLimit.read()))")
      }
      unsetenv("STAVE_TEST_GROUP")
    }

    @Test func `no descriptor is left open`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        func descriptors() -> Int { try! FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count }
        let before = descriptors()
        for _ in 0..<20 { _ = ContainerLimit.read() }
        precondition(descriptors() <= before + 1)
      }
    }
  }
}
