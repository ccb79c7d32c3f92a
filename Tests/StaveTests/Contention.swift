// SPDX-License-Identifier: BSD-2-Clause
//
// Threads and tasks that want items of which there are too few, for zones with a limit and for pools.

import Foundation
import Synchronization

@testable import TestSupport

private let out = Atomic(0), served = Atomic(0), cancelled = Atomic(0)

/// Three threads and 24 tasks ask for one of at most three items, so many times each; some threads do not wait, some tasks are cancelled.
/// Each is served, or told why not, or this does not return. The closures ask for an item of a number, call `hold` while they have it, and
/// answer its number.
func contend(
  rounds: Int,
  inThread: @escaping @Sendable (_ number: Int, _ waits: Bool, _ hold: () -> Void) -> Int?,
  inTask: @escaping @Sendable (_ number: Int, _ hold: () async -> Void) async throws -> Int,
  isCancellation: @escaping @Sendable (any Error) -> Bool
) async {
  endInTime()
  let threads = DispatchGroup()
  for thread in 0..<3 {
    threads.enter()
    Thread {
      var lot = Generator(800 + UInt64(thread))
      for round in 0..<rounds {
        let number = inThread(round, lot.below(3) != 0) { if lot.below(8) == 0 { usleep(50) } }
        precondition(number == nil || number == round)
      }
      threads.leave()
    }.start()
  }
  await withTaskGroup(of: Void.self) { group in
    for number in 0..<24 {
      group.addTask {
        var lot = Generator(900 + UInt64(number))
        for round in 0..<rounds {
          let wanted = Task {
            try await inTask(round) {
              precondition(out.wrappingAdd(1, ordering: .relaxed).newValue <= 3, "more out than the limit")
              await Task.yield()
              out.wrappingSubtract(1, ordering: .relaxed)
            }
          }
          if lot.below(4) == 0 { wanted.cancel() }
          switch await wanted.result {
          case .success(let value):
            precondition(value == round)
            served.wrappingAdd(1, ordering: .relaxed)
          case .failure(let error):
            precondition(isCancellation(error), "\(error)")
            cancelled.wrappingAdd(1, ordering: .relaxed)
          }
        }
      }
    }
  }
  demand(await comesTrue { threads.wait(timeout: .now()) == .success })
  precondition(served.load(ordering: .relaxed) + cancelled.load(ordering: .relaxed) == 24 * rounds)
  precondition(served.load(ordering: .relaxed) > 0 && cancelled.load(ordering: .relaxed) > 0)
}
