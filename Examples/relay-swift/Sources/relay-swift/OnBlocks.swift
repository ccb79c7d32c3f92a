// SPDX-License-Identifier: BSD-2-Clause
//
// The same on blocks of one piece: NIO's ByteBuffer, with its own allocator or Stave's, and plain malloc.

import CMessages
import Glibc
@preconcurrency import NIOCore
import Stave
import StaveNIO

/// A block that gives its memory back when nobody has it any more.
protocol Block {
  static func make(_ bytes: Int) -> Self
  /// Where its bytes are, for as long as it is kept.
  mutating func start() -> UnsafeMutableRawPointer
}

struct BufferBlock: Block {
  var buffer: ByteBuffer
  static func make(_ bytes: Int) -> BufferBlock { BufferBlock(buffer: ByteBufferAllocator().buffer(capacity: bytes)) }
  mutating func start() -> UnsafeMutableRawPointer { buffer.withVeryUnsafeMutableBytes { $0.baseAddress! } }
}

struct StaveBlock: Block {
  var buffer: ByteBuffer
  static func make(_ bytes: Int) -> StaveBlock { StaveBlock(buffer: ByteBufferAllocator.stave.buffer(capacity: bytes)) }
  mutating func start() -> UnsafeMutableRawPointer { buffer.withVeryUnsafeMutableBytes { $0.baseAddress! } }
}

final class MallocBlock: Block {
  let memory: UnsafeMutableRawPointer
  init(_ bytes: Int) { memory = malloc(bytes)! }
  deinit { free(memory) }
  static func make(_ bytes: Int) -> MallocBlock { MallocBlock(bytes) }
  func start() -> UnsafeMutableRawPointer { memory }
}

final class OnBlocks<Memory: Block>: RelayBuffers {
  private static var most: Int { Int(MOST_MESSAGES) }
  private var names = [sockaddr_storage](repeating: sockaddr_storage(), count: most)
  private var nameLengths = [socklen_t](repeating: 0, count: most), lengths = [Int](repeating: 0, count: most)
  /// For what comes next: those that were filled are replaced.
  private var blocks: [Memory], starts: [UnsafeMutableRawPointer]

  init() {
    blocks = (0..<Self.most).map { _ in Memory.make(datagramBytes) }
    starts = []
    starts = blocks.indices.map { blocks[$0].start() }
  }

  func receive(from socket: Int32, _ queue: (PacketAddress) -> Queue) -> Bool {
    let came = Int(receive_messages(socket, starts, datagramBytes, &lengths, &names, &nameLengths, Int32(Self.most)))
    guard came > 0 else { return false }
    for index in 0..<came {
      let source = withUnsafeBytes(of: names[index]) { PacketAddress(copying: UnsafeRawBufferPointer(rebasing: $0.prefix(Int(nameLengths[index])))) }
      queue(source).append(blocks[index], lengths[index])
      blocks[index] = Memory.make(datagramBytes)
      starts[index] = blocks[index].start()
    }
    return true
  }

  final class Queue: RelayQueue {
    private var waiting: [(block: Memory, length: Int)] = []
    private var starts: [UnsafeMutableRawPointer] = [], lengths: [Int] = []

    init() {}

    func append(_ block: Memory, _ length: Int) { waiting.append((block, length)) }

    func send(to socket: Int32, _ address: PacketAddress?) {
      var done = 0
      while done < waiting.count {
        let count = min(Int(MOST_MESSAGES), waiting.count - done)
        starts.removeAll(keepingCapacity: true)
        lengths.removeAll(keepingCapacity: true)
        for index in done..<done + count {
          starts.append(waiting[index].block.start())
          lengths.append(waiting[index].length)
        }
        let sent: Int32
        if let address {
          sent = address.withUnsafeBytes {
            send_messages(socket, starts, lengths, $0.baseAddress!.assumingMemoryBound(to: sockaddr_storage.self), socklen_t($0.count), Int32(count))
          }
        } else {
          sent = send_messages(socket, starts, lengths, nil, 0, Int32(count))
        }
        if sent <= 0 { break }
        done += Int(sent)
      }
      waiting.removeAll(keepingCapacity: true)
    }
  }

  final class Stream: RelayStream {
    private var waiting: [(block: Memory, from: Int, to: Int)] = []
    private(set) var byteCount = 0

    init() {}

    func fill(from socket: Int32) -> Outcome {
      var block = Memory.make(readBytes)
      let count = read(socket, block.start(), readBytes)
      guard count > 0 else { return count < 0 && errno == EAGAIN ? .blocked : .ended }
      waiting.append((block, 0, count))
      byteCount += count
      return .moved
    }

    func drain(to socket: Int32) -> Outcome {
      while !waiting.isEmpty {
        let from = waiting[0].from, count = write(socket, waiting[0].block.start() + from, waiting[0].to - from)
        guard count > 0 else { return count < 0 && errno == EAGAIN ? .blocked : .ended }
        byteCount -= count
        waiting[0].from += count
        if waiting[0].from == waiting[0].to { waiting.removeFirst() }
      }
      return .moved
    }
  }
}
