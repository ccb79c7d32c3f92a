// SPDX-License-Identifier: BSD-2-Clause
//
// The mailbox in a process's root, from outside: one request at a time, numbered, written only if the last was answered, and
// only into a root. A PID may belong to another process by now, or the process may have become another program: both are
// looked at again right before the one write.

import CPlatform
import Glibc
import Pages

public struct Mail {
  private let process: LiveProcess
  private let root: UInt
  private var address: UInt { root &+ UInt(MemoryLayout<RootHeader>.offset(of: \.mailbox)!) }

  public init(_ process: LiveProcess, _ location: RootLocation) {
    self.process = process
    root = location.address
  }

  /// Bytes returned, or nil if the answer took longer than so many seconds. Throws `noSuchProcess` if the process is another by
  /// now, `noStave` if its memory is; nothing has been written then.
  public func ask(waiting seconds: Double) throws(InspectionError) -> Int? {
    let before = try read()
    let request = before.request == before.answer ? before.request &+ 1 : before.request
    if request != before.request {
      guard process.isAlive else { throw .noSuchProcess(process.process) }
      guard try process.read(UInt64.self, at: root) == RootLayout.magic else { throw .noStave(target: process.name) }
      try process.write(value: request, at: address)
    }
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
