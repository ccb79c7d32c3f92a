// SPDX-License-Identifier: BSD-2-Clause
//
// Flags and types of mbufs. Flags have 24 bits, the type the 8 above them in the same word.

import Primitives

public struct MbufFlags: FlagSet {
  public let rawValue: UInt32
  @inline(__always) public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Its data lies elsewhere (ExternalStorage).
  @inline(__always) public static var external: MbufFlags { MbufFlags(rawValue: 1 << 0) }
  /// It is the first of a packet, and has the packet's header.
  @inline(__always) public static var packetHeader: MbufFlags { MbufFlags(rawValue: 1 << 1) }
  /// A record ends with it.
  @inline(__always) public static var endOfRecord: MbufFlags { MbufFlags(rawValue: 1 << 2) }
  /// Its data is not to be changed.
  @inline(__always) public static var readOnly: MbufFlags { MbufFlags(rawValue: 1 << 3) }
  @inline(__always) public static var broadcast: MbufFlags { MbufFlags(rawValue: 1 << 4) }
  @inline(__always) public static var multicast: MbufFlags { MbufFlags(rawValue: 1 << 5) }
  /// Not meant for this host.
  @inline(__always) public static var promiscuous: MbufFlags { MbufFlags(rawValue: 1 << 6) }
  /// The header's `vlan` is valid.
  @inline(__always) public static var vlanTag: MbufFlags { MbufFlags(rawValue: 1 << 7) }
  /// It lies in storage of somebody's and is no zone's item.
  @inline(__always) public static var notFreed: MbufFlags { MbufFlags(rawValue: 1 << 8) }
  /// The header's `received` is valid; it is by the device's clock.
  @inline(__always) public static var timed: MbufFlags { MbufFlags(rawValue: 1 << 9) }
  @inline(__always) public static var exactTime: MbufFlags { MbufFlags(rawValue: 1 << 10) }

  /// Eleven for protocols, 1 to 11.
  @inline(__always) public static func ofProtocol(_ number: Int) -> MbufFlags { MbufFlags(rawValue: 1 << UInt32(11 + number)) }

  /// What goes with a packet's header from mbuf to mbuf. Where data lies does not.
  static var copied: MbufFlags { MbufFlags(rawValue: 0x7f_f6fe) }
  /// What says where data lies, and stays with it.
  static var ofStorage: MbufFlags { external.union(notFreed) }

  @inline(__always) func intersection(_ other: MbufFlags) -> MbufFlags { MbufFlags(rawValue: rawValue & other.rawValue) }
}

/// What is in an mbuf, as mbuf(9) numbers it. Others than `uninitialized` are the caller's business.
public struct MbufType: Equatable, Sendable {
  public let rawValue: UInt8
  @inline(__always) public init(rawValue: UInt8) { self.rawValue = rawValue }

  @inline(__always) public static var data: MbufType { MbufType(rawValue: 1) }
  @inline(__always) public static var socketName: MbufType { MbufType(rawValue: 8) }
  @inline(__always) public static var control: MbufType { MbufType(rawValue: 14) }
  @inline(__always) public static var outOfBand: MbufType { MbufType(rawValue: 15) }
  /// The mbuf is left as memory has it: for who writes all of it.
  @inline(__always) public static var uninitialized: MbufType { MbufType(rawValue: 255) }
}
