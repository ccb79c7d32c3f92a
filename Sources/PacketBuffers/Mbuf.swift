// SPDX-License-Identifier: BSD-2-Clause
//
// The mbuf: 256 bytes, aligned to as many, so that an mbuf is found from any address inside it.
//
//        0 ┌──────────────────────────┐          Which parts there are, the flags say:
//          │ Mbuf                     │
//       32 ├──────────────────────────┤          neither             data from 32 to 256
//          │ PacketHeader             │          packetHeader        data from 88 to 256
//       88 ├──────────────────────────┤          external            data elsewhere, described at 88
//          │ ExternalStorage          │
//      144 ├──────────────────────────┤
//          │                          │
//      256 └──────────────────────────┘

import Primitives

/// The header of every mbuf.
public struct Mbuf {
  /// The rest of the chain.
  public var next: MbufPointer?
  /// The next packet of a queue; in a packet's first mbuf only.
  public var nextPacket: MbufPointer?
  /// The first byte of data.
  public var data: UnsafeMutableRawPointer
  var bytes: Int32
  /// Flags, and the type above them.
  var word: UInt32
}

public typealias MbufPointer = UnsafeMutablePointer<Mbuf>

/// What is said of a packet as a whole, in its first mbuf.
public struct PacketHeader {
  /// Where it came in, as the caller has it: an address, a number. It goes to both parts of a packet that is split.
  public var receivedOn: UInt
  /// The list of tags (PacketTag).
  public var tags: UnsafeMutableRawPointer?
  /// Bytes of the packet: the lengths of the chain's mbufs together.
  public var bytes: Int32
  /// Packets of one flow have one number; how it was made says `hashKind`.
  public var flow: UInt32
  /// What is known of checksums, or wanted, as the caller's protocols have it.
  public var checksumFlags: UInt32
  public var vlan: UInt16
  public var hashKind: UInt8
  public var trafficClass: UInt8
  /// Nanoseconds, on the clock that the flag `exactTime` or its absence tells.
  public var received: Int64
  /// For who has the packet at the time.
  public var scratch: UInt
  public var moreScratch: UInt

  public static var empty: PacketHeader {
    PacketHeader(
      receivedOn: 0, tags: nil, bytes: 0, flow: 0, checksumFlags: 0, vlan: 0, hashKind: 0, trafficClass: 0, received: 0, scratch: 0,
      moreScratch: 0)
  }
}

extension Mbuf {
  /// Of an mbuf, whatever it holds.
  public static var size: Int { 256 }
  static var headerOffset: Int { 32 }
  static var storageOffset: Int { 88 }
  /// Bytes of data that an mbuf holds itself, and one with a packet header.
  public static var room: Int { size - headerOffset }
  public static var roomWithHeader: Int { size - storageOffset }
  /// Bytes of a packet, whose length is a signed word.
  public static var mostBytes: Int { Int(Int32.max) }
  /// The least amount that is worth a cluster.
  public static var leastForCluster: Int { roomWithHeader + 1 }
}

extension UnsafeMutablePointer where Pointee == Mbuf {
  var raw: UnsafeMutableRawPointer { UnsafeMutableRawPointer(self) }

  /// Of data, in this mbuf.
  @inline(__always)
  public var length: Int {
    get { Int(pointee.bytes) }
    nonmutating set { pointee.bytes = Int32(truncatingIfNeeded: newValue) }
  }

  @inline(__always)
  public var flags: MbufFlags {
    get { MbufFlags(rawValue: pointee.word & 0xff_ffff) }
    nonmutating set { pointee.word = pointee.word & 0xff00_0000 | newValue.rawValue & 0xff_ffff }
  }

  @inline(__always)
  public var type: MbufType {
    get { MbufType(rawValue: UInt8(pointee.word >> 24)) }
    nonmutating set { pointee.word = pointee.word & 0xff_ffff | UInt32(newValue.rawValue) << 24 }
  }

  @inline(__always) public var hasHeader: Bool { flags.contains(.packetHeader) }
  @inline(__always) public var isExternal: Bool { flags.contains(.external) }

  /// Of an mbuf with the flag `packetHeader`.
  @inline(__always)
  public var header: UnsafeMutablePointer<PacketHeader> { (raw + Mbuf.headerOffset).assumingMemoryBound(to: PacketHeader.self) }

  /// Of a packet, as its header says.
  public var packetLength: Int {
    get { Int(header.pointee.bytes) }
    nonmutating set { header.pointee.bytes = Int32(truncatingIfNeeded: newValue) }
  }

  /// Of an mbuf with the flag `external`.
  @inline(__always)
  public var storage: StoragePointer { (raw + Mbuf.storageOffset).assumingMemoryBound(to: ExternalStorage.self) }

  /// Where data may begin, and how many bytes lie from there on.
  public var roomStart: UnsafeMutableRawPointer {
    isExternal ? storage.pointee.buffer : raw + (hasHeader ? Mbuf.storageOffset : Mbuf.headerOffset)
  }
  public var room: Int { isExternal ? Int(storage.pointee.size) : hasHeader ? Mbuf.roomWithHeader : Mbuf.room }

  /// Behind the data.
  var end: UnsafeMutableRawPointer { pointee.data + length }

  /// Whether its bytes may be changed: nobody else has them, and it is not marked read-only, wherever they lie (T15).
  public var isWritable: Bool {
    !flags.contains(.readOnly) && (!isExternal || storage.pointee.count.isOne)
  }

  /// Bytes before and behind the data that may be used: none where it is not writable.
  public var leadingSpace: Int { isWritable ? pointee.data - roomStart : 0 }
  public var trailingSpace: Int { isWritable ? roomStart + room - end : 0 }

  /// Places the data, of which there is none yet, so that `count` bytes end where the room does, but for rounding down to a word. More
  /// than there is room for, or less than there is data, ends the process.
  public func align(_ count: Int) {
    demand(count >= length && count <= room, "data is placed where it does not fit")
    pointee.data = roomStart + ((room - count) & ~7)
  }

  /// Changes where the data is. Outside the room the process ends.
  public func setData(_ data: UnsafeMutableRawPointer, _ length: Int) {
    let leading = data - roomStart
    demand(leading >= 0 && leading <= room && length >= 0 && length <= room - leading, "data is placed where it does not fit")
    pointee.data = data
    self.length = length
  }

  /// The last of the chain.
  public var last: MbufPointer {
    var mbuf = self
    while let next = mbuf.pointee.next { mbuf = next }
    return mbuf
  }

  /// Copies bytes to behind the data, where there must be room for them.
  func take(_ count: Int, from bytes: UnsafeRawPointer) {
    end.copyMemory(from: bytes, byteCount: count)
    length += count
  }

  /// Drops bytes at the head of this mbuf, which has that many.
  @inline(__always)
  func drop(_ count: Int) {
    pointee.data += count
    length -= count
  }
}
