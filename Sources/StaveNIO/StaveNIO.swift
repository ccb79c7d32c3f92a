// SPDX-License-Identifier: BSD-2-Clause
//
// # StaveNIO
//
// SwiftNIO's ByteBuffer on packet buffers; only with the package's trait NIO.
//
//     import StaveNIO
//
//     channel.setOption(.allocator, value: .stave)         // what the channel reads lies in clusters
//     let packet = try Packet(sharing: buffer)             // a packet of the buffer's bytes, nothing copied
//     let buffer = ByteBuffer(packet)                      // a buffer of its own, copied: a buffer is one piece
//
// A buffer's memory is a cluster of 2 KiB, a page, 9 or 16 KiB, which `stave mbufs PID` counts, or, beyond that, a block of the program's
// own heap of Stave. Memory that cannot be had ends the process, as NIO has it with malloc.

#if NIO
  @_spi(CustomByteBufferAllocator) public import NIOCore
  public import Stave
  import Diagnostics
  import Heap
  import PacketBuffers
  import Pages
  import Zones

  extension ByteBufferAllocator {
    /// Takes memory for buffers from this program's packet buffers. As cheap as malloc; may be used by any thread.
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
    /// The readable bytes of a buffer, which the packet shares with it: read-only for packets, and NIO copies what it wants to change.
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
    /// A copy of a packet's bytes, in memory of packet buffers.
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
