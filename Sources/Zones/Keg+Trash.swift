// SPDX-License-Identifier: BSD-2-Clause
//
// Trash: a keg whose `trash` is not 0 has all its free items filled (Primitives/Trash), or those whose number is a multiple of it, and
// looks at each when it takes it out of its slab and when the slab goes back. `trash` changes under the keg's lock, with all free
// items filled in the same hold, so what is free is always as it says.
//
// Kegs whose items have a state while they are free are left alone: those with an init or a fini, of items zeroed or never given
// back (12.2), and the zone system's own. So are those whose items are not to be touched, or have copies.

import CPlatform
import Pages
import Primitives

extension UnsafeMutablePointer where Pointee == Keg {
  private var mayBeTrashed: Bool {
    let apart = ZoneFlags.zeroInit.union(.noFree).union(.internal).union(.noTouch).union(.perCPU)
    return !pointee.flags.intersects(apart) && pointee.initialize == nil && pointee.finish == nil && pointee.zone?.pointee.zoneInit == nil
      && pointee.zone?.pointee.zoneFini == nil
  }

  /// As item checks want it at this moment.
  func followTrash() {
    pointee.lock.lock()
    setTrash()
    pointee.lock.unlock()
  }

  /// Nobody else knows the keg yet, or its lock is held.
  func setTrash() {
    pointee.trash = mayBeTrashed ? itemChecks.divisorNow : 0
    guard pointee.trash != 0 else { return }
    func fill(_ list: SlabList) {
      var next = list.first
      while let slab = next {
        fillFree(of: slab)
        next = slab.pointee.next
      }
    }
    fill(pointee.partial)
    fill(pointee.free)
  }

  /// All that is free of a slab, nobody's last. The lock is held.
  func fillFree(of slab: SlabPointer) {
    let bits = freeItems(of: slab)
    for index in 0..<pointee.layout.items where bits.contains(index) && isChosen(index, of: slab, pointee.trash) {
      fill(item(index, of: slab), .nobody)
    }
  }

  /// Whether an item is among those that are filled with this divisor, which is not 0.
  @inline(__always)
  func isChosen(_ index: Int, of slab: SlabPointer, _ divisor: Int) -> Bool {
    divisor == 1 || (Int(base(of: slab) / UInt(pointee.layout.slabBytes)) &* pointee.layout.items &+ index) % divisor == 0
  }

  private var hasLastOwner: Bool { pointee.flags.contains(.malloc) && pointee.layout.size >= LastOwner.bytes }
  private var trashBytes: Int { pointee.layout.size - (hasLastOwner ? LastOwner.bytes : 0) }

  private func fill(_ item: UInt, _ owner: LastOwner) {
    Trash.fill(item, bytes: trashBytes)
    if hasLastOwner { owner.write(at: item + UInt(trashBytes)) }
    stave_add(&itemChecks.pointee.trashed, 1)
  }

  /// An item becomes free, of a keg with trash. The lock is held.
  func fill(_ index: Int, of slab: SlabPointer, stack: UInt32) {
    guard isChosen(index, of: slab, pointee.trash) else { return stave_add(&itemChecks.pointee.skipped, 1) }
    fill(item(index, of: slab), LastOwner(type: pointee.zone?.pointee.type ?? 0, stack: stack))
  }

  // MARK: - Looking

  func isFilled(_ item: UInt) -> Bool {
    Trash.firstWrong(item, bytes: trashBytes) == nil && (!hasLastOwner || LastOwner(at: item + UInt(trashBytes)) != nil)
  }

  /// An item that nobody else has, which was free while `trash` was `divisor`. No lock is held.
  func look(_ item: UInt, in slab: SlabPointer, _ divisor: Int, _ moment: StaticString) {
    guard let index = index(of: item, in: slab), isChosen(index, of: slab, divisor) else { return }
    stave_add(&itemChecks.pointee.checked, 1)
    let wrong = Trash.firstWrong(item, bytes: trashBytes)
    let owner = hasLastOwner ? LastOwner(at: item + UInt(trashBytes)) : nil
    if wrong != nil || hasLastOwner && owner == nil { reportWrite(to: item, at: wrong, owner, moment) }
  }

  /// All items of a slab that is unlinked and wholly free.
  func lookAtAll(of slab: SlabPointer, _ divisor: Int) {
    for index in 0..<pointee.layout.items { look(item(index, of: slab), in: slab, divisor, "its slab was given back") }
  }

  /// Nil: its last word only, of which nobody knows what it was.
  @inline(never)
  private func reportWrite(to item: UInt, at offset: Int?, _ owner: LastOwner?, _ moment: StaticString) {
    stave_add(&itemChecks.pointee.damaged, 1)
    var report = Report("write after free")
    report.writtenByte(offset, in: item, orWordAt: trashBytes)
    describeNearest(to: item + UInt(offset ?? trashBytes), keg: self, in: &report)
    if offset != nil && hasLastOwner && owner == nil {
      report.text("; its last word, which says who freed it, is ")
      report.address(UInt(UnsafeRawPointer(bitPattern: item + UInt(trashBytes))!.loadUnaligned(as: UInt64.self)))
    }
    report.text("; noticed when ")
    report.text(moment)
    itemChecks.describe(owner, "; freed last by type ", in: &report)
    report.text("\n")
    itemChecks.addStack(of: owner, "freed", to: &report)
    report.finish(next: pointee.flags.contains(.malloc) || pointee.zone?.isGuardedIfAll ?? false ? Report.writeAdvice : "")
  }

  /// Who freed the item that holds this address, if it is free and says so.
  func lastOwner(ofItemHolding address: UInt, in slab: SlabPointer) -> LastOwner? {
    let first = item(0, of: slab)
    guard pointee.trash != 0, hasLastOwner, address >= first else { return nil }
    let index = Int(address - first) / pointee.layout.itemBytes
    guard index < pointee.layout.items, freeItems(of: slab).contains(index) else { return nil }
    return LastOwner(at: item(index, of: slab) + UInt(trashBytes))
  }

  // MARK: - Of one address

  /// Whether `item` is an item of this keg that is not free; else there is a report. While item checks are on: before an author's
  /// destructor sees it, or where what is done with it is no free. Takes the lock.
  public func demandTaken(_ item: UInt, _ what: StaticString) -> Bool {
    let (isItem, isFree) = look(at: item)
    if !isItem { reportBadFree("free of an address that is no item of the zone", item, keg: self) }
    if isFree { reportBadFree(what, item, keg: self, .again) }
    return isItem && !isFree
  }

  /// The same without a report.
  public func isTaken(_ item: UInt) -> Bool { look(at: item) == (true, false) }

  private func look(at item: UInt) -> (isItem: Bool, isFree: Bool) {
    guard mayBeSlab(around: item) else { return (false, false) }
    pointee.lock.lock()
    defer { pointee.lock.unlock() }
    guard let slab = slab(of: item), slab.pointee.kegIndex == pointee.index, let index = index(of: item, in: slab) else { return (false, false) }
    return (true, freeItems(of: slab).contains(index))
  }
}
