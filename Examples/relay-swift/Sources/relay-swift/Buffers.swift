// SPDX-License-Identifier: BSD-2-Clause
//
// What the relay wants of buffers; OnPackets.swift and OnBlocks.swift have it in three ways.

import Stave

/// What a step came to.
enum Outcome { case moved, blocked, ended }

/// Bytes on their way from one connection to another.
protocol RelayStream: AnyObject {
  init()
  /// That wait to be written.
  var byteCount: Int { get }
  /// Reads once.
  func fill(from socket: Int32) -> Outcome
  /// Writes until nothing is left, or the socket takes no more.
  func drain(to socket: Int32) -> Outcome
}

/// Datagrams on their way.
protocol RelayQueue: AnyObject {
  init()
  /// Sends them all, to `address` or where the socket is connected; what a socket does not take is dropped, as networks do.
  func send(to socket: Int32, _ address: PacketAddress?)
}

protocol RelayBuffers: AnyObject {
  associatedtype Stream: RelayStream
  associatedtype Queue: RelayQueue
  init()
  /// Takes what datagrams there are, up to 64, each into the queue that `queue` names for its sender. False if there are none.
  func receive(from socket: Int32, _ queue: (PacketAddress) -> Queue) -> Bool
}

/// Bytes read at once, and that may wait in one direction.
let readBytes = 64 << 10, mostWaiting = 512 << 10
/// The longest datagram.
let datagramBytes = 2048
