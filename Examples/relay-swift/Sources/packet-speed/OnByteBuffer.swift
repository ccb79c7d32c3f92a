// SPDX-License-Identifier: BSD-2-Clause
//
// The operations on NIO's ByteBuffer, with its own allocator or Stave's. A buffer has no room before its bytes and is always in one
// piece: a header goes into a new buffer with the bytes behind it, and so do header and bytes that are to lie together.

import NIOCore
import StaveNIO

struct OnByteBuffer: Operations {
  let allocator: ByteBufferAllocator

  @inline(__always) private func filled() -> ByteBuffer {
    var buffer = allocator.buffer(capacity: roomBytes)
    _ = payload.withUnsafeBytes { buffer.writeBytes(UnsafeRawBufferPointer(rebasing: $0.prefix(payloadBytes))) }
    return buffer
  }

  @inline(__always) private func header() -> ByteBuffer {
    var buffer = allocator.buffer(capacity: roomBytes)
    _ = payload.withUnsafeBytes { buffer.writeBytes(UnsafeRawBufferPointer(rebasing: $0.prefix(headerBytes))) }
    return buffer
  }

  @inline(never) func allocate() { use(allocator.buffer(capacity: roomBytes).capacity) }
  @inline(never) func append() { use(filled().readableBytes) }

  @inline(never) func prepend() {
    var body = filled(), packet = header()
    packet.writeBuffer(&body)
    use(packet.readableBytes)
  }

  @inline(never) func share() {
    let buffer = filled(), other = buffer
    use(buffer.readableBytes)
    use(other.readableBytes)
  }

  @inline(never) func split() {
    var buffer = filled()
    let head = buffer.readSlice(length: payloadBytes / 2)!
    use(head.readableBytes)
    use(buffer.readableBytes)
  }

  @inline(never) func pullUp() { prepend() }

  @inline(never) func hold(_ count: Int) {
    let held = (0..<count).map { _ in filled() }
    for buffer in held { use(buffer.readableBytes) }
  }
}
