// SPDX-License-Identifier: BSD-2-Clause
//
// External storage: where an mbuf's data lies if not in the mbuf, how many mbufs share it, and who frees it.
//
// The count lies in the mbuf that got the storage first, its holder; or with whoever lent the storage (`.counted`). A sharer has a copy
// of the description, with the same count. So a holder that is freed while others share its storage stays as it is until the last
// of them goes; it is found from the count's address by rounding down. Who releases reads the count for the last time in the step
// that lowers it, and nothing of an mbuf after storage that it may lie in is freed. So exactly one frees, and nobody looks at what is
// freed.

import CPlatform
import Primitives
import Synchronization
import Zones

public struct ExternalStorage {
  public var buffer: UnsafeMutableRawPointer
  public var count: ReferenceCountPointer
  public var free: StorageFree?
  public var argument1: UnsafeMutableRawPointer?
  public var argument2: UnsafeMutableRawPointer?
  public var size: UInt32
  /// The count, in its holder.
  var embedded: UInt32
  public var type: StorageType

  /// Of `embedded`, for which Embedded Swift has no key path.
  static var countOffset: Int { 44 }
}

public typealias StoragePointer = UnsafeMutablePointer<ExternalStorage>
/// Takes lent storage back, once, when the last mbuf has gone that shared it. Called with no lock held; it must not wait.
public typealias StorageFree = @convention(c) (
  _ buffer: UnsafeMutableRawPointer, _ argument1: UnsafeMutableRawPointer?, _ argument2: UnsafeMutableRawPointer?
) -> Void

/// What kind of memory storage is, with mbuf(9)'s numbers. Those up to `packet`, but for `sendFile`, are the zones' own.
public struct StorageType: Equatable, Sendable {
  public let rawValue: UInt8
  @inline(__always) public init(rawValue: UInt8) { self.rawValue = rawValue }

  @inline(__always) public static var cluster: StorageType { StorageType(rawValue: 1) }
  @inline(__always) public static var sendFile: StorageType { StorageType(rawValue: 2) }
  @inline(__always) public static var jumboPage: StorageType { StorageType(rawValue: 3) }
  @inline(__always) public static var jumbo9: StorageType { StorageType(rawValue: 4) }
  @inline(__always) public static var jumbo16: StorageType { StorageType(rawValue: 5) }
  /// A cluster that stays with its mbuf in the packet zone.
  @inline(__always) public static var packet: StorageType { StorageType(rawValue: 6) }
  @inline(__always) public static var mbuf: StorageType { StorageType(rawValue: 7) }
  @inline(__always) public static var receiveRing: StorageType { StorageType(rawValue: 8) }
  /// The first of four for vendors, and of four for trials.
  @inline(__always) public static var vendor: StorageType { StorageType(rawValue: 224) }
  @inline(__always) public static var experimental: StorageType { StorageType(rawValue: 244) }
  @inline(__always) public static var driver: StorageType { StorageType(rawValue: 252) }
  @inline(__always) public static var module: StorageType { StorageType(rawValue: 253) }
  @inline(__always) public static var disposable: StorageType { StorageType(rawValue: 254) }
  /// The count, too, is the lender's.
  @inline(__always) public static var counted: StorageType { StorageType(rawValue: 255) }

  /// The zones' own, which nobody can lend.
  var isOurs: Bool { (rawValue <= 6 && rawValue != 2) }
}

/// How many mbufs share one storage: 32 bits, so that C has it as a uint32_t.
public struct ReferenceCount: ~Copyable {
  let value: Atomic<UInt32>
  public init(_ count: UInt32) { value = Atomic(count) }
}

public typealias ReferenceCountPointer = UnsafeMutablePointer<ReferenceCount>

extension UnsafeMutablePointer where Pointee == ReferenceCount {
  /// Nobody else shares, and so nobody else can begin to. What they did before they let go has happened.
  @inline(__always)
  public var isOne: Bool { pointee.value.load(ordering: .acquiring) == 1 }

  /// No mbuf has it, which is a mistake where one does.
  var isNone: Bool { pointee.value.load(ordering: .relaxed) == 0 }

  /// One more. Who calls has one already, but perhaps not alone: several threads may share one chain at once, each for itself.
  @inline(__always)
  func add() { pointee.value.wrappingAdd(1, ordering: .relaxed) }

  /// One less: true for the last, who frees. The others may not look at the count again.
  @inline(__always)
  func drop() -> Bool {
    isOne || pointee.value.wrappingSubtract(1, ordering: .acquiringAndReleasing).oldValue == 1
  }
}

extension UnsafeMutablePointer where Pointee == Mbuf {
  private var ownCount: ReferenceCountPointer {
    (raw + Mbuf.storageOffset + ExternalStorage.countOffset).assumingMemoryBound(to: ReferenceCount.self)
  }

  /// Describes storage, with a count of one in this mbuf, and begins its data there.
  func attach(
    _ buffer: UnsafeMutableRawPointer, size: Int, type: StorageType, free: StorageFree? = nil, _ argument1: UnsafeMutableRawPointer? = nil,
    _ argument2: UnsafeMutableRawPointer? = nil
  ) {
    storage.initialize(
      to: ExternalStorage(
        buffer: buffer, count: ownCount, free: free, argument1: argument1, argument2: argument2, size: UInt32(size), embedded: 1, type: type))
    pointee.data = buffer
    flags.insert(.external)
  }

  /// Lends storage to an mbuf that has none: its data begins at `buffer`, and is none yet. `free` takes it back from the last
  /// mbuf that shares it. The process ends where `type` is one of the zones' own, the mbuf has storage already, or `size` is 2 GiB or more.
  public func lend(
    _ buffer: UnsafeMutableRawPointer, size: Int, type: StorageType = .disposable, flags: MbufFlags = .none, free: @escaping StorageFree,
    _ argument1: UnsafeMutableRawPointer? = nil, _ argument2: UnsafeMutableRawPointer? = nil
  ) {
    demand(!type.isOurs && type != .counted, "storage lent as one of the zones' own")
    demandRoom(size)
    attach(buffer, size: size, type: type, free: free, argument1, argument2)
    self.flags.insert(flags)
  }

  /// The same where the count lies with the lender, who may share it as well; it grows by one here.
  public func lend(
    _ buffer: UnsafeMutableRawPointer, size: Int, count: ReferenceCountPointer, flags: MbufFlags = .none, free: @escaping StorageFree,
    _ argument1: UnsafeMutableRawPointer? = nil, _ argument2: UnsafeMutableRawPointer? = nil
  ) {
    demandRoom(size)
    count.pointee.value.wrappingAdd(1, ordering: .relaxed)
    attach(buffer, size: size, type: .counted, free: free, argument1, argument2)
    storage.pointee.count = count
    self.flags.insert(flags)
  }

  private func demandRoom(_ size: Int) {
    demand(!isExternal, "storage lent to an mbuf that has some")
    demand(size >= 0 && size <= Mbuf.mostBytes, "storage lent that is longer than an mbuf can tell")
  }

  /// Shares the storage of `other`, from which nothing but that is taken. This mbuf has none. Both are read-only until one goes. The
  /// process ends where either is not so.
  public func share(_ other: MbufPointer) {
    demand(other.isExternal, "storage is shared that an mbuf does not have")
    demand(!isExternal, "storage is shared with an mbuf that has some")
    other.storage.pointee.count.add()
    storage.initialize(to: other.storage.pointee)
    pointee.data = other.pointee.data
    flags.insert(other.flags.contains(.readOnly) ? MbufFlags.external.union(.readOnly) : .external)
  }

  /// Gives the storage up, and this mbuf with it. The last to do so frees the storage and the count's holder.
  func releaseStorage() {
    let what = storage.pointee, isItem = !flags.contains(.notFreed)
    // A lender's count has no holder.
    let holder = what.type == .counted ? nil : MbufPointer(bitPattern: UInt(bitPattern: what.count).roundedDown(to: UInt(Mbuf.size)))
    if what.count.drop() {
      // The holder is nobody else's now. From here on nothing of this mbuf may be read: it may lie in the storage.
      let freesHolder = holder.map { !$0.flags.contains(.notFreed) } ?? false
      switch what.type {
      case .packet:
        what.count.pointee.value.store(1, ordering: .relaxed)
        packets.pointee.packetZone!.free(holder)
        if packets.areClustersAwaited { packets.drainPackets() }
      case .cluster, .jumboPage, .jumbo9, .jumbo16:
        packets.zone(of: what.type).free(what.buffer)
        packets.pointee.mbufZone!.free(holder, argument: keepTags)
      default:
        what.free!(what.buffer, what.argument1, what.argument2)
        if freesHolder { packets.pointee.mbufZone!.free(holder, argument: keepTags) }
      }
    }
    // The holder of what others still share stays as it is.
    if isItem && self != holder { packets.pointee.mbufZone!.free(self, argument: keepTags) }
  }
}
