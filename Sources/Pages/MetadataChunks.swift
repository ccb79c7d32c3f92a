// SPDX-License-Identifier: BSD-2-Clause
//
// Where metadata lies, for who looks from outside: its words are no words of the program's, though many are addresses of items
// (Inspection/LeakRoots). The first ranges stand in the root, further ones in pages of metadata. Only grows, under the lock of
// metadata pages; a chunk that touches the newest range makes that longer.

import Primitives

public struct MetadataChunks {
  public static var inRoot: Int { 6 }
  /// Of a page: the next older page and how many it has, in a word each, then the ranges.
  public static var headerBytes: Int { 16 }

  /// Of those in the root.
  public var count: Int64
  /// The newest page of further ranges, 0 for none.
  public var page: UInt
  public var ranges: InlineArray<6, ChunkRange>
}

public struct ChunkRange: BitwiseCopyable {
  public var start: UInt
  public var end: UInt
}

@inline(__always)
var metadataChunks: UnsafeMutablePointer<MetadataChunks> { rootState(MetadataChunks.self, at: RootLayout.chunksOffset) }

extension UnsafeMutablePointer where Pointee == MetadataChunks {
  /// Whether the next range needs a page, `addPage` before it.
  var isFull: Bool {
    if pointee.page == 0 { return pointee.count == MetadataChunks.inRoot }
    return header[1] == UInt((pageBytes - MetadataChunks.headerBytes) / MemoryLayout<ChunkRange>.stride)
  }

  /// Zeroed.
  func addPage(_ page: UInt) {
    UnsafeMutablePointer<UInt>(bitPattern: page)!.pointee = pointee.page
    pointee.page = page
  }

  func add(_ start: UInt, bytes: Int) {
    let range = ChunkRange(start: start, end: start + UInt(bytes))
    let place = pointee.page == 0 ? inRoot : UnsafeMutableRawPointer(header + 2).assumingMemoryBound(to: ChunkRange.self)
    let count = pointee.page == 0 ? Int(pointee.count) : Int(header[1])
    if count > 0 {
      if place[count - 1].end == range.start { return place[count - 1].end = range.end }
      if place[count - 1].start == range.end { return place[count - 1].start = range.start }
    }
    place[count] = range
    if pointee.page == 0 { pointee.count += 1 } else { header[1] += 1 }
  }

  /// Pages of ranges, which nobody has asked for and nobody's use counts.
  var pageCount: Int {
    var count = 0, next = pointee.page
    while next != 0 {
      count += 1
      next = UnsafePointer<UInt>(bitPattern: next)!.pointee
    }
    return count
  }

  private var header: UnsafeMutablePointer<UInt> { UnsafeMutablePointer<UInt>(bitPattern: pointee.page).unsafelyUnwrapped }

  private var inRoot: UnsafeMutablePointer<ChunkRange> {
    (UnsafeMutableRawPointer(self) + 16).assumingMemoryBound(to: ChunkRange.self)
  }
}
