// SPDX-License-Identifier: BSD-2-Clause
//
// Where a program can have addresses outside its blocks: mappings that can be written to, or that no file backs; of a mapping that is
// one thread's stack, what is above the stack pointer, and the 128 bytes below it that a function may use. It is that if it is the
// process's first stack, or has the thread's own data (libc puts them at a stack's upper end) and a guard below: other mappings with
// a stack pointer in them may hold several stacks, or something else as well. Registers come apart.
//
// Not what is Stave's own: the arena, in which items are looked at one by one, the range of guarded blocks, metadata, caches, the
// library's data. Its words lead to every item, lost or not. Not devices' memory, which may be none.

import CPlatform
import Diagnostics
import Heap
import Pages
import Primitives
import Zones

struct AddressRange: Equatable, Sendable {
  var start: UInt
  var end: UInt

  func contains(_ address: UInt) -> Bool { start <= address && address < end }
}

struct LeakRoots {
  struct Root: Equatable {
    var range: AddressRange
    /// Not shared with other processes: only pages that were written to have anything.
    var isPrivate: Bool
  }

  var ranges: [Root] = []
  /// Mappings of devices, and bytes of memory that a core does not have.
  var devices = 0
  var deviceBytes = 0
  var leftOutBytes = 0

  static var redZone: UInt { 128 }

  /// `own`: what is no root whatever it is, in any order.
  init(_ mappings: [Mapping], threads: [ThreadRegisters], own: [AddressRange], core: CoreFile?) {
    let own = Self.merged(own), stacks = threads.sorted { $0.stackPointer < $1.stackPointer }
    // A core does not say which is the first stack: the kernel puts it above all else.
    let highest = mappings.last { $0.isWritable }?.start
    for (index, mapping) in mappings.enumerated() {
      let isNobodys = mapping.path.isEmpty || mapping.path.hasPrefix("[")
      guard mapping.isReadable, mapping.isWritable || isNobodys, !mapping.path.hasPrefix("[v") else { continue }
      let isDevice = mapping.path.hasPrefix("/dev/") && !mapping.path.hasPrefix("/dev/shm/") && !mapping.path.hasPrefix("/dev/zero")
      if isDevice {
        devices += 1
        deviceBytes += Int(clamping: mapping.length)
        continue
      }
      var start = mapping.start
      let lowest = stacks.partitionPoint { $0.stackPointer < mapping.start }
      if lowest < stacks.count, case let thread = stacks[lowest], mapping.contains(thread.stackPointer) {
        let isFirst = mapping.path == "[stack]" || core != nil && mapping.start == highest
        let below = index > 0 ? mappings[index - 1] : nil
        let isGuarded = below.map { $0.end == mapping.start && !$0.isReadable && !$0.isWritable } ?? false
        if isFirst || isGuarded && mapping.contains(thread.ownData) {
          start = max(start, thread.stackPointer - min(thread.stackPointer, Self.redZone))
        }
      }
      for range in Self.rest(of: AddressRange(start: start, end: mapping.end), without: own) {
        guard let core else {
          ranges.append(Root(range: range, isPrivate: !mapping.isShared))
          continue
        }
        let dumped = core.dumped(range)
        ranges += dumped.map { Root(range: $0, isPrivate: true) }
        // What is not there of a file's has not been written to.
        if isNobodys { leftOutBytes += Int(clamping: dumped.reduce(range.end - range.start) { $0 - ($1.end - $1.start) }) }
      }
    }
  }

  private static func merged(_ ranges: [AddressRange]) -> [AddressRange] {
    var merged: [AddressRange] = []
    for range in ranges.filter({ $0.start < $0.end }).sorted(by: { $0.start < $1.start }) {
      if let last = merged.last, range.start <= last.end { merged[merged.count - 1].end = max(last.end, range.end) } else { merged.append(range) }
    }
    return merged
  }

  /// `own` in order, none overlapping another.
  private static func rest(of whole: AddressRange, without own: [AddressRange]) -> [AddressRange] {
    var result: [AddressRange] = []
    var position = whole.start
    for range in own[own.partitionPoint { $0.end <= whole.start }...] {
      if range.start >= whole.end || position >= whole.end { break }
      if range.start > position { result.append(AddressRange(start: position, end: range.start)) }
      position = max(position, range.end)
    }
    if position < whole.end { result.append(AddressRange(start: position, end: whole.end)) }
    return result
  }
}

extension Array {
  /// How many elements there are for which `isBefore` holds, all of which come before the others.
  func partitionPoint(_ isBefore: (Element) -> Bool) -> Int {
    var low = 0, high = count
    while low < high {
      let middle = (low + high) / 2
      if isBefore(self[middle]) { low = middle + 1 } else { high = middle }
    }
    return low
  }
}

extension CoreFile {
  /// The parts of a range that are in the file.
  func dumped(_ range: AddressRange) -> [AddressRange] {
    var parts: [AddressRange] = []
    var place = max(0, segments.partitionPoint { $0.start <= range.start } - 1), position = range.start
    while place < segments.count, segments[place].start < range.end {
      let start = max(position, segments[place].start), end = min(range.end, segments[place].dumpedEnd)
      if start < end {
        parts.append(AddressRange(start: start, end: end))
        position = end
      }
      place += 1
    }
    return parts
  }
}

extension SnapshotReader {
  /// What of the target's memory is Stave's.
  func ownRanges(_ root: RootCopy) throws(InspectionError) -> [AddressRange] {
    var own = [AddressRange(start: location.address, end: location.address &+ UInt(RootLayout.bytes))]
    func add(_ start: UInt, _ bytes: UInt) {
      let (end, isOver) = start.addingReportingOverflow(bytes)
      if start > 0 && !isOver { own.append(AddressRange(start: start, end: end)) }
    }
    // The library's data; of a program that Stave is linked into the root alone can be told apart.
    if location.modulePath != target.executablePath, let image = try? ElfImage(in: target, at: location.moduleBase), image.low < image.high {
      add(image.low, image.high - image.low)
    }
    add(root.part(HeapState.self, RootLayout.heapOffset).pointee.background.stack, UInt(Heap.stackBytes))
    for region in try readRegions(root) { add(region, UInt(CPUCache.regionBytes)) }
    let arena = root.part(Arena.self, RootLayout.arenaOffset)
    var position = arena.pointee.windowStart
    let end = position &+ UInt(try arenaBytes(root))
    // Of a core for zones of its owner's own the items are no blocks: they may lead to guarded ones.
    if root.part(RootHeader.self, 0).pointee.isOwn != 0 { position = end }
    // In the arena's range others may have mapped memory, also where it had given some back.
    let others = try mapEntries(root).filter { ($0.kind == RangeKind.foreign || $0.kind == RangeKind.unmapped) && $0.start < $0.end }
    for entry in others.sorted(by: { $0.start < $1.start }) where entry.start >= position && entry.end <= end {
      add(position, entry.start - position)
      position = entry.end
    }
    if position < end { add(position, end - position) }
    // All that is reserved for it: gdb writes it to cores.
    let owners = UInt(bitPattern: root.part(OwnerMap.self, RootLayout.ownersOffset).pointee.owners), page = UInt(max(1, root.part(RootHeader.self, 0).pointee.pageBytes))
    let units = min(1 << 47, max(end, arena.pointee.windowEnd) &- arena.pointee.windowStart) >> UInt(unitShift)
    let cells = (units * 2 + page - 1) / page * page
    if owners > cells { add(owners - cells, cells + units * 16) }
    let guards = root.part(MemGuard.self, RootLayout.memguardOffset)
    add(guards.pointee.start, guards.pointee.bytes)
    add(guards.pointee.tableAddress, guards.pointee.bytes / page &* 4)
    return own + (try metadataRanges(root, page))
  }

  private func metadataRanges(_ root: RootCopy, _ page: UInt) throws(InspectionError) -> [AddressRange] {
    let chunks = root.part(MetadataChunks.self, RootLayout.chunksOffset)
    guard 0...Int64(MetadataChunks.inRoot) ~= chunks.pointee.count else { throw .damaged("more metadata than there is room to say so") }
    var ranges = (0..<Int(chunks.pointee.count)).map { AddressRange(start: chunks.pointee.ranges[$0].start, end: chunks.pointee.ranges[$0].end) }
    let perPage = (Int(page) - MetadataChunks.headerBytes) / MemoryLayout<ChunkRange>.stride
    var next = chunks.pointee.page
    var pages = 0
    while next != 0 {
      pages += 1
      guard pages <= 1 << 14 else { throw .damaged("the list of metadata has no end") }
      let count = try target.read(UInt.self, at: next &+ 8)
      let more = try target.readArray(ChunkRange.self, at: next &+ UInt(MetadataChunks.headerBytes), count: Int(clamping: count), limit: perPage)
      ranges += more.map { AddressRange(start: $0.start, end: $0.end) }
      next = try target.read(UInt.self, at: next)
    }
    return ranges
  }
}
