// SPDX-License-Identifier: BSD-2-Clause
//
// One of several copies of Stave in a look, and all of them as one: zones and types side by side, their sums added up.

public struct RootSnapshot: Sendable {
  /// The file that it lies in, and its path.
  public var name: String
  public var path: String
  /// Whether it is the process's malloc, or serves zones of a program's own.
  public var servesMalloc: Bool
  public var mode: CacheModeName
  public var zones: Int
  /// The parts of its sum, in bytes.
  public var used: Int
  public var cached: Int
  public var holes: Int
  public var inTransit: Int
  public var metadata: Int
  public var purgeable: Int
  public var returned: Int
  public var mapped: Int
  /// Guarded blocks that live, which are in none of these parts, and the bytes of their pages.
  public var guardedBlocks: Int
  public var guardedBytes: Int

  init(_ snapshot: Snapshot, name: String, path: String, servesMalloc: Bool) {
    (self.name, self.path, self.servesMalloc) = (name, path, servesMalloc)
    (mode, zones) = (snapshot.mode, snapshot.zones.count)
    (used, cached, holes, inTransit) = (snapshot.used, snapshot.cached, snapshot.holes, snapshot.inTransit)
    (metadata, purgeable, returned, mapped) = (snapshot.metadata, snapshot.purgeable, snapshot.returned, snapshot.mapped)
    (guardedBlocks, guardedBytes) = (snapshot.guards.live, snapshot.guards.resident)
  }
}

extension Snapshot {
  /// `all`: the first is whose options, guards and caches the whole shows. Zones and types of the others bear the names of their roots.
  static func combined(_ all: [Snapshot]) -> Snapshot {
    var whole = all[0]
    for other in all.dropFirst() {
      let name = other.roots.first?.name ?? ""
      whole.roots += other.roots
      whole.zones += other.zones.map { zone in
        var zone = zone
        zone.root = name
        return zone
      }
      whole.packets += other.packets.map { packets in
        var packets = packets
        packets.root = name
        return packets
      }
      whole.types += other.types.map { type in
        var type = type
        type.root = name
        return type
      }
      for figure in summed { whole[keyPath: figure] += other[keyPath: figure] }
      whole.failures.add(other.failures)
      whole.injectedFailures.add(other.injectedFailures)
    }
    return whole
  }

  /// Of all copies: guarded blocks that live, and the bytes of their pages.
  public var guardedBlocks: Int { roots.isEmpty ? guards.live : Self.sum(roots.map(\.guardedBlocks)) }
  public var guardedBytes: Int { roots.isEmpty ? guards.resident : Self.sum(roots.map(\.guardedBytes)) }

  /// Each is bounded, but there may be many.
  private static func sum(_ figures: [Int]) -> Int { figures.reduce(0) { min(1 << 60, $0 + $1) } }

  private static var summed: [WritableKeyPath<Snapshot, Int>] {
    [
      \.largeBlocks, \.largeBytes, \.arenaBytes, \.slabBytes, \.keptBytes, \.foreign, \.purgedTotal, \.metadata, \.windowBytes, \.reports, \.stacks,
      \.stacksLeftOut,
    ]
  }
}
