// SPDX-License-Identifier: BSD-2-Clause
//
// What is said about a free that cannot be: what was done, the address, the nearest item and its zone, whose name begins with the
// type's; and the zone that it was freed to, if that is another one.

import CPlatform
import Pages
import Primitives

/// What makes a free a bad one, as far as more can be had about it.
public enum BadFree {
  /// It is free already.
  case again
  /// It was not given out, at a call that may be an earlier one.
  case stray
  /// Nor was this, at this call.
  case strayNow
}

/// Says what was done to which address, the nearest item and its zone, and ends the process, unless it is to go on: then the free
/// is to be as if it had not been. Called without locks.
@inline(never)
public func reportBadFree(_ what: StaticString, _ address: UInt, keg: KegPointer?, _ kind: BadFree = .strayNow) {
  var report = Report("bad free")
  report.text(what)
  // What a cache-only zone has are no addresses; Swift's handles of fewer than eight bytes have a bit of their own besides.
  let isHandle = keg?.pointee.flags.contains(.cacheOnly) ?? false
  report.text(isHandle ? " of handle " : " at ")
  report.address(isHandle && keg!.pointee.layout.size < 8 ? address & ~(1 << 62) : address)
  describeNearest(to: address, keg: keg, in: &report)
  let owner = lastOwner(of: address)
  itemChecks.describe(owner, "; freed before by type ", in: &report)
  report.text("\n")
  itemChecks.addStack(of: owner, "freed before", to: &report)
  report.finish(next: advice(kind, keg, owner))
}

public func reportDoubleFree(_ address: UInt, keg: KegPointer) { reportBadFree("double free", address, keg: keg, .again) }

/// Who freed the item that the address lies in, where that is known.
private func lastOwner(of address: UInt) -> LastOwner? {
  guard itemChecks.isOn, case .slab(let header) = ownerMap.pointee.owner(of: address) else { return nil }
  let slab = header.assumingMemoryBound(to: Slab.self)
  return stave_kegs()[Int(slab.pointee.kegIndex)]?.assumingMemoryBound(to: Keg.self).lastOwner(ofItemHolding: address, in: slab)
}

/// What would tell more, if anything does. `owner`: who freed the item, where that is known.
private func advice(_ kind: BadFree, _ keg: KegPointer?, _ owner: LastOwner?) -> StaticString {
  if let owner, owner.stack != 0 { return "" }
  if kind == .again, let keg, !keg.pointee.flags.contains(.malloc) {
    if let zone = keg.pointee.zone, zone.isGuardedIfAll { return Report.freeAdvice }
  } else if kind == .again || owner != nil && owner != .nobody {
    return "STAVE_OPTIONS=check:1,stacks:1 says where it was freed before"
  }
  return kind == .strayNow || itemChecks.isOn ? "" : "STAVE_OPTIONS=check:1 finds each bad free at the call itself"
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

/// The slab in whose memory the address lies, and its keg. What the owner map does not know is looked for in all kegs whose slabs it does
/// not know, but for those at which another thread is.
private func owner(of address: UInt) -> (slab: SlabPointer, keg: KegPointer)? {
  if case .slab(let header) = ownerMap.pointee.owner(of: address) {
    let slab = header.assumingMemoryBound(to: Slab.self)
    return stave_kegs()[Int(slab.pointee.kegIndex)].map { (slab, $0.assumingMemoryBound(to: Keg.self)) }
  }
  // While it is held none of them goes.
  guard zones.pointee.listLock.lock(orTryBriefly: true) else { return nil }
  defer { zones.pointee.listLock.unlock() }
  for index in 1..<max(1, zones.pointee.kegCount) {
    guard let keg = stave_kegs()[index]?.assumingMemoryBound(to: Keg.self), keg.pointee.layout.lookup != .metadata,
      keg.pointee.lock.lock(orTryBriefly: true)
    else { continue }
    let slab = keg.slabByLists(holding: address)
    keg.pointee.lock.unlock()
    if let slab { return (slab, keg) }
  }
  return nil
}

extension UnsafeMutablePointer where Pointee == Keg {
  /// Looks at all slabs. The lock is held.
  fileprivate func slabByLists(holding address: UInt) -> SlabPointer? {
    func find(_ list: SlabList) -> SlabPointer? {
      var next = list.first
      while let slab = next, address &- base(of: slab) >= UInt(pointee.layout.slabBytes) { next = slab.pointee.next }
      return next
    }
    return find(pointee.full) ?? find(pointee.partial) ?? find(pointee.free)
  }
}

/// Says which item of which zone the address lies in or beside; `known` is the keg that it was given to.
public func describeNearest(to address: UInt, keg known: KegPointer?, in report: inout Report) {
  let owner = owner(of: address)
  let isTheirs = owner == nil
    && withUnsafeMutablePointer(to: &report) { zones.pointee.describeOthers?(address, UnsafeMutableRawPointer($0)) ?? false }
  if !isTheirs { describe(address, owner?.slab, owner?.keg ?? known, in: &report) }
  guard let known, isTheirs || known != owner?.keg ?? known else { return }
  report.text(", freed to zone ")
  known.sayName(in: &report)
}

private func describe(_ address: UInt, _ slab: SlabPointer?, _ keg: KegPointer?, in report: inout Report) {
  guard let keg else { return report.text("; no zone of stave owns it") }
  if let slab {
    let layout = keg.pointee.layout
    let offset = Int(bitPattern: address) - Int(bitPattern: keg.item(0, of: slab))
    let index = max(0, min(layout.items - 1, offset / layout.itemBytes))
    let nearest = keg.item(index, of: slab)
    report.text("; ")
    report.count(address < nearest ? nearest - address : address - nearest, "byte")
    report.text(address < nearest ? " before" : " into")
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
