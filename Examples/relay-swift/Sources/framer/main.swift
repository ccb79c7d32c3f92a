// SPDX-License-Identifier: BSD-2-Clause
//
// The example at the head of Sources/StaveNIO/StaveNIO.swift, line for line (a test compares the two), and a client that asks its server.

import NIOCore
import NIOPosix
import Stave
import StaveNIO

/// Answers what comes in with the number of its bytes before it.
final class Framer: ChannelInboundHandler, Sendable {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    do {
      var packet = try Packet(sharing: unwrapInboundIn(data))        // the buffer's bytes, not copied
      try packet.prepend([UInt8(truncatingIfNeeded: packet.count)])  // a piece of its own before them
      context.writeAndFlush(wrapOutboundOut(ByteBuffer(packet)), promise: nil)  // copied: a buffer is one piece
    } catch {
      context.close(promise: nil)
    }
  }
}

let server = try ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
  .childChannelOption(.allocator, value: .stave)                     // what its channels read lies in packet buffers
  .childChannelInitializer { $0.pipeline.addHandler(Framer()) }
  .bind(host: "127.0.0.1", port: 0)
  .wait()

import Glibc

guard let here = server.localAddress else { fatalError("no address") }
let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
let isConnected = here.withSockAddr { connect(client, $0, socklen_t($1)) }
guard isConnected == 0, write(client, "hello", 5) == 5 else { fatalError("no connection") }
var answer: [UInt8] = []
while answer.count < 6 {
  var bytes = [UInt8](repeating: 0, count: 64)
  let count = read(client, &bytes, bytes.count)
  guard count > 0 else { break }
  answer += bytes.prefix(count)
}
let clusters = Packets.counts.map { $0.clusters.current + $0.clusters.cached } ?? 0
print(answer, clusters > 0 ? "in clusters" : "without clusters")
close(client)
try server.close().wait()
