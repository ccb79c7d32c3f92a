// SPDX-License-Identifier: BSD-2-Clause
//
// What the arena asks of transparent huge pages, as the kernel notes it for each mapping (smaps: hg, nh): for all of it, whatever
// has happened to a range since it was mapped.

import CPlatform
import Foundation
import Primitives
import Testing

@testable import Pages
@testable import TestSupport

/// One mapping of this process inside the arena.
struct ArenaMapping {
  var start: UInt
  var flags: Set<Substring> = []
  var hugeKiB = 0

  static var all: [ArenaMapping] {
    var all: [ArenaMapping] = []
    var isInside = false
    for line in kernelText("/proc/self/smaps").split(separator: "\n") {
      if let dash = line.firstIndex(of: "-"), let start = UInt(line[..<dash], radix: 16) {
        isInside = start >= arena.pointee.windowStart && start < arena.pointee.frontier
        if isInside { all.append(ArenaMapping(start: start)) }
      } else if isInside, line.hasPrefix("VmFlags:") {
        all[all.count - 1].flags = Set(line.dropFirst(8).split(separator: " "))
      } else if isInside, line.hasPrefix("AnonHugePages:") {
        all[all.count - 1].hugeKiB = Int(line.split(separator: " ")[1])!
      }
    }
    return all
  }
}

extension OnRoot {
  @Suite struct HugePageTests {
    static let isThere = access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK) == 0

    /// Growth, blocks that mremap moves, their release, purging: `flag` on every mapping after each step, `other` on none.
    static func walk(_ flag: Substring?, not others: [Substring]) {
      func demand(_ step: String) {
        let all = ArenaMapping.all
        precondition(!all.isEmpty, step)
        for mapping in all {
          if let flag { precondition(mapping.flags.contains(flag), "\(step): \(mapping.flags)") }
          for other in others { precondition(!mapping.flags.contains(other), "\(step): \(mapping.flags)") }
          if flag == "nh" { precondition(mapping.hugeKiB == 0, step) }
        }
      }
      let block = arena.takeLarge(size: 8 * mega)!.start
      fill(block, 8 * mega)
      demand("after the first block")
      let wall = arena.takeLarge(size: 1)!.start
      let large = arena.takeLarge(size: 100 * mega)!.start
      demand("after growth")
      let moved = arena.moveLarge(block, to: 20 * mega)!
      fill(moved, 20 * mega)
      demand("after a block was moved")
      precondition(arena.releaseLarge(moved))
      demand("after its release")
      let again = arena.takeLarge(size: 20 * mega)!.start
      fill(again, 20 * mega)
      demand("after its range was used again")
      for start in [wall, large, again] { precondition(arena.releaseLarge(start)) }
      arena.purge(recentToo: true)
      demand("after purging")
      precondition(arena.pointee.windowStart % (2 * mega) == 0 && arena.pointee.frontier % (2 * mega) == 0)
      arena.checkInvariants()
    }

    @Test(.enabled(if: isThere)) func `L67 always asks for huge pages everywhere`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        arena.setHugePages(2)
        OnRoot.HugePageTests.walk("hg", not: ["nh"])
      }
    }

    @Test(.enabled(if: isThere)) func `never refuses them everywhere, and there are none`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        arena.setHugePages(1)
        OnRoot.HugePageTests.walk("nh", not: ["hg"])
      }
    }

    @Test(.enabled(if: isThere)) func `default says nothing`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        OnRoot.HugePageTests.walk(nil, not: ["hg", "nh"])
      }
    }

    @Test(.enabled(if: isThere)) func `asking later reaches what is mapped already`() async {
      await #expect(processExitsWith: .success) {
        Stage.up()
        let early = arena.takeLarge(size: 8 * mega)!.start
        arena.setHugePages(2)
        OnRoot.HugePageTests.walk("hg", not: ["nh"])
        precondition(arena.releaseLarge(early))
      }
    }
  }
}
