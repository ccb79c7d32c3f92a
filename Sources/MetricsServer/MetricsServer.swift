// SPDX-License-Identifier: BSD-2-Clause
//
// # MetricsServer
//
// The HTTP side of `stave metrics --listen`: one address, one thread, one document, made anew for each request. Over SwiftNIO, which
// takes longer to build than the rest of the command: so only with the package's trait `NIO`. What the document says is the
// caller's; here is only what HTTP wants: HEAD as GET without the body, 404 and 405 in plain words, connections that stay open while
// the client likes, and an end to those that send nothing.

#if NIO
  import NIOCore
  import NIOHTTP1
  import NIOPosix

  public final class MetricsServer: Sendable {
    public struct Answer: Sendable {
      /// An HTTP status: 200, 503…
      public var status: Int
      public var contentType: String
      public var body: String

      public init(status: Int, contentType: String, body: String) {
        self.status = status
        self.contentType = contentType
        self.body = body
      }
    }

    private let group: MultiThreadedEventLoopGroup
    private let channel: any Channel

    /// Listens at once; a port of 0 lets the system choose. `answer` is called on the server's thread for each request of
    /// /metrics. Throws what the system says about the address.
    public init(host: String, port: Int, answer: @escaping @Sendable () -> Answer) throws {
      group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
      let bootstrap = ServerBootstrap(group: group)
        .serverChannelOption(.backlog, value: 64)
        .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
        .childChannelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(IdleStateHandler(readTimeout: .minutes(5)))
            try channel.pipeline.syncOperations.configureHTTPServerPipeline(withErrorHandling: true)
            try channel.pipeline.syncOperations.addHandler(Conversation(answer: answer))
          }
        }
      do {
        channel = try bootstrap.bind(host: host, port: port).wait()
      } catch {
        try? group.syncShutdownGracefully()
        throw error
      }
    }

    /// The port that it listens on.
    public var port: Int { channel.localAddress?.port ?? 0 }

    /// Closes all connections.
    public func close() { try? group.syncShutdownGracefully() }
  }

  /// One connection.
  private final class Conversation: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let answer: @Sendable () -> MetricsServer.Answer
    private var head: HTTPRequestHead?

    init(answer: @escaping @Sendable () -> MetricsServer.Answer) { self.answer = answer }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      switch unwrapInboundIn(data) {
      case .head(let head): self.head = head
      case .body: break
      case .end:
        guard let head else { return }
        self.head = nil
        reply(to: head, context)
      }
    }

    private func reply(to head: HTTPRequestHead, _ context: ChannelHandlerContext) {
      let path = head.uri.prefix { $0 != "?" }
      var result: MetricsServer.Answer
      var headers = HTTPHeaders()
      if head.method != .GET && head.method != .HEAD {
        result = MetricsServer.Answer(status: 405, contentType: "text/plain; charset=utf-8", body: "only GET and HEAD\n")
        headers.add(name: "allow", value: "GET, HEAD")
      } else if path == "/metrics" {
        result = answer()
      } else {
        let isRoot = path == "/"
        result = MetricsServer.Answer(
          status: isRoot ? 200 : 404, contentType: "text/plain; charset=utf-8", body: "the metrics are at /metrics\n")
      }
      headers.add(name: "content-type", value: result.contentType)
      headers.add(name: "content-length", value: "\(result.body.utf8.count)")
      if !head.isKeepAlive { headers.add(name: "connection", value: "close") }
      let status = HTTPResponseStatus(statusCode: result.status)
      context.write(wrapOutboundOut(.head(HTTPResponseHead(version: head.version, status: status, headers: headers))), promise: nil)
      if head.method != .HEAD {
        context.write(wrapOutboundOut(.body(.byteBuffer(context.channel.allocator.buffer(string: result.body)))), promise: nil)
      }
      context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
      if !head.isKeepAlive { context.close(promise: nil) }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
      if event is IdleStateHandler.IdleStateEvent { context.close(promise: nil) } else { context.fireUserInboundEventTriggered(event) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
  }
#endif
