// SPDX-License-Identifier: BSD-2-Clause
//
// Handlers of events: what they are told, that they can free what somebody waits for, and that they end.

import Foundation
import Stave
import Synchronization
import Testing

@testable import TestSupport

private final class Held: @unchecked Sendable {
  let packet: Packet
  init(_ packet: consuming Packet) { self.packet = packet }
}
private let kept = Mutex<[Held]>([])
private let calls = Mutex(0)

@Suite struct MemoryEventTests {
  @Test func `who waits for a packet at a limit gets one of those that a handler drops`() async {
    await #expect(processExitsWith: .success) {
      endInTime()
      try Packets.setLimit(.clusters, to: 10)
      var handler: MemoryEventHandler? = try MemoryEventHandler(.packetShortage) {
        calls.withLock { $0 += 1 }
        kept.withLock { $0 = [] }
      }
      let bytes = [UInt8](repeating: 7, count: 2000)
      for _ in 0..<3 {
        for _ in 0..<10 {
          let held = Held(try Packet(copying: bytes.span.bytes, waits: true))
          kept.withLock { $0.append(held) }
        }
        let another = try Packet(copying: bytes.span.bytes, waits: true)
        precondition(another.count == 2000)
      }
      precondition(calls.withLock { $0 } > 0)
      handler = nil
      _ = handler
    }
  }

  @Test func `a change of limits is told as long as there is a handler, of which there may be twelve`() async {
    await #expect(processExitsWith: .success) {
      for round in 1...3 {
        let handlers = try (0..<12).map { _ in try MemoryEventHandler(.packetLimits) { calls.withLock { $0 += 1 } } }
        do {
          _ = try MemoryEventHandler(.shortage) {}
          preconditionFailure("a thirteenth")
        } catch { precondition(error as? ZoneError == .outOfMemory) }
        try Packets.setLimit(.nines, to: 100 * round)
        precondition(calls.withLock { $0 } == 12 * round)
        withExtendedLifetime(handlers) {}
      }
      try Packets.setLimit(.nines, to: 0)
      precondition(calls.withLock { $0 } == 36)
    }
  }
}
