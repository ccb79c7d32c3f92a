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
  let owner = lastOwner(of: address)
  itemChecks.describe(owner, "; freed before by type ", in: &report)
  report.text("\n")
  itemChecks.addStack(of: owner, "freed before", to: &report)
  report.finish(next: badFreeAdvice)
}

/// Who freed the item that the address lies in, where that is known.
private func lastOwner(of address: UInt) -> LastOwner? {
  guard itemChecks.isOn, case .slab(let header) = ownerMap.pointee.owner(of: address) else { return nil }
  let slab = header.assumingMemoryBound(to: Slab.self)
  return stave_kegs()[Int(slab.pointee.kegIndex)]?.assumingMemoryBound(to: Keg.self).lastOwner(ofItemHolding: address, in: slab)
}
/// What tells more of a bad free.
public var badFreeAdvice: StaticString {
  itemChecks.isOn
    ? "STAVE_OPTIONS=check:1,stacks:1 says where it was freed before"
    : "STAVE_OPTIONS=check:1 finds bad frees at the call itself, and says who freed first"
}

extension UnsafeMutablePointer where Pointee == Keg {
  /// As tables name its zone.
  public func sayName(in report: inout Report) {
    report.name(pointee.name)
    guard let instance = pointee.zone?.pointee.instance, instance > 0 else { return }
    report.text("_")
    report.number(UInt(instance))
  }
}

public func describeNearest(to address: UInt, keg known: KegPointer?, in report: inout Report) {
  var keg = known
  var slab: SlabPointer? = nil
  if case .slab(let header) = ownerMap.pointee.owner(of: address) {
    slab = header.assumingMemoryBound(to: Slab.self)
    keg = stave_kegs()[Int(slab!.pointee.kegIndex)]?.assumingMemoryBound(to: Keg.self)
  }
  if slab == nil, let others = zones.pointee.describeOthers {
    let isTheirs = withUnsafeMutablePointer(to: &report) { others(address, UnsafeMutableRawPointer($0)) }
    if isTheirs {
      guard let keg else { return }
      report.text(", and was given to zone ")
      return keg.sayName(in: &report)
    }
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
  keg.sayName(in: &report)
  if let zone = keg.pointee.zone, zone.pointee.type != 0 { itemChecks.describe(LastOwner(type: zone.pointee.type, stack: 0), " of type ", in: &report) }
}
