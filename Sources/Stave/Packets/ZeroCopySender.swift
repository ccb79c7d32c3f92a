// SPDX-License-Identifier: BSD-2-Clause
//
// Sending without a copy in the kernel, where it offers that: MSG_ZEROCOPY, Linux 4.14 for TCP, 5.0 for UDP (Documentation/networking/
// msg_zerocopy of the kernel's source). The kernel sends from the packet's own clusters, and tells by the socket's error queue when it
// has let go of them; until then the packet is kept here. It pays for messages from some 10 KB on; on the loopback the kernel copies all
// the same, and says so.

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif
internal import PacketBuffers

/// Sends packets to one socket without copying them, and keeps each until the kernel no longer needs it. To be used by one thread at a
/// time. It pays for messages from some 10 KB on. It keeps a table of the packets that are on their way, in memory of the program's malloc.
///
///     guard var sender = try? ZeroCopySender(socket) else { return }
///     var packet = try Packet(copying: [UInt8](repeating: 1, count: 20_000))
///     try sender.send(&packet)         // what was sent of it is the sender's now
///     try sender.reap()                // some time later: gives back what the kernel has done with
///
/// When it ends it waits, a second at most, for the packets that the kernel still has; those that the kernel has not given back by then are
/// never freed. The socket stays open, and is the caller's to close afterwards.
public struct ZeroCopySender: ~Copyable {
  private let socket: Int32
  /// The number that the kernel gives the next call.
  private var next: UInt32 = 0
  private var kept: [UInt32: MbufPointer] = [:]
  /// Calls that the kernel served by copying after all: if that is most of them, a plain send is cheaper.
  public private(set) var copied = 0
  /// Packets that the kernel has.
  public var pending: Int { kept.count }

  /// Switches it on for a socket of TCP (Linux 4.14) or UDP (5.0). Throws ENOTSUP, EOPNOTSUPP or ENOPROTOOPT where the kernel does not
  /// offer it.
  public init(_ socket: Int32) throws(PacketIOError) {
    self.socket = socket
    var yes: Int32 = 1
    _ = try repeatedly { Int(setsockopt(socket, SOL_SOCKET, 60 /* SO_ZEROCOPY */, &yes, socklen_t(MemoryLayout<Int32>.size))) }
  }

  deinit {
    let end = now() + 1_000_000_000
    var copies = 0, waiting = kept
    while !waiting.isEmpty, now() < end {
      var request = pollfd(fd: socket, events: 0, revents: 0)
      _ = poll(&request, 1, 10)
      guard (try? Self.reap(socket, &waiting, &copies)) != nil else { break }
    }
  }

  private func now() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }

  /// Sends what it can of `packet`, at most its first 1,024 pieces, takes that off the packet, and returns how many bytes that was. Blocks
  /// as send(2) does, and throws what that returns; ENOBUFS if the kernel keeps too much already (reap, and send again) or there is no
  /// memory. On an error the packet is as it was.
  @discardableResult
  public mutating func send(_ packet: inout Packet) throws(PacketIOError) -> Int {
    guard !packet.isEmpty else { return 0 }
    let shared: Packet
    do throws(PacketError) { shared = try packet.shared() } catch { throw .noMemory }
    var keep = shared
    let socket = socket
    let sent = try keep.withPieces { (pieces, count) throws(PacketIOError) in
      var message = msghdr()
      message.msg_iov = UnsafeMutablePointer(mutating: pieces)
      message.msg_iovlen = .init(count)
      return try repeatedly { sendmsg(socket, &message, 0x400_4000 /* MSG_ZEROCOPY | MSG_NOSIGNAL */) }
    }
    packet.removeFirst(sent)
    kept[next] = keep.takeChain()
    next &+= 1
    return sent
  }

  /// Frees the packets that the kernel no longer needs, and returns how many. Never blocks. Throws what recvmsg(2) returns for the error
  /// queue.
  @discardableResult
  public mutating func reap() throws(PacketIOError) -> Int { try Self.reap(socket, &kept, &copied) }

  private static func reap(_ socket: Int32, _ kept: inout [UInt32: MbufPointer], _ copied: inout Int) throws(PacketIOError) -> Int {
    var done = 0
    while let told = try notice(of: socket) {
      if told.isCopied { copied += 1 }
      var number = told.first
      while true {
        if let chain = kept.removeValue(forKey: number) {
          chain.freeChain()
          done += 1
        }
        if number == told.last { break }
        number &+= 1
      }
    }
    return done
  }

  /// The next word from the kernel: which calls it has done with; nil if there is none.
  private static func notice(of socket: Int32) throws(PacketIOError) -> (first: UInt32, last: UInt32, isCopied: Bool)? {
    // struct cmsghdr, then struct sock_extended_err: errno, origin, type, code, pad, info, data.
    try withUnsafeTemporaryAllocation(byteCount: 256, alignment: 8) { (buffer) throws(PacketIOError) in
      while true {
        var message = msghdr()
        message.msg_control = buffer.baseAddress
        message.msg_controllen = .init(buffer.count)
        let answer = recvmsg(socket, &message, 0x2040 /* MSG_ERRQUEUE | MSG_DONTWAIT */)
        if answer < 0 {
          let number = errno
          if number == EINTR { continue }
          if number == EAGAIN || number == EWOULDBLOCK { return nil }
          throw PacketIOError(number: number)
        }
        let error = buffer.baseAddress! + 16
        guard message.msg_controllen >= 32, (error + 4).load(as: UInt8.self) == 5 /* SO_EE_ORIGIN_ZEROCOPY */ else { continue }
        let isCopied = (error + 6).load(as: UInt8.self) & 1 != 0
        return ((error + 8).load(as: UInt32.self), (error + 12).load(as: UInt32.self), isCopied)
      }
    }
  }
}
