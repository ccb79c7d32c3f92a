// SPDX-License-Identifier: BSD-2-Clause
//
// Items of zones as guarded blocks: what MemGuard does for Zone+Guards. Such a block names its zone by the keg's number, so free() of it,
// or another zone's free, is a bad free; and so it is after the zone's end, since a keg with items out keeps its number.

import Accounting
import CPlatform
import Pages
import Primitives
import Zones

extension UnsafeMutablePointer where Pointee == MemGuard {
  /// What is guarded has changed: so has which zones are.
  public func followZones() {
    guard pointee.bytes != 0 else { return }
    zoneGuards.pointee.isMeant = { memGuard.means($0.assumingMemoryBound(to: Zone.self)) }
    zoneGuards.pointee.take = { memGuard.take(for: $0.assumingMemoryBound(to: Zone.self)) }
    zoneGuards.pointee.finish = { memGuard.finish($0.address, of: $1.assumingMemoryBound(to: Zone.self)) }
    zoneGuards.pointee.give = { memGuard.give($0.address, of: $1.assumingMemoryBound(to: Zone.self)) }
    zoneGuards.pointee.describe = { memGuard.describeOut(of: $0.assumingMemoryBound(to: Zone.self), in: $1.assumingMemoryBound(to: Report.self)) }
    zoneGuards.pointee.start = pointee.start
    zoneGuards.pointee.bytes = pointee.bytes
    zoneGuards.followAll()
  }

  /// By name, or with all; one that keeps its memory's type only if that is wanted, since its items may be read when they are free.
  private func means(_ zone: ZonePointer) -> Bool {
    isOn && typeNames(.guards).pointee.choice(of: zone.pointee.name) == Choice.all && (pointee.takesNoFree || !zone.pointee.flags.contains(.noFree))
  }

  private func take(for zone: ZonePointer) -> UnsafeMutableRawPointer? {
    let size = UInt(zone.pointee.size)
    note(size)
    let isIt = size >= pointee.least && size <= pointee.most && isOn && draw()
    guard isIt || isLargeEnough(size), isOn else { return nil }
    watch()
    return allocate(size, alignment: UInt(zone.pointee.keg.pointee.alignMask) + 1, type: nil, zone: zone.pointee.keg, stack: Stacks.record())
  }

  private func finish(_ address: UInt, of zone: ZonePointer) -> Bool {
    switch finish(address, zone: zone.pointee.keg.pointee.index) {
    case .done: return true
    case .bad(let block):
      reportBadFree("zone free", address, block, to: zone)
      return false
    }
  }

  private func give(_ address: UInt, of zone: ZonePointer) -> Bool {
    var damage = GuardDamage()
    switch free(address, zone: zone.pointee.keg.pointee.index, stack: Stacks.record(), damage: &damage) {
    case .done:
      if var block = damage.block { reportDamage("zone free", &block, damage) }
      return true
    case .bad(let block):
      reportBadFree("zone free", address, block, to: zone)
      return false
    }
  }

  /// Those of a zone that ends: the first ten, with where they were asked for.
  private func describeOut(of zone: ZonePointer, in report: UnsafeMutablePointer<Report>) {
    var left = 10
    var index: UInt32 = 1
    while left > 0 && index < pointee.recordCount {
      let block = record(index)
      index += 1
      guard block.isOut, block.pointee.zone == zone.pointee.keg.pointee.index else { continue }
      left -= 1
      report.pointee.text("  guarded item at ")
      report.pointee.address(block.pointee.address)
      report.pointee.text("\n")
      if block.pointee.allocationStack != 0 { report.pointee.stack(block.pointee.allocationStack) }
    }
  }
}
