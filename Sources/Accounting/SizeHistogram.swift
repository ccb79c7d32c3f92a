// SPDX-License-Identifier: BSD-2-Clause
//
// How often which sizes are asked for, and what was given for them: counted while the option `sizes` is on, for whoever wants to
// know what the size classes waste. Every request that succeeds is counted once, by atomic additions, in one of a few tables so
// that CPUs seldom meet; the sum over the tables is exact. A realloc that stays where it is is no request; an aligned block counts
// as one of the class's size that its alignment asks for, for no other table of classes would spare it that.
//
// Cost: nothing while it is off, for the fast path is closed while it is on. Then a request takes the slow path and three additions
// more. 48 KiB a table, from the first time it is switched on; kept from then on, to be read when it is off again.

import CPlatform
import Pages
import Primitives
import Synchronization
import Zones

/// Of the requests in a range of sizes.
public struct SizeBin: BitwiseCopyable {
  public var requests: Int64
  /// Bytes they asked for, and bytes of the items or pages they got.
  public var asked: Int64
  public var given: Int64

  public init(requests: Int64 = 0, asked: Int64 = 0, given: Int64 = 0) { (self.requests, self.asked, self.given) = (requests, asked, given) }
}

/// Ranges of sizes: 0, 1–16, 17–32, …, up to the largest class, and from there on one for each doubling.
public enum SizeRange {
  public static var step: Int { 16 }
  public static var smallCount: Int { SizeClass.largest / step + 1 }
  /// The last one is open.
  public static var largeCount: Int { 33 }
  public static var count: Int { smallCount + largeCount }

  @inline(__always)
  public static func index(for size: UInt) -> Int {
    if size <= UInt(SizeClass.largest) { return (Int(size) + step - 1) / step }
    return smallCount + min(largeCount - 1, firstDoubling - (size - 1).leadingZeroBitCount)
  }

  /// The largest size in it; of the last one, the largest number.
  public static func most(_ index: Int) -> Int {
    if index < smallCount { return index * step }
    return index == count - 1 ? .max : SizeClass.largest << (index - smallCount + 1)
  }

  /// The leading zeros of the smallest size that is beyond the classes.
  private static var firstDoubling: Int { (UInt(SizeClass.largest)).leadingZeroBitCount }
}

/// What of it lies in the root.
public struct SizeHistogram: ~Copyable {
  /// `tableCount` tables of `SizeRange.count` bins, one behind the other; nil until it is first switched on.
  public var bins: UnsafeMutablePointer<SizeBin>?
  public var tableCount: Int
  /// Monotonic nanoseconds when it was last switched on.
  public var since: Int64
}

public typealias SizeHistogramPointer = UnsafeMutablePointer<SizeHistogram>

@inline(__always)
public var sizeHistogram: SizeHistogramPointer { rootState(SizeHistogram.self, at: RootLayout.sizesOffset) }

extension UnsafeMutablePointer where Pointee == SizeHistogram {
  public static var mostTables: Int { 8 }

  /// Starts anew, with all counts 0. False if there is no memory for it.
  public func begin() -> Bool {
    if let bins = pointee.bins {
      for index in 0..<(pointee.tableCount * SizeRange.count) { bins[index] = SizeBin() }
    } else {
      let count = Swift.max(1, Swift.min(Int(root.pointee.cpuCount), Self.mostTables))
      let bytes = (count * SizeRange.count * MemoryLayout<SizeBin>.stride).roundedUp(to: pageBytes)
      guard let table = metadataPages.allocate(bytes: bytes) else { return false }
      pointee.tableCount = count
      atomicMemoryFence(ordering: .releasing)
      pointee.bins = table.assumingMemoryBound(to: SizeBin.self)
    }
    pointee.since = stave_nanoseconds()
    return true
  }

  /// A request of `size` bytes that got `given`, from a zone or as a large block: one that only its alignment makes large counts
  /// with those.
  @inline(never)
  public func count(_ size: UInt, given: UInt, isLarge: Bool) {
    guard let bins = pointee.bins else { return }
    let table = (CPUCache.currentCPU ?? 0) % pointee.tableCount
    let range = isLarge ? Swift.max(SizeRange.index(for: size), SizeRange.smallCount) : SizeRange.index(for: size)
    let bin = bins + table * SizeRange.count + range
    stave_add(&bin.pointee.requests, 1)
    stave_add(&bin.pointee.asked, Int64(clamping: size))
    stave_add(&bin.pointee.given, Int64(clamping: given))
  }

  /// All tables together.
  public func sum(_ range: Int) -> SizeBin {
    var sum = SizeBin()
    guard let bins = pointee.bins else { return sum }
    for table in 0..<pointee.tableCount {
      let bin = bins[table * SizeRange.count + range]
      sum = SizeBin(requests: sum.requests + bin.requests, asked: sum.asked + bin.asked, given: sum.given + bin.given)
    }
    return sum
  }
}
