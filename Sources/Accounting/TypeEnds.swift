// SPDX-License-Identifier: BSD-2-Clause
//
// Records and numbers, and what becomes of a type's zones, number and record when it ends. What is still out stays good, and is memory
// without a type: the zones that hold it bear from then on a number that is no type's, and go when their last block has been freed;
// the type's own number, which its large blocks bear, waits for these. So types may come and go for ever, whoever frees when.
//
// A free may be under way in another thread all the time. It is inside the gate of the number that it read, and looks again there
// (TypeGate); it touches the zone until it leaves. So a zone that has no slabs, and with them no block that anybody could still
// free, may go when the gate was empty once since.

import CPlatform
import Pages
import Primitives
import Synchronization
import Zones

extension UnsafeMutablePointer where Pointee == TypesState {
  /// Zones of a type that nobody uses any more, and is in no list.
  func end(_ record: TypePointer) {
    // Nobody sweeps until the gate has been empty: a free that found the type's own number is inside this gate, where no sweep looks.
    while !stave_claim(&pointee.isSweeping) { _ = stave_yield() }
    var count: Int64 = 0
    for index in 0..<SizeClass.count {
      guard let zone = record.pointee.zones[index] else { continue }
      record.pointee.cells[index] = 0
      record.pointee.zones[index] = nil
      zone.pointee.type = pointee.ended!.pointee.number
      count += 1
    }
    stave_add(&pointee.endedZones, count)
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    record.waitUntilEmpty()
    stave_store32(&pointee.isSweeping, 0)
    sweep()
    pointee.lock.lock()
    if !retire(record) {
      record.pointee.nextUnused = pointee.ending
      pointee.ending = record
    }
    pointee.lock.unlock()
  }

  /// Gives back the zones of ended types that have become empty. One load where there are none; else a walk over all zones. Takes
  /// the zones' locks, and no other. Done at the end of each type and of each period; not from inside a gate.
  public func sweep() {
    guard stave_load64(&pointee.endedZones) > 0, let ended = pointee.ended, stave_claim(&pointee.isSweeping) else { return }
    defer { stave_store32(&pointee.isSweeping, 0) }
    var batch = InlineArray<16, ZonePointer?>(repeating: nil)
    var found = 16, gone = 16
    while found == 16 && gone > 0 {
      (found, gone) = (0, 0)
      forEachListedZone { zone in
        guard found < 16, zone.pointee.type == ended.pointee.number, ZoneCounts(zone).used == 0 else { return }
        batch[found] = zone
        found += 1
      }
      for place in 0..<found {
        batch[place]!.reclaim(.drainCPU)
        if batch[place]!.pointee.keg.pointee.slabCount > 0 { batch[place] = nil }
      }
      ended.waitUntilEmpty()
      for place in 0..<found {
        guard let zone = batch[place] else { continue }
        zone.destroy()
        gone += 1
      }
      stave_add(&pointee.endedZones, -Int64(gone))
    }
  }

  // MARK: - Under the lock

  /// A record with a number of its own. Numbers are used again, with the records.
  func takeRecord() -> TypePointer? {
    if pointee.ended == nil {
      pointee.ended = freshRecord()
      pointee.ended?.pointee.isEnded = true
    }
    if pointee.unused == nil { collectEnding() }
    if let record = pointee.unused {
      pointee.unused = record.pointee.nextUnused
      return record
    }
    return pointee.ended == nil ? nil : freshRecord()
  }

  private func freshRecord() -> TypePointer? {
    guard pointee.nextNumber < UInt32(STAVE_MAX_TYPES), arena.countLargeByType() else { return nil }
    if pointee.records == nil {
      let bytes = (Int(STAVE_MAX_TYPES) * MemoryLayout<UInt>.stride).roundedUp(to: pageBytes)
      guard let table = metadataPages.allocate(bytes: bytes) else { return nil }
      pointee.records = table.assumingMemoryBound(to: TypePointer?.self)
    }
    if pointee.freshEnd - pointee.fresh < UInt(MemoryLayout<TypeRecord>.stride) {
      guard let page = metadataPages.allocate(bytes: pageBytes) else { return nil }
      pointee.fresh = page.address
      pointee.freshEnd = page.address + UInt(pageBytes)
    }
    // Zeros are an empty gate, no zones and no cells.
    let type = TypePointer(bitPattern: pointee.fresh)!
    pointee.fresh += UInt(MemoryLayout<TypeRecord>.stride)
    type.pointee.number = pointee.nextNumber
    pointee.records![Int(pointee.nextNumber)] = type
    pointee.nextNumber += 1
    return type
  }

  /// The number is another type's only when no large block bears it, and nobody is about to free one that did.
  private func retire(_ record: TypePointer) -> Bool {
    guard arena.largeTotals(of: record.pointee.number).isEmpty, record.isEmpty else { return false }
    arena.resetLarge(of: record.pointee.number)
    record.pointee.nextUnused = pointee.unused
    pointee.unused = record
    return true
  }

  private func collectEnding() {
    var rest = pointee.ending
    pointee.ending = nil
    while let record = rest {
      rest = record.pointee.nextUnused
      if !retire(record) {
        record.pointee.nextUnused = pointee.ending
        pointee.ending = record
      }
    }
  }
}
