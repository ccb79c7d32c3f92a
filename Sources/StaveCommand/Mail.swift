// SPDX-License-Identifier: BSD-2-Clause
//
// The mailbox in a process's root, from outside: one request at a time, numbered, written only if the last was answered.

import CPlatform
import Glibc
import Inspection
import Pages

struct Mail {
  private let process: LiveProcess
  private let address: UInt

  init(_ process: LiveProcess, _ location: RootLocation) {
    self.process = process
    address = location.address + UInt(MemoryLayout<RootHeader>.offset(of: \.mailbox)!)
  }

  /// Bytes returned, or nil if the answer took longer than so many seconds.
  func ask(waiting seconds: Double) throws(InspectionError) -> Int? {
    let before = try read()
    let request = before.request == before.answer ? before.request &+ 1 : before.request
    if request != before.request { try process.write(value: request, at: address) }
    var waited = 0.0
    while waited < seconds {
      usleep(10_000)
      waited += 0.01
      let now = try read()
      if now.answer == request { return Int(truncatingIfNeeded: now.result) }
    }
    return nil
  }

  private func read() throws(InspectionError) -> (request: UInt64, answer: UInt64, result: UInt64) {
    let words = try process.readArray(UInt64.self, at: address, count: 3, limit: 3)
    return (words[0], words[1], words[2])
  }
}
