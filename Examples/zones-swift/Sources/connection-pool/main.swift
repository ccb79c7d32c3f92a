// SPDX-License-Identifier: BSD-2-Clause
//
// A pool of at most four connections for a hundred tasks. A connection is made when none is idle and there may be one more; else the task
// waits for its turn, suspended, and whoever came first is served first. Broken connections are given up, which makes room for new ones.

import Stave
import Synchronization

/// Stands for a socket.
struct Connection: ~Copyable, Sendable {
  static let opened = Atomic(0), open = Atomic(0)

  let number: Int
  var requests = 0

  init() {
    number = Connection.opened.wrappingAdd(1, ordering: .relaxed).newValue
    Connection.open.wrappingAdd(1, ordering: .relaxed)
  }

  deinit { Connection.open.wrappingSubtract(1, ordering: .relaxed) }

  /// False when the other side has hung up: here, at each fiftieth request.
  mutating func send(_ request: Int) async -> Bool {
    await Task.yield()
    requests += 1
    return requests < 50
  }
}

let pool = try ObjectCache<Connection>("connections", limit: 4) { Connection() }
let most = Atomic(0), answered = Atomic(0), brokenOff = Atomic(0)

await withTaskGroup(of: Void.self) { group in
  for client in 0..<100 {
    group.addTask {
      for request in 0..<10 {
        guard var connection = try? await pool.objectWhenFree() else { return }
        most.max(Connection.open.load(ordering: .relaxed), ordering: .relaxed)
        if await connection.value.send(client * 10 + request) {
          answered.wrappingAdd(1, ordering: .relaxed)
        } else {
          brokenOff.wrappingAdd(1, ordering: .relaxed)
          connection.discard()
        }
      }
    }
  }
}

print("answered \(answered.load(ordering: .relaxed)), broken off \(brokenOff.load(ordering: .relaxed))")
print("at most \(most.load(ordering: .relaxed)) connections at once, \(pool.itemsInUse) in use at the end")
pool.trim()
print("open after trim: \(Connection.open.load(ordering: .relaxed))")
