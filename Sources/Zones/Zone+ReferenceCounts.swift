// SPDX-License-Identifier: BSD-2-Clause
//
// Reference counts (`refCount`): 32 bits for each item, in the slab's header behind the bitmap. They are 0 when a slab is made, and
// then nobody's but the author's: an item that is freed and allocated again has the count that it was left with. Slabs of such
// zones stay what they are as long as the zone lives, so who loses the race for the last reference still reads a count (L1).

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Keg {
  func counts(of slab: SlabPointer) -> UnsafeMutablePointer<UInt32> {
    UnsafeMutableRawPointer(slab.words + Bitmap.wordCount(for: pointee.layout.items)).assumingMemoryBound(to: UInt32.self)
  }
}

extension UnsafeMutablePointer where Pointee == Zone {
  /// The count of an item, allocated or free, for the author's atomic operations; valid as long as the zone. A few loads, no lock.
  /// An address that is no item of this zone, and a zone without counts, are reported, and the process ends: there is no count.
  public func referenceCount(of item: UnsafeRawPointer) -> UnsafeMutablePointer<UInt32> {
    let address = UInt(bitPattern: item), keg = ownerKeg(of: address)
    guard keg.pointee.layout.hasCounts else { stopWithoutCount("in a zone that has none", address) }
    guard let slab = keg.slab(of: address), let index = keg.index(of: address, in: slab) else {
      stopWithoutCount("of an address that is no item", address)
    }
    return keg.counts(of: slab) + index
  }

  @inline(never)
  private func stopWithoutCount(_ why: StaticString, _ address: UInt) -> Never {
    var report = Report("no reference count")
    report.text("asked for ")
    report.text(why)
    report.text(", ")
    report.address(address)
    describeNearest(to: address, keg: pointee.keg, in: &report)
    report.text("\n")
    report.stop(next: "only zones made with refCount have counts, of the addresses that they gave out")
  }
}
