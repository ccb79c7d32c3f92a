// SPDX-License-Identifier: BSD-2-Clause
//
// What is measured; OnPackets.swift and OnByteBuffer.swift have it.

/// Bytes of a packet, of its header, and that a new one has room for.
let payloadBytes = 512, headerBytes = 40, roomBytes = 2048
let payload = [UInt8](repeating: 7, count: payloadBytes), header = [UInt8](repeating: 9, count: headerBytes)

/// Each makes what it needs and lets go of it.
protocol Operations {
  func allocate()
  func append()
  func prepend()
  func share()
  func split()
  func pullUp()
  /// So many packets at once.
  func hold(_ count: Int)
}

let heldCount = 8000

/// Where the compiler cannot see that nobody reads it.
nonisolated(unsafe) var seen = 0
@inline(__always) func use(_ value: Int) { seen &+= value }
