// SPDX-License-Identifier: BSD-2-Clause
//
// A program on this package that is asked for something from outside, by the command: it answers at work, with requests and frees that its
// zones' caches do not serve, and at any of a pool.

import Foundation
import Stave
import Testing

@testable import TestSupport

/// The command, built beside the tests.
private let command = products + "/stave"

/// What the command says that has been asked of this process, while other threads of it are at work. As often as it takes where the machine
/// is so busy that they have not come to it.
private func stave(_ word: String, _ argument: String...) throws -> String {
  var said = ""
  for _ in 0..<20 {
    let ended = try run(command, [word, "\(getpid())"] + argument)
    precondition(ended.succeeded, "\(ended.report)")
    said = ended.text
    if !said.contains("pending") { break }
  }
  return said
}

@Suite(.enabled(if: FileManager.default.isExecutableFile(atPath: command), "swift build --build-tests makes it")) struct AskedTests {
  @Test(arguments: ["zone", "pool"]) func `a program at work gives back what is cached, and takes an option over`(_ kind: String) async {
    await #expect(processExitsWith: .success) { [kind] in
      setenv("STAVE_OPTIONS", "inspect:any", 1)
      let zone = try Zone<Int>("asked"), pool = try Pool<Int>("asked-pool"), idle = try Zone<Int>("idle")
      let items = (0..<3000).map { _ in idle.allocate()! }
      for item in items { idle.free(item) }
      precondition(idle.itemsCached > 100)
      let work = Task.detached {
        while !Task.isCancelled {
          if kind == "pool" {
            _ = pool.item(1)
          } else {
            // More than caches hold.
            let items = (0..<3000).map { _ in zone.allocate()! }
            for item in items { zone.free(item) }
          }
        }
      }
      let returned = try stave("trim")
      precondition(returned.hasPrefix("returned ") && idle.itemsCached == 0, "\(idle.itemsCached): \(returned)")
      // Asked twice, it may have the value before.
      let answers = try [stave("set", "period=60"), stave("set", "period=50")]
      precondition(answers[0].hasSuffix(" -> 60\n") && answers[1].hasSuffix(" -> 50\n"), "\(answers)")
      work.cancel()
      await work.value
      let value = try stave("get", "stave.period")
      precondition(value == "stave.period: 50\n", value)
      precondition(zone.itemsInUse == 0 && pool.itemsInUse == 0)
      for zone in [zone, idle] { zone.checkInvariants() }
    }
  }
}
