// SPDX-License-Identifier: BSD-2-Clause
//
// # StaveNIO
//
// SwiftNIO's ByteBuffer on packet buffers; only with the package's trait NIO.
//
//     import NIOCore
//     import NIOPosix
//     import Stave
//     import StaveNIO
//
//     /// Answers what comes in with the number of its bytes before it.
//     final class Framer: ChannelInboundHandler, Sendable {
//       typealias InboundIn = ByteBuffer
//       typealias OutboundOut = ByteBuffer
//
//       func channelRead(context: ChannelHandlerContext, data: NIOAny) {
//         do {
//           var packet = try Packet(sharing: unwrapInboundIn(data))        // the buffer's bytes, not copied
//           try packet.prepend([UInt8(truncatingIfNeeded: packet.count)])  // a piece of its own before them
//           context.writeAndFlush(wrapOutboundOut(ByteBuffer(packet)), promise: nil)  // copied: a buffer is one piece
//         } catch {
//           context.close(promise: nil)
//         }
//       }
//     }
//
//     let server = try ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
//       .childChannelOption(.allocator, value: .stave)                     // what its channels read lies in packet buffers
//       .childChannelInitializer { $0.pipeline.addHandler(Framer()) }
//       .bind(host: "127.0.0.1", port: 0)
//       .wait()
//
// A buffer's memory is a cluster of 2 KiB, a page, 9 or 16 KiB, the smallest that holds it, which `stave mbufs PID` counts; or, beyond 16
// KiB and at a limit on clusters, a block of the heap of Stave's core in this program. The smallest buffer has 2 KiB.

#if NIO
  @_spi(CustomByteBufferAllocator) public import NIOCore
  public import Stave
  import Diagnostics
  import Heap
  import PacketBuffers
  import Pages
  import Zones

  extension ByteBufferAllocator {
    /// Takes memory for buffers from this program's packet buffers: a cluster for up to 16 KiB, at least one of 2 KiB however little is
    /// asked for; beyond that, and where clusters are at their limit, a block of the heap of Stave's core in this program. Allocating a
    /// buffer and letting it go costs up to 1.2 times what it costs with malloc (Documentation/Zones.md).
    ///
    /// May be used by any thread, but not by a signal handler. If packet buffers cannot be started, for want of memory, it is NIO's
    /// own allocator. Running out of memory later ends the process, as NIO has it with malloc, too.
    public static let stave: ByteBufferAllocator = {
      guard Packets.start() else { return ByteBufferAllocator() }
      return ByteBufferAllocator(
        allocate: { obtain(Int($0)) },
        reallocate: { block, old, new in
          guard let block else { return obtain(Int(new)) }
          // It stays where its cluster has room for it, and is not much too large.
          if let size = clusterSize(of: block), new <= size && (new > size / 2 || size == Cluster.size) { return block }
          guard let other = obtain(Int(new)) else { return nil }
          other.copyMemory(from: block, byteCount: Int(min(old, new)))
          giveBack(block)
          return other
        },
        deallocate: { giveBack($0) },
        copy: { $0.copyMemory(from: $1, byteCount: Int($2)) })
    }()
  }

  extension Packet {
    /// A packet of the readable bytes of a buffer, without copying them. They are read-only for the packet, and NIO copies them before it
    /// changes them. The packet, and whatever shares its bytes, keeps the whole storage of the buffer alive, which is let go in the
    /// thread that frees the last of them. Of a buffer without readable bytes it is an empty packet.
    ///
    /// Throws `.noMemory`, or `.outOfRange` above 1,000,000,000 bytes; the buffer is as it was then.
    public init(sharing buffer: ByteBuffer) throws(PacketError) {
      guard buffer.readableBytes > 0 else {
        self.init()
        return
      }
      let (bytes, held) = buffer.withUnsafeReadableBytesWithStorageManagement { ($0, Held(storage: $1.retain())) }
      do throws(PacketError) {
        self = try Packet(lending: bytes) { held.storage.release() }
      } catch {
        held.storage.release()
        throw error
      }
    }
  }

  extension ByteBuffer {
    /// A copy of a packet's bytes in one piece, in memory of `allocator`; the packet stays as it is. Running out of memory ends the
    /// process.
    public init(_ packet: borrowing Packet, allocator: ByteBufferAllocator = .stave) {
      self = allocator.buffer(capacity: packet.count)
      let count = packet.count
      writeWithUnsafeMutableBytes(minimumWritableBytes: count) { packet.copyBytes(to: UnsafeMutableRawBufferPointer(rebasing: $0.prefix(count))) }
    }
  }

  /// What NIO keeps a buffer's bytes by.
  private struct Held: @unchecked Sendable {
    let storage: Unmanaged<AnyObject>
  }

  private func obtain(_ size: Int) -> UnsafeMutableRawPointer? {
    guard size <= Cluster.sixteen else { return Heap.allocate(UInt(size)) }
    let kind = size <= Cluster.size ? Cluster.size : size <= Cluster.page ? Cluster.page : size <= Cluster.nine ? Cluster.nine : Cluster.sixteen
    // Beyond a limit on clusters it is the heap's.
    return packets.getCluster(kind, for: nil) ?? Heap.allocate(UInt(size))
  }

  private func giveBack(_ block: UnsafeMutableRawPointer) {
    guard let size = clusterSize(of: block) else { return Heap.free(block) }
    packets.freeCluster(block, size: size)
  }

  /// Nil for what is no cluster.
  private func clusterSize(of block: UnsafeMutableRawPointer) -> Int? {
    let keg: UInt32
    switch ownerMap.pointee.owner(of: UInt(bitPattern: block)) {
    case .slab(let slab): keg = slab.assumingMemoryBound(to: Slab.self).pointee.kegIndex
    case .large: return nil
    case .none:
      guard let guarded = memGuard.liveBlock(at: UInt(bitPattern: block)) else { return nil }
      keg = guarded.pointee.zone
    }
    return packets.clusterSize(ofKeg: keg)
  }
#endif
