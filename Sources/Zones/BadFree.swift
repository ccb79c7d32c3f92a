// SPDX-License-Identifier: BSD-2-Clause
//
// What is said about a free that cannot be: what was done, the address, the nearest item and its zone.

import CPlatform
import Pages
import Primitives

/// Says what was done to which address, the nearest item and its zone, and ends the process.
@inline(never)
public func reportBadFree(_ what: StaticString, _ address: UInt, keg: KegPointer?) -> Never {
  var report = Report("bad free")
  report.text(what)
  report.text(" at ")
  report.address(address)
  describeNearest(to: address, keg: keg, in: &report)
  describeFree(address, in: &report)
  report.text("\n")
  report.stop()
}

/// Who freed the item before, where that is known.
private func describeFree(_ address: UInt, in report: inout Report) {
  guard itemChecks.isOn, case .slab(let header) = ownerMap.pointee.owner(of: address) else { return }
  let slab = header.assumingMemoryBound(to: Slab.self)
  guard let keg = stave_kegs()[Int(slab.pointee.kegIndex)]?.assumingMemoryBound(to: Keg.self) else { return }
  if let owner = keg.lastOwner(of: address, in: slab) { itemChecks.describe(owner, "; freed before by type ", in: &report) }
}

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
    report.text(" bytes, number ")
    report.number(UInt(index))
    report.text(" of ")
    report.number(UInt(layout.items))
    report.text(" of its slab,")
  }
  report.text(" in zone ")
  report.name(keg.pointee.name)
  if let zone = keg.pointee.zone, zone.pointee.type != 0 { itemChecks.describe(LastOwner(type: zone.pointee.type, stack: 0), " of type ", in: &report) }
}
