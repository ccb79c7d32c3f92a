// SPDX-License-Identifier: BSD-2-Clause
//
// Taking items out of a keg's slabs: partial slabs first, then free ones, then new ones; the lowest addresses come out first.

import Primitives

extension UnsafeMutablePointer where Pointee == Keg {
  /// What `take` returns if there is none because the init of items refused: waiting would not help.
  static var refused: Int { -1 }

  /// Takes up to `count` items into `buffer`, the lowest addresses last; how many, or `refused`. Fewer than asked for only if the page
  /// source refuses, or init. With `noWait` or after the first item nothing sleeps.
  func take(into buffer: UnsafeMutablePointer<UInt>, count: Int, flags: WaitFlags) -> Int {
    var taken = 0
    var isRefused = false
    pointee.lock.lock()
    var trash = pointee.trash
    while taken < count {
      // It changes only while the lock is dropped; then what is in the buffer was free under the old one.
      guard taken == 0 || pointee.trash == trash else { break }
      // Who may not use the reserve has to bring new pages, or to find that somebody else has.
      let spared = flags.contains(.useReserve) ? 0 : pointee.reserve
      if pointee.freeItems <= spared {
        guard taken == 0 || flags.contains(.noWait), makeSlab(flags: flags, &isRefused) || pointee.freeItems > spared else { break }
        // The lock was dropped: see the top of this loop.
        guard taken == 0 || pointee.trash == trash else { break }
      }
      guard let slab = current else { break }
      // Down to the reserve, or one item of it: the rest of what is taken lies in caches, for anybody.
      let limit = Swift.min(count, taken + Swift.max(1, pointee.freeItems - pointee.reserve))
      trash = pointee.trash
      taken += takeItems(of: slab, into: buffer + taken, count: limit - taken)
      if pointee.reserve > 0 && pointee.freeItems <= pointee.reserve { break }
    }
    pointee.lock.unlock()
    if taken == 0 && isRefused { return Self.refused }
    if trash != 0 { lookAtTaken(buffer, count: taken, trash) }
    var low = 0
    var high = taken - 1
    while low < high {
      (buffer[low], buffer[high]) = (buffer[high], buffer[low])
      low += 1
      high -= 1
    }
    return taken
  }

  /// The slab that the next item comes from, nil if none has any. The lock is held.
  var current: SlabPointer? { pointee.partial.first ?? pointee.free.first }

  /// Takes up to `count` items of a slab that has some; it goes on the list where it then belongs. How many. The lock is held.
  func takeItems(of slab: SlabPointer, into buffer: UnsafeMutablePointer<UInt>, count: Int) -> Int {
    if Int(slab.pointee.freeCount) == pointee.layout.items { removeFree(slab) } else { pointee.partial.remove(slab) }
    let words = slab.words
    let wordCount = Bitmap.wordCount(for: pointee.layout.items)
    let itemBytes = UInt(pointee.layout.itemBytes)
    let first = item(0, of: slab)
    var taken = 0
    var index = 0
    while index < wordCount && taken < count {
      var word = words[index]
      while word != 0 && taken < count {
        let bit = word.trailingZeroBitCount
        word &= word &- 1
        buffer[taken] = first &+ UInt(index << 6 &+ bit) &* itemBytes
        taken &+= 1
      }
      words[index] = word
      index &+= 1
    }
    slab.pointee.freeCount &-= UInt16(taken)
    pointee.freeItems &-= taken
    if slab.pointee.freeCount == 0 { pointee.full.insert(slab) } else { pointee.partial.insert(slab) }
    return taken
  }

  @inline(never)
  func lookAtTaken(_ items: UnsafeMutablePointer<UInt>, count: Int, _ divisor: Int) {
    for index in 0..<count {
      if let slab = slab(of: items[index]) { look(items[index], in: slab, divisor, "it was handed out again") }
    }
  }

  func takeOne(flags: WaitFlags = .noWait) -> UnsafeMutableRawPointer? {
    var address: UInt = 0
    return take(into: &address, count: 1, flags: flags) == 1 ? UnsafeMutableRawPointer(bitPattern: address) : nil
  }
}
