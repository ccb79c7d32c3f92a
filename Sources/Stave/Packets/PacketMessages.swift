// SPDX-License-Identifier: BSD-2-Clause
//
// Datagrams, one packet each: recvmsg(2) and sendmsg(2), or many of them in one system call, by recvmmsg(2) and sendmmsg(2).

#if canImport(Glibc)
  internal import Glibc
#elseif canImport(Musl)
  internal import Musl
#endif
internal import CPlatform
internal import PacketBuffers

extension Packet {
  /// Sends the bytes as one message, to `address` or where the socket is connected to, and returns how many were sent. Throws EMSGSIZE for
  /// more than 1,024 pieces, see ``defragment(waits:)``, and what sendmsg(2) returns; blocks as that does. The packet keeps its bytes.
  @discardableResult
  public borrowing func send(to socket: Int32, address: PacketAddress? = nil) throws(PacketIOError) -> Int {
    guard pieceCount <= Packet.mostPieces else { throw PacketIOError(number: EMSGSIZE) }
    return try withPieces { (pieces, count) throws(PacketIOError) in
      var message = msghdr(), target = address ?? PacketAddress()
      message.msg_iov = UnsafeMutablePointer(mutating: pieces)
      message.msg_iovlen = .init(count)
      return try withUnsafeMutablePointer(to: &target) { (target) throws(PacketIOError) in
        if address != nil { message.setName(target) }
        return try repeatedly { sendmsg(socket, &message, noSignal) }
      }
    }
  }

  /// The next message, of at most `most` bytes, and who sent it; a longer one is cut off, and `isCut` says so. Blocks as recvmsg(2) does,
  /// and throws what that returns; ENOBUFS if there is no memory, EINVAL for a number out of range: no message is taken then.
  public static func receive(from socket: Int32, most: Int = 2048, leadingSpace: Int = 0) throws(PacketIOError) -> ReceivedPacket {
    var packet = try withMemory { () throws(PacketError) in try Packet(capacity: most, leadingSpace: leadingSpace) }
    var source = PacketAddress(), message = msghdr()
    let count = try packet.withRoom(most) { (pieces, count) throws(PacketIOError) in
      message.msg_iov = UnsafeMutablePointer(mutating: pieces)
      message.msg_iovlen = .init(count)
      return try withUnsafeMutablePointer(to: &source) { (source) throws(PacketIOError) in
        message.setName(source)
        return try repeatedly { recvmsg(socket, &message, 0) }
      }
    }
    source.length = message.msg_namelen
    packet.setCount(count)
    return ReceivedPacket(packet: packet, source: source, isCut: message.msg_flags & cutOff != 0)
  }
}

/// A message that has come in.
public struct ReceivedPacket: ~Copyable {
  /// Its bytes.
  public var packet: Packet
  /// Who sent it.
  public let source: PacketAddress
  /// It was longer than the room for it.
  public let isCut: Bool

  init(packet: consuming Packet, source: PacketAddress, isCut: Bool) {
    self.packet = packet
    (self.source, self.isCut) = (source, isCut)
  }
}

extension msghdr {
  fileprivate mutating func setName(_ address: UnsafeMutablePointer<PacketAddress>) {
    msg_name = UnsafeMutableRawPointer(address)
    msg_namelen = address.pointee.length
  }
}

/// struct mmsghdr, which libc shows only where it is asked for.
struct Message {
  var header = msghdr()
  var count: UInt32 = 0
}

/// MSG_NOSIGNAL and MSG_TRUNC, which libc has as an enumeration on some systems.
private let noSignal: Int32 = 0x4000, cutOff: Int32 = 0x20

/// Messages that are sent and received many at a time. Its memory is allocated once: some 210 bytes for each place and 16 KiB for the list
/// of pieces, and a cluster for each place that waits for a message. To be used by one thread at a time.
///
///     var batch = try PacketBatch(capacity: 64)
///     func echo(_ socket: Int32) throws -> Never {
///       while true {
///         try batch.receive(from: socket)                // waits for one, takes what else is there
///         try batch.forEach { packet, source in          // looks at them, changes them
///           try packet.append(Array(" from \(source)".utf8))
///         }
///         try batch.send(to: socket)                     // back to where each came from
///       }
///     }
public struct PacketBatch: ~Copyable {
  /// Messages at most.
  public let capacity: Int
  /// Messages that are in it.
  public private(set) var count = 0
  /// Bytes that a message may have.
  public let most: Int
  private let leadingSpace: Int
  /// Each place has a chain, empty or not; nil where memory was not to be had.
  private let chains: UnsafeMutablePointer<MbufPointer?>
  private let addresses: UnsafeMutablePointer<PacketAddress>
  private let headers: UnsafeMutablePointer<Message>
  /// Messages that were longer than `most`, of those that the last `receive` took: what came of them is in the batch, the rest is lost.
  public private(set) var cutCount = 0
  private let pieces: UnsafeMutablePointer<iovec>

  /// A batch of 1 to 1,024 places, empty.
  ///
  /// - Parameters:
  ///   - capacity: Messages at most, 1 to 1,024.
  ///   - most: Bytes of a message, at most 2,048 less `leadingSpace`, so that each is one piece when it comes.
  ///   - leadingSpace: Bytes of room for headers before each message, at most 167.
  /// - Throws: `.outOfRange` for other numbers, `.noMemory`.
  public init(capacity: Int, most: Int = 2048, leadingSpace: Int = 0) throws(PacketError) {
    guard capacity > 0, capacity <= 1024, most > 0, leadingSpace >= 0, leadingSpace < Mbuf.roomWithHeader, most + leadingSpace <= 2048
    else { throw .outOfRange }
    _ = try Packets.started()
    (self.capacity, self.most, self.leadingSpace) = (capacity, most, leadingSpace)
    chains = .allocate(capacity: capacity)
    chains.initialize(repeating: nil, count: capacity)
    addresses = .allocate(capacity: capacity)
    addresses.initialize(repeating: PacketAddress(), count: capacity)
    headers = .allocate(capacity: capacity)
    headers.initialize(repeating: Message(), count: capacity)
    pieces = .allocate(capacity: Packet.mostPieces)
    pieces.initialize(repeating: iovec(), count: Packet.mostPieces)
  }

  deinit {
    for index in 0..<capacity { chains[index]?.freeChain() }
    chains.deallocate()
    addresses.deallocate()
    headers.deallocate()
    pieces.deallocate()
  }

  /// Takes the messages that are there, behind those in the batch, as many as there are places for; waits for the first, unless the socket
  /// does not block. Returns how many came. Throws what recvmmsg(2) returns, and ENOBUFS if the batch is full or there is no memory for a
  /// single one.
  @discardableResult
  public mutating func receive(from socket: Int32) throws(PacketIOError) -> Int {
    var ready = count
    while ready < capacity, prepare(ready) {
      let place = ready - count
      addresses[ready] = PacketAddress()
      pieces[place] = iovec(iov_base: chains[ready]!.pointee.data, iov_len: most)
      headers[place] = Message()
      headers[place].header.msg_iov = pieces + place
      headers[place].header.msg_iovlen = 1
      headers[place].header.msg_name = UnsafeMutableRawPointer(addresses + ready)
      headers[place].header.msg_namelen = socklen_t(MemoryLayout<sockaddr_storage>.size)
      ready += 1
    }
    guard ready > count else { throw .noMemory }
    let wanted = ready - count, to = headers
    let came = try answered(system: { stave_syscall6(Int(SYS_recvmmsg), Int(socket), Int(bitPattern: to), wanted, 0x10000 /* MSG_WAITFORONE */, 0, 0) })
    cutCount = 0
    for place in 0..<came {
      if headers[place].header.msg_flags & cutOff != 0 { cutCount += 1 }
      let chain = chains[count + place]!
      chain.length = Int(headers[place].count)
      chain.packetLength = chain.length
      addresses[count + place].length = headers[place].header.msg_namelen
    }
    count += came
    return came
  }

  /// A chain with room for a message in a place; false where there is no memory for one.
  private func prepare(_ index: Int) -> Bool {
    if let chain = chains[index] {
      if chain.pointee.next == nil && chain.isWritable && (!chain.isExternal || chain.hasOwnCluster) && chain.room >= leadingSpace + most {
        chain.deleteTags()
        chain.header.pointee = .empty
        chain.length = 0
        chain.pointee.data = chain.roomStart + leadingSpace
        return true
      }
      chain.freeChain()
    }
    let room = most + leadingSpace
    chains[index] = Packets.state.flatMap { room > Mbuf.roomWithHeader ? $0.getPacket() : $0.getHeader() }
    chains[index]?.pointee.data += leadingSpace
    return chains[index] != nil
  }

  /// Sends what is in the batch, each packet to its address or, with `connected`, where the socket is connected to, and empties it. Returns
  /// how many were sent. A packet that was taken out of its place, by `forEach`, is not sent. Blocks as sendmmsg(2) does; on an error, also
  /// if the socket is not ready, those that were not sent are still in the batch, in their order.
  @discardableResult
  public mutating func send(to socket: Int32, connected: Bool = false) throws(PacketIOError) -> Int {
    close()
    var sent = 0
    while sent < count {
      let ready = prepareSend(from: sent, connected: connected), to = headers
      do throws(PacketIOError) {
        guard ready > 0 else { throw PacketIOError(number: EMSGSIZE) }
        sent += try answered { stave_syscall6(Int(SYS_sendmmsg), Int(socket), Int(bitPattern: to), ready, Int(noSignal), 0, 0) }
      } catch {
        dropFirst(sent)
        throw error
      }
    }
    dropFirst(sent)
    return sent
  }

  /// Fills headers and pieces with as many messages as there are pieces for.
  private func prepareSend(from start: Int, connected: Bool) -> Int {
    var ready = 0, used = 0
    for index in start..<count {
      let begin = used
      var next = chains[index]
      while let mbuf = next, used < Packet.mostPieces {
        if mbuf.length > 0 {
          pieces[used] = iovec(iov_base: mbuf.pointee.data, iov_len: mbuf.length)
          used += 1
        }
        next = mbuf.pointee.next
      }
      guard next == nil else { break }
      headers[ready] = Message()
      headers[ready].header.msg_iov = pieces + begin
      headers[ready].header.msg_iovlen = .init(used - begin)
      if !connected {
        headers[ready].header.msg_name = UnsafeMutableRawPointer(addresses + index)
        headers[ready].header.msg_namelen = addresses[index].length
      }
      ready += 1
    }
    return ready
  }

  /// Puts the chains of the first packets behind the others, to be used again.
  private mutating func dropFirst(_ dropped: Int) {
    guard dropped > 0 else { return }
    var index = 0
    while index + dropped < count {
      exchange(index, index + dropped)
      index += 1
    }
    count -= dropped
    // What is shared, or lent by others, goes at once; clusters of ours wait for the next messages.
    for index in count..<count + dropped {
      guard let chain = chains[index], chain.pointee.next != nil || chain.isExternal && !chain.hasOwnCluster else { continue }
      chain.freeChain()
      chains[index] = nil
    }
  }

  private func exchange(_ one: Int, _ other: Int) {
    let chains = chains, addresses = addresses
    swap(&chains[one], &chains[other])
    swap(&addresses[one], &addresses[other])
  }

  /// Packets that somebody has taken leave no gap.
  private mutating func close() {
    var kept = 0
    for index in 0..<count where chains[index] != nil {
      exchange(kept, index)
      kept += 1
    }
    count = kept
  }

  /// Calls `body` with each packet and where it came from or goes to; both may be changed.
  public mutating func forEach<Failure: Error>(_ body: (inout Packet, inout PacketAddress) throws(Failure) -> Void) throws(Failure) {
    let addresses = addresses
    for index in 0..<count {
      var packet = Packet(chains[index])
      chains[index] = nil
      do throws(Failure) {
        try body(&packet, &addresses[index])
        chains[index] = packet.takeChain()
      } catch {
        chains[index] = packet.takeChain()
        throw error
      }
    }
  }

  /// Puts a packet behind the others; false if there is no place, and the packet is still the caller's.
  public mutating func append(_ packet: inout Packet, to address: PacketAddress) -> Bool {
    guard count < capacity else { return false }
    chains[count]?.freeChain()
    chains[count] = packet.takeChain()
    addresses[count] = address
    count += 1
    return true
  }

  /// Takes all packets out without sending them.
  public mutating func removeAll() { dropFirst(count) }
}

extension MbufPointer {
  /// A cluster that is this mbuf's alone, from the packet zone.
  fileprivate var hasOwnCluster: Bool { isWritable && storage.pointee.type == .packet }
}
