// SPDX-License-Identifier: BSD-2-Clause
//
// How items are laid out in a slab: a pure function of size, alignment and flags. In-page, the header lies at the end of the slab's
// last page; off-page, it comes from a header zone and the whole slab is items. Heap zones do not use it: see `SlabLayout.heap`.
//
//   refCount     a header has a count for each item behind its bitmap
//   cacheSpread  the distance between items is an odd multiple of the alignment, and the slab so long that every multiple
//                modulo the page is some item's start
//   noTouch      off-page
//   perCPU       off-page; a slab is one page for each CPU. Items lie in the first, their copies at the same place in the others

import CPlatform
import Primitives

public struct SlabLayout {
  public enum Lookup: UInt8 {
    /// Round the address down to its page and add the header's offset.
    case mask
    /// Ask the owner map.
    case metadata
    /// Search the keg's tree: the memory is unknown to the owner map (Keg+Tree).
    case tree
  }

  /// The size asked for and the distance between items.
  public var size: Int
  public var itemBytes: Int
  public var slabBytes: Int
  public var items: Int
  public var isOffPage: Bool
  /// From the slab's start to its header; meaningless off-page.
  public var headerOffset: Int
  /// From the slab's start to item 0.
  public var firstItem: Int
  public var lookup: Lookup
  /// A header holds a reference count for each item.
  public var hasCounts = false

  /// The smallest item: a pointer.
  public static let smallestItem = 8
  /// The most items of a slab laid out by this function.
  public static let mostItems = 512
  /// Percent of a slab that items must fill before the search for a better layout stops.
  static let enough = 90

  /// How long a slab may become for the sake of `cacheSpread`.
  static let mostSpread = 128 << 10

  /// Bytes of an in-page header for `items` items.
  public static func headerBytes(items: Int, counted: Bool = false) -> Int {
    24 + 8 * Bitmap.wordCount(for: items) + (counted ? (4 * items).roundedUp(to: 8) : 0)
  }

  /// Bytes of the off-page header that holds `items` items: two sizes up to 512, and the larger ones that heap slabs use.
  public static func offPageHeaderBytes(items: Int, counted: Bool = false) -> Int {
    24 + headerBytes(items: offPageHeaderItems(items), counted: counted)
  }

  /// The items that the header zone for `items` items has room for: 256, 512, 1024, 2048 or 4096.
  public static func offPageHeaderItems(_ items: Int) -> Int {
    var room = 256
    while room < items { room *= 2 }
    return room
  }

  /// 100 × what items occupy / what the slab and its off-page header occupy, rounded down.
  public var efficiency: Int {
    100 * items * itemBytes / (slabBytes + (isOffPage ? SlabLayout.offPageHeaderBytes(items: items, counted: hasCounts) : 0))
  }

  /// The layout for items of `size` bytes at multiples of `alignMask + 1`. Nil when no slab of at most `mostItems` items
  /// can be made, which happens for absurd sizes only.
  public static func choose(
    size: Int, alignMask: Int, flags: ZoneFlags, pageBytes: Int, cpuCount: Int = 1, multiPage: Bool = true
  ) -> SlabLayout? {
    guard size > 0, size <= 1 << 40, alignMask >= 0, UInt(alignMask + 1).isPowerOfTwo, let flags = flags.completed else { return nil }
    if flags.contains(.notPage) {
      return page(size: size, alignMask: alignMask, flags: flags, pageBytes: pageBytes, isInOwnerMap: false, isAligned: false)
    }
    let itemBytes = distance(size: size, align: alignMask + 1, flags: flags)
    if flags.contains(.perCPU) { return perCPU(size: size, itemBytes: itemBytes, flags: flags, pageBytes: pageBytes, cpuCount: cpuCount) }
    var slabBytes = itemBytes.roundedUp(to: pageBytes)
    if flags.contains(.cacheSpread) {
      // After so many items the places modulo the page begin again.
      let period = min(max(1, pageBytes / (alignMask + 1)), mostItems)
      slabBytes = max(min(itemBytes * period, mostSpread), itemBytes).roundedUp(to: pageBytes)
    }
    let mayBeOffPage = !flags.intersects(ZoneFlags.internal.union(.vm))
    let mayBeInline = !flags.intersects(ZoneFlags.offPage.union(.noTouch).union(.cacheSpread))
    let counted = flags.contains(.refCount)
    func inline(_ slabBytes: Int) -> SlabLayout? {
      var layout = inPage(size: size, itemBytes: itemBytes, slabBytes: slabBytes, pageBytes: pageBytes, counted: counted)
      if flags.intersects(ZoneFlags.malloc.union(.refCount)) { layout?.lookup = .metadata }
      return layout
    }
    var best: SlabLayout? = nil
    if !mayBeOffPage {
      // No header elsewhere: if an item and the header do not fit, one more page.
      return inline(slabBytes) ?? inline(slabBytes + pageBytes)
    }
    while true {
      if mayBeInline, let layout = inline(slabBytes), layout.efficiency > best?.efficiency ?? -1 { best = layout }
      if best?.efficiency ?? 0 < enough {
        let layout = offPage(size: size, itemBytes: itemBytes, slabBytes: slabBytes, counted: counted)
        if layout.efficiency > best?.efficiency ?? -1 { best = layout }
      }
      if best!.efficiency >= enough || !multiPage { break }
      // One page more for small items, one item more for large ones.
      slabBytes =
        itemBytes <= pageBytes
        ? slabBytes + pageBytes : (slabBytes / itemBytes * itemBytes + itemBytes).roundedUp(to: pageBytes)
      if slabBytes / itemBytes > mostItems { break }
    }
    return best
  }

  /// From an item to the next.
  private static func distance(size: Int, align: Int, flags: ZoneFlags) -> Int {
    let bytes = max(size, smallestItem).roundedUp(to: align)
    return flags.contains(.cacheSpread) && bytes & align == 0 ? bytes + align : bytes
  }

  private static func inPage(size: Int, itemBytes: Int, slabBytes: Int, pageBytes: Int, counted: Bool) -> SlabLayout? {
    // The padding behind the last item is not needed.
    let slack = itemBytes - size
    var items = min(mostItems, (slabBytes + slack) / itemBytes)
    while items > 0 && items * itemBytes - slack + headerBytes(items: items, counted: counted) > slabBytes { items -= 1 }
    guard items > 0 else { return nil }
    let headerOffset = (slabBytes - headerBytes(items: items, counted: counted)).roundedDownTo8
    return SlabLayout(
      size: size, itemBytes: itemBytes, slabBytes: slabBytes, items: items, isOffPage: false,
      headerOffset: headerOffset, firstItem: 0,
      lookup: (items - 1) * itemBytes < pageBytes && slabBytes == pageBytes ? .mask : .metadata, hasCounts: counted)
  }

  private static func offPage(size: Int, itemBytes: Int, slabBytes: Int, counted: Bool) -> SlabLayout {
    SlabLayout(
      size: size, itemBytes: itemBytes, slabBytes: slabBytes,
      items: min(mostItems, (slabBytes + itemBytes - size) / itemBytes), isOffPage: true, headerOffset: 0, firstItem: 0,
      lookup: .metadata, hasCounts: counted)
  }

  /// One page for each CPU: nil if an item is larger than that.
  private static func perCPU(size: Int, itemBytes: Int, flags: ZoneFlags, pageBytes: Int, cpuCount: Int) -> SlabLayout? {
    var layout = offPage(size: size, itemBytes: itemBytes, slabBytes: pageBytes, counted: flags.contains(.refCount))
    guard layout.items > 0 else { return nil }
    layout.slabBytes = pageBytes * cpuCount
    return layout
  }

  /// Heap zones: one unit per slab, whatever the size, header off-page where no overrun reaches it. Items fill the unit
  /// from its end, so that the distance to the end is a multiple of their size: free() checks an address by one multiply.
  /// The rest at the start of the unit is address space mostly, since pages are touched only where items lie.
  public static func heap(size: Int) -> SlabLayout {
    let items = Int(unitBytes) / size
    return SlabLayout(
      size: size, itemBytes: size, slabBytes: Int(unitBytes), items: items, isOffPage: true, headerOffset: 0,
      firstItem: Int(unitBytes) - items * size, lookup: .metadata)
  }
}

extension Int {
  fileprivate var roundedDownTo8: Int { self & ~7 }
}
