// SPDX-License-Identifier: BSD-2-Clause
//
// A request for physically contiguous memory: which sources can serve it, and in how many passes.

import CPlatform
import Primitives

public enum ContiguousOutcome {
  case block(UInt)
  /// The system has no such memory at present.
  case noMemory
  /// The pool of huge pages is empty, or has too few that follow each other.
  case poolEmpty
  /// Where memory lies in the machine is not shown to this process.
  case hidden
}

extension UnsafeMutablePointer where Pointee == Arena {
  /// A block that meets `request`, zeroed, for the malloc type of that number; `releaseLarge` takes it back. With `waits` three
  /// passes, the last after `reclaim`, else one. Some hundred microseconds for each huge page looked at; at most some 130 MiB
  /// of them, of the pool 1 GiB, are held meanwhile. Never more than one descriptor is open.
  public func takeContiguous(
    _ request: ContiguousRequest, type: UInt32, waits: Bool, reclaim: (@convention(c) () -> Void)? = nil
  ) -> ContiguousOutcome {
    guard !request.isImpossible, request.size <= 1 << 46 else { return .noMemory }
    let tableBytes = 512 * MemoryLayout<PhysicalRun>.stride
    let scratchBytes = (tableBytes + 512 * 8).roundedUp(to: pageBytes)
    guard let scratch = metadataPages.allocate(bytes: scratchBytes) else { return .noMemory }
    let frames = FrameNumbers()
    defer {
      frames.close()
      metadataPages.free(scratch, bytes: scratchBytes)
    }
    let table = scratch.assumingMemoryBound(to: PhysicalRun.self)
    let passes = waits ? 3 : 1
    let huge = Self.hugePageBytes
    if !frames.areShown && request.needsAddresses(beyond: request.size <= huge ? huge : 1 << 30) { return .hidden }
    if request.size <= huge {
      var source = ChunkSource(
        request, type: type, frames: frames, entries: (scratch + tableBytes).assumingMemoryBound(to: UInt64.self), reclaim: reclaim)
      var search = ContiguousSearch(request, joins: false, table: table, capacity: 512)
      let found = search.find(in: &source, passes: passes)
      source.releaseChunks()
      if let found { return .block(found) }
    }
    func searchPool(_ pageBytes: UInt, reclaim: (@convention(c) () -> Void)?) -> UInt? {
      // What is in several pages must be seen to be contiguous.
      guard frames.areShown || request.size <= pageBytes else { return nil }
      // A block begins with a page.
      var aligned = request
      aligned.alignment = Swift.max(request.alignment, pageBytes)
      var source = HugePageSource(aligned, type: type, pageBytes: pageBytes, frames: frames, reclaim: reclaim)
      var search = ContiguousSearch(aligned, joins: true, table: table, capacity: 512)
      return search.find(in: &source, passes: passes)
    }
    if let found = searchPool(huge, reclaim: reclaim) { return .block(found) }
    guard request.size > huge else { return .noMemory }
    return searchPool(1 << 30, reclaim: nil).map { .block($0) } ?? .poolEmpty
  }
}
