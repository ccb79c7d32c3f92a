// SPDX-License-Identifier: BSD-2-Clause
//
// Runs of memory from the system's pool of huge pages (hugetlb): the only memory that stays where it is, and the only one of
// which there is more than 2 MiB in one piece. Pages come in any order; each is held at a place of its own, and those that the range
// needs are moved together by mremap.

import AddressMap
import CPlatform
import Primitives

struct HugePageSource: RunSource {
  let request: ContiguousRequest
  let type: UInt32
  let frames: FrameNumbers
  let framesShown: Bool
  /// Of a huge page: 2 MiB or 1 GiB.
  let pageBytes: UInt
  let reclaim: (@convention(c) () -> Void)?

  var joins: Bool { true }

  init(
    _ request: ContiguousRequest, type: UInt32, pageBytes: UInt, frames: FrameNumbers, reclaim: (@convention(c) () -> Void)?
  ) {
    self.request = request
    self.type = type
    self.pageBytes = pageBytes
    self.frames = frames
    self.reclaim = reclaim
    framesShown = frames.areShown
  }

  mutating func begin(pass: Int) {
    if pass == 3 { reclaim?() }
  }

  mutating func take() -> PhysicalRun? {
    guard let entry = arena.hold(bytes: pageBytes, alignment: pageBytes) else { return nil }
    let start = entry.pointee.start
    guard mapPage(at: start), ChunkSource.populate(start, bytes: pageBytes), let physical = place(of: start) else {
      arena.giveBack(entry)
      return nil
    }
    return PhysicalRun(physical: physical, bytes: pageBytes, address: start)
  }

  mutating func release(_ run: PhysicalRun) {
    if let entry = arena.heldEntry(at: run.address) { arena.giveBack(entry) }
  }

  mutating func keep(_ runs: UnsafeMutableBufferPointer<PhysicalRun>, place: UInt) -> UInt? {
    let extent = UInt(runs.count) * pageBytes
    guard place == runs[0].physical, let entry = arena.hold(bytes: extent, alignment: pageBytes) else { return nil }
    let start = entry.pointee.start
    for index in 0..<runs.count {
      let target = start + UInt(index) * pageBytes
      let moved = stave_mremap(runs[index].address, Int(pageBytes), Int(pageBytes), 3 /* MAYMOVE | FIXED */, target)
      guard moved == Int(bitPattern: target) else {
        // Those moved already go with the range.
        arena.giveBack(entry)
        return nil
      }
      // At once, and never again: another thread's mapping may come to lie where it was.
      if let old = arena.heldEntry(at: runs[index].address) { arena.giveBackMoved(old) }
      runs[index].address = 0
    }
    guard stave_madvise(start, Int(extent), 10 /* MADV_DONTFORK */) == 0, isAsFound(start, runs),
      arena.makeContiguous(entry, start: start, size: request.size, extent: extent, type: type)
    else {
      arena.giveBack(entry)
      return nil
    }
    return start
  }

  private func mapPage(at start: UInt) -> Bool {
    let logarithm = Int32(pageBytes.trailingZeroBitCount)
    let flags = mapPrivateAnonymous | mapFixed | 0x40000 /* MAP_HUGETLB */ | logarithm << 26
    return stave_mmap(start, Int(pageBytes), protectionReadWrite, flags) == Int(bitPattern: start)
  }

  /// Where frames are hidden, its address stands for its place: there it is enough that a page is a page.
  private func place(of start: UInt) -> UInt? {
    guard framesShown else { return start }
    return frames.frame(at: start).map { UInt($0) * UInt(stave_page_bytes()) }
  }

  private func isAsFound(_ start: UInt, _ runs: UnsafeMutableBufferPointer<PhysicalRun>) -> Bool {
    guard framesShown else { return runs.count == 1 }
    for index in 0..<runs.count where place(of: start + UInt(index) * pageBytes) != runs[index].physical { return false }
    return true
  }
}
