// SPDX-License-Identifier: BSD-2-Clause
//
// Slabs of the length that a back-end hands out, for pools, and for memory that the owner map does not know. The header lies behind
// the items, or apart for items of more than a sixteenth of the page and for those that must not be touched (K5, K6). Either has a
// tail (Keg+Tree).

import Pages
import Primitives

extension SlabLayout {
  /// The most items of such a slab, by the largest headers that lie apart.
  static var mostOfPage: Int { 4096 - SlabTail.bits }

  /// A slab of `pageBytes`, or as many times that as one item wants. Byte `offset` of each item is aligned. Nil for absurd sizes.
  /// `isAligned`: pages begin where the system's do, or further apart.
  static func page(
    size: Int, alignMask: Int, offset: Int = 0, flags: ZoneFlags, pageBytes: Int, isInOwnerMap: Bool, isAligned: Bool
  ) -> SlabLayout? {
    guard size > 0, size <= 1 << 40, alignMask >= 0, UInt(alignMask + 1).isPowerOfTwo, offset >= 0, offset < size, pageBytes >= 512,
      pageBytes & 7 == 0
    else { return nil }
    let itemBytes = max(size, smallestItem).roundedUp(to: alignMask + 1)
    let first = -offset & alignMask
    let isOffPage = flags.contains(.noTouch) || flags.contains(.offPage) || size > pageBytes / 16
    let slabBytes = (first + max(size, smallestItem) + pageBytes - 1) / pageBytes * pageBytes
    // The padding behind the last item is not needed.
    let slack = itemBytes - max(size, smallestItem)
    var items = min(mostOfPage, (slabBytes - first + slack) / itemBytes)
    var headerOffset = 0
    if !isOffPage {
      while items > 0 && first + items * itemBytes - slack + tailedHeaderBytes(items: items) > slabBytes { items -= 1 }
      headerOffset = slabBytes - tailedHeaderBytes(items: items)
    }
    guard items > 0 else { return nil }
    let isFoundByMask = isAligned && !isOffPage && slabBytes == Pages.pageBytes
    return SlabLayout(
      size: size, itemBytes: itemBytes, slabBytes: slabBytes, items: items, isOffPage: isOffPage, headerOffset: headerOffset,
      firstItem: first, lookup: isInOwnerMap ? .metadata : isFoundByMask ? .mask : .tree)
  }

  private static func tailedHeaderBytes(items: Int) -> Int { headerBytes(items: items) + MemoryLayout<SlabTail>.stride }

  /// Colours besides 0 that a slab of this layout has room for, in steps of the alignment.
  func colours(alignMask: Int) -> UInt8 {
    let end = isOffPage ? slabBytes : headerOffset
    let rest = end - (firstItem + (items - 1) * itemBytes + size)
    return UInt8(max(0, min(255, rest / (alignMask + 1))))
  }
}
