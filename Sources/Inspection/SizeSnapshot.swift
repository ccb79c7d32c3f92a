// SPDX-License-Identifier: BSD-2-Clause
//
// The histogram of requested sizes of a process, read from outside: what has been asked for since the option `sizes` was last
// switched on, and what was given for it.

import Accounting
import Glibc
import Heap
import Pages

/// The requests of a range of sizes.
public struct SizeCounts: Equatable, Sendable {
  /// The smallest and the largest size in it; the very last range of all has no largest and ends with `Int.max`.
  public var least: Int
  public var most: Int
  public var requests: Int
  /// Bytes they asked for, and bytes of the items or pages that they got.
  public var asked: Int
  public var given: Int

  public init(least: Int, most: Int, requests: Int, asked: Int, given: Int) {
    (self.least, self.most, self.requests, self.asked, self.given) = (least, most, requests, asked, given)
  }

  /// Never negative.
  public var wasted: Int { max(0, given - asked) }
}

public struct SizeSnapshot: Sendable {
  public var target = ""
  public var process: Int32 = 0
  /// Whether it counts now; otherwise these are the figures of when it last did.
  public var isCounting = false
  /// Seconds from when it was last switched on to this look; nil for a core file, whose time is not known.
  public var seconds: Double?
  /// Ranges of sizes with requests, least first: up to `largest` of 16 bytes each, which zones serve, and above of a doubling each.
  public var small: [SizeCounts] = []
  public var large: [SizeCounts] = []
  /// The sizes of the classes that served them, least first, and so the largest size that has one.
  public var classes: [Int] = []
  public var largest: Int { classes.last ?? 0 }

  public init() {}
}

extension SnapshotReader {
  /// Nil where sizes were never counted. Costs a read of at most 400 KB. Of a busy process, sizes that are counted meanwhile may
  /// be in or not, each as a whole. Throws `damaged` for figures beyond any process.
  public func sizes() throws(InspectionError) -> SizeSnapshot? {
    let copies = Copies(target)
    defer { copies.discard() }
    let root = try readRoot(copies)
    let histogram = root.part(SizeHistogram.self, RootLayout.sizesOffset)
    let address = UInt(bitPattern: histogram.pointee.bins)
    guard address != 0 else { return nil }
    let tables = histogram.pointee.tableCount
    guard 1...SizeHistogramPointer.mostTables ~= tables else { throw .damaged("\(tables) tables of sizes") }
    let count = tables * SizeRange.count
    let bins = try target.readArray(SizeBin.self, at: address, count: count, limit: count)
    var snapshot = SizeSnapshot()
    snapshot.target = target.name.printable
    snapshot.process = target.process
    snapshot.isCounting = root.part(HeapState.self, RootLayout.heapOffset).pointee.options[.sizes] == 1
    if target is LiveProcess { snapshot.seconds = max(0, Double(Int64(clock_gettime_nsec()) &- histogram.pointee.since) / 1e9) }
    snapshot.classes = (0..<SizeClass.count).map { SizeClass.size($0) }
    var smallRequests = 0
    for range in 0..<SizeRange.count {
      var requests = 0
      var asked = 0, given = 0
      for table in 0..<tables {
        let bin = bins[table * SizeRange.count + range]
        let figures = 0...Int64(1) << 52
        guard figures ~= bin.requests && figures ~= bin.asked && figures ~= bin.given else { throw .damaged("a count of sizes beyond any process") }
        (requests, asked, given) = (requests + Int(bin.requests), asked + Int(bin.asked), given + Int(bin.given))
      }
      if requests == 0 { continue }
      let least = range == 0 ? 0 : SizeRange.most(range - 1) + 1, most = SizeRange.most(range)
      if range < SizeRange.smallCount {
        // The three words are not read at one time: what was given follows from the requests, and nobody asks for more than that.
        // All of them together, so that no product or sum of theirs can overflow.
        smallRequests += requests
        guard smallRequests <= Int(1) << 46 else { throw .damaged("a count of sizes beyond any process") }
        asked = min(max(asked, requests * least), requests * most)
        given = requests * SizeClass.size(SizeClass.index(for: most))
        snapshot.small.append(SizeCounts(least: least, most: most, requests: requests, asked: asked, given: given))
      } else {
        snapshot.large.append(SizeCounts(least: least, most: most, requests: requests, asked: asked, given: max(asked, given)))
      }
    }
    return snapshot
  }
}
