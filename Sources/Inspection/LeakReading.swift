// SPDX-License-Identifier: BSD-2-Clause
//
// What a search for blocks that nothing leads to has found, and what it did not see.

public struct LeakReading: Sendable {
  /// Lost blocks of one kind, that no other lost block leads to; or of a ring, one for each ring.
  public struct Group: Sendable {
    public var type: String
    public var zone: String
    /// Bytes of each: as asked for where that is known (guard bytes, MemGuard), else of the item.
    public var size: Int
    public var isMalloc: Bool
    public var isLarge: Bool
    public var isGuarded: Bool
    /// The number of the stack that asked for them, 0 where none was recorded.
    public var stack: UInt32
    public var count = 0
    /// What they lead to, and nothing else does.
    public var heldCount = 0
    public var heldBytes = 0
    /// The lowest, `LeakReading.mostAddresses` at most.
    public var addresses: [UInt] = []

    public var bytes: Int { count * size }
  }

  public static var mostAddresses: Int { 5 }

  /// By bytes, with those that they hold.
  public internal(set) var groups: [Group] = []
  /// Live blocks that were looked at.
  public internal(set) var items = 0
  public internal(set) var itemBytes = 0
  /// Of those that are reached, the ones to which only addresses of their middle lead.
  public internal(set) var innerCount = 0
  public internal(set) var innerBytes = 0
  /// Bytes outside of blocks in which addresses were sought.
  public internal(set) var rootBytes = 0
  /// Threads whose registers were read.
  public internal(set) var threads = 0

  // What was not seen.

  /// Stave is linked into the program: which threads are inside it cannot be told, so each may be.
  public internal(set) var isLinkedIn = false
  /// Threads that were inside Stave's library when they were stopped: each may have a bucketful of free items in hand, which look lost.
  public internal(set) var threadsInside = 0
  /// Free items that such a thread may have.
  public internal(set) var mostInHand = 0
  /// Threads that could not be stopped, or whose registers could not be read: their stacks were read whole.
  public internal(set) var threadsWithoutRegisters = 0
  /// Mappings of devices, which were not read.
  public internal(set) var devices = 0
  public internal(set) var deviceBytes = 0
  /// Bytes that a core does not have, that could not be read outside of blocks, and inside.
  public internal(set) var leftOutBytes = 0
  public internal(set) var unreadRootBytes = 0
  public internal(set) var unreadItemBytes = 0
  /// Guarded blocks of whose pages a core has nothing: what only they lead to looks lost.
  public internal(set) var emptyGuarded = 0
  /// Blocks that were left out since they contradict others.
  public internal(set) var contradictions = 0
  /// Items in use of zones of a program's or library's own, which are no blocks: that they be lost is not looked for.
  public internal(set) var zoneItems = 0
  /// How long the process was held, in seconds; nil for a core.
  public internal(set) var heldFor: Double?

  public init() {}

  public var lostCount: Int { groups.reduce(0) { $0 + $1.count } }
  public var lostBytes: Int { groups.reduce(0) { $0 + $1.bytes } }
  public var heldCount: Int { groups.reduce(0) { $0 + $1.heldCount } }
  public var heldBytes: Int { groups.reduce(0) { $0 + $1.heldBytes } }
}

/// What blocks are of.
struct LeakKind: Hashable {
  var zone: String
  var type: String
  var isMalloc = true
  var isLarge = false
  var isGuarded = false
}

extension LeakReading {
  /// Counts those of one copy of Stave. Guarded items are not among its zones' figures: `guarded` are those that were not looked at as
  /// blocks are.
  public mutating func addZones(of snapshot: Snapshot, guarded: Int = 0) {
    zoneItems = zoneItems &+ guarded
    for zone in snapshot.zones where !zone.isMalloc && zone.kind != .cacheOnly { zoneItems = zoneItems &+ zone.used }
  }

  mutating func describe(_ items: [LeakItem], _ kinds: [LeakKind], _ reach: Reachability) {
    struct Key: Hashable {
      var kind: UInt32
      var stack: UInt32
      var bytes: UInt
    }
    self.items = items.count
    var places: [Key: Int] = [:]
    var held: [UInt32: (count: Int, bytes: Int)] = [:]
    for (index, item) in items.enumerated() {
      let bytes = Int(clamping: item.bytes)
      itemBytes = itemBytes &+ bytes
      switch reach.states[index] {
      case Reachability.State.inner:
        innerCount += 1
        innerBytes = innerBytes &+ bytes
      case Reachability.State.lost where reach.heads[index] != UInt32(index):
        held[reach.heads[index], default: (0, 0)].count += 1
        held[reach.heads[index], default: (0, 0)].bytes += bytes
      default: break
      }
    }
    for (index, item) in items.enumerated() where reach.states[index] == Reachability.State.lost && reach.heads[index] == UInt32(index) {
      let key = Key(kind: item.kind, stack: item.stack, bytes: item.bytes)
      let place = places[key] ?? groups.count
      if place == groups.count {
        let kind = kinds[Int(item.kind)]
        groups.append(
          Group(
            type: kind.type, zone: kind.zone, size: Int(clamping: item.bytes), isMalloc: kind.isMalloc, isLarge: kind.isLarge, isGuarded: kind.isGuarded,
            stack: item.stack))
        places[key] = place
      }
      groups[place].count += 1
      if let held = held[UInt32(index)] {
        groups[place].heldCount += held.count
        groups[place].heldBytes += held.bytes
      }
      if groups[place].addresses.count < Self.mostAddresses { groups[place].addresses.append(item.start) }
    }
    groups.sort { one, other in
      let (first, second) = (one.bytes + one.heldBytes, other.bytes + other.heldBytes)
      return first == second ? one.addresses[0] < other.addresses[0] : first > second
    }
  }
}
