// SPDX-License-Identifier: BSD-2-Clause
//
// What some kegs keep behind a slab's bitmap: since when the slab is wholly free, for pools; and links of a tree by address, for slabs
// that neither the owner map nor a mask finds (the flag notPage, and pools whose back-end hands out pages smaller than a unit).
//
//   header | free bitmap | tail            in-page: at the end of the page; off-page: the header zone is one with room for it

import Primitives

public struct SlabTail: RedBlackNode {
  public var left: UnsafeMutablePointer<SlabTail>?
  public var right: UnsafeMutablePointer<SlabTail>?
  public var parent: UnsafeMutablePointer<SlabTail>?
  public var isRed: Bool
  var base: UInt
  /// By the pools' clock.
  var idleSince: Int64

  /// Bits of a bitmap that are as long as it.
  static var bits: Int { 8 * MemoryLayout<SlabTail>.stride }

  public static func refresh(_ node: UnsafeMutablePointer<SlabTail>) -> Bool { false }
}

extension ZoneFlags {
  var hasTails: Bool { rawValue & (ZoneFlags.pool.rawValue | ZoneFlags.notPage.rawValue) != 0 }
}

extension UnsafeMutablePointer where Pointee == Keg {
  /// Of a keg that has tails.
  func tail(of slab: SlabPointer) -> UnsafeMutablePointer<SlabTail> {
    UnsafeMutableRawPointer(slab.words + Bitmap.wordCount(for: pointee.layout.items)).assumingMemoryBound(to: SlabTail.self)
  }

  private func slab(of tail: UnsafeMutablePointer<SlabTail>) -> SlabPointer {
    (UnsafeMutableRawPointer(tail) - SlabLayout.headerBytes(items: pointee.layout.items)).assumingMemoryBound(to: Slab.self)
  }

  /// The slab in whose memory the address lies. Logarithmic. The lock is held.
  func slabInTree(of address: UInt) -> SlabPointer? {
    var next = pointee.tree.root
    while let tail = next {
      pointee.treeSteps &+= 1
      if address < tail.pointee.base {
        next = tail.pointee.left
      } else if address - tail.pointee.base >= UInt(pointee.layout.slabBytes) {
        next = tail.pointee.right
      } else {
        return slab(of: tail)
      }
    }
    return nil
  }

  /// A slab comes into the tree. The lock is held.
  func enter(_ slab: SlabPointer) {
    let tail = tail(of: slab)
    tail.initialize(to: SlabTail(left: nil, right: nil, parent: nil, isRed: false, base: base(of: slab), idleSince: 0))
    var parent: UnsafeMutablePointer<SlabTail>? = nil
    var side = Side.left
    var next = pointee.tree.root
    while let other = next {
      parent = other
      side = tail.pointee.base < other.pointee.base ? .left : .right
      next = side == .left ? other.pointee.left : other.pointee.right
    }
    pointee.tree.insert(tail, below: parent, on: side)
  }

  /// A slab goes out of it. The lock is held.
  func leave(_ slab: SlabPointer) { pointee.tree.remove(tail(of: slab)) }
}
