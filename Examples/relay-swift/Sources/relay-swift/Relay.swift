// SPDX-License-Identifier: BSD-2-Clause
//
// A relay: what comes to a port, by TCP or UDP, goes to another host and port, and answers go back. One thread, epoll(7).

import CMessages
import Glibc
import Stave

final class Relay<Buffers: RelayBuffers> {
  private let poll = make_poll()
  private let target: PacketAddress
  private let buffers = Buffers()
  private let listener: Int32
  private let datagrams: Int32
  private var links: [Int32: Link] = [:]
  private var sessions: [PacketAddress: Session] = [:]
  private var sessionsBySocket: [Int32: Session] = [:]
  /// Those that datagrams have just come for.
  private var touched: [Session] = []

  init(port: UInt16, target: PacketAddress) {
    self.target = target
    let here = PacketAddress("127.0.0.1", port: port)!
    listener = Self.socket(SOCK_STREAM)
    var yes: Int32 = 1
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, 4)
    datagrams = Self.socket(SOCK_DGRAM)
    Self.roomy(datagrams)
    guard here.with(listener, bind) == 0, listen(listener, 64) == 0, here.with(datagrams, bind) == 0 else {
      fail("port \(port) cannot be had: \(String(cString: strerror(errno)))")
    }
    watch(listener)
    watch(datagrams)
    let greeting = "relaying \(port) to \(target)\n"
    _ = write(1, greeting, greeting.utf8.count)
  }

  func run() -> Never {
    var ready = [Int32](repeating: 0, count: 64)
    while true {
      for index in 0..<Int(max(0, wait_for_sockets(poll, &ready, 64))) {
        let socket = ready[index]
        if socket == listener {
          accept()
        } else if socket == datagrams {
          forward()
        } else if let session = sessionsBySocket[socket] {
          answer(session)
        } else if let link = links[socket] {
          link.pump()
          if link.isOver { close(link) }
        }
      }
    }
  }

  // MARK: - TCP

  /// One way of two between connections.
  private final class Way {
    let from: Int32, to: Int32
    let stream = Buffers.Stream()
    /// Nothing comes any more; and nothing is left.
    private var hasEnded = false
    var isOver: Bool { hasEnded && stream.byteCount == 0 }
    private(set) var isBroken = false

    init(_ from: Int32, _ to: Int32) { (self.from, self.to) = (from, to) }

    /// Moves what there is, as far as both ends go on.
    func pump() {
      guard !isOver else { return }
      while !isBroken {
        let outcome = stream.drain(to: to)
        isBroken = outcome == .ended
        if hasEnded {
          if isOver { shutdown(to, Int32(SHUT_WR)) }
          return
        }
        if outcome == .blocked && stream.byteCount > mostWaiting { return }
        switch stream.fill(from: from) {
        case .moved: continue
        case .blocked: return
        case .ended: hasEnded = true
        }
      }
    }
  }

  /// Two connections, and what is on its way between them.
  private final class Link {
    let there: Way, back: Way
    var isOver: Bool { there.isOver && back.isOver || there.isBroken || back.isBroken }

    init(_ one: Int32, _ two: Int32) { (there, back) = (Way(one, two), Way(two, one)) }

    func pump() {
      there.pump()
      back.pump()
    }
  }

  private func accept() {
    while true {
      let one = Glibc.accept(listener, nil, nil)
      guard one >= 0 else { return }
      _ = fcntl(one, F_SETFL, O_NONBLOCK)
      let two = Self.socket(SOCK_STREAM)
      var yes: Int32 = 1
      for end in [one, two] { setsockopt(end, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, 4) }
      guard target.with(two, connect) == 0 || errno == EINPROGRESS else {
        Glibc.close(one)
        Glibc.close(two)
        continue
      }
      let link = Link(one, two)
      for end in [one, two] {
        links[end] = link
        watch(end, writing: true)
      }
    }
  }

  private func close(_ link: Link) {
    for end in [link.there.from, link.there.to] {
      links[end] = nil
      Glibc.close(end)
    }
  }

  // MARK: - UDP

  /// A client, and the socket that speaks for it.
  private final class Session {
    let client: PacketAddress
    let socket: Int32
    let there = Buffers.Queue(), back = Buffers.Queue()
    var isTouched = false
    init(_ client: PacketAddress, _ socket: Int32) { (self.client, self.socket) = (client, socket) }
  }

  private func session(of client: PacketAddress) -> Session {
    if let session = sessions[client] { return session }
    let socket = Self.socket(SOCK_DGRAM)
    Self.roomy(socket)
    _ = target.with(socket, connect)
    let session = Session(client, socket)
    sessions[client] = session
    sessionsBySocket[socket] = session
    watch(socket)
    return session
  }

  private func forward() {
    var last: Session?
    let came = buffers.receive(from: datagrams) { source in
      if let last, last.client == source { return last.there }
      let session = session(of: source)
      if !session.isTouched { touched.append(session) }
      session.isTouched = true
      last = session
      return session.there
    }
    guard came else { return }
    for session in touched {
      session.there.send(to: session.socket, nil)
      session.isTouched = false
    }
    touched.removeAll(keepingCapacity: true)
  }

  private func answer(_ session: Session) {
    if buffers.receive(from: session.socket, { _ in session.back }) { session.back.send(to: datagrams, session.client) }
  }

  // MARK: - Sockets

  private static func socket(_ kind: __socket_type) -> Int32 { Glibc.socket(AF_INET, Int32(kind.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0) }

  private static func roomy(_ socket: Int32) {
    var bytes: Int32 = 4 << 20
    setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &bytes, 4)
    setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &bytes, 4)
  }

  /// `writing`: also when it takes bytes again, each time that changes.
  private func watch(_ socket: Int32, writing: Bool = false) { _ = watch_socket(poll, socket, writing) }
}

extension PacketAddress {
  fileprivate func with(_ socket: Int32, _ call: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    withUnsafeBytes { call(socket, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count)) }
  }
}

func fail(_ why: String) -> Never {
  let line = "relay-swift: \(why)\n"
  _ = write(2, line, line.utf8.count)
  exit(1)
}
