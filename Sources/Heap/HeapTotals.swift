// SPDX-License-Identifier: BSD-2-Clause
//
// What this process can say of itself: sums over its zones, and the zone table as text. Exact when no other thread is
// inside the allocator; never negative otherwise. Takes the zone list's lock for moments and allocates nothing.

import CPlatform
import Pages
import Primitives
import Zones

public struct HeapTotals {
  /// In items that callers hold, and in items that they do not.
  public var usedBytes: UInt = 0
  public var freeBytes: UInt = 0

  public init() {
    var used: UInt = 0
    var free: UInt = 0
    forEachListedZone { zone in
      if zone.pointee.flags.contains(.part) { return }
      let counts = ZoneCounts(zone), capacity = zone.capacity
      used += UInt(counts.used) * UInt(zone.pointee.size)
      free += UInt(max(0, capacity - Int(counts.used))) * UInt(zone.pointee.size)
    }
    usedBytes = used + arena.pointee.largeBytes
    freeBytes = free
  }
}

/// vmstat -z's columns.
public func printZones(to file: Int32) {
  var line = Report()
  line.text("ITEM                     SIZE  LIMIT      USED      FREE         REQ  FAIL SLEEP XDOMAIN\n")
  line.write(to: file)
  // A zone at a time: nothing is written with the lock held, for whoever reads may be slow.
  var position = 0
  while withListedZone(at: position, { zone in appendRow(zone, to: &line) }) {
    line.write(to: file)
    position += 1
  }
  line.text("large blocks: ")
  line.number(arena.pointee.largeCount)
  line.text(" in use, ")
  line.number(arena.pointee.largeBytes)
  line.text(" bytes; purgeable ")
  line.number(arena.pointee.cachedBytes + arena.pointee.recentBytes)
  line.text(" bytes\n")
  line.write(to: file)
  guard let table = memoryDomains.pointee.table else { return }
  line.text("memory domains: ")
  line.number(UInt(table.pointee.policies))
  line.text(" ranges with a policy, ")
  line.number(UInt(table.pointee.refusedPolicies))
  line.text(" without for want of one\n")
  line.write(to: file)
}

private func appendRow(_ zone: ZonePointer, to line: inout Report) {
  // Its front has what it has.
  if zone.pointee.flags.contains(.part) { return }
  let counts = ZoneCounts(zone)
  let capacity = zone.capacity
  line.name(zone.pointee.name)
  line.text(":")
  line.pad(20 - zone.pointee.name.count)
  line.number(UInt(zone.pointee.size), width: 8)
  line.text(",     0,")
  line.number(UInt(counts.used), width: 9)
  line.text(",")
  line.number(UInt(max(0, Int64(capacity) - counts.used)), width: 9)
  line.text(",")
  line.number(UInt(counts.allocations), width: 11)
  line.text(",")
  line.number(UInt(max(0, zone.pointee.failures)), width: 5)
  line.text(",")
  line.number(UInt(max(0, zone.pointee.sleeps)), width: 5)
  line.text(",")
  line.number(UInt(max(0, zone.pointee.crossFrees)), width: 7)
  line.text("\n")
}
