// SPDX-License-Identifier: BSD-2-Clause
//
// What is said about a free that cannot be: what was done, the address, the nearest item and its zone, whose name begins with the
// type's.

import CPlatform
import Pages
import Primitives

/// Says what was done to which address, the nearest item and its zone, and ends the process, unless it is to go on: then the free
/// is to be as if it had not been. Called without locks.
@inline(never)
public func reportBadFree(_ what: StaticString, _ address: UInt, keg: KegPointer?) {
  var report = Report("bad free")
  report.text(what)
  report.text(" at ")
  report.address(address)
  describeNearest(to: address, keg: keg, in: &report)
  report.text("\n")
  report.finish(next: badFreeAdvice)
}

/// What tells more of a bad free.
public var badFreeAdvice: StaticString { "STAVE_OPTIONS=check:1 finds bad frees at the call itself, and says who freed first" }

public func describeNearest(to address: UInt, keg known: KegPointer?, in report: inout Report) {
  var keg = known
  var slab: SlabPointer? = nil
  if case .slab(let header) = ownerMap.pointee.owner(of: address) {
    slab = header.assumingMemoryBound(to: Slab.self)
    keg = stave_kegs()[Int(slab!.pointee.kegIndex)]?.assumingMemoryBound(to: Keg.self)
  }
  guard let keg else {
    report.text("; no zone of stave owns it")
    return
  }
  if let slab {
    let layout = keg.pointee.layout
    let offset = Int(bitPattern: address) - Int(bitPattern: keg.item(0, of: slab))
    let index = max(0, min(layout.items - 1, offset / layout.itemBytes))
    let nearest = keg.item(index, of: slab)
    report.text("; ")
    if address < nearest {
      report.number(nearest - address)
      report.text(" bytes before")
    } else {
      report.number(address - nearest)
      report.text(" bytes into")
    }
    report.text(" the item at ")
    report.address(nearest)
    report.text(" of ")
    report.number(UInt(layout.size))
    report.text(" bytes")
  }
  report.text(" in zone ")
  report.name(keg.pointee.name)
}
