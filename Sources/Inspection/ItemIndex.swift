// SPDX-License-Identifier: BSD-2-Clause
//
// Which item an address lies in: a table with a word for each page of 4 KiB that has an item, in leaves of 64 MiB, and from there a
// search among the items of that page. Some ten nanoseconds for an address near items, one or two for any other word.

import Glibc

/// A block that is out, as the program knows it.
public struct LeakItem: Equatable, Sendable {
  public var start: UInt
  /// At least 1.
  public var bytes: UInt
  /// What it is of: an index into a table of kinds.
  public var kind: UInt32
  /// The number of the stack that asked for it, 0 for none.
  public var stack: UInt32

  public init(start: UInt, bytes: UInt, kind: UInt32 = 0, stack: UInt32 = 0) {
    self.start = start
    self.bytes = bytes
    self.kind = kind
    self.stack = stack
  }

  public var end: UInt { start &+ bytes }
}

final class ItemIndex {
  /// In order of addresses; none overlaps another.
  let items: [LeakItem]
  /// Left out, since they lie in others or in no address space.
  let contradictions: Int
  /// From the first item's start to the last one's end.
  let low: UInt
  let span: UInt

  /// What of a word is an address: the bits above are a tag's, or nothing's.
  static var mask: UInt {
    #if arch(arm64)
      1 << 48 - 1
    #else
      1 << 47 - 1
    #endif
  }

  private static let leafShift: UInt = 26
  private static let pageShift: UInt = 12
  private static let leafPages = 1 << Int(leafShift - pageShift)
  /// So many leaves at most, 64 KiB each.
  private static let mostLeaves = 1 << 16

  private let starts: UnsafeMutablePointer<UInt>
  private let ends: UnsafeMutablePointer<UInt>
  private let top: UnsafeMutablePointer<UInt32>
  private var leaves: [UnsafeMutablePointer<UInt32>] = []

  /// Throws `damaged` if they lie in more places than a process has memory. Takes 24 bytes an item, 4 a page, and 8 MiB of addresses.
  init(_ unordered: [LeakItem]) throws(InspectionError) {
    var sorted = unordered
    if !zip(sorted, sorted.dropFirst()).allSatisfy({ $0.start < $1.start }) { sorted.sort { $0.start < $1.start } }
    var end: UInt = 0
    let all = sorted.count
    sorted.removeAll { item in
      guard item.start >= end, item.bytes > 0, item.start <= Self.mask, item.bytes <= Self.mask - item.start else { return true }
      end = item.end
      return false
    }
    guard sorted.count < 1 << 31 else { throw .damaged("more live items than can be counted") }
    items = sorted
    contradictions = all - sorted.count
    low = sorted.first?.start ?? 0
    span = end - low
    starts = .allocate(capacity: sorted.count + 1)
    ends = .allocate(capacity: sorted.count + 1)
    // Untouched where there are no items.
    top = calloc(Int(Self.mask >> Self.leafShift) + 1, 4)!.assumingMemoryBound(to: UInt32.self)
    for (index, item) in sorted.enumerated() {
      starts[index] = item.start
      ends[index] = item.end
    }
    for index in sorted.indices {
      var page = starts[index] >> Self.pageShift
      let last = (ends[index] - 1) >> Self.pageShift
      while page <= last {
        let place = Int(page >> (Self.leafShift - Self.pageShift))
        if top[place] == 0 {
          guard leaves.count < Self.mostLeaves, let leaf = calloc(Self.leafPages, 4) else { throw .damaged("live items all over the address space") }
          leaves.append(leaf.assumingMemoryBound(to: UInt32.self))
          top[place] = UInt32(leaves.count)
        }
        let leaf = leaves[Int(top[place]) - 1], offset = Int(page) & (Self.leafPages - 1)
        if leaf[offset] == 0 { leaf[offset] = UInt32(index + 1) }
        page += 1
      }
    }
  }

  deinit {
    starts.deallocate()
    ends.deallocate()
    free(top)
    for leaf in leaves { free(leaf) }
  }

  /// The item that a word leads to, -1 for none: to its first byte, or into it.
  @inline(__always)
  func find(_ word: UInt) -> Int {
    let address = word & Self.mask
    guard address &- low < span else { return -1 }
    let leaf = top[Int(address >> Self.leafShift)]
    guard leaf != 0 else { return -1 }
    return search(address, leaves[Int(leaf) - 1][Int(address >> Self.pageShift) & (Self.leafPages - 1)])
  }

  private func search(_ address: UInt, _ entry: UInt32) -> Int {
    guard entry != 0 else { return -1 }
    var least = Int(entry) - 1
    guard ends[least] <= address else { return starts[least] <= address ? least : -1 }
    // The last that begins at or before the address: one of this page.
    var most = min(items.count, least + 1 << Int(Self.pageShift))
    while most - least > 1 {
      let middle = (least + most) / 2
      if starts[middle] <= address { least = middle } else { most = middle }
    }
    return address < ends[least] ? least : -1
  }

  /// How far an address that was found is from its item's start.
  @inline(__always)
  func offset(of word: UInt, in item: Int) -> UInt { (word & Self.mask) &- starts[item] }
}
