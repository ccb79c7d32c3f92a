// SPDX-License-Identifier: BSD-2-Clause
//
// The header of a slab: 24 bytes, then the bitmap of free items. An off-page header has 24 bytes more in front of it, for
// what an in-page header tells by its own address.
//
//   in-page    | item 0 | item 1 | …  | item n-1 |  | header | free bitmap |      end of the slab's last page
//   off-page   | base, … | header | free bitmap |  →  slab: | rest | item 0 | … | item n-1 |
//
// With `refCount` the items' counts follow, at once behind the bitmap.

import Primitives

public struct Slab {
  public var next: UnsafeMutablePointer<Slab>?
  public var previous: UnsafeMutablePointer<Slab>?
  public var freeCount: UInt16
  public var flags: UInt8
  /// How many multiples of the keg's alignment its items begin further on than the layout says (Keg+Colours).
  public var colour: UInt8
  private var kegNumber: UInt16
  /// What its page source wrote there: the source's own.
  public var mark: UInt8
  private var reserved: UInt8 = 0

  public var kegIndex: UInt32 { UInt32(kegNumber) }

  init(
    next: UnsafeMutablePointer<Slab>?, previous: UnsafeMutablePointer<Slab>?, freeCount: UInt16, flags: UInt8, colour: UInt8, kegIndex: UInt32,
    mark: UInt8
  ) {
    (self.next, self.previous, self.freeCount, self.flags, self.colour, self.mark) = (next, previous, freeCount, flags, colour, mark)
    kegNumber = UInt16(truncatingIfNeeded: kegIndex)
  }

  public static let offPageFlag: UInt8 = 1
  /// Its pages have policies of their own (Keg+Domains).
  static var placedFlag: UInt8 { 2 }
}

/// What precedes an off-page header.
public struct OffPagePrefix {
  public var base: UInt
  public var reserved: InlineArray<2, UInt>
}

public typealias SlabPointer = UnsafeMutablePointer<Slab>

extension UnsafeMutablePointer where Pointee == Slab {
  @inline(__always)
  var words: UnsafeMutablePointer<UInt64> {
    UnsafeMutableRawPointer(self + 1).assumingMemoryBound(to: UInt64.self)
  }

  @inline(__always)
  var isOffPage: Bool { pointee.flags & Slab.offPageFlag != 0 }

  @inline(__always)
  var prefix: UnsafeMutablePointer<OffPagePrefix> {
    (UnsafeMutableRawPointer(self) - MemoryLayout<OffPagePrefix>.stride).assumingMemoryBound(to: OffPagePrefix.self)
  }
}

/// A doubly linked list of slabs, held by its first.
public struct SlabList {
  public var first: SlabPointer?

  @inline(__always)
  mutating func insert(_ slab: SlabPointer) {
    slab.pointee.previous = nil
    slab.pointee.next = first
    first?.pointee.previous = slab
    first = slab
  }

  @inline(__always)
  mutating func remove(_ slab: SlabPointer) {
    if let previous = slab.pointee.previous { previous.pointee.next = slab.pointee.next } else { first = slab.pointee.next }
    slab.pointee.next?.pointee.previous = slab.pointee.previous
  }
}
