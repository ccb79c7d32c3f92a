// SPDX-License-Identifier: BSD-2-Clause
//
// The root: the one structure from which everything else is found, by this process and by readers outside. It lies in
// `stave_root` (8 KiB). The first 128 bytes are the header below; behind it each target keeps its own state at a fixed
// place, so that a lower target needs to know nothing of a higher one.

import CPlatform
import Primitives

public enum RootLayout {
  public static let magic: UInt64 = 0x5354_4156_4552_4f4f  // "STAVEROO"
  /// To be raised by hand when a field that readers copy changes its place or its meaning; LayoutTests notice the former.
  public static let version: UInt32 = 12
  /// Within the header.
  public static let mailboxOffset = 48
  public static let domainsOffset = 128
  public static let metadataOffset = 256
  public static let ownersOffset = 384
  public static let supplyOffset = 448
  public static let arenaOffset = 704
  public static let zonesOffset = 1536
  public static let heapOffset = 2048
  public static let typesOffset = 3584
  public static let sizesOffset = 4000
  public static let checksOffset = 4864
  public static let stacksOffset = 4096
  public static let memguardOffset = 4384
  public static let reportsOffset = Int(STAVE_REPORTS_OFFSET)
  public static let redZoneOffset = 4736
  public static let hashClassesOffset = 4992
  public static let chunksOffset = 5120
  public static let zoneGuardsOffset = 5248
  /// Lists of types by name: one for each use, and one that is being written.
  public static let typeNamesOffset = 5376
  public static let packetsOffset = 7424
  public static let eventsOffset = 7680
  public static let bytes = 8192
}

/// How the per-CPU caches are protected.
public enum CacheMode {
  public static let none: UInt32 = 0
  public static let restartable: UInt32 = 1
  public static let locked: UInt32 = 2
}

public struct RootHeader {
  public var magic: UInt64
  public var version: UInt32
  /// Of this structure and what follows: a digest over the sizes of all that readers copy. Offsets are up to `version`.
  public var layoutDigest: UInt32
  public var process: UInt32
  public var mode: UInt32
  public var pageBytes: UInt32
  /// CPU numbers below this may have a region.
  public var cpuCount: UInt32
  /// Address of the table of regions, one pointer per CPU number.
  public var regions: UInt
  /// Monotonic nanoseconds when the root was set up.
  public var started: Int64
  public var mailbox: Mailbox
  /// Of the library: major, minor and patch, a byte each.
  public var release: UInt32
  /// 1 in a core that a program or library has for zones of its own, whose malloc is another.
  public var isOwn: UInt32
}

/// Page size, read from the system at the first use of the root.
public var pageBytes: Int { Int(root.pointee.pageBytes) }

@inline(__always)
public var root: UnsafeMutablePointer<RootHeader> {
  stave_root_storage().assumingMemoryBound(to: RootHeader.self)
}

@inlinable @inline(__always)
public func rootState<State: ~Copyable>(_ type: State.Type, at offset: Int) -> UnsafeMutablePointer<State> {
  (stave_root_storage() + offset).assumingMemoryBound(to: type)
}
