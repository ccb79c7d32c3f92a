// SPDX-License-Identifier: BSD-2-Clause
//
// The zones of a type, one for each class, made when first asked for.

import CPlatform
import Pages
import Primitives
import Synchronization
import Zones

extension UnsafeMutablePointer where Pointee == TypeRecord {
  /// Nil if memory is not to be had, or if there are too many: then the request is malloc's.
  @inline(never)
  public func zone(_ index: Int) -> ZonePointer? { knownZone(index) ?? makeZone(index) }

  /// Nil where none has been made.
  @inline(__always)
  public func knownZone(_ index: Int) -> ZonePointer? { publishedZone(&pointee.zones, index) }

  /// Made without the types' lock, since that takes as long as there are zones; and published with it.
  @inline(never)
  private func makeZone(_ index: Int) -> ZonePointer? {
    // A hash class's zones are malloc's own.
    let isType = pointee.number != 0
    guard zones.pointee.zoneCount < Int(STAVE_MAX_KEGS) - (isType ? TypeZone.kegsLeft : 0) else { return nil }
    let size = SizeClass.size(index)
    let capacity = TypeZone.cellCapacity(size: size)
    let hasCell = zones.pointee.nextCell < Int(STAVE_MAX_CELLS) - (isType ? TypeZone.cellsLeft : 0)
    guard
      let zone = Zones.makeZone(
        name: pointee.name.appending("-", number: size), layout: .heap(size: size), alignMask: 15, flags: .malloc, hooks: ZoneHooks(),
        source: .arena, cellCapacity: hasCell ? capacity : 0, bucketSize: Swift.min(SizeClass.bucketSize(size: size), Swift.max(1, capacity / 2)),
        reciprocal: SizeClass.reciprocal(size: size))
    else { return nil }
    zone.pointee.depotLimit = TypeZone.depotLimit(size: size)
    if publish(zone, index) { return zone }
    // Another thread was faster; nobody has used this one.
    zone.destroy()
    return knownZone(index)
  }

  private func publish(_ zone: ZonePointer, _ index: Int) -> Bool {
    types.pointee.lock.lock()
    defer { types.pointee.lock.unlock() }
    guard pointee.zones[index] == nil else { return false }
    zone.pointee.type = pointee.number
    setInstance(zone)
    zone.pointee.keg.pointee.cellOffset = pointee.isWatched || hasAccount ? 0 : UInt16(zone.pointee.cell)
    Zones.publish(zone, in: &pointee.zones, index)
    if !hasAccount { pointee.cells[index] = UInt16(zone.pointee.cell) }
    return true
  }

  /// Of the zones of a hash class its number, so that "malloc-64_3" is class 3 wherever it is named; other zones that have malloc's name
  /// come behind the classes. Under the types' lock.
  private func setInstance(_ zone: ZonePointer) {
    guard hashClasses.isOn else { return }
    if pointee.number == 0 {
      zone.pointee.instance = UInt32(hashClasses.index(of: self))
    } else if pointee.name.equals(FixedName("malloc")) && zone.pointee.instance < UInt32(HashClasses.most) {
      zone.pointee.instance += UInt32(HashClasses.most)
    }
  }
}

enum TypeZone {
  /// Cells and kegs that types leave for malloc's own zones, which may be made later, and for authors'.
  static var cellsLeft: Int { 256 + hashClasses.zonesAtMost }
  static var kegsLeft: Int { 512 + hashClasses.zonesAtMost }

  /// There may be a hundred types: each has an eighth of what malloc's own zones cache, but at least what a cell begins with.
  static func cellCapacity(size: Int) -> Int { Swift.min(64, SizeClass.cellCapacity(size: size)) }
  static func depotLimit(size: Int) -> Int { Swift.max(2 * SizeClass.bucketSize(size: size), SizeClass.depotLimit(size: size) / 8) }
}
