// SPDX-License-Identifier: BSD-2-Clause
//
// What the examples of the documentation take for granted: some bytes, a pair of sockets, types that could be anybody's. Compiled with
// them by StaveTests/DocumentationTests; this folder belongs to no target.

import Stave

#if canImport(Glibc)
  import Glibc
  private let makeSocket = Glibc.socket
#else
  import Musl
  private let makeSocket = Musl.socket
#endif

// MARK: - Types

struct Node: Sendable {
  var key: Int
  var isLeaf = true
}

/// Something that is dear to make.
struct Parser: ~Copyable, Sendable {
  var words: [Substring] = []
  init(capacity: Int = 16) { words.reserveCapacity(capacity) }
  mutating func parse(_ text: String) { words += text.split(separator: " ") }
  mutating func removeAll() { words.removeAll(keepingCapacity: true) }
}

struct Connection: Sendable {
  var isBroken = false
  mutating func ask(_ question: String) -> String { "an answer to \(question)" }
}

struct Request: Sendable { var path = "/" }

// MARK: - Values

let header: [UInt8] = [0, 1, 0, 12]
let payload: [UInt8] = Array("what is said".utf8)
let text = "three plain words"

func decode(_ text: String) throws -> [String] { text.split(separator: " ").map(String.init) }

// MARK: - Sockets

/// Two connected sockets of UDP on the loopback, new for each example; and where `peer` is. A message waits at each.
nonisolated(unsafe) private(set) var socket: Int32 = -1
nonisolated(unsafe) private(set) var peer: Int32 = -1
nonisolated(unsafe) private(set) var address = PacketAddress("127.0.0.1", port: 0)!
/// Where a relay passes things on to.
var next: Int32 { peer }

/// Says which example is next, and makes its sockets. What is said before a trap is not lost.
func begin(_ place: String) {
  print(place)
  fflush(nil)
  for old in [socket, peer] where old >= 0 { close(old) }
  let ours = datagramSocket(), theirs = datagramSocket()
  (socket, peer, address) = (ours.socket, theirs.socket, theirs.address)
  let message = header + payload
  for (one, other) in [(socket, address), (peer, ours.address)] {
    let isConnected = other.withUnsafeBytes { connect(one, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count)) }
    guard isConnected == 0, write(one, message, message.count) == message.count else { fatalError("no connection") }
  }
}

/// On a port of the system's choice.
private func datagramSocket() -> (socket: Int32, address: PacketAddress) {
  let new = makeSocket(AF_INET, 2 /* SOCK_DGRAM */, 0)
  let any = PacketAddress("127.0.0.1", port: 0)!
  let isBound = any.withUnsafeBytes { bind(new, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count)) }
  guard isBound == 0 else { fatalError("no port") }
  var storage = sockaddr_storage(), length = socklen_t(MemoryLayout<sockaddr_storage>.size)
  let address = withUnsafeMutableBytes(of: &storage) { bytes in
    _ = getsockname(new, bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self), &length)
    return PacketAddress(copying: UnsafeRawBufferPointer(rebasing: bytes[..<Int(length)]))
  }
  return (new, address)
}
