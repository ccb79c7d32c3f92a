// SPDX-License-Identifier: BSD-2-Clause
//
// Runs of memory for requests up to a huge page: chunks of the arena of that size, for which the system is asked for one. It need
// not grant it, so each chunk is looked at; where frame numbers are shown, pages that happen to follow each other will do. The
// first pass takes what the system has at hand, the second makes it compact its memory, for the third all caches are given up.

import AddressMap
import CPlatform
import Primitives

struct ChunkSource: RunSource {
  let request: ContiguousRequest
  let type: UInt32
  let frames: FrameNumbers
  let framesShown: Bool
  let reclaim: (@convention(c) () -> Void)?
  /// Room for an entry of each page of a chunk.
  let entries: UnsafeMutablePointer<UInt64>

  private var chunks = InlineArray<64, EntryPointer?>(repeating: nil)
  private var count = 0
  private var limit = 0
  private var pass = 0
  /// In the newest chunk, the page that has not been looked at yet.
  private var next = 0

  var joins: Bool { false }
  private var chunkBytes: UInt { UnsafeMutablePointer<Arena>.hugePageBytes }
  private var pageCount: Int { Int(chunkBytes) / stave_page_bytes() }
  /// Of addresses, for the owner map's sake at least half a unit.
  private var extent: UInt { Swift.max(request.size, unitBytes / 2) }

  init(
    _ request: ContiguousRequest, type: UInt32, frames: FrameNumbers, entries: UnsafeMutablePointer<UInt64>,
    reclaim: (@convention(c) () -> Void)?
  ) {
    self.request = request
    self.type = type
    self.frames = frames
    self.entries = entries
    self.reclaim = reclaim
    framesShown = frames.areShown
  }

  mutating func begin(pass: Int) {
    self.pass = pass
    if pass == 3 { reclaim?() }
    // Where it matters where the memory lies, more is looked at.
    limit = Swift.min(64, count + (request.needsAddresses(beyond: chunkBytes) ? 20 : 4))
  }

  mutating func take() -> PhysicalRun? {
    while true {
      if count > 0, let run = nextRun() { return run }
      guard count < limit, addChunk() else { return nil }
    }
  }

  /// Runs are parts of chunks, which are given back at the end.
  mutating func release(_ run: PhysicalRun) {}

  func releaseChunks() {
    for index in 0..<count {
      if let chunk = chunks[index] { arena.giveBack(chunk) }
    }
  }

  mutating func keep(_ runs: UnsafeMutableBufferPointer<PhysicalRun>, place: UInt) -> UInt? {
    let start = runs[0].address + (place - runs[0].physical)
    var index = 0
    while index < count && !(chunks[index]!.pointee.start <= start && start < chunks[index]!.pointee.end) { index += 1 }
    guard index < count, stave_madvise(start, Int(extent), 10 /* MADV_DONTFORK */) == 0 else { return nil }
    // So that it is not swapped out; more than that nobody but hugetlb promises. What the limit of locked memory forbids is not locked.
    _ = stave_syscall6(Int(SYS_mlock), Int(bitPattern: start), Int(request.size), 0, 0, 0, 0)
    guard isStillContiguous(start, place), arena.makeContiguous(chunks[index]!, start: start, size: request.size, extent: extent, type: type)
    else { return nil }
    chunks[index] = nil
    return start
  }

  // MARK: - A chunk

  private mutating func addChunk() -> Bool {
    guard let chunk = arena.hold(bytes: chunkBytes + unitBytes, alignment: chunkBytes) else { return false }
    let start = chunk.pointee.start
    _ = stave_madvise(start, Int(chunkBytes), 14 /* MADV_HUGEPAGE */)
    guard Self.populate(start, bytes: chunkBytes) else {
      arena.giveBack(chunk)
      return false
    }
    if pass > 1 && !frames.isHuge(start, bytes: chunkBytes) { _ = stave_madvise(start, Int(chunkBytes), 25 /* MADV_COLLAPSE, Linux 6.1 */) }
    chunks[count] = chunk
    count += 1
    next = 0
    if framesShown {
      if !frames.read(start, count: pageCount, into: entries) { next = pageCount }
    } else if !isOnePage && !frames.isHuge(start, bytes: chunkBytes) {
      next = pageCount
    }
    return true
  }

  /// Gives each page memory of its own. Where the kernel cannot be asked (before 5.14) they are written to.
  static func populate(_ start: UInt, bytes: UInt) -> Bool {
    let result = stave_madvise(start, Int(bytes), 23 /* MADV_POPULATE_WRITE */)
    guard result == -22 else { return result == 0 }
    var page = start
    while page < start + bytes {
      UnsafeMutablePointer<UInt8>(bitPattern: page)!.pointee = 0
      page += UInt(stave_page_bytes())
    }
    return true
  }

  /// The next run of the newest chunk that is long enough.
  private mutating func nextRun() -> PhysicalRun? {
    guard let chunk = chunks[count - 1] else { return nil }
    let page = UInt(stave_page_bytes())
    if !framesShown {
      guard next < pageCount else { return nil }
      next = pageCount
      // A huge page is as aligned in the machine as in the process.
      return PhysicalRun(physical: chunk.pointee.start, bytes: chunkBytes, address: chunk.pointee.start)
    }
    while next < pageCount {
      let first = next
      guard let frame = FrameNumbers.number(entries[first]) else {
        next += 1
        continue
      }
      next += 1
      while next < pageCount, FrameNumbers.number(entries[next]) == frame + UInt64(next - first) { next += 1 }
      let bytes = UInt(next - first) * page
      if bytes >= request.size {
        return PhysicalRun(physical: UInt(frame) * page, bytes: bytes, address: chunk.pointee.start + UInt(first) * page)
      }
    }
    return nil
  }

  /// Contiguous wherever it is.
  private var isOnePage: Bool { Swift.max(request.size, request.alignment) <= UInt(stave_page_bytes()) }

  /// The kernel may have moved pages meanwhile. Where frames are hidden it can still move a huge page, but only whole; it is not
  /// mapped as such any more since it has a mapping for its parts.
  private func isStillContiguous(_ start: UInt, _ place: UInt) -> Bool {
    let page = UInt(stave_page_bytes())
    guard framesShown else { return true }
    let pages = Int(request.size / page)
    guard frames.read(start, count: pages, into: entries) else { return false }
    for index in 0..<pages where FrameNumbers.number(entries[index]) != UInt64(place / page) + UInt64(index) { return false }
    return true
  }
}
