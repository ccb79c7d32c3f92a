// SPDX-License-Identifier: BSD-2-Clause
//
// Pages from elsewhere: an author's own source of memory for a zone, or for several pools that share it (SharedPages).
//
//   Zone ──────────────► SuppliedPages ─► PageSupply        the core's page source is two C functions and a context,
//   Pool ─► SharedPages ─┘                                  which is the box in the middle

internal import Pages
internal import Zones

/// A source of pages: huge pages, memory shared with other processes or with a device, a part of a file, or a quota of the system's.
///
/// ```swift
/// final class Malloced: PageSupply {
///   func pages(byteCount: Int, alignment: Int, mayWait: Bool) -> UnsafeMutableRawPointer? {
///     .allocate(byteCount: byteCount, alignment: alignment)
///   }
///   func takeBack(_ pages: UnsafeMutableRawPointer, byteCount: Int) { pages.deallocate() }
/// }
/// let numbers = try Zone<Int>("numbers", pages: Malloced())
/// print(numbers.item(5)?.value as Any)   // Optional(5)
/// ```
///
/// Both functions are called by any thread that allocates, frees or trims, several at a time, and with no lock of Stave's held. They may
/// not ask the zones and pools that they serve for anything. What has pages of a supply keeps the supply.
public protocol PageSupply: AnyObject, Sendable {
  /// `byteCount` bytes at a multiple of `alignment`, which is a power of two of at least 16; nil where there are none. What they hold does
  /// not matter, unless their zone was told that they are zero. It may block only if `mayWait`.
  func pages(byteCount: Int, alignment: Int, mayWait: Bool) -> UnsafeMutableRawPointer?
  /// What was given out is used no more. It must not block for long: any free may lead to it.
  func takeBack(_ pages: UnsafeMutableRawPointer, byteCount: Int)
}

/// A supply as the core calls it.
final class SuppliedPages: Sendable {
  private let supply: any PageSupply
  private let alignment: Int

  init(_ supply: any PageSupply, alignment: Int) {
    self.supply = supply
    self.alignment = max(16, alignment)
  }

  /// Good as long as this object lives.
  func source(areZero: Bool) -> PageSource {
    PageSource(
      allocate: { context, bytes, wait, _ in
        let pages = SuppliedPages.of(context!)
        let start = pages.supply.pages(byteCount: bytes, alignment: pages.alignment, mayWait: WaitFlags(rawValue: wait).maySleep)
        precondition(UInt(bitPattern: start) % UInt(pages.alignment) == 0, "a page supply gave pages that are not aligned as asked for")
        return start
      },
      free: { context, start, bytes, _ in SuppliedPages.of(context!).supply.takeBack(start, byteCount: bytes) },
      context: Unmanaged.passUnretained(self).toOpaque(), isZeroed: areZero)
  }

  private static func of(_ context: UnsafeMutableRawPointer) -> SuppliedPages { Unmanaged.fromOpaque(context).takeUnretainedValue() }
}

extension Zone where Element: ~Copyable {
  /// A zone whose slabs lie in pages of a supply. Its items are found by a search in a tree where they come back to their slabs, which
  /// costs a little for each bucketful; requests and frees that caches serve cost what they do in any zone.
  ///
  /// - Parameters:
  ///   - name: What the tools show: of its UTF-8, 31 bytes.
  ///   - pages: Where slabs come from, each a multiple of the system's page size, aligned as elements are.
  ///   - areZero: All of them are zero whenever they are given out: then nothing is zeroed again.
  ///   - flags: ``ZoneFlags/referenceCounts`` and ``ZoneFlags/spread`` are ``ZoneError/impossible`` here.
  ///   - limit: How many items there may be, out and cached; 0 for any number.
  public convenience init(
    _ name: String, pages: any PageSupply, areZero: Bool = false, flags: ZoneFlags = [], limit: Int = 0
  ) throws(ZoneError) {
    let supplied = SuppliedPages(pages, alignment: MemoryLayout<Element>.alignment)
    let flags = ZoneFlags(rawValue: flags.rawValue | Zones.ZoneFlags.notPage.rawValue)
    let core = try makeCore(Element.self, name, flags) {
      makeZone(name: $0, size: $1, alignMask: $2, flags: flags.core, source: supplied.source(areZero: areZero))
    }
    self.init(core, keeping: supplied, limit: limit)
  }
}
