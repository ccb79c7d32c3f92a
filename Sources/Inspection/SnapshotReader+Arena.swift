// SPDX-License-Identifier: BSD-2-Clause
//
// The arena of a process: its sums, and the longest run of free addresses, for which its address map is walked.

import AddressMap
import Pages
import Primitives

extension SnapshotReader {
  func describe(_ root: RootCopy, into snapshot: inout Snapshot) throws(InspectionError) {
    let arena = root.part(Arena.self, RootLayout.arenaOffset)
    snapshot.arenaBytes = max(0, try arenaBytes(root) - Int(clamping: arena.pointee.unmappedBytes))
    snapshot.windowBytes = Int(clamping: arena.pointee.windowEnd &- arena.pointee.windowStart)
    snapshot.slabBytes = Int(clamping: arena.pointee.slabBytes)
    snapshot.largeBytes = Int(clamping: arena.pointee.largeBytes)
    snapshot.largeBlocks = Int(clamping: arena.pointee.largeCount)
    snapshot.keptBytes = Int(clamping: arena.pointee.cachedBytes &+ arena.pointee.recentBytes)
    snapshot.foreign = Int(clamping: arena.pointee.foreignBytes)
    snapshot.purgedTotal = Int(clamping: arena.pointee.purgedBytes)
    snapshot.metadata = root.part(MetadataPages.self, RootLayout.metadataOffset).pointee.mappedBytes
  }

  func arenaBytes(_ root: RootCopy) throws(InspectionError) -> Int {
    let arena = root.part(Arena.self, RootLayout.arenaOffset)
    let start = arena.pointee.windowStart
    guard arena.pointee.frontier >= start, arena.pointee.frontier - start <= 1 << 46 else {
      throw .damaged("the arena ends before it begins")
    }
    return Int(arena.pointee.frontier - start)
  }

  /// The addresses that the arena has reached.
  func arenaWindow(_ root: RootCopy) throws(InspectionError) -> Range<UInt> {
    let start = root.part(Arena.self, RootLayout.arenaOffset).pointee.windowStart
    return start..<start &+ UInt(try arenaBytes(root))
  }

  /// Bytes of the longest run of addresses in which nothing is in use: gaps of the arena's map and the freed ranges between them.
  /// Reads all of the map, 96 bytes an entry, a level of its tree at a time; of a busy process it is an estimate, for the map
  /// changes meanwhile. Throws `damaged` if it is no tree.
  public func largestFreeRange() throws(InspectionError) -> Int {
    let copies = Copies(target)
    defer { copies.discard() }
    let root = try readRoot(copies)
    let arena = root.part(Arena.self, RootLayout.arenaOffset)
    let (start, end) = (arena.pointee.windowStart, arena.pointee.windowEnd)
    var used: [(start: UInt, end: UInt)] = []
    for entry in try mapEntries(root) {
      let isUsed = entry.kind == RangeKind.slab || entry.kind == RangeKind.large || entry.kind == RangeKind.foreign
      if isUsed && start <= entry.start && entry.start < entry.end && entry.end <= end { used.append((entry.start, entry.end)) }
    }
    used.sort { $0.start < $1.start }
    var largest: UInt = 0
    var free = start
    for range in used {
      if range.start > free { largest = max(largest, range.start - free) }
      free = max(free, range.end)
    }
    return Int(clamping: max(largest, end > free ? end - free : 0))
  }

  /// All of the arena's map, in no order.
  func mapEntries(_ root: RootCopy) throws(InspectionError) -> [MapEntryCopy] {
    let arena = root.part(Arena.self, RootLayout.arenaOffset)
    let limit = max(1, min(arena.pointee.map.count, 1 << 24)) * 2
    var entries: [MapEntryCopy] = []
    var level = [UInt(bitPattern: arena.pointee.map.tree.root)].filter { $0 != 0 }
    while !level.isEmpty {
      guard entries.count + level.count <= limit else { throw .damaged("an address map with more entries than it counts") }
      var next: [UInt] = []
      for case let entry? in try target.read(MapEntryCopy.self, at: level) {
        if entry.left != 0 { next.append(entry.left) }
        if entry.right != 0 { next.append(entry.right) }
        entries.append(entry)
      }
      level = next
    }
    return entries
  }
}

/// An entry as it lies in the target: its links are addresses there.
struct MapEntryCopy: BitwiseCopyable {
  var start: UInt
  var end: UInt
  var left: UInt
  var right: UInt
  var gaps: (UInt, UInt)
  var others: (UInt, UInt, UInt)
  var words: (UInt, UInt)
  var kind: UInt8
  var flags: UInt8
  var owner: UInt16
}
