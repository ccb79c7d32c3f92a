// SPDX-License-Identifier: BSD-2-Clause
//
// Reserved addresses as a page source: a part of the arena for a number of slabs of one size. Only addresses are reserved; a slab's pages
// are taken one by one when it is made, and if one is not to be had those before it go back and so does the place (L23).
//
// Which places are free is a bitmap. A place is taken, the lowest first, and given back by an atomic change of its word, so no two
// threads ever have the same one, no lock is held over a system call, and fork finds nothing half done.

import CPlatform
import Primitives

public struct ReservedRange {
  public var start: UInt
  /// From a place to the next: whole units, since each belongs to one slab.
  public var stride: UInt
  public var slabBytes: Int
  public var places: Int
  /// It has a policy, from its start to its end.
  var isPlaced = false
  // Behind it, the words of the bitmap.
}

public typealias ReservedRangePointer = UnsafeMutablePointer<ReservedRange>

extension UnsafeMutablePointer where Pointee == Arena {
  /// Nil if there is no room for so many addresses, or no memory for the bitmap. One madvise. `domain`: that of the pages, as one policy
  /// for all of them; 255 for none.
  public func reserveRange(slabs: Int, slabBytes: Int, domain: Int = 255) -> ReservedRangePointer? {
    guard slabs > 0, slabBytes > 0, let stride = UInt(slabBytes).roundedUp(to: unitBytes) else { return nil }
    let (bytes, isTooLong) = stride.multipliedReportingOverflow(by: UInt(slabs))
    guard !isTooLong, bytes <= pointee.windowEnd - pointee.windowStart else { return nil }
    guard let memory = metadataPages.allocate(bytes: ReservedRangePointer.bytes(places: slabs)) else { return nil }
    guard let start = takeSlab(bytes: bytes) else {
      metadataPages.free(memory, bytes: ReservedRangePointer.bytes(places: slabs))
      return nil
    }
    // What an earlier user has left there: pages are taken when a slab wants them.
    _ = stave_madvise(start.address, Int(bytes), 4 /* MADV_DONTNEED */)
    let range = memory.assumingMemoryBound(to: ReservedRange.self)
    range.initialize(to: ReservedRange(start: start.address, stride: stride, slabBytes: slabBytes, places: slabs))
    range.free.insertAll()
    if domain != 255 { range.pointee.isPlaced = memoryDomains.bind(start.address, Int(bytes), to: domain) }
    return range
  }

  /// Its addresses are the arena's again, unless the system keeps a policy there. No place is taken any more.
  public func giveUpRange(_ range: ReservedRangePointer) {
    let places = range.pointee.places, start = range.pointee.start, bytes = range.pointee.stride * UInt(places)
    if !range.pointee.isPlaced || memoryDomains.unbind(start, Int(bytes)) { releaseSlab(start, bytes: bytes) }
    metadataPages.free(UnsafeMutableRawPointer(range), bytes: ReservedRangePointer.bytes(places: places))
  }
}

extension PageSource {
  /// Slabs of the size that the range is for. Pages are dirty or zero, as the system likes.
  public static func reserved(_ range: ReservedRangePointer) -> PageSource {
    PageSource(
      allocate: { context, bytes, _, _ in context!.assumingMemoryBound(to: ReservedRange.self).take(bytes) },
      free: { context, start, _, _ in context!.assumingMemoryBound(to: ReservedRange.self).give(start.address) },
      context: UnsafeMutableRawPointer(range), isZeroed: false)
  }
}

extension UnsafeMutablePointer where Pointee == ReservedRange {
  static func bytes(places: Int) -> Int {
    (MemoryLayout<ReservedRange>.stride + 8 * Bitmap.wordCount(for: places)).roundedUp(to: pageBytes)
  }

  private var words: UnsafeMutablePointer<Int64> { UnsafeMutableRawPointer(self + 1).assumingMemoryBound(to: Int64.self) }
  fileprivate var free: Bitmap { Bitmap(words: UnsafeMutableRawPointer(self + 1).assumingMemoryBound(to: UInt64.self), count: pointee.places) }

  /// Places that no slab lies at.
  public var freePlaces: Int { free.population }

  fileprivate func take(_ bytes: Int) -> UnsafeMutableRawPointer? {
    guard bytes == pointee.slabBytes, let place = takePlace() else { return nil }
    let start = pointee.start + UInt(place) * pointee.stride
    var offset = 0
    while offset < bytes {
      guard ChunkSource.populate(start + UInt(offset), bytes: UInt(pageBytes)) else {
        give(start)
        return nil
      }
      offset += pageBytes
    }
    return UnsafeMutableRawPointer(bitPattern: start)
  }

  /// The place's pages, and then the place.
  fileprivate func give(_ start: UInt) {
    _ = stave_madvise(start, pointee.slabBytes, 4 /* MADV_DONTNEED */)
    givePlace(Int((start - pointee.start) / pointee.stride))
  }

  func givePlace(_ place: Int) {
    let word = words + place >> 6
    while true {
      let old = Int64(bitPattern: stave_load64(word))
      if stave_replace64(word, old, old | 1 << Int64(place & 63)) { return }
    }
  }

  /// The lowest that is free, now nobody else's.
  func takePlace() -> Int? {
    for index in 0..<Bitmap.wordCount(for: pointee.places) {
      while true {
        let old = Int64(bitPattern: stave_load64(words + index))
        guard old != 0 else { break }
        if stave_replace64(words + index, old, old & (old &- 1)) { return index << 6 + old.trailingZeroBitCount }
      }
    }
    return nil
  }

  /// At rest: as many places are taken as there are slabs, and none that is not there is free.
  public func checkInvariants(slabs: Int) {
    precondition(freePlaces + slabs == pointee.places, "places of a reserved range are lost")
    let beyond = pointee.places & 63
    precondition(beyond == 0 || free.words[free.wordCount - 1] >> UInt64(beyond) == 0, "a place behind a reserved range")
    precondition(pointee.start & (unitBytes - 1) == 0 && pointee.stride & (unitBytes - 1) == 0 && Int(pointee.stride) >= pointee.slabBytes)
  }
}
